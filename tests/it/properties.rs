//! A model test of promises 1 and 6: random sources, consumers and settings, with `Iterator::map` as the model.

use pool_map::{NotReady, Pool, PoolIterator, Task, as_completed, scope};
use proptest::prelude::*;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A payload; thrown without the hook, which would print thousands of traces.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bad {
    Item(usize),
    Source(usize),
}

fn throw(bad: Bad) -> ! {
    resume_unwind(Box::new(bad))
}

/// A source, made as often as needed.
#[derive(Clone, Debug)]
struct Source {
    length: usize,
    shape: Shape,
    /// Fails in place of giving this item.
    bad: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Range,
    Chained(usize),
    Filtered(usize),
    Stepped(usize),
    Peeked,
    Skipped(usize),
    Flat(usize),
    Unsized,
    Reversed,
    /// Gives items again after its end.
    Unfused,
}

impl Source {
    /// The items, numbered: `f` and the source fail by number.
    fn make(&self) -> Box<dyn Iterator<Item = (usize, usize)> + Send> {
        let length = self.length;
        let values: Box<dyn Iterator<Item = usize> + Send> = match self.shape {
            Shape::Range => Box::new(0..length),
            Shape::Chained(more) => Box::new((0..length).chain(500..500 + more)),
            Shape::Filtered(of) => Box::new((0..length).filter(move |x| x % of != 1)),
            Shape::Stepped(by) => Box::new((0..length).step_by(by)),
            Shape::Peeked => {
                let mut peeked = (0..length).peekable();
                peeked.peek();
                Box::new(peeked)
            }
            Shape::Skipped(count) => Box::new((0..length).skip(count)),
            Shape::Flat(width) => Box::new((0..length).flat_map(move |x| x..x + width)),
            Shape::Unsized => {
                let mut range = 0..length;
                Box::new(std::iter::from_fn(move || range.next()))
            }
            Shape::Reversed => Box::new((0..length).rev()),
            Shape::Unfused => {
                let mut asked = 0;
                Box::new(std::iter::from_fn(move || {
                    asked += 1;
                    (asked % (length + 1) != 0).then_some(asked)
                }))
            }
        };
        let bad = self.bad;
        Box::new(values.enumerate().inspect(move |(number, _)| {
            if bad == Some(*number) {
                throw(Bad::Source(*number));
            }
        }))
    }

    fn knows_its_length(&self) -> bool {
        !matches!(self.shape, Shape::Filtered(_) | Shape::Flat(_) | Shape::Unsized | Shape::Unfused)
    }

    /// The same without a failure, and over at its end.
    fn make_fused(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        Source { bad: None, ..self.clone() }.make().fuse()
    }

    /// How many items there are, failures aside.
    fn count(&self) -> usize {
        Source { bad: None, ..self.clone() }.make().count()
    }
}

/// What a consumer does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Next(usize),
    Nth(usize),
    Take(usize),
    SkipTake(usize, usize),
    Every(usize),
    Find(usize),
    FindMap(usize),
    Any(usize),
    All(usize),
    Position(usize),
    TryFold(usize),
    TakeWhile(usize),
    MapWhile(usize),
    SkipWhile(usize),
    Scan(usize),
    Eq(usize),
    Peekable,
    // These take the rest.
    Fold,
    Collect,
    Loop,
    Count,
    Last,
    Adaptors,
    Zip,
    Chain,
    Flatten,
    MinMax,
    Partition,
    Reduce,
    Extend,
}

impl Step {
    /// Whether no item is left after it, if nothing fails.
    fn takes_all(self) -> bool {
        use Step::{Adaptors, Chain, Collect, Count, Extend, Flatten, Fold, Last, Loop, MinMax, Partition, Reduce};
        matches!(
            self,
            Fold | Collect | Loop | Count | Last | Adaptors | Chain | Flatten | MinMax | Partition | Reduce | Extend
        )
    }
}

/// What a consumer sees.
#[derive(Debug, PartialEq)]
enum Seen {
    Result(usize),
    End,
    Number(usize),
    Failed(Bad),
}

thread_local! {
    /// What the consumer at work has seen; there, so that a collection can note it too.
    static SEEN: RefCell<Vec<Seen>> = const { RefCell::new(Vec::new()) };
}

fn note(seen: Seen) {
    SEEN.with_borrow_mut(|all| all.push(seen));
}

fn note_result(result: Option<usize>) {
    note(result.map_or(Seen::End, Seen::Result));
}

struct Recorder;

impl FromIterator<usize> for Recorder {
    fn from_iter<I: IntoIterator<Item = usize>>(results: I) -> Recorder {
        for result in results {
            note(Seen::Result(result));
        }
        Recorder
    }
}

type Hint = (usize, Option<usize>);

/// Consumes in these steps, until one takes the rest or fails. The hints go with the number of results seen before.
fn consume(mut it: impl Iterator<Item = usize>, steps: &[Step]) -> (Vec<Seen>, Vec<Hint>) {
    SEEN.take();
    let mut hints = vec![it.size_hint()];
    let end = catch_unwind(AssertUnwindSafe(|| {
        for step in steps {
            match *step {
                Step::Next(times) => (0..times).for_each(|_| note_result(it.next())),
                Step::Nth(n) => note_result(it.nth(n)),
                Step::Take(count) => it.by_ref().take(count).for_each(|x| note(Seen::Result(x))),
                Step::SkipTake(skip, count) => {
                    it.by_ref().skip(skip).take(count).for_each(|x| note(Seen::Result(x)));
                }
                Step::Every(by) => it.by_ref().step_by(by).take(3).for_each(|x| note(Seen::Result(x))),
                Step::Find(of) => note_result(it.find(|x| x % 10 == of)),
                Step::FindMap(of) => note_result(it.find_map(|x| (x % 10 == of).then_some(x + 1))),
                Step::Any(of) => note(Seen::Number(usize::from(it.any(|x| x % 10 == of)))),
                Step::All(of) => note(Seen::Number(usize::from(it.all(|x| x % 10 != of)))),
                Step::TakeWhile(of) => it.by_ref().take_while(|x| x % 10 != of).for_each(|x| note(Seen::Result(x))),
                Step::MapWhile(of) => {
                    it.by_ref().map_while(|x| (x % 10 != of).then_some(x + 1)).for_each(|x| note(Seen::Result(x)));
                }
                Step::SkipWhile(of) => note_result(it.by_ref().skip_while(|x| x % 10 != of).nth(1)),
                Step::Scan(most) => {
                    let sums = it.by_ref().scan(0, |sum, x| {
                        *sum += x;
                        (*sum < most).then_some(*sum)
                    });
                    sums.for_each(|x| note(Seen::Result(x)));
                }
                Step::Eq(count) => note(Seen::Number(usize::from(it.by_ref().eq((0..count).map(|x| x * 7))))),
                Step::Position(of) => note(it.position(|x| x % 10 == of).map_or(Seen::End, Seen::Number)),
                Step::TryFold(most) => {
                    let sum = it.try_fold(0_usize, |sum, x| if sum < most { Ok(sum + x) } else { Err(x) });
                    note(Seen::Number(sum.unwrap_or_else(|x| x)));
                }
                Step::Peekable => {
                    let mut it = it.by_ref().peekable();
                    note_result(it.peek().copied());
                    note_result(it.next_if(|x| x % 2 == 0));
                }
                Step::Fold => return it.fold((), |(), x| note(Seen::Result(x))),
                Step::Collect => return drop(it.collect::<Recorder>()),
                Step::Loop => {
                    for x in it {
                        note(Seen::Result(x));
                    }
                    return;
                }
                Step::Count => return note(Seen::Number(it.count())),
                Step::Last => return note_result(it.last()),
                Step::Adaptors => {
                    return it.enumerate().filter(|x| x.1 % 3 != 0).map(|x| x.0).for_each(|x| note(Seen::Number(x)));
                }
                Step::Chain => return it.chain(900..903).for_each(|x| note(Seen::Result(x))),
                Step::Flatten => return it.flat_map(|x| x..x + x % 3).for_each(|x| note(Seen::Result(x))),
                Step::MinMax => {
                    let minmax = it.fold((usize::MAX, 0), |(min, max), x| (min.min(x % 50), max.max(x % 50)));
                    note(Seen::Number(minmax.0));
                    return note(Seen::Number(minmax.1));
                }
                Step::Partition => {
                    let (even, odd) = it.partition::<Vec<_>, _>(|x| x % 2 == 0);
                    return even.into_iter().chain(odd).for_each(|x| note(Seen::Result(x)));
                }
                Step::Reduce => return note_result(it.reduce(|a, b| (3 * a + b) % 1_000_003)),
                Step::Extend => {
                    let mut all = vec![1];
                    all.extend(it);
                    return all.into_iter().for_each(|x| note(Seen::Result(x)));
                }
                Step::Zip => return it.zip(0..40).for_each(|x| note(Seen::Result(x.0 + x.1))),
            }
            hints.push(it.size_hint());
        }
    }));
    if let Err(payload) = end {
        note(Seen::Failed(bad(&*payload)));
    }
    (SEEN.take(), hints)
}

/// The same where the iterator has no methods of its own, or where they are not what is tested: in a box, so that all of these are compiled once.
fn consume_boxed<'i>(it: impl Iterator<Item = usize> + 'i, steps: &[Step]) -> (Vec<Seen>, Vec<Hint>) {
    let boxed: Box<dyn Iterator<Item = usize> + 'i> = Box::new(it);
    consume(boxed, steps)
}

fn bad(payload: &(dyn Any + Send)) -> Bad {
    match (payload.downcast_ref::<Bad>(), payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(bad), ..) => *bad,
        (_, text, message) => panic!("another payload than those thrown: {text:?} {message:?}"),
    }
}

fn sources() -> impl Strategy<Value = Source> {
    let shape = prop_oneof![
        3 => Just(Shape::Range),
        1 => (0..50_usize).prop_map(Shape::Chained),
        1 => (2..5_usize).prop_map(Shape::Filtered),
        1 => (1..4_usize).prop_map(Shape::Stepped),
        1 => Just(Shape::Peeked),
        1 => (0..30_usize).prop_map(Shape::Skipped),
        1 => (0..4_usize).prop_map(Shape::Flat),
        1 => Just(Shape::Unsized),
        1 => Just(Shape::Reversed),
        1 => Just(Shape::Unfused),
    ];
    let bad = prop_oneof![3 => Just(None), 1 => (0..120_usize).prop_map(Some)];
    (prop_oneof![0..12_usize, 0..120_usize], shape, bad).prop_map(|(length, shape, bad)| Source { length, shape, bad })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let some = prop_oneof![
        (0..15_usize).prop_map(Step::Next),
        (0..15_usize).prop_map(Step::Nth),
        (0..15_usize).prop_map(Step::Take),
        (0..9_usize, 0..9_usize).prop_map(|(skip, count)| Step::SkipTake(skip, count)),
        (1..5_usize).prop_map(Step::Every),
        (0..10_usize).prop_map(Step::Find),
        (0..10_usize).prop_map(Step::Position),
        (0..400_usize).prop_map(Step::TryFold),
        (0..10_usize).prop_map(Step::FindMap),
        (0..10_usize).prop_map(Step::Any),
        (0..10_usize).prop_map(Step::All),
        (0..10_usize).prop_map(Step::TakeWhile),
        (0..10_usize).prop_map(Step::MapWhile),
        (0..10_usize).prop_map(Step::SkipWhile),
        (0..900_usize).prop_map(Step::Scan),
        (0..20_usize).prop_map(Step::Eq),
        Just(Step::Peekable),
    ];
    let rest = prop_oneof![
        Just(Step::Fold),
        Just(Step::Collect),
        Just(Step::Loop),
        Just(Step::Count),
        Just(Step::Last),
        Just(Step::Adaptors),
        Just(Step::Zip),
        Just(Step::Chain),
        Just(Step::Flatten),
        Just(Step::MinMax),
        Just(Step::Partition),
        Just(Step::Reduce),
        Just(Step::Extend),
        Just(Step::Next(2)),
    ];
    (prop::collection::vec(some, 0..6), rest).prop_map(|(mut steps, rest)| {
        steps.push(rest);
        steps
    })
}

/// Settings of a call: workers (none for an inline pool), chunk size, limit.
type Settings = (usize, Option<usize>, Option<usize>);

/// A call of that method on a source.
macro_rules! call {
    ($source:ident, $method:ident, $f:ident, $settings:ident) => {{
        let (workers, chunk, limit): Settings = $settings;
        let mut it = match workers {
            0 => $source.make().$method(Pool::inline(), $f),
            workers => $source.make().$method(workers, $f),
        };
        if let Some(items) = chunk {
            it = it.chunk_size(items);
        }
        if let Some(items) = limit {
            it = it.max_in_flight(items);
        }
        it
    }};
}

fn settings() -> impl Strategy<Value = Settings> {
    (0..=6_usize, prop::option::of(1..20_usize), prop::option::of(1..40_usize))
}

fn pool(workers: usize) -> Pool {
    if workers == 0 { Pool::inline() } else { Pool::new(workers).expect("a few threads start") }
}

macro_rules! with_options {
    ($it:expr, $chunk:expr, $limit:expr) => {{
        let mut it = $it;
        if let Some(items) = $chunk {
            it = it.chunk_size(items);
        }
        if let Some(items) = $limit {
            it = it.max_in_flight(items);
        }
        it
    }};
}

/// The doors whose results are in order, besides those that have a property of their own.
#[derive(Clone, Copy, Debug)]
enum Ordered {
    Init,
    TryInit,
    With,
    Star,
    Slow,
    RunAhead,
    Scope,
}

fn ordered() -> impl Strategy<Value = Ordered> {
    use Ordered::{Init, RunAhead, Scope, Slow, Star, TryInit, With};
    prop::sample::select(vec![Init, TryInit, With, Star, Slow, RunAhead, Scope])
}

/// And those whose results come as they are ready.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unordered {
    Imap,
    RunAhead,
    Scope,
    AsCompleted,
}

fn unordered() -> impl Strategy<Value = Unordered> {
    use Unordered::{AsCompleted, Imap, RunAhead, Scope};
    prop::sample::select(vec![Imap, RunAhead, Scope, AsCompleted])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pool_map_is_map(
        source in sources(),
        bad_item in prop_oneof![2 => Just(None), 1 => (0..120_usize).prop_map(Some)],
        steps in steps(),
        settings in settings(),
    ) {
        let calls = AtomicUsize::new(0);
        let f = |(number, value): (usize, usize)| {
            calls.fetch_add(1, Ordering::Relaxed);
            if bad_item == Some(number) { throw(Bad::Item(number)) } else { value * 7 }
        };
        let (expected, map_hints) = consume_boxed(source.make().map(f), &steps);
        let map_calls = calls.swap(0, Ordering::Relaxed);

        let it = call!(source, pool_map, f, settings);
        let (found, hints) = consume(it, &steps);
        // Items read ahead are run, too; where all are asked for, it is as often as under `map`.
        let calls = calls.load(Ordering::Relaxed);
        let failed = matches!(found.last(), Some(Seen::Failed(_)));
        let all = source.make_fused().count();
        if !failed && steps.last().is_some_and(|step| step.takes_all()) {
            prop_assert_eq!(calls, all);
        } else {
            prop_assert!(calls <= all, "{} calls for {} items", calls, all);
            prop_assert!(matches!(source.shape, Shape::Unfused) || calls >= map_calls, "{} calls, not {}", calls, map_calls);
        }
        // A source that gives items after its end is fused here, and not by `map`: compare up to there.
        let unfused = matches!(source.shape, Shape::Unfused);
        if unfused {
            let fused = consume_boxed(source.make().fuse().map(f), &steps).0;
            prop_assert_eq!(&found, &fused);
        } else {
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(hints.len(), map_hints.len());
        }

        for (hint, map_hint) in hints.iter().zip(&map_hints).filter(|_| !unfused) {
            if source.bad.is_some_and(|bad| bad < source.count()) {
                // What a failing source says of its length is not true; ours may have seen the failure coming.
                prop_assert!(hint.1.is_none_or(|high| hint.0 <= high));
            } else if source.knows_its_length() {
                prop_assert_eq!(hint, map_hint);
            } else {
                // Items read ahead are known, so ours may be narrower, never wider.
                prop_assert!(hint.0 >= map_hint.0, "{:?} is wider than {:?}", hint, map_hint);
                let narrower = map_hint.1.is_none_or(|most| hint.1.is_some_and(|high| high <= most));
                prop_assert!(narrower, "{:?} is wider than {:?}", hint, map_hint);
                prop_assert!(hint.1.is_none_or(|high| hint.0 <= high));
            }
        }
    }

    #[test]
    fn consume_is_map(
        source in sources(),
        bad_item in prop_oneof![2 => Just(None), 1 => (0..120_usize).prop_map(Some)],
        first in 0..9_usize,
        steps in steps(),
        settings in settings(),
    ) {
        let f = |(number, value): (usize, usize)| {
            if bad_item == Some(number) { throw(Bad::Item(number)) } else { value * 7 }
        };
        let mut map = source.make().fuse().map(f);
        let mut it = call!(source, pool_map, f, settings);
        // By `next` at first, and the rest in a closure.
        let expected = consume_boxed(map.by_ref(), &[Step::Next(first)]).0;
        prop_assert_eq!(consume_boxed(it.by_ref(), &[Step::Next(first)]).0, &expected[..]);
        if !matches!(expected.last(), Some(Seen::Failed(_))) {
            let expected = consume_boxed(map, &steps).0;
            let found = catch_unwind(AssertUnwindSafe(|| it.consume(|results| consume(results, &steps).0)));
            prop_assert_eq!(found.expect("the panic is caught inside"), expected);
        }
    }

    #[test]
    fn pool_imap_is_map(
        source in sources(),
        bad_item in prop_oneof![2 => Just(None), 1 => (0..120_usize).prop_map(Some)],
        steps in steps(),
        asks in any::<bool>(),
        settings in settings(),
    ) {
        let f = move |(number, value): (usize, usize)| {
            if bad_item == Some(number) { throw(Bad::Item(number)) } else { value * 7 }
        };
        let expected = consume_boxed(source.make().fuse().map(f), &steps).0;
        let mut it = call!(source, pool_imap, f, settings);
        let found = if asks {
            // Not a wait, but a question, again and again.
            let ask = || loop {
                match it.try_next() {
                    Ok(next) => return next,
                    Err(NotReady) => std::thread::yield_now(),
                }
            };
            consume_boxed(std::iter::from_fn(ask), &steps).0
        } else {
            consume(it, &steps).0
        };
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn every_ordered_door_is_map(
        source in sources(),
        bad_item in prop_oneof![2 => Just(None), 1 => (0..120_usize).prop_map(Some)],
        steps in steps(),
        door in ordered(),
        (workers, chunk, limit) in settings(),
    ) {
        let f = move |(number, value): (usize, usize)| {
            if bad_item == Some(number) { throw(Bad::Item(number)) } else { value * 7 }
        };
        let expected = consume(source.make().fuse().map(f), &steps).0;
        let pool = pool(workers);
        let count = AtomicUsize::new(0);
        let init = || count.fetch_add(1, Ordering::Relaxed);
        let drive = |results: &mut dyn Iterator<Item = usize>| consume(results, &steps).0;
        let found = match door {
            Ordered::Init => {
                let it = source.make().pool_map_init(&pool, init, |_: &mut usize, item| f(item));
                drive(&mut with_options!(it, chunk, limit))
            }
            Ordered::TryInit => {
                let it = source.make().pool_map_try_init(&pool, || Ok(init()), |_: &mut usize, item| Ok(f(item)));
                let it = with_options!(it, chunk, limit);
                it.consume(|results| drive(&mut results.map(|result: Result<usize, ()>| result.expect("no error"))))
            }
            Ordered::With => {
                let it = source.make().pool_map_with(&pool, Cell::new(0), |state: &mut Cell<usize>, item| {
                    state.set(state.get() + 1);
                    f(item)
                });
                with_options!(it, chunk, limit).consume(|mut results| drive(&mut results))
            }
            Ordered::Star => {
                let it = source.make().pool_starmap(&pool, move |number, value| f((number, value)));
                drive(&mut with_options!(it, chunk, limit))
            }
            Ordered::Slow => {
                let it = source.make().pool_map(&pool, f).report_slow(Duration::from_secs(3600));
                drive(&mut with_options!(it, chunk, limit))
            }
            Ordered::RunAhead => {
                let it = source.make().pool_map_init(&pool, || 0, move |_: &mut usize, item| f(item));
                drive(&mut with_options!(it, chunk, limit).run_ahead())
            }
            Ordered::Scope => scope(&pool, |s| drive(&mut with_options!(s.imap(source.make(), f), chunk, limit))),
        };
        prop_assert_eq!(found, expected);
        prop_assert!(count.into_inner() <= workers.max(1));
    }

    #[test]
    fn every_unordered_door_has_the_results_of_map(
        source in sources(),
        bad_item in prop_oneof![2 => Just(None), 1 => (0..120_usize).prop_map(Some)],
        takes in prop_oneof![Just(usize::MAX), 0..20_usize],
        door in unordered(),
        (workers, chunk, limit) in settings(),
    ) {
        let f = move |(number, value): (usize, usize)| {
            if bad_item == Some(number) { throw(Bad::Item(number)) } else { value * 7 }
        };
        // Tasks are made before the first is waited for, so their source has to end well.
        let source = if door == Unordered::AsCompleted { Source { bad: None, ..source } } else { source };
        let pool = pool(workers);
        let drive = |results: &mut dyn Iterator<Item = usize>| consume(results, &[Step::Take(takes)]).0;
        let mut seen = match door {
            Unordered::Imap => drive(&mut with_options!(source.make().pool_imap_unordered(&pool, f), chunk, limit)),
            Unordered::RunAhead => {
                drive(&mut with_options!(source.make().pool_map(&pool, f).run_ahead().unordered(), chunk, limit))
            }
            Unordered::Scope => {
                scope(&pool, |s| drive(&mut with_options!(s.imap_unordered(source.make(), f), chunk, limit)))
            }
            Unordered::AsCompleted => {
                let tasks: Vec<_> = source.make().fuse().map(|item| pool.spawn(move || f(item))).collect();
                drive(&mut as_completed(tasks).map(Task::join))
            }
        };
        let is_bad_source = source.bad.is_some_and(|bad| bad < source.count());
        let mut all: Vec<_> = source.make_fused().take(source.bad.unwrap_or(usize::MAX)).collect();
        let is_bad_item = all.iter().any(|(number, _)| bad_item == Some(*number));
        all.retain(|(number, _)| bad_item != Some(*number));
        if let Some(Seen::Failed(failed)) = seen.last() {
            prop_assert!(if matches!(failed, Bad::Item(_)) { is_bad_item } else { is_bad_source }, "{:?}", failed);
            seen.pop();
        } else {
            prop_assert!(seen.len() == takes.min(all.len()) && (takes <= all.len() || !is_bad_item && !is_bad_source));
        }
        for result in seen {
            let Seen::Result(result) = result else { unreachable!("{result:?}") };
            let place = all.iter().position(|item| f(*item) == result);
            prop_assert!(place.is_some(), "{} is no result, or came twice", result);
            all.swap_remove(place.expect("checked"));
        }
    }

    #[test]
    fn caught_panics_are_the_errors_of_map(
        source in sources(),
        every in 1..20_usize,
        first in 0..9_usize,
        rest in prop_oneof![Just(Step::Fold), Just(Step::Loop), Just(Step::Collect), Just(Step::Next(200))],
        settings in settings(),
    ) {
        let fails = |number: usize| number % every == every - 1;
        let f = |(number, value): (usize, usize)| if fails(number) { throw(Bad::Item(number)) } else { value * 7 };
        let model = |(number, value): (usize, usize)| if fails(number) { 1_000_000 + number } else { value * 7 };
        let it = call!(source, pool_map, f, settings);
        let results = it.catch_panics().map(|result| result.unwrap_or_else(|panic| {
            let index = panic.index().expect("an item");
            assert_eq!(bad(&*panic.into_payload()), Bad::Item(index));
            1_000_000 + index
        }));
        let steps = [Step::Next(first), rest];
        let expected = consume_boxed(source.make().fuse().map(model), &steps).0;
        prop_assert_eq!(consume(results, &steps).0, expected);
    }
}
