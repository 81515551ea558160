//! Pools: named worker threads on top of rayon.
//!
//! # The life of a worker
//!
//! A call names its workers by a number or by a [`Pool`](pool::Pool). What stands for either is an `IntoPool`; [`lease`]
//! turns it into a pool for as long as the call works: the one that was named, or an idle one from the process-wide cache.
//!
//! [`builder`] starts the threads of a new pool. Each takes a number from [`names`], becomes the thread's
//! [current worker](crate::base::current_worker), runs `on_start` ([`worker_thread`]), and enters rayon's main loop. The
//! builder's last act is one broadcast, by which every worker enters [a loop of our own](worker_loop) and stays there while
//! the pool lives.
//!
//! In that loop the worker takes jobs from the pool's [queue](job_queue), the one that waited longest first. A job is a
//! worker's part of a call or of a stream, a task, or the closure of [`install`](install). What a call lends to the workers
//! borrows from its caller's stack: [`workers_scope`] waits until no job of it runs, and withdraws those that have not begun.
//! A job that has worked for 10 ms while others wait pushes itself again behind them and returns.
//!
//! Between jobs, and while another worker is at one, the worker looks for jobs of rayon's. When there is nothing to do it
//! stays awake for a moment, then waits.
//!
//! A worker that waits for another pool, in the middle of a job, takes up nothing meanwhile. [`wait_graph`] sees to it that
//! pools do not wait for each other in a circle; a call that would close one runs in place.
//!
//! The pool ends with its last handle: the queue takes no more jobs in, the loops return once it is empty, rayon ends its
//! threads, each runs `on_exit`, and whoever dropped the handle joins them.

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
