//! What a thread writes down while it runs a job: the panics that the hook saw, and the output of inner calls.

use std::cell::Cell;
use std::mem;
use std::sync::Arc;

use super::call::Call;
use super::record::PanicRecord;
use super::sighting;
use super::text::{LINES, LineKind, Style};
use crate::base::sync::thread_local;

/// How many bytes a job keeps of the output of inner calls, for its caller to print. What is more is printed by the job.
const MOST_DEFERRED: usize = 64 * 1024;

thread_local! {
    /// The innermost job that this thread is in the middle of. Taken out only for the length of [`with_job`].
    pub(super) static JOB: Cell<Option<Box<RunningJob>>> = const { Cell::new(None) };
    /// The item that this job is at; without meaning outside a job.
    pub(super) static POSITION: Cell<u64> = const { Cell::new(0) };
}

/// One job while it runs.
pub(super) struct RunningJob {
    pub(super) call: Arc<Call>,
    /// What happened so far, oldest first.
    pub(super) events: Vec<JobEvent>,
    /// How many panics the hook saw, and how many of those were forgotten to keep `events` short.
    pub(super) raised: u64,
    pub(super) forgotten: usize,
    /// The bytes of all texts in `events`.
    deferred: usize,
    /// The number of the first sighting that may be of this job.
    pub(super) first_sighting: u64,
}

pub(super) enum JobEvent {
    /// Output of an inner call, which the caller has to print.
    Deferred(String),
    /// The hook saw a panic. The job may end with it, or the closure may have caught it.
    Raised(PanicRecord),
    /// An inner call raised its panic again on this thread. The same holds.
    Inner(PanicRecord),
    /// A panic of a value's destructor or of an observer, which went no further.
    Contained(PanicRecord, LineKind),
}

/// The item that the job of this thread is at.
pub(super) fn position() -> u64 {
    POSITION.try_with(Cell::get).unwrap_or(0)
}

/// Runs `f` on the job of this thread, if there is one. `f` must not panic, nor run code of the user's.
pub(super) fn with_job<R>(f: impl FnOnce(&mut RunningJob) -> R) -> Option<R> {
    JOB.try_with(|slot| {
        let mut job = slot.take()?;
        let result = f(&mut job);
        slot.set(Some(job));
        Some(result)
    })
    .ok()
    .flatten()
}

impl RunningJob {
    pub(super) fn new(call: &Arc<Call>) -> RunningJob {
        RunningJob {
            call: Arc::clone(call),
            events: Vec::new(),
            raised: 0,
            forgotten: 0,
            deferred: 0,
            first_sighting: sighting::next_number(),
        }
    }

    /// Takes down a panic that the hook saw.
    pub(super) fn raised(&mut self, mut record: PanicRecord) {
        record.number = self.raised;
        self.raised += 1;
        self.forgotten += self.forget_between(LINES, |event| matches!(event, JobEvent::Raised(_)));
        self.events.push(JobEvent::Raised(record));
    }

    /// Takes down the panic of an inner call, which has told it.
    pub(super) fn raised_again(&mut self, record: PanicRecord) {
        self.forget_between(0, |event| matches!(event, JobEvent::Inner(_)));
        self.events.push(JobEvent::Inner(record));
    }

    /// Makes room for one more event of a kind. A closure that catches panics all the time must not fill the memory: the
    /// first ones stay, if they are to be shown, and the last two, since either may be the one that ends the job.
    fn forget_between(&mut self, first: usize, kind: impl Fn(&JobEvent) -> bool) -> usize {
        let mut beyond = self.events.iter().enumerate().filter(|(_, event)| kind(event)).skip(first).map(|(at, _)| at);
        let (Some(at), Some(_)) = (beyond.next(), beyond.next()) else { return 0 };
        self.events.remove(at);
        1
    }

    /// Takes down text for the caller. Where it has become too much, gives back all of it.
    pub(super) fn defer(&mut self, text: String) -> String {
        self.deferred += text.len();
        self.events.push(JobEvent::Deferred(text));
        if self.deferred <= MOST_DEFERRED {
            return String::new();
        }
        self.deferred = 0;
        let mut overflow = String::new();
        self.events.retain(|event| match event {
            JobEvent::Deferred(text) => {
                overflow += text;
                false
            }
            _ => true,
        });
        overflow
    }

    /// Marks the panics from that number on as what `aside` says.
    pub(super) fn contained(&mut self, from: u64, aside: LineKind) {
        let events = mem::take(&mut self.events).into_iter().map(|event| match event {
            JobEvent::Raised(record) if record.number >= from => JobEvent::Contained(record, aside),
            other => other,
        });
        self.events = events.collect();
    }

    /// Everything known of this job, as text. The last two panics are the ones that may have led to an abort.
    pub(super) fn last_words(&self) -> String {
        let raised = self.events.iter().filter(|event| matches!(event, JobEvent::Raised(_))).count();
        let mut seen = 0;
        let mut text = String::new();
        for event in &self.events {
            match event {
                JobEvent::Deferred(output) => text.push_str(output),
                JobEvent::Raised(record) => {
                    seen += 1;
                    text += &if seen + 2 > raised {
                        record.last_block()
                    } else {
                        record.line(LineKind::Caught, Style::Plain)
                    };
                }
                JobEvent::Inner(_) | JobEvent::Contained(..) => {}
            }
        }
        text
    }
}

impl JobEvent {
    /// The record, if the job may end with this panic.
    pub(super) fn ending(&self) -> Option<&PanicRecord> {
        match self {
            JobEvent::Raised(record) | JobEvent::Inner(record) => Some(record),
            JobEvent::Deferred(_) | JobEvent::Contained(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{call, record};
    use super::*;

    fn job() -> RunningJob {
        RunningJob::new(&call())
    }

    #[test]
    fn a_job_that_goes_on_and_on_keeps_little_of_its_panics() {
        let mut job = job();
        for count in 0..100 {
            job.raised(record(&format!("caught {count}")));
            job.raised_again(record(&format!("inner {count}")));
        }
        let message = |event: &JobEvent| match event {
            JobEvent::Raised(record) | JobEvent::Inner(record) => record.payload.message.clone(),
            JobEvent::Deferred(_) | JobEvent::Contained(..) => unreachable!("there is none"),
        };
        let kept: Vec<_> = job.events.iter().map(message).collect();
        let raised = (0..8).chain([98, 99]).map(|count| format!("caught {count}"));
        assert_eq!(job.forgotten, 90);
        assert!(
            raised.chain(["inner 98".into(), "inner 99".into()]).all(|message| kept.contains(&message)),
            "{kept:?}"
        );
        assert_eq!(kept.len(), 12);
    }

    #[test]
    fn what_is_forgotten_meanwhile_does_not_hide_that_a_panic_was_contained() {
        let mut job = job();
        (0..10).for_each(|count| job.raised(record(&format!("caught {count}"))));
        job.raised(record("goes on"));
        for destructor in ["first", "second"] {
            let before = job.raised;
            job.raised(record(destructor));
            job.contained(before, LineKind::Contained);
        }
        let contained =
            |event: &JobEvent| matches!(event, JobEvent::Contained(record, _) if record.payload.message != "goes on");
        assert_eq!(job.events.iter().filter(|event| contained(event)).count(), 2);
        let kept = |event: &JobEvent| matches!(event, JobEvent::Raised(record) if record.payload.message == "goes on");
        assert!(job.events.iter().any(kept));
    }

    #[test]
    fn text_is_kept_up_to_a_size_and_given_back_whole() {
        let mut job = job();
        let (first, second) = ("a".repeat(MOST_DEFERRED - 1), "b".to_owned());
        assert_eq!(job.defer(first.clone()), "");
        job.raised(record("between"));
        assert_eq!(job.defer(second.clone()), "", "just as much as it holds");
        assert_eq!(job.defer("c".to_owned()), first + &second + "c");
        assert_eq!(job.events.len(), 1, "the panic is still there");
        assert_eq!(job.defer("d".to_owned()), "", "from the start");
    }

    #[test]
    fn the_last_words_are_of_the_last_two_panics() {
        let mut job = job();
        job.defer("told\n".to_owned());
        let all = ["one", "two", "three"];
        for message in all {
            job.raised(record(message));
        }
        let [line, ..] = all.map(|message| record(message).line(LineKind::Caught, Style::Plain));
        let [_, two, three] = all.map(|message| record(message).block(Style::Plain));
        assert_eq!(job.last_words(), format!("told\n{line}{two}{three}"));
    }
}
