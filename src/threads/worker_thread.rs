//! The threads of a pool: what each is given, how it starts and ends, and who waits for that.

use super::error::{PoolError, Reason};
use super::job_queue::JobQueue;
use super::names::NumberBlock;
use super::wait_graph::PoolId;
use crate::base::current_worker::{CURRENT_WORKER, CurrentWorker, Worker};
use crate::base::fork::is_forked;
use crate::base::stdio;
use crate::base::sync::thread::JoinHandle;
use crate::base::unwind::{self, Payload};
use std::cell::RefCell;
use std::mem;
use std::sync::{Arc, mpsc};

/// What the user runs when a worker starts or ends.
pub(super) type Hook = Arc<dyn Fn(&Worker) + Send + Sync>;

/// The threads of one pool, from the first one started to the end of the last one.
pub(super) struct Threads {
    /// `None` while the pool is being built, and after it has been told to end.
    pub(super) rayon: Option<rayon::ThreadPool>,
    /// One for each thread that has started.
    pub(super) joins: Vec<JoinHandle<()>>,
    /// Held here as well as by each thread, so the numbers are free again when nothing is left of the pool.
    pub(super) numbers: Arc<NumberBlock>,
    /// Jobs for these threads.
    pub(super) queue: Arc<JobQueue>,
    pub(super) id: PoolId,
}

impl Threads {
    /// None yet.
    pub(super) fn new(id: PoolId, numbers: Arc<NumberBlock>, width: usize) -> Self {
        Threads { rayon: None, joins: Vec::new(), numbers, queue: Arc::new(JobQueue::new(width)), id }
    }

    /// Has each worker enter its [loop](super::worker_loop), for as long as the pool lives.
    pub(super) fn start_loops(&self) {
        let queue = Arc::clone(&self.queue);
        if let Some(rayon) = &self.rayon {
            rayon.spawn_broadcast(move |_| queue.work());
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let rayon = self.rayon.take();
        let joins = mem::take(&mut self.joins);
        if is_forked() {
            // These threads are the parent's. To wake them would take locks they may have held at the fork.
            mem::forget((rayon, joins));
            return;
        }
        self.queue.end();
        // Rayon only tells its threads to end, after the jobs they still have.
        drop(rayon);
        // A worker cannot wait for itself, and two that end each other's pool would wait for ever.
        if on_a_worker() {
            return;
        }
        for join in joins {
            // An error is a panic outside of any job, from dropping a hook; the panic hook has told of it.
            if let Err(payload) = join.join() {
                unwind::drop_payload(payload);
            }
        }
    }
}

/// How workers tell `build` that `on_start` panicked. The channel closes once each has run it.
pub(super) type FailureSender = mpsc::Sender<(usize, PoolError)>;

/// All that one worker thread needs.
pub(super) struct WorkerThread {
    /// What the thread knows of itself from before `on_start` until after `on_exit`.
    pub(super) current: CurrentWorker,
    pub(super) on_start: Option<Hook>,
    pub(super) on_exit: Option<Hook>,
    /// Dropped after `on_start`, since `build` waits for that.
    pub(super) report: FailureSender,
    /// Let go as the thread's last act.
    pub(super) numbers: Arc<NumberBlock>,
}

impl WorkerThread {
    pub(super) fn name(&self) -> &str {
        &self.current.worker.name
    }

    /// The life of a worker thread; `work` is rayon's part of it.
    pub(super) fn live(self, work: impl FnOnce()) {
        let WorkerThread { current, on_start, on_exit, report, numbers } = self;
        let worker = current.worker.clone();
        CURRENT_WORKER.with(|slot| slot.replace(Some(current)));
        let started = contained(|| on_start.iter().for_each(|hook| hook(&worker)));
        if let Err(message) = started {
            let failure = PoolError::from(Reason::OnStart { worker: Arc::clone(&worker.name), message });
            // Nobody listens only if another thread was refused meanwhile, which is then the error.
            let _ = report.send((worker.index, failure));
        } else {
            drop(report);
            work();
            if let Err(message) = contained(|| on_exit.iter().for_each(|hook| hook(&worker))) {
                stdio::write_stderr(&format!("[TRACE:{}] on_exit panicked: {message}\n", worker.name));
            }
        }
        // What is left in a thread-local is dropped where a panic aborts, and the sink is the user's.
        let current = CURRENT_WORKER.with(RefCell::take);
        let _ = contained(move || drop((current, on_start, on_exit)));
        drop(numbers);
    }
}

/// Runs the user's code where no panic may pass: an error is its message.
fn contained(act: impl FnOnce()) -> Result<(), String> {
    unwind::catch(act).map_err(text_of)
}

/// The message of a panic, whose payload is dropped.
fn text_of(payload: Payload) -> String {
    let text = unwind::message(&*payload).to_owned();
    unwind::drop_payload(payload);
    text
}

/// Whether this thread is a worker, of ours or of any rayon pool.
pub(crate) fn on_a_worker() -> bool {
    rayon::current_thread_index().is_some() || Worker::is_here()
}
