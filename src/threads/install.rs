//! What [`Pool::install`](crate::Pool::install) does: one closure, lent to a worker, and its caller waits.

use super::job_queue::JobQueue;
use super::workers_scope::{self, Lent, WorkersScope};
use crate::base::event::Event;
use crate::base::sync::{Mutex, thread};
use crate::base::unwind::{self, Payload};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When the closure has run for so long, what it has given to rayon is to be shared among idle workers.
const WATCH_AFTER: Duration = Duration::from_micros(20);

/// The closure and, once it has run, what came of it.
struct Install<F, R> {
    op: Mutex<Option<F>>,
    outcome: Mutex<Option<Result<R, Payload>>>,
    done: Event,
}

impl<F: FnOnce() -> R + Send, R: Send> Lent for Install<F, R> {
    fn work(&self, _: &WorkersScope<'_>) {
        let op = self.op.lock().take().expect("BUG: one job was spawned");
        // User code. Its panic is a value until it is raised again on the caller's thread.
        let outcome = unwind::catch(op);
        *self.outcome.lock() = Some(outcome);
        self.done.set();
    }
}

/// Runs `op` on a worker behind `queue`. A panic of it goes on here.
pub(super) fn run<R: Send>(queue: &Arc<JobQueue>, op: impl FnOnce() -> R + Send) -> R {
    let install = Install { op: Mutex::new(Some(op)), outcome: Mutex::new(None), done: Event::new() };
    workers_scope::lend(queue, &install, |scope| {
        scope.spawn();
        let start = Instant::now();
        while !install.done.is_set() {
            if start.elapsed() > WATCH_AFTER {
                let _watched = scope.watch_rayon();
                return install.done.wait();
            }
            thread::yield_now();
        }
    });
    let outcome = install.outcome.into_inner().expect("BUG: the job has run");
    outcome.unwrap_or_else(|payload| unwind::resume(payload))
}
