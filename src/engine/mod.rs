//! The engine: items are pulled from a source, run on workers a chunk at a time, and delivered in order.

pub(crate) mod block;
pub(crate) mod flow;
pub(crate) mod inbox;
pub(crate) mod puller;
pub(crate) mod run_chunk;
pub(crate) mod sizing;
pub(crate) mod source;
pub(crate) mod star;
pub(crate) mod stop;
pub(crate) mod stream;
pub(crate) mod window;
pub(crate) mod work;
