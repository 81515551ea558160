//! The engine: items are pulled from a source, run on workers a chunk at a time, and delivered in order.
//!
//! # The life of an item
//!
//! Somebody asks an adaptor for a result. Who pulls the source depends on the adaptor:
//!
//! - For `pool_map` and its kin the **caller** does, on its own thread, a [`block`] at a time ([`caller_pulls`]).
//! - For streams that run ahead a **feeder** thread does, one item at a time ([`feeder_pulls`]).
//!
//! A [`Source`](source::Source) is any iterator, or data that rayon can split. [`sizing`] says how much to pull, how much a
//! worker takes, and how many items may be in flight, from what was measured so far.
//!
//! Where the source may pause, each item is put into the [`open_block`] before the source is asked for the next, so that a worker
//! can take it meanwhile.
//!
//! The item waits in the [`window`], which keeps the order: items that wait, and chunks that were taken, both by the index of
//! their first item. The window is a part of the [`state`], which says what is to be done when: whom to start, whom to wake. It
//! knows no threads; its tests go through every order of events. Around it is a lock, in the [`call`] that all threads share.
//!
//! A worker takes a chunk, and [`run_chunk`] runs it: before each item it looks at the [stop flag](stop),
//! then does the [work](work::WorkOn), which is `f` in one of its forms, inside a catch. If the rest of the chunk is asked for
//! meanwhile, it goes back to the window.
//!
//! What came of a chunk goes into its place in the line. Once it is the front, and no item before it waits, it moves to the
//! consumer's [`inbox`], which hands out the results one by one and raises the panic whose turn has come.

pub(crate) mod block;
pub(crate) mod call;
pub(crate) mod caller_pulls;
pub(crate) mod feeder_pulls;
pub(crate) mod inbox;
pub(crate) mod open_block;
pub(crate) mod run_chunk;
pub(crate) mod sizing;
pub(crate) mod source;
pub(crate) mod star;
pub(crate) mod state;
pub(crate) mod stop;
pub(crate) mod window;
pub(crate) mod work;
