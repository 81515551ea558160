//! Promise 4: items pulled and not yet delivered never exceed the limit.

use crate::gate::Gate;
use pool_map::PoolIterator;
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

/// Counts on the caller's thread what was pulled and what was delivered.
#[derive(Default)]
struct Meter {
    pulled: Cell<usize>,
    delivered: Cell<usize>,
    peak: Cell<usize>,
}

impl Meter {
    fn pull(&self) {
        self.pulled.set(self.pulled.get() + 1);
        self.peak.set(self.peak.get().max(self.pulled.get() - self.delivered.get()));
    }

    fn deliver(&self) {
        self.delivered.set(self.delivered.get() + 1);
    }
}

/// A number that others wait for.
#[derive(Default)]
struct Level {
    value: Mutex<usize>,
    changed: Condvar,
}

impl Level {
    fn add(&self, count: usize) {
        *self.value.lock().expect("not poisoned") += count;
        self.changed.notify_all();
    }

    fn wait_for(&self, least: usize) {
        let value = self.value.lock().expect("not poisoned");
        drop(self.changed.wait_while(value, |value| *value < least).expect("not poisoned"));
    }
}

#[test]
fn what_is_pulled_and_not_delivered_never_exceeds_the_limit() {
    for limit in 1..=40 {
        for chunk in [None, Some(1), Some(3), Some(7), Some(100)] {
            for workers in [1, 2, 3, 8] {
                let make = |meter| {
                    let it = inspected(0..120, meter).pool_map(workers, |x| x).max_in_flight(limit);
                    if let Some(items) = chunk { it.chunk_size(items) } else { it }
                };
                let setting = format!("limit {limit}, {workers} workers, chunks of {chunk:?}");

                let streamed = Meter::default();
                make(&streamed).for_each(|_| streamed.deliver());
                assert_eq!(streamed.delivered.get(), 120);
                assert!(streamed.peak.get() <= limit, "{} streamed, {setting}", streamed.peak.get());

                let looped = Meter::default();
                for _ in make(&looped) {
                    looped.deliver();
                }
                assert_eq!(looped.delivered.get(), 120);
                assert!(looped.peak.get() <= limit, "{} in a loop, {setting}", looped.peak.get());

                let mixed = Meter::default();
                let mut it = make(&mixed);
                it.by_ref().take(10).for_each(|_| mixed.deliver());
                it.for_each(|_| mixed.deliver());
                assert!(mixed.peak.get() <= limit, "{} in a mix, {setting}", mixed.peak.get());
            }
        }
    }
}

fn inspected(range: std::ops::Range<usize>, meter: &Meter) -> impl Iterator<Item = usize> {
    range.inspect(|_| meter.pull())
}

/// Item 0 waits until all other workers have nothing left to do; the source says when the limit is passed meanwhile.
///
/// `head` is the most items that may be in the chunk of item 0.
fn hold_the_head<T: Send + Copy + Default>(
    workers: usize,
    options: (Option<usize>, Option<usize>),
    head: usize,
    limit: usize,
) {
    let (chunk, most) = options;
    let finished = Level::default();
    let live = AtomicUsize::new(0);
    let most_live = AtomicUsize::new(0);
    let meter = Meter::default();
    let source = (0..3 * limit).map(|i| {
        meter.pull();
        if meter.peak.get() > limit {
            finished.add(limit); // Lets item 0 go, so that this is seen.
            panic!("more than {limit} items in flight: {workers} workers, {options:?}");
        }
        (i, T::default())
    });
    let f = |(i, item): (usize, T)| {
        if i == 0 {
            finished.wait_for(limit - head);
        }
        most_live.fetch_max(live.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        finished.add(1);
        item
    };
    let mut it = source.pool_map(workers, f);
    if let Some(items) = chunk {
        it = it.chunk_size(items);
    }
    if let Some(items) = most {
        it = it.max_in_flight(items);
    }
    it.for_each(|_| {
        meter.deliver();
        live.fetch_sub(1, Ordering::SeqCst);
    });
    assert_eq!(meter.delivered.get(), 3 * limit);
    // One more than the limit: the one that the consumer has just been given.
    assert!(most_live.into_inner() <= limit + 1, "{workers} workers, {options:?}");
}

#[test]
fn a_slow_head_item_does_not_let_the_rest_grow_past_the_limit_nor_stop_short_of_it() {
    for workers in [2, 3, 5] {
        for limit in [1, 2, 5, 16, 100] {
            hold_the_head::<()>(workers, (Some(1), Some(limit)), 1, limit);
            hold_the_head::<()>(workers, (None, Some(limit)), 1, limit);
            hold_the_head::<()>(workers, (Some(3), Some(limit)), 3.min(limit), limit);
        }
    }
}

#[derive(Clone, Copy)]
struct Large(#[expect(dead_code)] [u64; 4000]);

#[expect(clippy::large_stack_arrays, reason = "its size is what it is for")]
impl Default for Large {
    fn default() -> Self {
        Large([0; 4000])
    }
}

#[test]
fn the_default_limit_is_the_one_in_the_docs() {
    for workers in [2, 3, 5] {
        // Chunks of 1 and 2: 16 items for each worker.
        hold_the_head::<()>(workers, (Some(1), None), 1, 16 * workers);
        hold_the_head::<()>(workers, (Some(2), None), 2, 16 * workers);
        // Larger ones: 6 chunks for each worker.
        hold_the_head::<()>(workers, (Some(3), None), 3, 18 * workers);
        hold_the_head::<()>(workers, (Some(10), None), 10, 60 * workers);
    }
    // Chunks hold 64 KiB at most, so fewer than 3 of these items.
    hold_the_head::<Large>(2, (None, None), 1, 32);
    hold_the_head::<Large>(4, (None, None), 1, 64);
}

#[test]
fn without_options_no_more_than_6_times_8192_items_for_each_worker_are_read_ahead() {
    for workers in [1, 2] {
        let meter = Meter::default();
        (0..400_000_u32).inspect(|_| meter.pull()).pool_map(workers, |x| x).for_each(|_| meter.deliver());
        assert!(meter.peak.get() <= 6 * 8192 * workers, "{}", meter.peak.get());
        let meter = Meter::default();
        for _ in (0..400_000_u32).inspect(|_| meter.pull()).pool_map(workers, |x| x) {
            meter.deliver();
        }
        assert!(meter.peak.get() <= 6 * 8192 * workers, "{}", meter.peak.get());
    }
}

#[test]
fn endless_sources_end_with_their_consumer() {
    for workers in [1, 2, 4] {
        assert!((0_u64..).pool_map(workers, |x| x * 2).take(1000).eq((0..1000).map(|x| x * 2)));
        assert_eq!((0_u64..).pool_map(workers, |x| x * x).find(|x| *x > 1_000_000), Some(1001 * 1001));
        assert_eq!((0_u64..).pool_map(workers, |x| x).position(|x| x == 500), Some(500));
        let until_100 = |x: u64| if x < 100 { Ok(x) } else { Err(x) };
        assert_eq!((0..).pool_map(workers, until_100).collect::<Result<Vec<_>, _>>(), Err(100));
        assert_eq!((0..).pool_map(workers, |x: u64| until_100(x).ok()).collect::<Option<Vec<_>>>(), None);
        assert_eq!((0..).pool_map(workers, until_100).sum::<Result<u64, _>>(), Err(100));
        assert_eq!((0_u64..).pool_map(workers, |x| x).map_while(|x| (x < 300).then_some(x)).count(), 300);
        for x in (0_u64..).pool_map(workers, |x| x) {
            if x == 300 {
                break;
            }
        }
    }
}

/// What happens to an item, in the order in which it happens.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Pulled(usize),
    Ran(usize),
    Delivered(usize),
}

#[test]
fn one_in_flight_is_pull_run_deliver_like_map() {
    let expected: Vec<Event> = (0..50).flat_map(|x| [Event::Pulled(x), Event::Ran(x), Event::Delivered(x)]).collect();
    for workers in 1..=4 {
        for chunk in [None, Some(1), Some(10)] {
            let events = Mutex::new(Vec::new());
            let note = |event| events.lock().expect("not poisoned").push(event);
            let make = || {
                let source = (0..50).inspect(|x| note(Event::Pulled(*x)));
                let it = source.pool_map(workers, |x| {
                    note(Event::Ran(x));
                    x
                });
                let it = it.max_in_flight(1);
                if let Some(items) = chunk { it.chunk_size(items) } else { it }
            };
            make().for_each(|x| note(Event::Delivered(x)));
            assert_eq!(std::mem::take(&mut *events.lock().expect("not poisoned")), expected, "streamed");
            for x in make() {
                note(Event::Delivered(x));
            }
            assert_eq!(std::mem::take(&mut *events.lock().expect("not poisoned")), expected, "in a loop");
        }
    }
}

#[test]
fn with_one_in_flight_the_source_may_wait_for_the_consumers_answer() {
    // The consumer's answer to item n is item n + 1; there is nothing else to pull.
    for workers in [1, 3] {
        let make = || {
            let (answer, answers) = mpsc::channel();
            answer.send(0).expect("the receiver lives");
            (answer, answers.into_iter().pool_map(workers, |x: u32| x + 1).max_in_flight(1))
        };
        let mut seen = Vec::new();
        let (answer, it) = make();
        let mut answer = Some(answer);
        it.for_each(|x| {
            seen.push(x);
            match &answer {
                Some(sender) if x < 100 => sender.send(x).expect("the receiver lives"),
                _ => answer = None,
            }
        });
        assert_eq!(seen, (1..=100).collect::<Vec<_>>());

        let (answer, it) = make();
        let mut answer = Some(answer);
        let mut looped = Vec::new();
        for x in it {
            looped.push(x);
            match &answer {
                Some(sender) if x < 100 => sender.send(x).expect("the receiver lives"),
                _ => answer = None,
            }
        }
        assert_eq!(looped, seen);
    }
}

/// Gives all the results of the iterator to the other argument.
type Drive<'a> = &'a dyn Fn(&mut dyn Iterator<Item = usize>, &mut dyn FnMut(usize));

#[test]
fn a_source_may_wait_for_the_answer_to_the_item_that_many_before() {
    for limit in 1..=8 {
        for workers in 1..=4 {
            // Item k + limit waits for the delivery of result k.
            let run = |drive: Drive| {
                let (tell, told) = mpsc::channel();
                let source = (0..60_usize).inspect(|x| {
                    if let Some(before) = x.checked_sub(limit) {
                        assert_eq!(told.try_recv(), Ok(before), "result {before} was held back");
                    }
                });
                let mut it = source.pool_map(workers, |x| x).max_in_flight(limit);
                drive(&mut it, &mut |x| tell.send(x).expect("the receiver lives"));
                assert_eq!(it.next(), None);
            };
            run(&|it, tell| it.for_each(tell));
            run(&|it, tell| {
                for x in it {
                    tell(x);
                }
            });
        }
    }
}

/// What is ready is delivered before the source is asked again: when item `x` is given out, all of `0..x - 1` had come
/// back, so that they have been delivered when item `x + 1` is asked for.
fn ready_first(steady: usize, count: usize, work: fn(), it_chunk: Option<usize>) {
    let started = Level::default();
    let delivered = RefCell::new(Vec::new());
    let mut x = 0;
    let source = std::iter::from_fn(|| {
        if x > steady + 1 {
            assert!(delivered.borrow().len() >= x - 2, "results held back at item {x}: {:?}", delivered.borrow());
        }
        if x > steady {
            // There is one worker. It starts an item only when those before it are done and handed over.
            started.wait_for(x);
            // A source that was quick beside `f`, for an eighth of its time, could be asked before what is ready goes out. Half of
            // this is what the first slow call makes of the estimate.
            thread::sleep(Duration::from_millis(2));
        }
        x += 1;
        (x <= count).then_some(x - 1)
    });
    let it = source.pool_map(1, |x| {
        started.add(1);
        work();
        x
    });
    let it = if let Some(items) = it_chunk { it.chunk_size(items) } else { it };
    it.for_each(|x| delivered.borrow_mut().push(x));
    assert_eq!(*delivered.borrow(), (0..count).collect::<Vec<_>>());
}

#[test]
fn a_slow_source_does_not_hold_back_what_is_ready() {
    ready_first(0, 200, || {}, Some(1));
}

#[test]
fn by_default_a_slow_source_does_not_hold_back_slow_items() {
    // Sizes follow measured times: no chunk takes more than 5 ms, so items of 6 ms go alone, after the first 64, of which 16 may be pulled at one go.
    ready_first(257, 280, || thread::sleep(Duration::from_millis(6)), None);
}

/// A source that gives so many items, says no more before all of them were run, and then ends.
fn silent(count: usize, ran: &Level) -> impl Iterator<Item = usize> + Send + '_ {
    let mut items = 0..count;
    std::iter::from_fn(move || items.next().or_else(|| (ran.wait_for(count), None).1))
}

/// What takes so long that items are handed over one by one, however quick the source is.
fn run(ran: &Level) {
    thread::sleep(Duration::from_micros(1));
    ran.add(1);
}

#[test]
fn what_a_source_has_given_is_run_while_it_is_silent() {
    type Way = fn(&mut dyn Iterator<Item = usize>, &Level);
    let ways: [Way; 5] = [
        |items, ran| items.pool_for_each(2, |_| run(ran)),
        |items, ran| assert!(items.pool_map(2, |x| (x, run(ran)).0).collect::<Vec<_>>().is_sorted()),
        |items, ran| items.pool_map(2, |_| run(ran)).for_each(drop),
        |items, ran| items.pool_map(1, |_| run(ran)).chunk_size(7).for_each(drop),
        |items, ran| {
            for () in items.pool_map(3, |_| run(ran)) {}
        },
    ];
    for count in [1, 2, 15, 16, 17, 100, 1000] {
        for way in ways {
            let ran = Level::default();
            way(&mut silent(count, &ran), &ran);
        }
    }
}

#[test]
fn what_a_channel_has_given_is_run_while_it_is_silent_however_quick_its_items_are() {
    type Way = fn(Receiver<usize>, &Level);
    let ways: [Way; 4] = [
        |items, ran| items.into_iter().pool_for_each(4, |_| ran.add(1)),
        |items, ran| assert_eq!(items.into_iter().pool_map(2, |x| (x, ran.add(1)).0).max(), Some(4999)),
        |items, ran| assert_eq!(items.into_iter().pool_map(1, |_| ran.add(1)).collect::<Vec<_>>().len(), 5000),
        |items, ran| pool_map::scope(2, |scope| scope.imap(items, |_| ran.add(1)).for_each(drop)),
    ];
    for way in ways {
        let (ran, (sender, receiver)) = (Level::default(), mpsc::channel());
        thread::scope(|scope| {
            scope.spawn(|| {
                (0..5000).for_each(|x| sender.send(x).expect("somebody listens"));
                ran.wait_for(5000);
                drop(sender);
            });
            way(receiver, &ran);
        });
    }
}

/// How many results there were at once, of items that take a while and a consumer that takes longer: on 4 workers.
fn most_results(run: impl FnOnce(&dyn Fn(), &(dyn Fn(usize) -> Large + Sync))) -> usize {
    let (made, most, taken) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let take = || {
        thread::sleep(Duration::from_millis(2));
        taken.fetch_add(1, Ordering::SeqCst);
    };
    let work = |_| {
        // What it costs, so that it is known to be slow.
        thread::sleep(Duration::from_millis(1));
        let alive = made.fetch_add(1, Ordering::SeqCst) + 1 - taken.load(Ordering::SeqCst);
        most.fetch_max(alive, Ordering::SeqCst);
        Large::default()
    };
    run(&take, &work);
    most.into_inner()
}

#[test]
fn a_slow_consumer_finds_few_results_of_slow_items() {
    let ways: [fn() -> usize; 3] = [
        || most_results(|take, make| (0..200).pool_map(4, make).for_each(|_| take())),
        || most_results(|take, make| (0..200).filter(|_| true).pool_map(4, make).for_each(|_| take())),
        || most_results(|take, make| pool_map::scope(4, |scope| scope.imap(0..200, make).for_each(|_| take()))),
    ];
    for way in ways {
        // Two for each worker wait, and one is at work; one more each where the consumer has just taken some. Where a worker
        // loses its core, what the others do meanwhile waits for its item, and does not count: not in each run.
        let mosts: Vec<_> = (0..10).map(|_| way()).take_while(|most| *most > 20).collect();
        assert!(mosts.len() < 10, "{mosts:?}");
    }
}

/// What `collect` keeps anyway does not count, so a slow item at the head idles nobody.
#[test]
fn items_behind_a_slow_head_are_run_to_the_last_where_all_are_kept() {
    let others = Level::default();
    let f = |x| if x == 0 { others.wait_for(99_999) } else { others.add(1) };
    assert_eq!((0..100_000).pool_map(2, f).collect::<Vec<_>>().len(), 100_000);
}

/// However long the consumer takes for the results at hand, the workers do not run dry meanwhile.
#[test]
fn items_start_while_the_consumer_is_busy_with_what_is_ready() {
    let finished = Level::default();
    let last = Gate::default();
    let f = |x: usize| {
        // So that the source is quick beside it, even if it loses its core for a while.
        thread::sleep(Duration::from_millis(50));
        match x {
            // The first four are ready together, and the fifth is not among them: four may be in flight.
            0 => finished.wait_for(3),
            4 => last.open(),
            _ => finished.add(1),
        }
        x
    };
    let mut results = Vec::new();
    (0..6).pool_map(2, f).max_in_flight(4).for_each(|x| {
        if x == 3 {
            last.wait();
        }
        results.push(x);
    });
    assert!(results.into_iter().eq(0..6));
}

/// The most memory that this process has had, in KiB.
#[cfg(target_os = "linux")]
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says so");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("with a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[cfg(target_os = "linux")]
#[test]
fn four_gigabytes_go_through_in_less_than_96_megabytes() {
    crate::child::succeeds(|| {
        let mut total = 0;
        (0..4_000_000_u32).map(|x| [x; 256]).pool_map(16, |kib| kib).for_each(|kib| total += u64::from(kib[255]));
        assert_eq!(total, (0..4_000_000).sum());
        assert!(peak_memory() < 96 << 10, "{} KiB", peak_memory());
    });
}
