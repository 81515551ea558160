//! What a worker thread knows of itself, and what others may know of it.

use crate::base::sync::thread_local;
use std::cell::RefCell;
use std::sync::Arc;
use std::thread;

/// Where log lines go instead of standard output, each without its end.
pub(crate) type LineSink = Arc<dyn Fn(&str) + Send + Sync>;

/// A worker thread of a [`Pool`](crate::Pool), as seen by hooks and by the code that runs on it.
///
/// # Examples
///
/// ```
/// use pool_map::{Pool, Worker};
///
/// let pool = Pool::builder().name("Resize").threads(1).build()?;
/// let worker = pool.install(Worker::current).expect("install runs on a worker");
/// assert_eq!((worker.name(), worker.index(), worker.pool()), ("Resize-1", 0, "Resize"));
/// assert!(Worker::current().is_none());
/// # Ok::<(), pool_map::PoolError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Worker {
    /// The thread's name, with the number.
    pub(crate) name: Arc<str>,
    /// Below the number of workers of the pool; rayon's index too.
    pub(crate) index: usize,
    /// The name without the number.
    pub(crate) pool: Arc<str>,
}

impl Worker {
    /// Returns the worker that this thread is, or `None` if it is not a worker of a [`Pool`](crate::Pool).
    #[must_use]
    pub fn current() -> Option<Worker> {
        with_current(|current| current.worker.clone())
    }

    /// Whether this thread is a worker of ours.
    pub(crate) fn is_here() -> bool {
        with_current(|_| ()).is_some()
    }

    /// The name, to keep.
    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Returns the name of the thread, such as `PoolWorker-1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the index within the pool, counted from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns the [name](crate::Pool::name) of the pool.
    #[must_use]
    pub fn pool(&self) -> &str {
        &self.pool
    }
}

/// What a worker thread knows of itself.
pub(crate) struct CurrentWorker {
    pub(crate) worker: Worker,
    /// The pool, by a number that no other pool of the process has.
    pub(crate) pool_id: u64,
    /// The pool's own sink for log lines.
    pub(crate) sink: Option<LineSink>,
}

thread_local! {
    /// `Some` on our workers from before `on_start` until after `on_exit`. Only our own code runs while it is borrowed.
    pub(crate) static CURRENT_WORKER: RefCell<Option<CurrentWorker>> = const { RefCell::new(None) };
}

/// What `look` makes of this thread's place in a pool; `None` off our workers, and in a thread-local's destructor.
fn with_current<R>(look: impl FnOnce(&CurrentWorker) -> R) -> Option<R> {
    CURRENT_WORKER.try_with(|current| current.borrow().as_ref().map(look)).ok().flatten()
}

/// The sink for log lines of the pool that this thread works for.
pub(crate) fn pool_sink() -> Option<LineSink> {
    with_current(|current| current.sink.clone()).flatten()
}

/// The name of the worker or the thread, or its id where it has none.
pub(crate) fn name_of_this_thread() -> Arc<str> {
    if let Some(worker) = Worker::current() {
        return worker.shared_name();
    }
    let thread = thread::current();
    thread.name().map_or_else(|| Arc::from(format!("{:?}", thread.id())), Arc::from)
}

/// The index of this thread within its pool; `None` off our workers.
pub(crate) fn index() -> Option<usize> {
    with_current(|current| current.worker.index)
}

/// The number of the pool that this thread works for; `None` off our workers.
pub(crate) fn pool_id() -> Option<u64> {
    with_current(|current| current.pool_id)
}
