//! What a worker does from its start to its end: it takes jobs from the pool's own queue, and lets rayon in between.
//!
//! The loop is a job of rayon's that never returns while the pool lives, at the bottom of the worker's stack. So nothing
//! of ours is ever in rayon's queues, and whoever waits inside rayon, in the middle of an `f`, cannot take up anything of
//! ours. What `f` and the closure of [`Pool::install`](crate::Pool::install) do with rayon stays rayon's, on the same
//! threads.
//!
//! Rayon takes a worker in this loop for a busy one, and does not wake it. So the loop has to look for rayon's jobs
//! itself, by [`rayon::yield_now`]:
//!
//! - after each job, until there is nothing, since the job may have left something behind (`rayon::spawn`);
//! - while another worker is at a job, for that one may have something to share. Idle workers look in growing intervals.
//!
//! A worker that starts the job of a call while the pool is idle does not wake another one for this: it would cost more than a
//! short call. Whoever waits for the call asks for it once that has lasted ([`JobQueue::watch_rayon`]). For tasks and streams,
//! which may have nobody who waits, it does.

use super::job_queue::{Job, JobQueue, QueueState};
use crate::base::sync::{MutexGuard, rounds_awake, thread};
use crate::base::unwind;
use rayon::Yield;
use std::time::Duration;

/// How often a worker that has nothing to do gives way before it waits: the next job of a loop that makes many calls
/// comes soon, and waking a thread takes longer.
const ROUNDS_AWAKE: u32 = rounds_awake(32);
/// How long an idle worker waits before it looks at rayon again, at first. The interval doubles each time.
const FIRST_LOOK: Duration = Duration::from_micros(20);
/// The longest interval in a pool whose jobs use rayon.
const LOOK: Duration = Duration::from_millis(5);
/// The longest interval in a pool in which rayon was never used.
const RARE_LOOK: Duration = Duration::from_millis(100);

impl JobQueue {
    /// The life of a worker.
    pub(super) fn work(&self) {
        let mut state = self.state.lock();
        state.not_started -= 1;
        let mut interval = FIRST_LOOK;
        let mut is_awake = false;
        loop {
            if let Some(job) = self.pop(&mut state) {
                self.run(&mut state, job);
                (interval, is_awake) = (FIRST_LOOK, true);
            } else if self.look_at_rayon(&mut state) {
                (interval, is_awake) = (FIRST_LOOK, true);
            } else if JobQueue::has_jobs(&state) {
                // They came meanwhile.
            } else if state.is_over {
                return;
            } else if is_awake {
                is_awake = false;
                self.stay_awake(&mut state);
            } else {
                interval = self.rest(&mut state, interval);
            }
        }
    }

    fn run(&self, state: &mut MutexGuard<'_, QueueState>, job: Job) {
        let (run, interrupt) = self.begin(state, job);
        MutexGuard::unlocked(state, || {
            // A job catches what it runs. This is for the destructors of what it holds.
            if let Err(payload) = unwind::catch(run) {
                unwind::drop_payload(payload);
            }
        });
        JobQueue::finish(state, interrupt);
        self.tell_if_quiet(state);
    }

    /// Runs one of rayon's jobs, if there is any.
    fn look_at_rayon(&self, state: &mut MutexGuard<'_, QueueState>) -> bool {
        // What is found may wait for what only another worker can run, as the parts of a broadcast do.
        if state.is_at_work() {
            self.wake_watcher(state);
        }
        state.looking += 1;
        let found = MutexGuard::unlocked(state, || rayon::yield_now() == Some(Yield::Executed));
        state.looking -= 1;
        self.tell_if_quiet(state);
        state.has_seen_rayon |= found;
        found
    }

    /// Stays awake for a moment, though it gives way to whoever wants this core.
    fn stay_awake(&self, state: &mut MutexGuard<'_, QueueState>) {
        state.spinning += 1;
        MutexGuard::unlocked(state, || {
            for _ in 0..ROUNDS_AWAKE {
                if self.has_waiting_job() {
                    break;
                }
                thread::yield_now();
            }
        });
        state.spinning -= 1;
    }

    /// Waits for a job, or until it is time to look at rayon again. Gives the next interval.
    fn rest(&self, state: &mut MutexGuard<'_, QueueState>, interval: Duration) -> Duration {
        state.idle += 1;
        if !state.is_at_work() {
            self.wake.wait(state);
            state.woken -= 1;
            return FIRST_LOOK;
        }
        // One after the other, all idle workers come to look: a `broadcast` waits for each of them.
        if interval == FIRST_LOOK * 2 {
            self.wake_one(state);
        }
        state.watchers += 1;
        if self.wake.wait_for(state, interval).timed_out() {
            state.idle -= 1;
        } else {
            state.woken -= 1;
        }
        state.watchers -= 1;
        let most = if state.has_seen_rayon { LOOK } else { RARE_LOOK };
        (interval * 2).min(most)
    }
}
