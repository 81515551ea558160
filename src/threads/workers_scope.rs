//! Work that borrows, lent to the workers of a pool for as long as a call lasts.

use super::job_queue::{Interrupt, Job, JobQueue, Owner, Watched};
use crate::base::scoped_job::{self, JobHandle};
use std::any::Any;
use std::ptr;
use std::sync::Arc;
use std::time::Instant;

/// What a worker does for a call: takes chunk after chunk until there is none.
pub(crate) trait Lent: Sync {
    /// Runs on a worker. No panic comes out.
    fn work(&self, scope: &WorkersScope<'_>);

    /// Whether its jobs run though nobody may be waiting for them.
    fn runs_ahead(&self) -> bool {
        false
    }

    /// What tells its jobs that others wait.
    fn interrupt(&self) -> Option<Arc<dyn Interrupt>> {
        None
    }

    /// What each job holds until it has ended.
    fn kept(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }
}

/// The way to the workers.
#[derive(Clone, Copy)]
pub(crate) struct WorkersScope<'a> {
    queue: &'a Arc<JobQueue>,
    work: JobBody<'a>,
    /// When the job began that this was given to.
    since: Instant,
}

/// What the jobs do.
#[derive(Clone, Copy)]
enum JobBody<'a> {
    Lent { lent: &'a dyn Lent, handle: &'a JobHandle },
    Shared(&'a Arc<dyn Shared>),
}

/// Work that owns its data, and that each of its jobs holds.
pub(crate) trait Shared: Lent + AsLent + Send {
    /// Where those that hold it are counted.
    fn holders(&self) -> Arc<dyn Holders>;
}

/// The conversion of a `dyn Shared` to a `dyn Lent`, which Rust 1.86 was the first to have built in.
pub(crate) trait AsLent {
    fn as_lent(&self) -> &dyn Lent;
}

impl<T: Lent> AsLent for T {
    fn as_lent(&self) -> &dyn Lent {
        self
    }
}

/// Counts those who hold a [`Shared`]; it is no part of what they hold.
pub(crate) trait Holders: Send + Sync {
    fn add(&self);
    fn remove(&self);
}

/// One who holds a [`Shared`], and is counted.
struct Holder {
    /// `None` once it has let go.
    work: Option<Arc<dyn Shared>>,
    holders: Arc<dyn Holders>,
}

impl Holder {
    fn new(work: &Arc<dyn Shared>) -> Self {
        let holders = work.holders();
        holders.add();
        Holder { work: Some(Arc::clone(work)), holders }
    }

    fn run(&self, queue: &Arc<JobQueue>) {
        if let Some(work) = &self.work {
            work.work(&WorkersScope { queue, work: JobBody::Shared(work), since: Instant::now() });
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.work.take());
        self.holders.remove();
    }
}

/// Lends `lent` to the workers behind `queue` while `body` runs. Returns when no job of it runs; those that no worker has
/// taken are withdrawn.
pub(crate) fn lend<R>(queue: &Arc<JobQueue>, lent: &dyn Lent, body: impl FnOnce(WorkersScope<'_>) -> R) -> R {
    scoped_job::lend(&LentJob { queue, lent }, |handle| {
        let scope = WorkersScope { queue, work: JobBody::Lent { lent, handle }, since: Instant::now() };
        // On unwinding as well: a job that nobody takes would be waited for in vain.
        let _guard = Withdraw(scope);
        body(scope)
    })
}

/// Shares `work` with the workers behind `queue`, for as long as they have something to do for it.
pub(crate) fn share<R>(queue: &Arc<JobQueue>, work: &Arc<dyn Shared>, body: impl FnOnce(WorkersScope<'_>) -> R) -> R {
    body(WorkersScope { queue, work: JobBody::Shared(work), since: Instant::now() })
}

struct LentJob<'a> {
    queue: &'a Arc<JobQueue>,
    lent: &'a dyn Lent,
}

impl scoped_job::ScopedJob for LentJob<'_> {
    fn run(&self, handle: &JobHandle) {
        let LentJob { queue, lent } = *self;
        lent.work(&WorkersScope { queue, work: JobBody::Lent { lent, handle }, since: Instant::now() });
    }
}

struct Withdraw<'a>(WorkersScope<'a>);

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        self.0.withdraw();
    }
}

/// The owner of the jobs that do this work.
pub(crate) fn owner_of<W: ?Sized>(work: &W) -> Owner {
    Owner::at(ptr::from_ref(work).cast::<u8>())
}

impl WorkersScope<'_> {
    /// Has one more worker do the work, as soon as one comes to it.
    pub(crate) fn spawn(&self) {
        let kept = self.lent().kept();
        let owner = owner_of(self.lent());
        let job = match self.work {
            JobBody::Lent { handle, .. } => {
                let job = handle.copy();
                Job::new(owner, move || {
                    job.run();
                    // After the job, which may hold the last of what the work has captured.
                    drop((job, kept));
                })
            }
            JobBody::Shared(work) => {
                let (holder, queue) = (Holder::new(work), Arc::clone(self.queue));
                Job::new(owner, move || {
                    holder.run(&queue);
                    drop((holder, kept));
                })
            }
        };
        let job = if self.lent().runs_ahead() { job.watched() } else { job };
        self.queue.push(job.with_interrupt(self.lent().interrupt()));
    }

    fn lent(&self) -> &dyn Lent {
        match self.work {
            JobBody::Lent { lent, .. } => lent,
            JobBody::Shared(work) => work.as_lent(),
        }
    }

    /// Takes back what was spawned and not begun, and gives how many that was.
    pub(crate) fn withdraw(&self) -> usize {
        self.queue.withdraw(owner_of(self.lent()))
    }

    /// Whether this job has had its turn by `now`, and others wait for a worker.
    pub(crate) fn should_yield(&self, now: Instant) -> bool {
        self.queue.should_yield(self.since, now)
    }

    /// Whether others wait for a worker.
    pub(crate) fn others_wait(&self) -> bool {
        self.queue.has_waiting_job()
    }

    /// Has an idle worker look for what the jobs have given to rayon, while what this returns lives.
    pub(crate) fn watch_rayon(&self) -> Watched<'_> {
        self.queue.watch_rayon()
    }
}
