//! The catch: a job is run, what it raised is caught, and what it wrote down about its panics is sorted out.

use std::cell::Cell;
use std::sync::Arc;

use crate::base::unwind::{Payload, catch, resume};

use super::call::{Call, Presence};
use super::contain::contain;
use super::hook;
use super::job::{JOB, JobEvent, POSITION, RunningJob};
use super::output::emit;
use super::record::PanicRecord;
use super::sighting::{Fingerprint, Sighting, thread_name};
use super::task_panic::{Stopped, TaskPanic};
use super::text::{self, LINES, LineKind, Style};
use super::unclaimed;

/// How one job ended.
#[derive(Debug)]
pub(crate) struct JobEnd {
    /// The panic that ended it early.
    pub(crate) panic: Option<TaskPanic>,
    /// Tagged lines that the caller has to [emit] before the panic: what the closure caught, and inner calls.
    pub(crate) deferred: Vec<String>,
}

/// Runs one job, whose first item is `first`.
///
/// The body sets the cell it is given to the index of each item before it runs it. Neither a panic of the body nor one
/// of what it has captured comes out of here. Jobs may lie on top of each other on one thread: a worker that waits
/// inside rayon may take up another one.
pub(crate) fn run_job(call: &Arc<Call>, first: u64, body: impl FnOnce(&Cell<u64>)) -> JobEnd {
    let mut body = Some(body);
    let end = run_once(call, first, &mut |position| {
        let body = body.take().expect("BUG: a job runs once");
        body(position);
    });
    if let Some(body) = body {
        // A subscriber of the user's has panicked before.
        contain(body);
    }
    end
}

/// The same for all bodies, so that the compiler makes it once and not for each of them.
fn run_once(call: &Arc<Call>, first: u64, body: &mut dyn FnMut(&Cell<u64>)) -> JobEnd {
    let job = Box::new(RunningJob::new(call));
    // Where the thread is at its end and its locals are gone, the job runs all the same, unobserved by the hook.
    let hook = if hook::is_installed() { Presence::Installed } else { call.hook };
    let below = JOB.try_with(|slot| slot.replace(Some(job))).ok().flatten();
    // An item as a job of its own within a job of the same call is in the caller's context already.
    let is_inside = below.as_ref().is_some_and(|job| Arc::ptr_eq(&job.call, call));
    if !is_inside {
        call.orphans.enter();
    }
    let (outcome, item) = POSITION.with(|position| {
        let item_below = position.replace(first);
        let mut run = || __rust_begin_short_backtrace(|| body(position));
        let around = || if is_inside { run() } else { call.context.around(run) };
        let outcome = hook::inherit(call.hook, || catch(around));
        (outcome, position.replace(item_below))
    });
    let job = JOB.try_with(|slot| slot.replace(below)).ok().flatten();
    let job = job.unwrap_or_else(|| Box::new(RunningJob::new(call)));
    let mut end = sort_out(*job, item, outcome.err(), hook);
    if !is_inside {
        end.deferred.extend(call.orphans.leave());
    }
    end
}

/// Runs one item as a job of its own. Its deferred output goes where that of an inner call goes.
pub(crate) fn run_item<R>(call: &Arc<Call>, index: u64, f: impl FnOnce() -> R) -> Result<R, TaskPanic> {
    let mut result = None;
    let end = run_job(call, index, |_| result = Some(f()));
    emit(call.trace_sink, end.deferred.concat());
    match end.panic {
        Some(panic) => Err(panic),
        None => Ok(result.expect("BUG: a job that did not panic has run to its end")),
    }
}

/// The frame at which a trace ends: below it there is nothing of the user's. Std's short backtraces know the name.
#[inline(never)]
fn __rust_begin_short_backtrace<R>(f: impl FnOnce() -> R) -> R {
    let result = f();
    // Keeps the call from becoming a jump, which would leave no frame.
    std::hint::black_box(());
    result
}

/// Finds the record that belongs to the payload, and words the others.
fn sort_out(job: RunningJob, item: u64, payload: Option<Payload>, hook: Presence) -> JobEnd {
    if payload.is_none() && job.events.is_empty() {
        // The usual end, of which a loop has many.
        return JobEnd { panic: None, deferred: Vec::new() };
    }
    let found = payload.as_deref().map_or(Found::Nothing, |payload| find(&job, &Fingerprint::of(payload)));
    let RunningJob { call, events, forgotten, .. } = job;
    let mut deferred = Vec::new();
    let mut record = None;
    let mut caught = Caught::new(forgotten);
    for (at, event) in events.into_iter().enumerate() {
        let is_own = matches!(found, Found::Event(own) if own == at);
        match event {
            JobEvent::Deferred(text) => deferred.push(text),
            JobEvent::Raised(raised) if is_own => record = Some(raised),
            JobEvent::Inner(inner) if is_own => record = Some(PanicRecord::around(&call, item, inner)),
            JobEvent::Raised(raised) => deferred.extend(caught.raised(&raised)),
            JobEvent::Contained(raised, aside) => {
                raised.sighting().inspect(|sighting| sighting.claim());
                deferred.extend(caught.line(&raised, aside));
            }
            JobEvent::Inner(_) => {}
        }
    }
    deferred.extend(caught.rest());
    let panic = payload.map(|payload| {
        let record = match found {
            Found::Elsewhere(sighting) => Some(PanicRecord::from_elsewhere(&call, item, sighting)),
            Found::Event(_) | Found::Nothing => record,
        };
        let unseen = || PanicRecord::unseen(&call, item, &*payload, hook::reason_for_missing_it(hook));
        let record = record.unwrap_or_else(unseen);
        record.sighting().inspect(|sighting| sighting.claim());
        TaskPanic::new(record, payload)
    });
    JobEnd { panic, deferred }
}

/// Where the record of the panic that has ended a job is.
enum Found {
    /// Among the events of the job.
    Event(usize),
    /// Another worker has run a part of the job, inside rayon.
    Elsewhere(Arc<Sighting>),
    Nothing,
}

/// Finds the record of the payload that has ended a job.
///
/// Most payloads own their text, and where it lies tells them from all others. For the rest, their type and text must do. What
/// looks the same may then be several panics: that is no matter if they were raised at one place, and otherwise none of them
/// is taken.
fn find(job: &RunningJob, payload: &Fingerprint) -> Found {
    // The last that fits: a destructor may have caught a panic of its own after the one that goes on.
    let last =
        |fits: &dyn Fn(&PanicRecord) -> bool| job.events.iter().rposition(|event| event.ending().is_some_and(fits));
    if let Some(at) = last(&|record| record.payload.is(payload)) {
        return Found::Event(at);
    }
    if let Some(sighting) = unclaimed::find(job.first_sighting, |other| other.is(payload)).pop() {
        return Found::Elsewhere(sighting);
    }
    let own = last(&|record| record.payload.is_like(payload) && record.may_be_of_another_job() != Some(true));
    if payload.has_address() {
        // The text may have been copied into a payload of its own.
        return own.map_or(Found::Nothing, Found::Event);
    }
    let mut others = unclaimed::find(job.first_sighting, |other| other.is_like(payload));
    others.retain(|other| other.may_be_of_another_job().unwrap_or(own.is_none()));
    let own_place = own.map(|at| job.events[at].ending().and_then(PanicRecord::location));
    let first_place = own_place.or_else(|| others.first().map(|other| other.place.as_deref()));
    if others.iter().any(|other| Some(other.place.as_deref()) != first_place) {
        return Found::Nothing;
    }
    let is_in_event = |at: usize, other: &Arc<Sighting>| {
        job.events[at].ending().and_then(PanicRecord::sighting).is_some_and(|own| Arc::ptr_eq(own, other))
    };
    let seen_here = |other: &Arc<Sighting>| (0..job.events.len()).find(|at| is_in_event(*at, other));
    match (own.or_else(|| others.iter().rev().find_map(seen_here)), others.into_iter().next()) {
        (Some(at), _) => Found::Event(at),
        (None, Some(other)) => Found::Elsewhere(other),
        (None, None) => Found::Nothing,
    }
}

/// The lines about panics that did not end the job, of which there may be as many as there are items.
struct Caught {
    lines: usize,
    /// How many got no line.
    left_out: usize,
    worker: String,
}

impl Caught {
    fn new(left_out: usize) -> Caught {
        Caught { lines: 0, left_out, worker: thread_name() }
    }

    /// The line about a panic that the hook saw in the job and that did not end it, if it is certain whose panic it is.
    fn raised(&mut self, record: &PanicRecord) -> Option<String> {
        match record.sighting() {
            Some(sighting) if sighting.was_claimed() => None,
            Some(sighting) if record.may_be_of_another_job() != Some(false) => {
                record.call.orphans.keep(sighting, record.line(LineKind::Lost, Style::of_stderr()))
            }
            sighting => {
                sighting.inspect(|sighting| sighting.claim());
                self.line(record, LineKind::Caught)
            }
        }
    }

    fn line(&mut self, record: &PanicRecord, aside: LineKind) -> Option<String> {
        if self.lines == LINES {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(record.line(aside, Style::of_stderr()))
    }

    fn rest(self) -> Option<String> {
        let what = "panics caught inside the closure";
        (self.left_out > 0).then(|| text::more(&self.worker, self.left_out, what, Style::of_stderr()))
    }
}

/// Ends the job of this thread here and now, as a panic would, but nobody is told.
pub(crate) fn stop() -> ! {
    resume(Box::new(Stopped))
}

#[cfg(test)]
mod tests {
    use super::super::record::Origin;
    use super::super::record::tests::{call, payload, record};
    use super::*;

    fn ends_with(message: &str, events: Vec<JobEvent>) -> JobEnd {
        let mut job = RunningJob::new(&call());
        job.events = events;
        sort_out(job, 7, Some(payload(message)), Presence::Installed)
    }

    #[test]
    fn the_panic_that_ends_a_job_is_the_last_one_that_fits() {
        let end =
            ends_with("own", vec![JobEvent::Raised(record("own")), JobEvent::Inner(record("caught by a destructor"))]);
        assert!(end.deferred.is_empty(), "the inner call has told it");
        assert!(matches!(end.panic.expect("it ends so").record().origin, Origin::Unseen(_)));

        let end = ends_with("both", vec![JobEvent::Raised(record("both")), JobEvent::Inner(record("both"))]);
        assert_eq!(end.deferred.len(), 1, "the first was caught");
        assert!(matches!(end.panic.expect("it ends so").record().origin, Origin::Inner(_)));
    }
}
