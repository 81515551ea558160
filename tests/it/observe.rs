//! Observers are told of every call and of every item that ran, once, and change nothing.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use std::{iter, mem, thread};

use pool_map::{
    CallInfo, CancelToken, Observer, Pool, PoolIterator, PoolParallelIterator, TaskInfo, TaskOutcome, TaskStart,
    Timeline, TraceLevel,
};
use rayon::prelude::*;

use crate::gate::{Gate, text};

/// What an observer was told, in its own words.
#[derive(Clone, Debug, PartialEq)]
enum News {
    Started { call: u64, hint: (usize, Option<usize>), workers: usize, depth: usize, label: Option<String> },
    Task(Task),
    Finished { call: u64, items: u64 },
}

#[derive(Clone, Debug, PartialEq)]
struct Task {
    call: u64,
    index: usize,
    worker: String,
    worker_index: Option<usize>,
    depth: usize,
    outcome: TaskOutcome,
    times: (Instant, Instant),
}

/// Writes everything down.
#[derive(Default)]
struct Diary(Mutex<Vec<News>>);

impl Diary {
    fn add(&self, news: News) {
        self.0.lock().expect("no test panics in here").push(news);
    }

    fn read(&self) -> Vec<News> {
        self.0.lock().expect("no test panics in here").clone()
    }

    fn tasks(&self) -> Vec<Task> {
        let tasks = self.read().into_iter().filter_map(|news| match news {
            News::Task(task) => Some(task),
            _ => None,
        });
        tasks.collect()
    }

    /// The indices of the items that ended so, in order.
    fn indices(&self, outcome: TaskOutcome) -> Vec<usize> {
        let mut indices: Vec<_> =
            self.tasks().iter().filter(|task| task.outcome == outcome).map(|task| task.index).collect();
        indices.sort_unstable();
        indices
    }

    /// How many workers the calls had, in the order of their starts.
    fn workers(&self) -> Vec<usize> {
        let workers = self.read().into_iter().filter_map(|news| match news {
            News::Started { workers, .. } => Some(workers),
            _ => None,
        });
        workers.collect()
    }

    fn finished(&self) -> usize {
        self.read().iter().filter(|news| matches!(news, News::Finished { .. })).count()
    }

    /// Checks that it holds one call, well told, and gives how many items it pulled.
    #[track_caller]
    fn is_one_call(&self) -> u64 {
        let news = self.read();
        let (Some(News::Started { call, .. }), Some(News::Finished { call: finished, items })) =
            (news.first(), news.last())
        else {
            panic!("a start first and an end last: {news:?}");
        };
        assert_eq!(call, finished);
        let tasks = self.tasks();
        assert_eq!(tasks.len() + 2, news.len(), "one start, one end");
        assert!(tasks.iter().all(|task| task.call == *call));
        let indices: BTreeSet<_> = tasks.iter().map(|task| task.index).collect();
        assert_eq!(indices.len(), tasks.len(), "each item once");
        *items
    }
}

impl Observer for Diary {
    fn call_started(&self, call: &CallInfo<'_>) {
        let (id, hint, workers, depth) = (call.id(), call.size_hint(), call.workers(), call.depth());
        assert_eq!(call.site().file(), "tests/it/observe.rs");
        self.add(News::Started { call: id, hint, workers, depth, label: call.label().map(str::to_owned) });
    }

    fn task_finished(&self, task: &TaskInfo<'_>) {
        assert_eq!(task.end().duration_since(task.start()), task.duration());
        self.add(News::Task(Task {
            call: task.call(),
            index: task.index(),
            worker: task.worker().to_owned(),
            worker_index: task.worker_index(),
            depth: task.depth(),
            outcome: task.outcome(),
            times: (task.start(), task.end()),
        }));
    }

    fn call_finished(&self, call: &CallInfo<'_>) {
        let source = if call.has_feeder() { Duration::ZERO } else { call.source_time() };
        assert!(source + call.waiting_time() <= call.elapsed(), "parts of the whole");
        self.add(News::Finished { call: call.id(), items: call.items() });
    }
}

fn boom(x: u64) -> u64 {
    assert_ne!(x, 7, "boom");
    x
}

#[test]
fn every_item_is_told_once_by_every_method() {
    let pool = Pool::new(3).expect("threads");
    let diary = Diary::default();
    assert_eq!((0..100).pool_map(&pool, |x| x + 1).observe(&diary).sum::<u64>(), 5050);
    assert_eq!(diary.is_one_call(), 100);
    assert_eq!(diary.indices(TaskOutcome::Returned), (0..100).collect::<Vec<_>>());

    let diary = Diary::default();
    let powers: Vec<u64> = [(2, 5), (3, 2)].into_iter().pool_starmap(&pool, u64::pow).observe(&diary).collect();
    assert_eq!((powers, diary.is_one_call()), (vec![32, 9], 2));

    let diary = Diary::default();
    let add = |sum: &mut u64, x: u64| {
        *sum += x;
    };
    for () in (0..100).pool_map_init(&pool, || 0, add).observe(&diary) {}
    assert_eq!(diary.is_one_call(), 100);
    assert_eq!(diary.indices(TaskOutcome::Returned).len(), 100);
}

#[test]
fn a_start_says_what_is_known() {
    let diary = Diary::default();
    let known = |x: &u64| x % 2 == 0;
    (0..10_u64).filter(known).pool_map(3, drop).named("even").observe(&diary).for_each(drop);
    let Some(News::Started { hint, workers, depth, label, .. }) = diary.read().into_iter().next() else {
        panic!("a start");
    };
    assert_eq!((hint, workers, depth, label.as_deref()), ((0, Some(10)), 3, 0, Some("even")));
}

#[test]
fn a_call_in_place_has_one_worker() {
    let diary = Diary::default();
    let pool = Pool::new(3).expect("threads");
    let call = |pool: &Pool| (0..4_u64).pool_map(pool, |x| x).observe(&diary).sum::<u64>();
    assert_eq!(call(&pool) + call(&Pool::inline()), 12);
    assert_eq!(pool.install(|| call(&pool)), 6, "on a worker");
    for x in (0..4).pool_map(&pool, |x: u64| x).observe(&diary) {
        assert!(x < 4);
    }
    assert_eq!(diary.workers(), [3, 1, 1, 3]);
}

#[test]
fn nothing_is_told_of_a_call_that_is_not_asked() {
    let diary = Diary::default();
    drop((0..8).pool_map(2, |x| x).observe(&diary));
    assert_eq!(diary.read(), []);
}

#[test]
fn items_lie_within_their_call_and_come_from_its_workers() {
    let pool = Pool::builder().threads(2).name("Seen").build().expect("threads");
    let diary = Diary::default();
    let before = Instant::now();
    (0..50).pool_map(&pool, drop).chunk_size(1).observe(&diary).for_each(drop);
    let after = Instant::now();
    for Task { worker, worker_index, times: (start, end), .. } in diary.tasks() {
        let index = worker_index.expect("it is a worker");
        assert_eq!(worker, pool.worker_names()[index]);
        assert!(before <= start && start <= end && end <= after);
    }
}

#[test]
fn an_item_is_timed_while_it_runs() {
    let diary = Diary::default();
    let moments: Vec<(Instant, Instant)> =
        (0..20).pool_map(2, |_: u32| (Instant::now(), Instant::now())).observe(&diary).collect();
    for Task { index, times: (start, end), .. } in diary.tasks() {
        assert!(start <= moments[index].0 && moments[index].1 <= end);
    }
}

#[test]
fn the_end_is_told_when_nothing_is_left() {
    let diary = Diary::default();
    let mut results = (0..5).pool_map(2, |x| x).observe(&diary);
    assert_eq!(results.by_ref().count(), 5);
    assert_eq!(diary.finished(), 1, "though the iterator lives");
    assert_eq!(results.next(), None);
    drop(results);
    assert_eq!(diary.finished(), 1, "once");
}

#[test]
fn the_end_is_told_at_a_break() {
    let diary = Diary::default();
    for x in (0..).pool_map(2, |x: u64| x).observe(&diary) {
        if x == 20 {
            break;
        }
    }
    let pulled = diary.is_one_call();
    assert!(pulled >= 21);
    assert_eq!(diary.tasks().len() as u64, pulled, "a batch runs to its end");
}

#[test]
fn a_panic_is_an_outcome_and_the_rest_is_still_told() {
    let diary = Diary::default();
    let results = (0..100).pool_map(2, boom).trace(TraceLevel::Header).observe(&diary);
    let payload = catch_unwind(AssertUnwindSafe(|| results.for_each(drop))).expect_err("item 7 panics");
    assert!(text(&*payload).contains("boom"));
    diary.is_one_call();
    assert_eq!(diary.indices(TaskOutcome::Panicked), [7]);
    assert!(diary.indices(TaskOutcome::Returned).starts_with(&[0, 1, 2, 3, 4, 5, 6]));
}

#[test]
fn a_panic_in_place_is_an_outcome() {
    let diary = Diary::default();
    let results = (0..100).pool_map(Pool::inline(), boom).trace(TraceLevel::Header).observe(&diary);
    let payload = catch_unwind(AssertUnwindSafe(|| results.for_each(drop))).expect_err("item 7 panics");
    assert!(text(&*payload).contains("boom"));
    assert_eq!(diary.is_one_call(), 8);
    assert_eq!(diary.indices(TaskOutcome::Panicked), [7]);
    assert_eq!(diary.indices(TaskOutcome::Returned), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_panic_as_a_value_is_an_outcome() {
    for pool in [Pool::new(2).expect("threads"), Pool::inline()] {
        let (before, after) = (Diary::default(), Diary::default());
        let call = || (5..10).pool_map(&pool, boom);
        assert_eq!(call().observe(&before).catch_panics().filter(Result::is_err).count(), 1);
        assert_eq!(call().catch_panics().observe(&after).filter(Result::is_err).count(), 1);
        for diary in [before, after] {
            assert_eq!(diary.is_one_call(), 5);
            assert_eq!(diary.indices(TaskOutcome::Panicked), [2]);
            assert_eq!(diary.indices(TaskOutcome::Returned), [0, 1, 3, 4]);
        }
    }
}

#[test]
fn a_panic_of_the_source_ends_the_call() {
    let diary = Diary::default();
    let results = (0..10).inspect(|&x| _ = boom(x)).pool_map(2, |x| x).observe(&diary);
    catch_unwind(AssertUnwindSafe(|| results.for_each(drop))).expect_err("the source panics");
    assert_eq!(diary.is_one_call(), 7);
}

#[test]
fn calls_in_place_are_told_with_the_callers_name() {
    let diary = Diary::default();
    let call = || (0..5).pool_map(Pool::inline(), drop).observe(&diary).for_each(drop);
    thread::scope(|scope| {
        let caller = thread::Builder::new().name("caller".to_owned()).spawn_scoped(scope, call);
        caller.expect("a thread").join().expect("no panic");
    });
    assert_eq!(diary.is_one_call(), 5);
    let here = |task: &Task| (&*task.worker, task.worker_index, task.depth) == ("caller", None, 0);
    assert!(diary.tasks().iter().all(here));
}

#[test]
fn nested_calls_are_told_with_their_depth() {
    let diary = Arc::new(Diary::default());
    let pool = Pool::builder().threads(2).observer(Arc::clone(&diary)).build().expect("threads");
    let sums = pool.map(0..4_u64, |x| (0..3).pool_map(&pool, |y| x * y).sum::<u64>());
    assert_eq!(sums, [0, 3, 6, 9]);
    let tasks = diary.tasks();
    let outer: Vec<_> = tasks.iter().filter(|task| task.depth == 0).collect();
    let inner: Vec<_> = tasks.iter().filter(|task| task.depth == 1).collect();
    assert_eq!((outer.len(), inner.len(), tasks.len()), (4, 12, 16));
    for task in inner {
        let holds = |outer: &&&Task| outer.times.0 <= task.times.0 && task.times.1 <= outer.times.1;
        let around: Vec<_> = outer.iter().filter(|outer| outer.worker == task.worker).filter(holds).collect();
        assert_eq!(around.len(), 1, "inside one item of its own thread");
    }
    let depths: Vec<_> = diary
        .read()
        .into_iter()
        .filter_map(|news| match news {
            News::Started { depth, .. } => Some(depth),
            _ => None,
        })
        .collect();
    assert_eq!(depths, [0, 1, 1, 1, 1]);
    assert_eq!(diary.finished(), 5);
}

#[test]
fn another_observers_items_are_no_depth() {
    let (outer, inner) = (Diary::default(), Diary::default());
    let nested = |_: u32| (0..2).pool_map(2, |x: u32| x).observe(&inner).sum::<u32>();
    assert_eq!((0..3).pool_map(2, nested).observe(&outer).sum::<u32>(), 3);
    assert_eq!((outer.tasks().len(), inner.tasks().len()), (3, 6));
    assert!(outer.tasks().iter().chain(&inner.tasks()).all(|task| task.depth == 0));
}

#[test]
fn depth_ends_with_the_item() {
    let diary = Diary::default();
    let pool = Pool::new(1).expect("a thread");
    let nested = |x: u64| {
        if x == 0 {
            let inner = (7..8).pool_map(1, boom).trace(TraceLevel::Off).observe(&diary);
            catch_unwind(AssertUnwindSafe(|| inner.for_each(drop))).expect_err("it panics");
        }
    };
    (0..2).pool_map(&pool, nested).trace(TraceLevel::Off).chunk_size(1).observe(&diary).for_each(drop);
    (0..1).pool_map(&pool, |x: u64| x).observe(&diary).for_each(drop);
    let depths: Vec<_> = diary.tasks().into_iter().map(|task| task.depth).collect();
    assert_eq!(depths, [1, 0, 0, 0]);
}

#[test]
fn a_pools_observer_sees_every_call_on_it() {
    let diary = Arc::new(Diary::default());
    let pool = Pool::builder().threads(2).observer(diary.clone()).build().expect("threads");
    assert_eq!(pool.map(0..3, |x: u32| x), [0, 1, 2]);
    (0..4).pool_for_each(&pool, |_| ());
    (0..5).pool_map(2, |x| x).for_each(drop);
    assert_eq!((diary.tasks().len(), diary.finished()), (7, 2), "not those on other workers");
    drop(pool);
    assert_eq!(Arc::strong_count(&diary), 1, "the pool lets it go");
}

#[test]
fn several_observers_are_told_alike_and_one_twice_attached_once() {
    let pools = Arc::new(Diary::default());
    let pool = Pool::builder().threads(2).observer(Arc::clone(&pools)).build().expect("threads");
    let (first, second) = (Diary::default(), Diary::default());
    (0..9).pool_map(&pool, drop).observe(&first).observe(&second).for_each(drop);
    for diary in [&first, &second, &*pools] {
        assert_eq!(diary.is_one_call(), 9);
    }
    (0..9).pool_map(&pool, drop).observe(&*pools).for_each(drop);
    assert_eq!((pools.tasks().len(), pools.finished()), (18, 2));
}

/// Has no size, and so no address of its own: its notes are elsewhere.
struct Depths;

static DEPTHS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

impl Observer for Depths {
    fn task_finished(&self, task: &TaskInfo<'_>) {
        DEPTHS.lock().expect("no panic").push(task.depth());
    }
}

#[test]
fn an_observer_without_a_size_is_told_once_and_with_the_depth() {
    let depths = Arc::new(Depths);
    let pool = Pool::builder().threads(1).observer(&depths).build().expect("a thread");
    let sums = pool.map(0..2_u64, |x| (0..3).pool_map(&pool, |y| x * y).observe(&depths).sum::<u64>());
    assert_eq!(sums, [0, 3]);
    assert_eq!(*DEPTHS.lock().expect("no panic"), [1, 1, 1, 0, 1, 1, 1, 0]);
}

#[test]
fn every_call_takes_an_observer_by_reference_or_by_arc() {
    let (owned, borrowed) = (Arc::new(Diary::default()), Diary::default());
    let objects: (Arc<dyn Observer>, &dyn Observer) = (Arc::clone(&owned) as _, &borrowed);
    let sums = [
        (0..4).pool_map(2, |x: u64| x).observe(&owned).observe(objects.1).sum(),
        vec![0, 1, 2, 3_u64].into_par_iter().pool_map(2, |x| x).observe(Arc::clone(&owned)).observe(&borrowed).sum(),
        (0..4).pool_imap(2, |x: u64| x).observe(&objects.0).sum::<u64>(),
        pool_map::scope(2, |s| s.imap(0..4, |x: u64| x).observe(&objects.0).observe(&borrowed).sum()),
    ];
    assert_eq!(sums, [6; 4]);
    assert_eq!((owned.tasks().len(), borrowed.tasks().len()), (16, 12));
}

/// Panics at every piece of news of one kind, and counts all.
struct Clumsy {
    at: char,
    told: Mutex<String>,
}

impl Clumsy {
    fn hear(&self, kind: char) {
        self.told.lock().expect("released before the panic").push(kind);
        assert_ne!(kind, self.at, "clumsy");
    }
}

impl Observer for Clumsy {
    fn call_started(&self, _: &CallInfo<'_>) {
        self.hear('s');
    }

    fn task_started(&self, _: &TaskStart<'_>) {
        self.hear('b');
    }

    fn task_finished(&self, _: &TaskInfo<'_>) {
        self.hear('t');
    }

    fn call_finished(&self, _: &CallInfo<'_>) {
        self.hear('f');
    }
}

#[test]
fn a_panic_of_an_observer_changes_nothing_and_is_its_last_word() {
    let pools = [Pool::new(1).expect("a thread"), Pool::inline()];
    for (pool, (at, want)) in
        pools.iter().flat_map(|pool| [('s', "s"), ('b', "sb"), ('t', "sbt"), ('f', "sbtbtbtbtf")].map(|c| (pool, c)))
    {
        let clumsy = Clumsy { at, told: Mutex::default() };
        let careful = Diary::default();
        let results: Vec<u32> = (0..4).pool_map(pool, |x| x).observe(&clumsy).observe(&careful).collect();
        assert_eq!(results, [0, 1, 2, 3]);
        assert_eq!(*clumsy.told.lock().expect("nobody panics under it"), want);
        assert_eq!(careful.is_one_call(), 4, "the others are told all the same");
    }
}

#[test]
fn a_panic_of_an_observer_beside_one_of_f_changes_nothing() {
    for pool in [Pool::new(1).expect("a thread"), Pool::inline()] {
        for at in ['b', 't', 'f'] {
            let clumsy = Clumsy { at, told: Mutex::default() };
            let results = (7..9).pool_map(&pool, boom).trace(TraceLevel::Off).observe(&clumsy);
            let payload = catch_unwind(AssertUnwindSafe(|| results.for_each(drop))).expect_err("item 0 panics");
            assert!(text(&*payload).contains("boom"));
        }
    }
}

#[cfg(unix)]
#[test]
fn a_panic_of_an_observer_leaves_a_line() {
    let seen = crate::seen::child(|| {
        for at in ['b', 't'] {
            let clumsy = Clumsy { at, told: Mutex::default() };
            (0..40).pool_map(1, |x: u32| x).observe(&clumsy).trace(TraceLevel::Header).for_each(drop);
        }
    });
    seen.succeeded();
    let line = "[TRACE:PoolWorker-1] item 0: panic in the observer at tests/it/observe.rs:";
    assert!(seen.stderr.lines().all(|told| told.starts_with(line)), "{}", seen.stderr);
    assert_eq!(seen.stderr.lines().count(), 2);
}

/// A task may be the last that holds it.
#[test]
fn a_panic_in_the_drop_of_an_observer_does_not_come_out_of_that_of_a_task() {
    struct Falls;
    impl Observer for Falls {}
    impl Drop for Falls {
        fn drop(&mut self) {
            panic_any("no more news");
        }
    }
    let pool = Pool::builder().threads(1).observer(Arc::new(Falls)).build().expect("a thread");
    let task = pool.spawn(|| 7);
    drop(pool);
    drop(task);
}

#[test]
#[should_panic(expected = "observe has to come before the first result is asked for")]
fn too_late_to_observe() {
    let diary = Diary::default();
    let mut results = (0..3).pool_map(2, |x| x);
    results.next();
    let _ = results.observe(&diary);
}

#[test]
fn an_observer_hears_of_an_item_while_others_run() {
    struct Opens<'a>(&'a Gate);
    impl Observer for Opens<'_> {
        fn task_finished(&self, task: &TaskInfo<'_>) {
            if task.index() == 1 {
                self.0.open();
            }
        }
    }

    let gate = Gate::default();
    // Item 0 ends only after somebody was told of item 1.
    let wait = |x: u32| {
        if x == 0 {
            gate.wait();
        }
    };
    (0..2).pool_map(2, wait).chunk_size(1).observe(&Opens(&gate)).for_each(drop);
}

/// Which items began and ended, each with its thread and its depth.
#[derive(Default)]
struct Steps(Mutex<Vec<Step>>);

type Step = (&'static str, u64, usize, String, usize);

impl Observer for Steps {
    fn task_started(&self, task: &TaskStart<'_>) {
        assert!(task.start() <= Instant::now() && task.worker_index().is_none_or(|index| index < 2));
        let step = ("start", task.call(), task.index(), task.worker().to_owned(), task.depth());
        self.0.lock().expect("no panic").push(step);
    }

    fn task_finished(&self, task: &TaskInfo<'_>) {
        let step = ("end", task.call(), task.index(), task.worker().to_owned(), task.depth());
        self.0.lock().expect("no panic").push(step);
    }
}

impl Steps {
    /// Takes what was told, and checks that each end has its start; gives how many items there were.
    #[track_caller]
    fn items(&self) -> usize {
        let steps = mem::take(&mut *self.0.lock().expect("no panic"));
        let mut open = Vec::new();
        for (step, call, index, worker, depth) in &steps {
            let item = (call, index, worker, depth);
            if *step == "start" {
                open.push(item);
            } else {
                let place = open.iter().rposition(|open| *open == item).expect("it began, on the same thread");
                assert!(open[place + 1..].iter().all(|(.., other, _)| *other != worker), "and inside no other");
                open.remove(place);
            }
        }
        assert_eq!(open, [], "each has ended");
        steps.len() / 2
    }
}

#[test]
fn every_item_is_told_when_it_begins_and_when_it_ends() {
    let steps = Arc::new(Steps::default());
    for pool in [Pool::new(2).expect("threads"), Pool::inline()] {
        (0..100).pool_map(&pool, drop::<u32>).observe(&steps).for_each(drop);
        assert_eq!(steps.items(), 100);
        (0..100).pool_imap(&pool, drop::<u32>).observe(&steps).for_each(drop);
        assert_eq!(steps.items(), 100);
        vec![0; 100].into_par_iter().pool_map(&pool, drop::<u32>).observe(&steps).for_each(drop);
        assert_eq!(steps.items(), 100);
        let nested = |_: u32| (0..3).pool_map(&pool, drop::<u32>).observe(&steps).count();
        assert_eq!((0..4).pool_map(&pool, nested).observe(&steps).sum::<usize>(), 12);
        assert_eq!(steps.items(), 16);
        let results = (5..10).pool_map(&pool, boom).catch_panics().observe(&steps);
        assert_eq!(results.filter(Result::is_err).count(), 1);
        assert_eq!(steps.items(), 5);
        let results = (0..8).pool_map(&pool, boom).trace(TraceLevel::Off).observe(&steps);
        catch_unwind(AssertUnwindSafe(|| results.for_each(drop))).expect_err("item 7 panics");
        assert_eq!(steps.items(), 8);
    }
    let pool = Pool::builder().threads(1).trace(TraceLevel::Off).observer(&steps).build().expect("a thread");
    pool.spawn(|| ()).join();
    assert!(pool.spawn(|| boom(7)).try_join().is_err());
    assert_eq!(steps.items(), 2);
}

/// Has a timeline, and counts what it is told itself.
struct Keeps {
    timeline: Timeline,
    told: Mutex<String>,
    falls: bool,
}

impl Observer for Keeps {
    fn call_started(&self, call: &CallInfo<'_>) {
        self.timeline.call_started(call);
        self.told.lock().expect("no panic").push('s');
    }

    fn task_finished(&self, _: &TaskInfo<'_>) {
        self.told.lock().expect("no panic").push('t');
    }

    fn timeline(&self) -> Option<&Timeline> {
        assert!(!self.falls, "no timeline");
        Some(&self.timeline)
    }

    fn call_finished(&self, call: &CallInfo<'_>) {
        self.timeline.call_finished(call);
        self.told.lock().expect("no panic").push('f');
    }
}

#[test]
fn an_observer_may_have_items_recorded_by_its_timeline() {
    for pool in [Pool::new(1).expect("a thread"), Pool::inline()] {
        for (falls, want, items) in [(false, "sf", 20), (true, "s", 0)] {
            let keeps = Keeps { timeline: Timeline::new(), told: Mutex::default(), falls };
            let diary = Diary::default();
            let results = (0..20).pool_map(&pool, |x: u64| x).trace(TraceLevel::Off).observe(&keeps).observe(&diary);
            assert!(results.eq(0..20));
            assert_eq!((&**keeps.told.lock().expect("no panic"), keeps.timeline.items()), (want, items));
            is_whole(&diary, 20);
        }
    }
}

// ---- Streams that run ahead ----------------------------------------------------------------------------------------

/// A pool whose calls are written down.
fn seen(threads: usize) -> (Pool, Arc<Diary>) {
    let diary = Arc::new(Diary::default());
    let pool = Pool::builder().threads(threads).name("Stream").observer(Arc::clone(&diary)).build().expect("threads");
    (pool, diary)
}

/// Checks that it holds one call, all of whose items returned.
#[track_caller]
fn is_whole(diary: &Diary, items: u64) {
    assert_eq!(diary.is_one_call(), items);
    assert_eq!(diary.indices(TaskOutcome::Returned), (0..usize::try_from(items).expect("few")).collect::<Vec<_>>());
}

#[test]
fn every_item_of_a_stream_is_told_once() {
    let pool = Pool::builder().threads(3).name("Stream").build().expect("threads");
    let names = pool.worker_names();
    let check = |diary: &Diary| {
        is_whole(diary, 100);
        let Some(News::Started { hint, workers, depth, label, .. }) = diary.read().into_iter().next() else {
            panic!("a start");
        };
        assert_eq!((hint, workers, depth, label.as_deref()), ((100, Some(100)), 3, 0, Some("ahead")));
        for task in diary.tasks() {
            assert_eq!((&task.worker, task.depth), (&names[task.worker_index.expect("a worker")], 0));
        }
    };
    let diary = Arc::new(Diary::default());
    let results = (0..100).pool_imap(&pool, |x| x).named("ahead").observe(Arc::clone(&diary));
    assert!(results.eq(0..100_u64));
    check(&diary);

    let diary = Arc::new(Diary::default());
    let results = (0..100).pool_imap_unordered(&pool, |x: u64| x).named("ahead").observe(Arc::clone(&diary));
    assert_eq!(results.sum::<u64>(), 4950);
    check(&diary);

    // Borrowed, and as what it is only known to be.
    let (first, second) = (Diary::default(), Diary::default());
    let observer: &dyn Observer = &second;
    let numbers: Vec<u64> = (0..100).collect();
    pool_map::scope(&pool, |s| {
        let results = s.imap(&numbers, |x| *x).named("ahead").observe(&first).observe(observer);
        assert!(results.eq(0..100));
    });
    check(&first);
    check(&second);
}

#[test]
fn a_stream_in_place_is_told_with_the_callers_name() {
    let here = |task: &Task| (&*task.worker, task.worker_index, task.depth) == ("caller", None, 0);
    let own = Diary::default();
    let owned = Arc::new(Diary::default());
    let calls = || {
        (0..5).pool_imap(Pool::inline(), drop::<u32>).observe(Arc::clone(&owned)).for_each(drop);
        pool_map::scope(Pool::inline(), |s| s.imap(0..5_u32, drop).observe(&own).for_each(drop));
    };
    thread::scope(|scope| {
        let caller = thread::Builder::new().name("caller".to_owned()).spawn_scoped(scope, calls);
        caller.expect("a thread").join().expect("no panic");
    });
    for diary in [&own, &*owned] {
        is_whole(diary, 5);
        assert!(diary.tasks().iter().all(here));
        assert_eq!(diary.workers(), [1]);
    }
}

#[test]
fn streams_made_on_a_worker_are_told_of() {
    for threads in [1, 3] {
        let (pool, diary) = seen(threads);
        assert_eq!(pool.install(|| (0..50).pool_imap(&pool, |x| x).sum::<u64>()), 1225);
        is_whole(&diary, 50);
        assert_eq!(diary.workers(), [threads]);
        let (pool, diary) = seen(threads);
        let sum = pool.install(|| pool_map::scope(&pool, |s| s.imap(0..50, |x| x).sum::<u64>()));
        assert_eq!(sum, 1225);
        is_whole(&diary, 50);
        assert_eq!(diary.workers(), [1], "in place");
    }
}

#[test]
fn a_panic_in_a_stream_is_an_outcome() {
    for pool in [Pool::new(2).expect("threads"), Pool::inline()] {
        let diary = Arc::new(Diary::default());
        let results = (0..100).pool_imap(&pool, boom).trace(TraceLevel::Header).observe(Arc::clone(&diary));
        let payload = catch_unwind(AssertUnwindSafe(|| results.for_each(drop))).expect_err("item 7 panics");
        assert!(text(&*payload).contains("boom"));
        // An item may have been running.
        pool.join();
        diary.is_one_call();
        assert_eq!(diary.indices(TaskOutcome::Panicked), [7]);
        assert!(diary.indices(TaskOutcome::Returned).starts_with(&[0, 1, 2, 3, 4, 5, 6]));
    }
}

#[test]
fn a_panic_as_a_value_of_a_stream_is_an_outcome() {
    for pool in [Pool::new(2).expect("threads"), Pool::inline()] {
        let (before, after) = (Arc::new(Diary::default()), Arc::new(Diary::default()));
        let call = || (5..10).pool_imap(&pool, boom);
        assert_eq!(call().observe(Arc::clone(&before)).catch_panics().filter(Result::is_err).count(), 1);
        assert_eq!(call().catch_panics().observe(Arc::clone(&after)).filter(Result::is_err).count(), 1);
        for diary in [before, after] {
            assert_eq!(diary.is_one_call(), 5);
            assert_eq!(diary.indices(TaskOutcome::Panicked), [2]);
            assert_eq!(diary.indices(TaskOutcome::Returned), [0, 1, 3, 4]);
        }
    }
}

#[test]
fn a_panic_of_the_source_ends_the_stream() {
    for pool in [Pool::new(2).expect("threads"), Pool::inline()] {
        let diary = Arc::new(Diary::default());
        let mut results = (0..10).inspect(|&x| _ = boom(x)).pool_imap(&pool, |x| x).observe(Arc::clone(&diary));
        catch_unwind(AssertUnwindSafe(|| results.by_ref().for_each(drop))).expect_err("the source panics");
        assert_eq!(diary.is_one_call(), 7, "though the iterator lives");
        drop(results);
        assert_eq!(diary.finished(), 1, "once");
    }
}

#[test]
fn the_end_of_a_stream_is_told_when_nothing_is_left() {
    for pool in [Pool::new(2).expect("threads"), Pool::inline()] {
        let diary = Arc::new(Diary::default());
        let mut results = (0..5).pool_imap(&pool, |x| x).observe(Arc::clone(&diary));
        assert_eq!(diary.read(), [], "not asked yet");
        assert_eq!(results.by_ref().count(), 5);
        assert_eq!(diary.finished(), 1, "though the iterator lives");
        assert_eq!(results.next(), None);
        drop(results);
        assert_eq!(diary.finished(), 1, "once");
        drop((0..5).pool_imap(&pool, |x: u64| x).observe(Arc::clone(&diary)));
        assert_eq!(diary.finished(), 1, "nothing is told of what is not asked");
    }
}

#[test]
fn the_end_of_a_dropped_stream_waits_for_the_items_that_run() {
    let (pool, diary) = seen(2);
    let (closed, started) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
    let (gate, start) = (Arc::clone(&closed), Arc::clone(&started));
    let work = move |x: u64| {
        if x == 1 {
            start.open();
            gate.wait();
        }
        x
    };
    let mut results = pool.imap(0..100, work).chunk_size(1);
    assert_eq!(results.next(), Some(0));
    started.wait();
    drop(results);
    let finished = diary.finished();
    closed.open();
    pool.join();
    assert_eq!(finished, 0, "an item ran");
    diary.is_one_call();
    assert!(diary.indices(TaskOutcome::Returned).contains(&1));
}

#[test]
fn the_end_of_a_dropped_stream_does_not_wait_for_its_source() {
    let diary = Arc::new(Diary::default());
    let (sender, receiver) = mpsc::channel::<u64>();
    let mut results = (0..3).chain(receiver).pool_imap(2, |x| x).observe(Arc::clone(&diary));
    assert!(results.by_ref().take(3).eq(0..3));
    drop(results);
    is_whole(&diary, 3);
    drop(sender);
    // The feeder lets go of it when the source returns.
    while Arc::strong_count(&diary) > 1 {
        thread::yield_now();
    }
    assert_eq!(diary.finished(), 1);
}

#[test]
fn the_end_of_a_stream_is_told_at_a_break_in_place() {
    let diary = Arc::new(Diary::default());
    for x in (0..).pool_imap(Pool::inline(), |x: u64| x).observe(Arc::clone(&diary)) {
        if x == 20 {
            break;
        }
    }
    is_whole(&diary, 21);
}

#[test]
fn a_stream_forgotten_in_a_scope_ends_with_it() {
    let diary = Diary::default();
    pool_map::scope(2, |s| {
        let mut results = s.imap(0.., |x: u64| x).observe(&diary);
        assert_eq!(results.next(), Some(0));
        mem::forget(results);
        assert_eq!(diary.finished(), 0);
    });
    diary.is_one_call();
}

#[test]
fn a_cancelled_stream_is_told_of_to_its_end() {
    for pool in [Pool::new(2).expect("threads"), Pool::inline()] {
        let (diary, token) = (Arc::new(Diary::default()), CancelToken::new());
        let results = (0..).pool_imap(&pool, |x: u64| x).observe(Arc::clone(&diary)).cancel_on(&token);
        let delivered = results
            .inspect(|&x| {
                if x == 50 {
                    token.cancel();
                }
            })
            .count();
        pool.join();
        assert!(diary.is_one_call() >= delivered as u64);
        let told = diary.indices(TaskOutcome::Returned);
        assert!(delivered > 50 && told[..delivered].iter().copied().eq(0..delivered), "{delivered} of {told:?}");
    }
    // Before its start: it starts, has nothing, and ends.
    let (diary, token) = (Arc::new(Diary::default()), CancelToken::new());
    token.cancel();
    assert_eq!((0..9).pool_imap(2, |x| x).observe(Arc::clone(&diary)).cancel_on(&token).sum::<u64>(), 0);
    is_whole(&diary, 0);
}

#[test]
fn nested_streams_are_told_with_their_depth() {
    let (pool, diary) = seen(2);
    let inside = pool.clone();
    let sums = pool.map(0..4_u64, |x| (0..3).pool_imap(&inside, move |y| x * y).sum::<u64>());
    assert_eq!(sums, [0, 3, 6, 9]);
    let news = diary.read();
    let calls: Vec<(u64, usize)> = news
        .iter()
        .filter_map(|news| match news {
            News::Started { call, depth, .. } => Some((*call, *depth)),
            _ => None,
        })
        .collect();
    let depths: Vec<_> = calls.iter().map(|&(_, depth)| depth).collect();
    assert_eq!((depths, diary.finished()), (vec![0, 1, 1, 1, 1], 5));
    let tasks = diary.tasks();
    assert_eq!(tasks.len(), 4 + 12);
    for (call, depth) in calls {
        let of_call: Vec<_> = tasks.iter().filter(|task| task.call == call).collect();
        let indices: BTreeSet<_> = of_call.iter().map(|task| task.index).collect();
        assert_eq!(indices.len(), if depth == 0 { 4 } else { 3 });
        for task in of_call {
            // What another worker takes of it is inside of nothing there.
            let holds = |outer: &&Task| outer.call != call && outer.worker == task.worker;
            let holds = |outer: &&Task| holds(outer) && outer.times.0 <= task.times.0 && task.times.1 <= outer.times.1;
            assert_eq!(tasks.iter().filter(holds).count(), task.depth);
        }
    }
}

#[test]
fn a_start_is_told_before_the_source_is_asked() {
    struct Slow(Arc<AtomicUsize>, Mutex<Option<usize>>);
    impl Observer for Slow {
        fn call_started(&self, _: &CallInfo<'_>) {
            // Time enough for a feeder that does not wait: without it, the test would pass more often than it should.
            thread::sleep(Duration::from_millis(50));
            *self.1.lock().expect("no panic") = Some(self.0.load(Ordering::SeqCst));
        }
    }

    let asked = Arc::new(AtomicUsize::new(0));
    let asks = Arc::clone(&asked);
    let slow = Arc::new(Slow(Arc::clone(&asked), Mutex::default()));
    let source = (0..5).inspect(move |_| _ = asks.fetch_add(1, Ordering::SeqCst));
    assert!(source.pool_imap(2, |x: u64| x).observe(Arc::clone(&slow)).eq(0..5));
    assert_eq!((*slow.1.lock().expect("no panic"), asked.load(Ordering::SeqCst)), (Some(0), 5));
}

#[test]
fn a_stream_has_the_times_of_its_source_and_of_its_consumer() {
    #[derive(Default)]
    struct Times(Mutex<Vec<(bool, Duration, Duration, Duration)>>);
    impl Observer for Times {
        fn call_finished(&self, call: &CallInfo<'_>) {
            let times = (call.has_feeder(), call.source_time(), call.waiting_time(), call.elapsed());
            self.0.lock().expect("no panic").push(times);
        }
    }

    // Measured times are what is tested: they are at least what was slept.
    let pause = Duration::from_millis(20);
    for pool in [Pool::new(2).expect("threads"), Pool::inline()] {
        let times = Arc::new(Times::default());
        let source = (0..3).inspect(move |_| thread::sleep(pause));
        let mut results = source.pool_imap(&pool, |x: u64| x).chunk_size(1).observe(Arc::clone(&times));
        assert_eq!(results.next(), Some(0));
        thread::sleep(pause);
        assert!(results.eq(1..3));
        let told = times.0.lock().expect("no panic");
        let [(has_feeder, source, waiting, elapsed)] = told[..] else { panic!("one end") };
        assert_eq!(has_feeder, !pool.is_inline());
        assert!(source >= 3 * pause && waiting > Duration::ZERO, "{source:?} {waiting:?}");
        assert!(waiting + pause <= elapsed, "the consumer's own time is no waiting");
    }
    // On a worker of a pool that has no other, the consumer runs the items itself.
    let times = Arc::new(Times::default());
    let pool = Pool::builder().threads(1).observer(Arc::clone(&times)).build().expect("a thread");
    pool.install(|| pool.imap(0..3, move |_| thread::sleep(pause)).for_each(drop));
    let told = times.0.lock().expect("no panic");
    assert!(told[0].2 >= 3 * pause, "{told:?}");
}

#[test]
fn a_panic_of_an_observer_of_a_stream_changes_nothing_and_is_its_last_word() {
    let pools = [Pool::new(1).expect("a thread"), Pool::inline()];
    for (pool, (at, want)) in
        pools.iter().flat_map(|pool| [('s', "s"), ('b', "sb"), ('t', "sbt"), ('f', "sbtbtbtbtf")].map(|c| (pool, c)))
    {
        let clumsy = Arc::new(Clumsy { at, told: Mutex::default() });
        let careful = Arc::new(Diary::default());
        let results = (0..4).pool_imap(pool, |x| x).trace(TraceLevel::Off);
        assert!(results.observe(Arc::clone(&clumsy)).observe(Arc::clone(&careful)).eq(0..4_u64));
        assert_eq!(*clumsy.told.lock().expect("nobody panics under it"), want);
        is_whole(&careful, 4);

        let clumsy = Arc::new(Clumsy { at, told: Mutex::default() });
        let results = (7..9).pool_imap(pool, boom).trace(TraceLevel::Off).observe(Arc::clone(&clumsy));
        let payload = catch_unwind(AssertUnwindSafe(|| results.for_each(drop))).expect_err("item 0 panics");
        assert!(text(&*payload).contains("boom"));
    }
}

#[cfg(unix)]
#[test]
fn a_panic_of_an_observer_at_the_end_of_a_dropped_stream_leaves_a_line() {
    let seen = crate::seen::child(|| {
        let pool = Pool::new(1).expect("a thread");
        let clumsy = Arc::new(Clumsy { at: 'f', told: Mutex::default() });
        let (closed, started) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
        let (gate, start) = (Arc::clone(&closed), Arc::clone(&started));
        let mut results = pool
            .imap(0..2, move |x: u32| {
                if x == 1 {
                    start.open();
                    gate.wait();
                }
            })
            .chunk_size(1)
            .observe(clumsy);
        results.next();
        started.wait();
        drop(results);
        // The worker must not wait for whoever waits for it.
        let lock = std::io::stderr().lock();
        closed.open();
        pool.join();
        drop(lock);
    });
    seen.succeeded();
    assert!(seen.stderr.starts_with("[TRACE:PoolWorker-1] panic in the observer at tests/it/observe.rs:"));
    assert_eq!(seen.stderr.lines().count(), 1, "{}", seen.stderr);
}

#[test]
#[should_panic(expected = "observe has to come before the first result is asked for")]
fn too_late_to_observe_a_stream() {
    let mut results = (0..3).pool_imap(2, |x| x);
    results.next();
    let _ = results.observe(Arc::new(Diary::default()));
}

#[test]
fn a_pools_observer_sees_its_streams() {
    let (pool, diary) = seen(2);
    assert_eq!(pool.imap(0..3, |x| x).sum::<u64>(), 3);
    assert_eq!(pool.imap_unordered(0..4, |x| x).sum::<u64>(), 6);
    pool_map::scope(&pool, |s| {
        assert_eq!(s.imap(0..5, |x| x).sum::<u64>(), 10);
        assert_eq!(s.imap_unordered(0..6, |x| x).catch_panics().count(), 6);
    });
    assert_eq!((0..9).pool_imap(2, |x| x).sum::<u64>(), 36, "not those on other workers");
    assert_eq!((diary.tasks().len(), diary.finished()), (18, 4));
    assert_eq!(diary.workers(), [2; 4]);
    // As its own and the pool's it is told once.
    assert_eq!(pool.imap(0..7, |x| x).observe(Arc::clone(&diary)).sum::<u64>(), 21);
    assert_eq!((diary.tasks().len(), diary.finished()), (25, 5));
}

// ---- Tasks ---------------------------------------------------------------------------------------------------------

#[test]
fn a_task_is_a_call_of_one_item() {
    let (pool, diary) = seen(2);
    let gate = Arc::new(Gate::default());
    let closed = Arc::clone(&gate);
    let task = pool.spawn(move || closed.wait());
    let started = diary.read();
    gate.open();
    task.join();
    let [News::Started { hint, workers, depth, label, .. }] = &started[..] else { panic!("a start: {started:?}") };
    assert_eq!((*hint, *workers, *depth, label), ((1, Some(1)), 2, 0, &None));
    is_whole(&diary, 1);
    let worker = &diary.tasks()[0];
    assert_eq!(worker.worker, pool.worker_names()[worker.worker_index.expect("a worker")]);
}

#[test]
fn a_task_that_panics_or_is_dropped_is_told_of() {
    let diary = Arc::new(Diary::default());
    let pool =
        Pool::builder().threads(1).trace(TraceLevel::Off).observer(Arc::clone(&diary)).build().expect("a thread");
    assert!(pool.spawn(|| boom(7)).try_join().is_err());
    assert_eq!(diary.is_one_call(), 1);
    assert_eq!(diary.indices(TaskOutcome::Panicked), [0]);
    drop(pool.spawn(|| 1));
    pool.join();
    assert_eq!((diary.tasks().len(), diary.finished()), (2, 2), "unheard, but run");
}

#[test]
fn a_task_that_never_runs_has_a_start_and_an_end() {
    let (pool, diary) = seen(1);
    let (gate, begun) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
    let (closed, begins) = (Arc::clone(&gate), Arc::clone(&begun));
    let first = pool.spawn(move || {
        begins.open();
        closed.wait();
    });
    begun.wait();
    let token = CancelToken::new();
    let cancelled = pool.spawn(|| ()).cancel_on(&token);
    token.cancel();
    let is_finished = cancelled.is_finished();
    let news = diary.read();
    let dropped = pool.spawn(|| ());
    thread::scope(|threads| {
        threads.spawn(|| {
            while !dropped.is_finished() {
                thread::yield_now();
            }
            gate.open();
        });
        drop(pool);
    });
    drop((first, cancelled));
    assert!(is_finished && matches!(news[..], [.., News::Finished { items: 0, .. }]), "at once: {news:?}");
    assert!(dropped.try_join().is_err());
    assert_eq!((diary.tasks().len(), diary.finished(), diary.workers()), (1, 3, vec![1; 3]));
}

#[test]
fn tasks_of_tasks_are_told_with_their_depth() {
    let (pool, diary) = seen(1);
    let inside = pool.clone();
    // The only worker runs the inner one itself, while it waits for it.
    assert_eq!(pool.spawn(move || inside.spawn(|| 20).join() + 1).join(), 21);
    let depths: Vec<_> = diary.tasks().iter().map(|task| task.depth).collect();
    assert_eq!((depths, diary.finished()), (vec![1, 0], 2));
}

#[test]
fn the_end_of_a_task_is_told_before_its_outcome_is_there() {
    let (pool, diary) = seen(2);
    for count in 1..=200 {
        pool.spawn(|| ()).join();
        assert_eq!(diary.finished(), count);
    }
    let tasks: Vec<_> = iter::repeat_with(|| pool.spawn(|| ())).take(100).collect();
    tasks.into_iter().for_each(pool_map::Task::join);
    assert_eq!((diary.tasks().len(), diary.finished()), (300, 300));
}

#[test]
fn a_panic_of_an_observer_of_a_task_changes_nothing_and_is_its_last_word() {
    for (at, want) in [('s', "s"), ('b', "sb"), ('t', "sbt"), ('f', "sbtf")] {
        let clumsy = Arc::new(Clumsy { at, told: Mutex::default() });
        let builder = Pool::builder().threads(1).trace(TraceLevel::Off).observer(Arc::clone(&clumsy));
        let pool = builder.build().expect("a thread");
        assert_eq!(pool.spawn(|| 42).join(), 42);
        assert_eq!(*clumsy.told.lock().expect("nobody panics under it"), want);
        assert!(pool.spawn(|| boom(7)).try_join().is_err_and(|panic| panic.message().contains("boom")));
    }
}

/// What they say of names, and of the time that the caller waits.
#[derive(Default)]
struct Names(Mutex<Vec<String>>);

impl Observer for Names {
    fn call_started(&self, call: &CallInfo<'_>) {
        self.0.lock().expect("no panic").push(format!("call {:?} by {}", call.label(), call.caller()));
    }

    fn task_finished(&self, task: &TaskInfo<'_>) {
        self.0.lock().expect("no panic").push(format!("task {:?}", task.label()));
    }

    fn call_finished(&self, call: &CallInfo<'_>) {
        assert!(!call.waiting_time().is_zero() && call.waiting_time() <= call.elapsed());
        self.0.lock().expect("no panic").push("finished".to_owned());
    }
}

#[test]
fn labels_the_caller_and_its_waiting_are_told() {
    let names = Names::default();
    // A time that is not 0, to be measured.
    let sleep = |()| thread::sleep(Duration::from_millis(5));
    // By a loop, whose caller waits for each batch.
    for () in [()].into_iter().pool_map(2, sleep).named("naps").observe(&names) {}
    let caller = thread::current().name().expect("a test has a name").to_owned();
    let told = names.0.into_inner().expect("no panic");
    assert_eq!(told, [&*format!("call Some(\"naps\") by {caller}"), "task Some(\"naps\")", "finished"]);
}
