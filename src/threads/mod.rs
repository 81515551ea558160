//! Pools: named worker threads on top of rayon.

pub(crate) mod builder;
pub(crate) mod error;
mod install;
pub(crate) mod job_queue;
pub(crate) mod lease;
pub(crate) mod names;
pub(crate) mod pool;
pub(crate) mod wait_graph;
pub(crate) mod worker_loop;
mod worker_thread;
pub(crate) mod workers_scope;
