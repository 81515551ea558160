//! The engine: items are pulled from a source, run on workers a chunk at a time, and delivered in order.
//!
//! # The life of an item
//!
//! Somebody asks an adaptor for a result. Who pulls the source depends on the adaptor:
//!
//! - For `pool_map` and its kin the **caller** does, on its own thread, a [`block`] at a time
//!   ([`caller_pulls`]). What caller and workers share is a [`CallState`](call::CallState).
//! - For streams that run ahead a **feeder** thread does, one item at a time. What feeder, workers and consumer share is a
//!   [`StreamState`](stream_state::StreamState).
//!
//! A [`Source`](source::Source) is any iterator, or data that rayon can split. [`sizing`] says how much to pull, how much a
//! worker takes, and how many items may be in flight, from what was measured so far.
//!
//! The item waits in the [`window`], which keeps the order: blocks that wait, and chunks that were taken, both by the index of
//! their first item. A worker takes a chunk, and [`run_chunk`] runs it: before each item it looks at the [stop flag](stop),
//! then does the [work](work::WorkOn), which is `f` in one of its forms, inside a catch. If the rest of the chunk is asked for
//! meanwhile, it goes back to the window.
//!
//! What came of a chunk goes into its place in the line. Once it is the front, and no item before it waits, it moves to the
//! consumer's [`inbox`], which hands out the results one by one and raises the panic whose turn has come.

pub(crate) mod block;
pub(crate) mod stream_state;
pub(crate) mod inbox;
pub(crate) mod call;
pub(crate) mod run_chunk;
pub(crate) mod sizing;
pub(crate) mod source;
pub(crate) mod star;
pub(crate) mod stop;
pub(crate) mod caller_pulls;
pub(crate) mod window;
pub(crate) mod work;
