//! [`SlowItems`]: an observer that prints a line when an item has been at work for long, and one when that item ends.
//!
//! One thread of the process prints the lines of all calls. It sleeps until the next item is due: the moment is in
//! [`WAKES_AT`], so that an item which begins wakes it only if it is due earlier. As long as the items are shorter than the
//! time that is to be reported, that is about once in that time.

use super::observer::{CallInfo, Observer, TaskInfo, TaskOutcome, TaskStart};
use super::summary;
use crate::base::event::Event;
use crate::base::fork::is_forked;
use crate::panics::text::{self, Style};
use crate::panics::{self, TraceSink};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{mem, thread};

/// The calls that are watched, and whether there is a thread for them.
static CALLS: Mutex<SlowCalls> = Mutex::new(SlowCalls { list: Vec::new(), has_thread: false });
/// Set when the thread has to look again.
static CHANGED: Event = Event::new();
/// When the thread looks again by itself, in nanoseconds since its epoch; `u64::MAX` for never, and while it looks. `SeqCst`:
/// an item that reads an old value has been noted down before the thread looks.
static WAKES_AT: AtomicU64 = AtomicU64::new(u64::MAX);
/// How long the thread stays when no call is watched: the next one may come soon.
const LINGER: Duration = Duration::from_millis(500);

struct SlowCalls {
    list: Vec<Arc<SlowCall>>,
    has_thread: bool,
}

/// Attached to one call.
pub(crate) struct SlowItems(Arc<SlowCall>);

/// What is known of one call. Nothing of it is the user's.
struct SlowCall {
    after: Duration,
    trace_sink: TraceSink,
    /// `in pool_map at src/main.rs:12:5`, from the start on.
    place: OnceLock<String>,
    items: Mutex<CallItems>,
}

#[derive(Default)]
struct CallItems {
    /// One for each thread that has run an item.
    slots: Vec<Slot>,
    /// Lines about items that have ended, to be printed.
    ended: String,
}

struct Slot {
    worker: String,
    /// The item that runs there now, and since when.
    item: Option<(usize, Instant)>,
    /// Whether its first line was printed.
    is_told: bool,
}

impl SlowItems {
    pub(crate) fn new(after: Duration, trace_sink: TraceSink) -> Self {
        let (place, items) = (OnceLock::new(), Mutex::default());
        SlowItems(Arc::new(SlowCall { after, trace_sink, place, items }))
    }
}

impl Observer for SlowItems {
    fn call_started(&self, call: &CallInfo<'_>) {
        let site = call.site();
        let at = text::place(site.file(), site.line(), site.column());
        let label = call.label().map(|label| format!(" \"{label}\"")).unwrap_or_default();
        self.0.place.get_or_init(|| format!("in {}{label} at {at}", call.method()));
        // The thread is in the parent, and so may be who has locked the list.
        if is_forked() {
            return;
        }
        let mut calls = CALLS.lock();
        calls.list.push(Arc::clone(&self.0));
        if !calls.has_thread {
            let thread = thread::Builder::new().name("PoolSlowItems".to_owned());
            calls.has_thread = thread.spawn(watch).is_ok();
        }
    }

    fn task_started(&self, task: &TaskStart<'_>) {
        let SlowCall { after, items, .. } = &*self.0;
        items.lock().begin(task.worker(), task.index(), task.start());
        if task.start().checked_add(*after).is_some_and(|due| nanos(due) < WAKES_AT.load(Ordering::SeqCst))
            && !is_forked()
        {
            CHANGED.set();
        }
    }

    fn task_finished(&self, task: &TaskInfo<'_>) {
        let mut items = self.0.items.lock();
        if items.end(task.index()) {
            let how = if task.outcome() == TaskOutcome::Panicked { "panicked" } else { "ended" };
            let line = self.0.line(task.worker(), task.index(), &format!("{how} after"), task.duration());
            items.ended += &line;
            drop(items);
            CHANGED.set();
        }
    }

    fn call_finished(&self, _: &CallInfo<'_>) {
        self.0.close();
        let ended = mem::take(&mut self.0.items.lock().ended);
        panics::emit(self.0.trace_sink, ended);
    }
}

impl Drop for SlowItems {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl SlowCall {
    /// It is watched no longer.
    fn close(self: &Arc<Self>) {
        if !is_forked() {
            CALLS.lock().list.retain(|call| !Arc::ptr_eq(call, self));
            CHANGED.set();
        }
    }

    /// What is to be printed by now, and when to look again.
    fn look(&self, now: Instant) -> (String, Option<Instant>) {
        let mut items = self.items.lock();
        let CallItems { slots, ended } = &mut *items;
        let (mut lines, mut next) = (mem::take(ended), None);
        for slot in slots.iter_mut().filter(|slot| !slot.is_told) {
            let Some((index, start)) = slot.item else { continue };
            match start.checked_add(self.after) {
                Some(due) if due <= now => {
                    slot.is_told = true;
                    lines += &self.line(&slot.worker, index, "for", now.saturating_duration_since(start));
                }
                due => next = earlier(next, due),
            }
        }
        (lines, next)
    }

    fn line(&self, worker: &str, index: usize, what: &str, time: Duration) -> String {
        let place = self.place.get().map_or("", String::as_str);
        let body = format!("item {index} {what} {}, {place}", summary::time(time));
        text::slow_line(worker, &body, Style::of_stderr())
    }
}

impl CallItems {
    fn begin(&mut self, worker: &str, index: usize, start: Instant) {
        let free = |slot: &&mut Slot| slot.item.is_none() && slot.worker == worker;
        match self.slots.iter_mut().find(free) {
            Some(slot) => {
                slot.item = Some((index, start));
                slot.is_told = false;
            }
            None => self.slots.push(Slot { worker: worker.to_owned(), item: Some((index, start)), is_told: false }),
        }
    }

    /// Whether there was a line about the item.
    fn end(&mut self, index: usize) -> bool {
        let own = |slot: &&mut Slot| slot.item.is_some_and(|(item, _)| item == index);
        self.slots.iter_mut().find(own).is_some_and(|slot| {
            slot.item = None;
            slot.is_told
        })
    }
}

/// The life of the thread.
fn watch() {
    loop {
        // From here on whatever begins sets the event.
        WAKES_AT.store(u64::MAX, Ordering::SeqCst);
        let calls = CALLS.lock().list.clone();
        let now = Instant::now();
        let mut next = None;
        for call in &calls {
            let (lines, due) = call.look(now);
            panics::emit_aside(call.trace_sink, &lines);
            next = earlier(next, due);
        }
        match next {
            Some(at) => {
                WAKES_AT.store(nanos(at), Ordering::SeqCst);
                CHANGED.wait_until(at);
            }
            None if !calls.is_empty() => CHANGED.wait(),
            None => {
                if !CHANGED.wait_for(LINGER) {
                    let mut calls = CALLS.lock();
                    if calls.list.is_empty() {
                        calls.has_thread = false;
                        return;
                    }
                }
            }
        }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// Nanoseconds from the first call of this to `at`.
fn nanos(at: Instant) -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    let epoch = EPOCH.get_or_init(Instant::now);
    u64::try_from(at.saturating_duration_since(*epoch).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_has_one_line_once_it_is_due() {
        let SlowItems(call) = &SlowItems::new(Duration::from_secs(30), TraceSink::Stderr);
        call.place.get_or_init(|| "in pool_map at src/main.rs:12:5".to_owned());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(call.look(start), (String::new(), None));
        call.items.lock().begin("PoolWorker-2", 3737, start);
        call.items.lock().begin("PoolWorker-1", 3738, at(5));
        assert_eq!(call.look(at(29)), (String::new(), Some(at(30))));
        let (lines, next) = call.look(at(30));
        assert!(lines.contains("[SLOW:PoolWorker-2]"), "{lines}");
        assert!(lines.ends_with(" item 3737 for 30.0 s, in pool_map at src/main.rs:12:5\n"), "{lines}");
        assert_eq!((next, lines.lines().count()), (Some(at(35)), 1));
        assert_eq!(call.look(at(34)), (String::new(), Some(at(35))), "it is told once");
        assert!(call.items.lock().end(3737) && !call.items.lock().end(3738));
        // The place of a worker is used again, and an end that nobody knows is none.
        call.items.lock().begin("PoolWorker-2", 3739, at(40));
        assert!(!call.items.lock().end(9) && call.items.lock().slots.len() == 2);
        assert_eq!(call.look(at(69)), (String::new(), Some(at(70))));
    }

    #[test]
    fn what_is_too_long_for_a_clock_is_never_due() {
        let SlowItems(call) = &SlowItems::new(Duration::MAX, TraceSink::Stderr);
        call.items.lock().begin("PoolWorker-1", 0, Instant::now());
        assert_eq!(call.look(Instant::now()), (String::new(), None));
    }
}
