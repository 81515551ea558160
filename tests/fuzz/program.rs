//! Turns bytes into a program: a source, a closure, an entry point with its options, and what the consumer does. Runs it with
//! `Iterator::map` and with this crate, and compares.
//!
//! Any bytes are a program, and bytes that are missing are zeros. A difference is a panic with the program in its message.
//! What is compared:
//!
//! - what the consumer gets, with the panic at its end, if there is one;
//! - how often `f` runs for an item: once at most;
//! - how many items are in flight at each pull, where the program sets a limit;
//! - that items, results, states, the source and `f` are gone at the end.

use pool_map::{
    CancelToken, NotReady, PanicKind, Pool, PoolImap, PoolIterator, PoolParallelIterator, TaskPanic, TraceLevel,
    as_completed,
};
use rayon::prelude::*;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Runs the program that these bytes stand for.
///
/// # Panics
///
/// If this crate and `map` differ.
pub(crate) fn run(bytes: &[u8]) {
    let program = Program::decode(&mut Bytes(bytes));
    if program.has_two_callers {
        std::thread::scope(|scope| {
            scope.spawn(|| program.check());
            program.check();
        });
    } else {
        program.check();
    }
}

/// What is left of the input.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> usize {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(byte)
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() % end
    }

    /// A number below `end`, as a rule none.
    fn sometimes(&mut self, end: usize) -> Option<usize> {
        let byte = self.next();
        (byte % 4 == 3).then(|| self.below(end))
    }

    fn flag(&mut self) -> bool {
        self.next() % 4 == 3
    }
}

/// A payload. It is raised without the hook, which would print a trace for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bad {
    Item(usize),
    Source(usize),
    Consumer,
}

fn raise(bad: Bad) -> ! {
    resume_unwind(Box::new(bad))
}

/// What the consumer notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Result(usize),
    /// `None` of a method.
    Nothing,
    Number(usize),
    Panic(Bad),
}

#[derive(Clone, Copy, Debug)]
enum Entry {
    Map,
    MapInit,
    MapWith,
    MapTryInit,
    Starmap,
    Consume,
    RunAhead,
    Imap,
    Scope,
    Par,
    ForEach,
    TryForEach,
    Tasks,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Range,
    Filtered,
    Chained,
    Flat,
    /// Gives items again after its end.
    Unfused,
    Unsized,
}

/// What `f` does with some items besides.
#[derive(Clone, Copy, Debug)]
enum Nested {
    Nothing,
    Map,
    MapByCount,
    Imap,
    Join,
    Rayon,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Next,
    Take(usize),
    Nth(usize),
    Find(usize),
    Position(usize),
    TakeWhile(usize),
    TryFold(usize),
    Peek,
    /// Panics after so many results.
    Panic(usize),
    // The others take the iterator.
    Loop,
    Fold,
    Collect,
    Count,
    Last,
    Sum,
    Every(usize),
    Drop,
}

impl Step {
    fn decode(bytes: &mut Bytes<'_>) -> Step {
        match bytes.below(9) {
            0 => Step::Next,
            1 => Step::Take(bytes.below(12)),
            2 => Step::Nth(bytes.below(6)),
            3 => Step::Find(bytes.below(10)),
            4 => Step::Position(bytes.below(10)),
            5 => Step::TakeWhile(bytes.below(10)),
            6 => Step::TryFold(bytes.next()),
            7 => Step::Peek,
            _ => Step::Panic(bytes.below(9)),
        }
    }

    fn decode_last(bytes: &mut Bytes<'_>) -> Step {
        match bytes.below(8) {
            0 => Step::Collect,
            1 => Step::Loop,
            2 => Step::Fold,
            3 => Step::Count,
            4 => Step::Last,
            5 => Step::Sum,
            6 => Step::Every(1 + bytes.below(5)),
            _ => Step::Drop,
        }
    }

    /// What it notes are the results themselves, one by one.
    fn is_plain(self) -> bool {
        matches!(self, Step::Next | Step::Take(_) | Step::Loop | Step::Fold | Step::Collect | Step::Drop)
    }
}

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
struct Program {
    entry: Entry,
    /// Workers; 0 is a pool without threads.
    workers: usize,
    /// `pool_map` gets the number instead of a pool.
    by_count: bool,
    chunk: Option<usize>,
    limit: Option<usize>,
    length: usize,
    shape: Shape,
    bad_source: Option<usize>,
    bad_items: Vec<usize>,
    /// The panics of `f` are values.
    catches: bool,
    /// Streams give their results as they come.
    unordered: bool,
    /// Streams are asked without waiting, again and again.
    asks: bool,
    /// The item that cancels the call.
    cancels: Option<usize>,
    nested: Nested,
    has_two_callers: bool,
    steps: Vec<Step>,
}

impl Program {
    fn decode(bytes: &mut Bytes<'_>) -> Program {
        let entry = match bytes.below(13) {
            0 => Entry::Map,
            1 => Entry::RunAhead,
            2 => Entry::Imap,
            3 => Entry::Scope,
            4 => Entry::Consume,
            5 => Entry::Par,
            6 => Entry::MapInit,
            7 => Entry::MapWith,
            8 => Entry::MapTryInit,
            9 => Entry::Starmap,
            10 => Entry::ForEach,
            11 => Entry::TryForEach,
            _ => Entry::Tasks,
        };
        let workers = match entry {
            // Without options: the trace level is that of the pool.
            Entry::ForEach | Entry::TryForEach | Entry::Tasks => 1 + bytes.below(POOLS - 1),
            _ => bytes.below(POOLS),
        };
        let by_count = bytes.flag();
        let chunk = bytes.below(8).checked_sub(1).map(|items| items + 1);
        let limit = bytes.below(20).checked_sub(1).map(|items| items + 1);
        let length = bytes.below(48);
        let shape = match bytes.below(6) {
            0 => Shape::Range,
            1 => Shape::Filtered,
            2 => Shape::Chained,
            3 => Shape::Flat,
            4 => Shape::Unfused,
            _ => Shape::Unsized,
        };
        let bad_source = bytes.sometimes(64);
        let bad_items = (0..bytes.below(4)).map(|_| bytes.below(64)).collect();
        let (catches, unordered, asks) = (bytes.flag(), bytes.flag(), bytes.flag());
        let cancels = bytes.sometimes(64);
        let nested = match bytes.below(12) {
            1 => Nested::Map,
            2 => Nested::MapByCount,
            3 => Nested::Imap,
            4 => Nested::Join,
            5 => Nested::Rayon,
            _ => Nested::Nothing,
        };
        let has_two_callers = bytes.next() % 16 == 15;
        let mut steps: Vec<_> = (0..bytes.below(6)).map(|_| Step::decode(bytes)).collect();
        steps.push(Step::decode_last(bytes));
        // By count there is no pool without threads.
        let by_count = by_count && workers > 0 && matches!(entry, Entry::Map);
        let is_stream = is_stream(entry);
        let unordered = unordered && is_stream;
        // What is in any order, or ends anywhere, is compared result by result.
        if unordered || cancels.is_some() {
            steps.retain(|step| step.is_plain());
            if steps.is_empty() {
                steps.push(Step::Loop);
            }
        }
        Program {
            entry,
            workers,
            by_count,
            chunk,
            limit,
            length,
            shape,
            bad_source,
            bad_items,
            catches: catches
                && matches!(entry, Entry::Map | Entry::MapInit | Entry::RunAhead | Entry::Imap | Entry::Par),
            unordered,
            asks: asks && is_stream,
            cancels,
            nested,
            has_two_callers,
            steps,
        }
    }

    /// The items, with their numbers.
    fn source(&self, watch: &Arc<Watch>) -> Box<dyn Iterator<Item = Item> + Send> {
        let length = self.length;
        let values: Box<dyn Iterator<Item = usize> + Send> = match self.shape {
            Shape::Range => Box::new(0..length),
            Shape::Filtered => Box::new((0..length).filter(|x| x % 3 != 1)),
            Shape::Chained => Box::new((0..length).chain(100..103)),
            Shape::Flat => Box::new((0..length).flat_map(|x| 0..x % 4)),
            Shape::Unfused => {
                let mut asked = 0;
                Box::new(std::iter::from_fn(move || {
                    asked += 1;
                    (asked % (length + 1) != 0).then_some(asked)
                }))
            }
            Shape::Unsized => {
                let mut range = 0..length;
                Box::new(std::iter::from_fn(move || range.next()))
            }
        };
        let (watch, bad) = (Arc::clone(watch), self.bad_source);
        Box::new(values.enumerate().map(move |(number, value)| {
            if bad == Some(number) {
                raise(Bad::Source(number));
            }
            watch.pulled();
            Item { number, value, alive: Alive::new(&watch) }
        }))
    }

    /// Whether its `size_hint` is exact at each step.
    fn knows_its_length(&self) -> bool {
        matches!(self.shape, Shape::Range | Shape::Chained)
    }

    /// What `f` makes of an item, wherever it runs.
    fn value(&self, number: usize, value: usize) -> usize {
        if !self.bad_items.contains(&number) {
            value * 7 + number
        } else if self.catches {
            caught(number)
        } else {
            raise(Bad::Item(number))
        }
    }

    /// `f`.
    fn apply(&self, item: Item, call: &Setting) -> Output {
        let Item { number, value, alive } = item;
        alive.watch.ran(number);
        if self.cancels == Some(number) {
            call.token.cancel();
        }
        if number % 4 == 1 {
            let sum = self.nested(&call.pool, value);
            assert_eq!(sum, 3 * value + 3, "nested: {self:?}");
        }
        if self.catches && self.bad_items.contains(&number) {
            raise(Bad::Item(number));
        }
        Output { value: self.value(number, value), alive: Some(alive) }
    }

    /// The sum of `value` and the two numbers after it.
    fn nested(&self, pool: &Pool, value: usize) -> usize {
        let numbers = value..value + 3;
        match self.nested {
            Nested::Nothing => numbers.sum(),
            Nested::Map => numbers.pool_map(pool, |x| x).sum(),
            Nested::MapByCount => numbers.pool_map(2, |x| x).sum(),
            Nested::Imap => numbers.pool_imap(pool, |x| x).sum(),
            Nested::Join => {
                numbers.map(|x| pool.spawn(move || x)).collect::<Vec<_>>().into_iter().map(|x| x.join()).sum()
            }
            Nested::Rayon => {
                let (first, rest) = rayon::join(|| value, || 2 * value + 3);
                first + rest
            }
        }
    }

    /// Whether the consumer may hold all results.
    fn keeps_all(&self) -> bool {
        matches!(self.steps.last(), Some(Step::Collect)) || matches!(self.entry, Entry::Par | Entry::Tasks)
    }

    fn check(&self) {
        match self.entry {
            Entry::ForEach | Entry::TryForEach => return self.check_for_each(),
            Entry::Tasks => return self.check_tasks(),
            _ => {}
        }
        // What a `collect` had before it panicked is unknown, and what was cut short has less of it.
        let one_by_one = |step: &Step| if matches!(step, Step::Collect) { Step::Fold } else { *step };
        let expected = match self.cancels {
            Some(_) => Program { steps: self.steps.iter().map(one_by_one).collect(), ..self.clone() }.consume_map(),
            None => self.consume_map(),
        };
        let (watch, all_gone) = Watch::new(self.limit.filter(|_| !self.keeps_all()));
        let found = self.call(&watch);
        if matches!(self.entry, Entry::RunAhead | Entry::Imap) {
            drop(watch);
            // Streams that were dropped end on their own.
            let end = all_gone.recv_timeout(Duration::from_secs(60));
            assert_eq!(end, Err(RecvTimeoutError::Disconnected), "something is never dropped: {self:?}");
        } else {
            assert_eq!(Arc::strong_count(&watch), 1, "something outlives the call: {self:?}");
        }
        self.compare(&expected, &found);
    }

    fn compare(&self, expected: &Notes, found: &Notes) {
        if self.unordered {
            self.compare_unordered(expected, found);
        } else if self.cancels.is_some() {
            // A call that is cut short gives fewer results, in the same order.
            let is_start = expected.results().starts_with(&found.results());
            assert!(is_start, "{found:?} is not the start of {expected:?}: {self:?}");
            if let Some(panic @ Seen::Panic(_)) = found.seen.last() {
                assert_eq!(expected.seen.last(), Some(panic), "{self:?}");
            }
        } else {
            assert_eq!(found.seen, expected.seen, "{self:?}");
            if !self.asks {
                self.compare_hints(&expected.hints, &found.hints);
            }
        }
    }

    fn compare_unordered(&self, expected: &Notes, found: &Notes) {
        // All that there is: as long as the consumer takes no more than some, they may be any.
        let (watch, _) = Watch::new(None);
        let all = Program { steps: vec![Step::Loop], bad_items: Vec::new(), bad_source: None, ..self.clone() };
        let bad_items = if self.catches { &self.bad_items[..] } else { &[] };
        let all = all.source(&watch).fuse().map(|item| {
            let is_bad = bad_items.contains(&item.number);
            if is_bad { caught(item.number) } else { item.value * 7 + item.number }
        });
        let mut all: Vec<_> = all.collect();
        for seen in &found.seen {
            match seen {
                Seen::Result(result) => {
                    let place = all.iter().position(|x| x == result);
                    all.swap_remove(place.unwrap_or_else(|| panic!("{result} is none of the results: {self:?}")));
                }
                Seen::Panic(Bad::Item(number)) => {
                    assert!(self.bad_items.contains(number) && !self.catches, "{number} does not fail: {self:?}");
                }
                Seen::Panic(Bad::Source(number)) => assert_eq!(Some(*number), self.bad_source, "{self:?}"),
                _ => {}
            }
        }
        let fails = |seen: &Seen| matches!(seen, Seen::Panic(_));
        if self.cancels.is_none() && !expected.seen.iter().any(fails) && !found.seen.iter().any(fails) {
            assert_eq!(found.seen.len(), expected.seen.len(), "{self:?}");
        }
    }

    fn compare_hints(&self, expected: &[Hint], found: &[Hint]) {
        for (hint, map_hint) in found.iter().zip(expected) {
            let (low, high) = *hint;
            assert!(high.is_none_or(|high| low <= high), "{hint:?}: {self:?}");
            // What a source that fails says of its length is not true.
            if self.bad_source.is_none() && self.bad_items.is_empty() && !matches!(self.shape, Shape::Unfused) {
                let narrower = low >= map_hint.0 && map_hint.1.is_none_or(|most| high.is_some_and(|high| high <= most));
                // A stream cannot ask a source that is on another thread.
                assert!(narrower || is_stream(self.entry), "{hint:?} is wider than {map_hint:?}: {self:?}");
                assert!(!self.knows_its_length() || hint == map_hint, "{hint:?} is not {map_hint:?}: {self:?}");
            }
        }
    }

    /// Makes the call, and gives what its consumer has noted.
    fn call(&self, watch: &Arc<Watch>) -> Notes {
        let call = Setting { pool: pool(self.workers), token: CancelToken::new() };
        let token = call.token.clone();
        macro_rules! with_options {
            ($call:expr) => {{
                let mut call = $call.trace(TraceLevel::Off);
                if let Some(items) = self.chunk {
                    call = call.chunk_size(items);
                }
                if let Some(items) = self.limit {
                    call = call.max_in_flight(items);
                }
                if self.cancels.is_some() {
                    call = call.cancel_on(&token);
                }
                call
            }};
        }
        let source = self.source(watch);
        let pool = call.pool.clone();
        match self.entry {
            Entry::Map => {
                let f = |item| self.apply(item, &call);
                let map = if self.by_count { source.pool_map(self.workers, f) } else { source.pool_map(&pool, f) };
                let map = with_options!(map);
                if self.catches { self.consume(map.catch_panics().map(|x| self.take(x))) } else { self.consume(map) }
            }
            Entry::MapInit => {
                let init = || Alive::state(watch);
                let map = with_options!(source.pool_map_init(&pool, init, |_, item| self.apply(item, &call)));
                if self.catches {
                    self.consume_by_next(map.catch_panics().map(|x| self.take(x)))
                } else {
                    self.consume(map)
                }
            }
            Entry::MapWith => {
                let map = source.pool_map_with(&pool, Alive::state(watch), |_, item| self.apply(item, &call));
                self.consume_by_next(with_options!(map))
            }
            Entry::MapTryInit => {
                let init = || Ok::<_, Bad>(Alive::state(watch));
                let map = source.pool_map_try_init(&pool, init, |_, item| Ok(self.apply(item, &call)));
                self.consume_by_next(with_options!(map).map(|result| result.expect("it is Ok")))
            }
            Entry::Starmap => {
                let pairs = source.map(|item| (item, &call));
                let map = pairs.pool_starmap(&pool, |item, call: &Setting| self.apply(item, call));
                self.consume_by_next(with_options!(map))
            }
            Entry::Consume => {
                let map = with_options!(source.pool_map(&pool, |item| self.apply(item, &call)));
                map.consume(|results| self.consume(results))
            }
            Entry::Scope => pool_map::scope(&pool, |scope| {
                let f = |item| self.apply(item, &call);
                let stream = if self.unordered { scope.imap_unordered(source, f) } else { scope.imap(source, f) };
                let stream = with_options!(stream);
                if self.asks { self.consume_by_next(asking(stream, PoolImap::try_next)) } else { self.consume(stream) }
            }),
            Entry::RunAhead | Entry::Imap => {
                let program = self.clone();
                let f = move |item| program.apply(item, &call);
                let stream = match (self.entry, self.unordered) {
                    (Entry::Imap, true) => source.pool_imap_unordered(&pool, f),
                    (Entry::Imap, false) => source.pool_imap(&pool, f),
                    (_, true) => source.pool_map(&pool, f).run_ahead().unordered(),
                    (_, false) => source.pool_map(&pool, f).run_ahead(),
                };
                let stream = with_options!(stream);
                match (self.catches, self.asks) {
                    (true, true) => {
                        let results = asking(stream.catch_panics(), PoolImap::try_next);
                        self.consume_by_next(results.map(|x| self.take(x)))
                    }
                    (true, false) => self.consume_by_next(stream.catch_panics().map(|x| self.take(x))),
                    (false, true) => self.consume_by_next(asking(stream, PoolImap::try_next)),
                    (false, false) => self.consume(stream),
                }
            }
            Entry::Par => {
                // A source that fails has no place there.
                let items = catch_unwind(AssertUnwindSafe(|| source.fuse().collect::<Vec<_>>()));
                let Ok(items) = items else { return self.consume_map() };
                let map = with_options!(items.into_par_iter().pool_map(&pool, |item| self.apply(item, &call)));
                let collects = matches!(self.steps[..], [Step::Collect]) && self.bad_items.is_empty();
                match (self.catches, collects) {
                    (true, _) => {
                        map.catch_panics().consume(|results| self.consume_by_next(results.map(|x| self.take(x))))
                    }
                    (false, true) => self.consume_by_next(map.collect_vec().into_iter()),
                    (false, false) => map.consume(|results| self.consume(results)),
                }
            }
            Entry::ForEach | Entry::TryForEach | Entry::Tasks => unreachable!("they have no results to consume"),
        }
    }

    /// What a caught panic becomes, in `map` as well.
    fn take(&self, result: Result<Output, TaskPanic>) -> Output {
        result.unwrap_or_else(|panic| {
            let index = panic.index().expect("it is an item's");
            let payload = panic.into_payload().downcast::<Bad>();
            assert_eq!(payload.ok().as_deref(), Some(&Bad::Item(index)), "{self:?}");
            Output { value: caught(index), alive: None }
        })
    }

    /// What `map` gives.
    fn consume_map(&self) -> Notes {
        let (watch, _) = Watch::new(None);
        let f = |item: Item| Output { value: self.value(item.number, item.value), alive: Some(item.alive) };
        self.consume(self.source(&watch).fuse().map(f))
    }

    /// The same, through `next` alone: each type of iterator that is consumed by all methods takes long to compile.
    fn consume_by_next(&self, mut it: impl Iterator<Item = Output>) -> Notes {
        let it: &mut dyn Iterator<Item = Output> = &mut it;
        self.consume(it)
    }

    /// Goes through the steps of the consumer.
    fn consume(&self, it: impl Iterator<Item = Output>) -> Notes {
        let notes = RefCell::new(Notes::default());
        let steps = AssertUnwindSafe(|| consume(it, &self.steps, &notes));
        let end = catch_unwind(steps);
        let mut notes = notes.into_inner();
        if let Err(payload) = end {
            match payload.downcast::<Bad>() {
                Ok(bad) => notes.seen.push(Seen::Panic(*bad)),
                Err(payload) => resume_unwind(payload),
            }
        }
        notes
    }

    /// `pool_for_each` and `pool_try_for_each`: `f` runs for the side effect.
    fn check_for_each(&self) {
        let (watch, _) = Watch::new(None);
        let call = Setting { pool: pool(self.workers), token: CancelToken::new() };
        let source = self.source(&watch);
        let items = Program { bad_source: None, ..self.clone() }.source(&Watch::new(None).0).fuse().count();
        let first_bad = self.bad_items.iter().copied().filter(|bad| *bad < items).min();
        let bad_source = self.bad_source.filter(|bad| *bad < items);
        let end = catch_unwind(AssertUnwindSafe(|| {
            if matches!(self.entry, Entry::ForEach) {
                source.pool_for_each(&call.pool, |item| drop(self.apply(item, &call)));
                return Ok(());
            }
            source.pool_try_for_each(&call.pool, |item| {
                let number = item.number;
                if self.bad_items.contains(&number) {
                    return Err(number);
                }
                drop(self.apply(item, &call));
                Ok(())
            })
        }));
        let expected = match (self.entry, first_bad, bad_source) {
            (_, None, None) => Ok(Ok(())),
            (Entry::TryForEach, Some(bad), source) if source.is_none_or(|source| bad < source) => Ok(Err(bad)),
            (_, Some(bad), source) if source.is_none_or(|source| bad < source) => Err(Bad::Item(bad)),
            (_, _, source) => Err(Bad::Source(source.expect("one of them fails"))),
        };
        let end = end.map_err(|payload| *payload.downcast::<Bad>().expect("a payload of ours"));
        assert_eq!(end, expected, "{self:?}");
        assert_eq!(Arc::strong_count(&watch), 1, "something outlives the call: {self:?}");
        if expected == Ok(Ok(())) {
            let runs = watch.runs.iter().map(|runs| runs.load(Ordering::Relaxed)).sum::<usize>();
            assert_eq!(runs, items, "{self:?}");
        }
    }

    /// A task for each item. The steps say what becomes of each: its result is waited for, or it is cancelled, or dropped.
    fn check_tasks(&self) {
        let (watch, all_gone) = Watch::new(None);
        let call = Arc::new(Setting { pool: pool(self.workers), token: CancelToken::new() });
        let program = Arc::new(Program { bad_source: None, cancels: None, ..self.clone() });
        let items = program.source(&watch).fuse();
        let tasks = items.map(|item| {
            let (program, call) = (Arc::clone(&program), Arc::clone(&call));
            let (number, value) = (item.number, item.value);
            (number, value, Arc::clone(&call).pool.spawn(move || program.apply(item, &call)))
        });
        let tasks: Vec<_> = tasks.collect();
        let compare = |number, value, was_cancelled, end: Result<Output, TaskPanic>| match end {
            Ok(output) => assert_eq!(output.value, self.value(number, value), "{self:?}"),
            Err(panic) if was_cancelled => assert_eq!(panic.kind(), PanicKind::Cancelled, "{self:?}"),
            Err(panic) => {
                let payload = panic.into_payload().downcast::<Bad>();
                assert_eq!(payload.ok().as_deref(), Some(&Bad::Item(number)), "{self:?}");
                assert!(self.bad_items.contains(&number), "{self:?}");
            }
        };
        let mut as_they_come = Vec::new();
        for (at, (number, value, task)) in tasks.into_iter().enumerate() {
            match self.steps[at % self.steps.len()] {
                Step::Next | Step::Loop => compare(number, value, false, task.try_join()),
                Step::Peek => {
                    let was_cancelled = task.cancel();
                    compare(number, value, was_cancelled, task.try_join());
                }
                Step::Drop => drop(task),
                Step::Take(_) => match catch_unwind(AssertUnwindSafe(|| task.join_timeout(Duration::ZERO))) {
                    Ok(Ok(output)) => compare(number, value, false, Ok(output)),
                    Ok(Err(task)) => as_they_come.push(task),
                    Err(payload) => {
                        let bad = payload.downcast::<Bad>().ok();
                        assert_eq!(bad.as_deref(), Some(&Bad::Item(number)), "{self:?}");
                    }
                },
                _ => as_they_come.push(task),
            }
        }
        let count = as_they_come.len();
        let mut came = 0;
        for task in as_completed(as_they_come) {
            came += 1;
            assert!(task.is_finished(), "{self:?}");
            drop(task.try_join());
        }
        assert_eq!(came, count, "{self:?}");
        drop(watch);
        let end = all_gone.recv_timeout(Duration::from_secs(60));
        assert_eq!(end, Err(RecvTimeoutError::Disconnected), "something is never dropped: {self:?}");
    }
}

fn is_stream(entry: Entry) -> bool {
    matches!(entry, Entry::RunAhead | Entry::Imap | Entry::Scope)
}

/// The results of a stream that is asked without waiting, again and again.
fn asking<S, R>(mut stream: S, try_next: impl Fn(&mut S) -> Result<Option<R>, NotReady>) -> impl Iterator<Item = R> {
    let next = move || {
        loop {
            match try_next(&mut stream) {
                Ok(next) => return next,
                Err(NotReady) => std::thread::yield_now(),
            }
        }
    };
    std::iter::from_fn(next)
}

/// The result that stands for a caught panic of this item.
fn caught(number: usize) -> usize {
    1_000_000 + number
}

type Hint = (usize, Option<usize>);

#[derive(Debug, Default)]
struct Notes {
    seen: Vec<Seen>,
    hints: Vec<Hint>,
}

impl Notes {
    fn results(&self) -> Vec<Seen> {
        self.seen.iter().copied().filter(|seen| matches!(seen, Seen::Result(_))).collect()
    }
}

fn consume(mut it: impl Iterator<Item = Output>, steps: &[Step], notes: &RefCell<Notes>) {
    let note = |seen| notes.borrow_mut().seen.push(seen);
    let result = |output: Output| note(Seen::Result(output.value));
    let option = |output: Option<Output>| note(output.map_or(Seen::Nothing, |output| Seen::Result(output.value)));
    let number = |number| note(Seen::Number(number));
    for &step in steps {
        match step {
            Step::Next => option(it.next()),
            Step::Take(count) => it.by_ref().take(count).for_each(result),
            Step::Nth(count) => option(it.nth(count)),
            Step::Find(of) => option(it.find(|output| output.value % 10 == of)),
            Step::Position(of) => number(it.position(|output| output.value % 10 == of).unwrap_or(usize::MAX)),
            Step::TakeWhile(of) => number(it.by_ref().take_while(|output| output.value % 10 != of).count()),
            Step::TryFold(most) => {
                let add = |sum, output: Output| if sum < most { Ok(sum + output.value) } else { Err(output.value) };
                number(it.try_fold(0, add).unwrap_or_else(|value| value));
            }
            Step::Peek => {
                let mut it = it.by_ref().peekable();
                number(it.peek().map_or(usize::MAX, |output| output.value));
                option(it.next_if(|output| output.value % 2 == 0));
            }
            Step::Panic(after) => {
                let mut seen = 0;
                it.by_ref().take(6).for_each(|output| {
                    result(output);
                    seen += 1;
                    if seen == after {
                        raise(Bad::Consumer);
                    }
                });
            }
            Step::Loop => {
                for output in it {
                    result(output);
                }
                return;
            }
            Step::Fold => return it.fold((), |(), output| result(output)),
            Step::Collect => return it.collect::<Vec<_>>().into_iter().for_each(result),
            Step::Count => return number(it.count()),
            Step::Last => return option(it.last()),
            Step::Sum => return number(it.map(|output| output.value).sum()),
            Step::Every(by) => return it.step_by(by).for_each(result),
            Step::Drop => return,
        }
        let hint = it.size_hint();
        notes.borrow_mut().hints.push(hint);
    }
}

struct Setting {
    pool: Pool,
    token: CancelToken,
}

/// The pool without threads, and pools of 1 to 4 workers.
const POOLS: usize = 5;

fn pool(workers: usize) -> Pool {
    static POOL: [OnceLock<Pool>; POOLS] = [const { OnceLock::new() }; POOLS];
    let new = || match workers {
        0 => Pool::inline(),
        _ => Pool::builder().threads(workers).trace(TraceLevel::Off).build().expect("a few threads"),
    };
    POOL[workers].get_or_init(new).clone()
}

/// Counts, for one run. All that lives holds an `Arc` of it, so `gone` is dropped when nothing is left.
struct Watch {
    /// How often `f` ran for each item, by number.
    runs: Vec<AtomicUsize>,
    /// Items and results.
    alive: AtomicUsize,
    limit: Option<usize>,
    _gone: mpsc::Sender<()>,
}

impl Watch {
    fn new(limit: Option<usize>) -> (Arc<Watch>, mpsc::Receiver<()>) {
        let (gone, all_gone) = mpsc::channel();
        let runs = (0..256).map(|_| AtomicUsize::new(0)).collect();
        (Arc::new(Watch { runs, alive: AtomicUsize::new(0), limit, _gone: gone }), all_gone)
    }

    /// The source is about to give an item. The consumer may hold one result, and one more while it takes the next.
    fn pulled(&self) {
        let alive = self.alive.load(Ordering::Relaxed);
        if let Some(limit) = self.limit {
            assert!(alive < limit + 2, "{alive} items are in flight, with a limit of {limit}");
        }
    }

    fn ran(&self, number: usize) {
        assert_eq!(self.runs[number].fetch_add(1, Ordering::Relaxed), 0, "f ran twice for item {number}");
    }
}

/// Lives as long as what it is in.
struct Alive {
    watch: Arc<Watch>,
    counts: bool,
}

impl Alive {
    fn new(watch: &Arc<Watch>) -> Alive {
        watch.alive.fetch_add(1, Ordering::Relaxed);
        Alive { watch: Arc::clone(watch), counts: true }
    }

    /// For a worker's state.
    fn state(watch: &Arc<Watch>) -> Alive {
        Alive { watch: Arc::clone(watch), counts: false }
    }
}

impl Clone for Alive {
    fn clone(&self) -> Alive {
        Alive::state(&self.watch)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        if self.counts {
            self.watch.alive.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

struct Item {
    number: usize,
    value: usize,
    alive: Alive,
}

/// A result.
struct Output {
    value: usize,
    #[expect(dead_code, reason = "it is there for its destructor")]
    alive: Option<Alive>,
}
