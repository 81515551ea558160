//! A panic in any place: of the source, of `f` before and after its work, of each destructor, of the consumer.
//!
//! A probe counts all that happens in user code. A first run, without a panic, learns how much that is; then one run for
//! each of these events panics there. Afterwards nothing is left, nothing runs, the payload is the one that was thrown, the
//! consumer has had what a loop would have given it, and the pool works on.

use std::any::Any;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::iter;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use pool_map::{Pool, PoolIterator, PoolParallelIterator, ScopedTask, Task, TaskPanic, as_completed};
use rayon::prelude::*;

use crate::child::{self, test_of};

/// How many items a run has.
const ITEMS: usize = 8;

/// What may panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Pull,
    Enter,
    Exit,
    /// Inside of `f`.
    ItemDrop,
    /// Of an item that never came to `f`.
    LeftOverDrop,
    /// Of a result that the consumer has not looked at.
    ResultDrop,
    Consume,
    /// Of one that it has.
    ConsumedDrop,
    SourceDrop,
    Init,
    StateDrop,
    /// Of what `f` has borrowed or owns.
    CaptureDrop,
}

/// What happened, and to which item.
#[derive(Clone, Copy, Debug)]
struct Event {
    kind: Kind,
    index: Option<usize>,
}

/// How a run panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// Once, and past the hook: thousands of traces are of no use to anybody.
    Once,
    /// Once, as usual.
    Told,
    /// From then on each result that is left over panics as well when it is dropped.
    ResultsToo,
    /// And each item.
    LeftOversToo,
}

impl Kind {
    /// Whether a panic of this kind is raised wherever it happens: it happens on the consumer's own stack.
    fn is_the_consumers(self) -> bool {
        matches!(self, Kind::Consume | Kind::ConsumedDrop)
    }

    /// Whether a panic of this kind may go no further where the whole source was consumed: it comes when all is over.
    fn comes_after_all(self) -> bool {
        matches!(self, Kind::SourceDrop | Kind::StateDrop | Kind::CaptureDrop)
    }

    /// Whether it is a part of how an item becomes a result.
    fn is_of_an_item(self) -> bool {
        matches!(self, Kind::Pull | Kind::Enter | Kind::Exit | Kind::ItemDrop)
    }

    /// Whether it befalls what was not needed.
    fn is_of_a_left_over(self) -> bool {
        matches!(self, Kind::LeftOverDrop | Kind::ResultDrop)
    }
}

/// The payload of the one panic of a run.
#[derive(Debug, PartialEq)]
struct Fired(usize);

/// Counts everything that happens in a run, and panics in one place of it.
struct Probe {
    events: AtomicUsize,
    fires_at: usize,
    mode: Mode,
    fired: Mutex<Option<Event>>,
    /// The indices that came to the consumer.
    consumed: Mutex<Vec<usize>>,
    /// How many items have come to `f`.
    entered: AtomicUsize,
    /// How many items are in `f`.
    running: AtomicUsize,
    /// Nothing may happen any more.
    over: AtomicBool,
    too_late: AtomicUsize,
    items: [Life; ITEMS],
    results: [Life; ITEMS],
    /// What came to the consumer as a value.
    caught: Mutex<Option<Box<dyn Any + Send>>>,
}

#[derive(Default)]
struct Life {
    made: AtomicUsize,
    dropped: AtomicUsize,
}

/// A hand on the probe of a run. All user code of the run has one, so when the last is gone, nothing of it is left.
#[derive(Clone)]
struct Hand {
    probe: Arc<Probe>,
    _alive: Sender<()>,
}

impl Deref for Hand {
    type Target = Probe;

    fn deref(&self) -> &Probe {
        &self.probe
    }
}

impl Probe {
    fn new(fires_at: usize, mode: Mode) -> (Arc<Probe>, Hand, Receiver<()>) {
        let probe = Arc::new(Probe {
            events: AtomicUsize::new(0),
            fires_at,
            mode,
            fired: Mutex::default(),
            consumed: Mutex::default(),
            entered: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            too_late: AtomicUsize::new(0),
            items: std::array::from_fn(|_| Life::default()),
            results: std::array::from_fn(|_| Life::default()),
            caught: Mutex::default(),
        });
        let (alive, gone) = mpsc::channel();
        (Arc::clone(&probe), Hand { probe, _alive: alive }, gone)
    }

    fn event(&self, kind: Kind, index: Option<usize>) {
        if self.over.load(Ordering::SeqCst) {
            self.too_late.fetch_add(1, Ordering::SeqCst);
        }
        let event = self.events.fetch_add(1, Ordering::SeqCst);
        if event == self.fires_at {
            *lock(&self.fired) = Some(Event { kind, index });
            match self.mode {
                Mode::Told => panic_any(Fired(event)),
                _ => resume_unwind(Box::new(Fired(event))),
            }
        }
        let too = match self.mode {
            Mode::Once | Mode::Told => false,
            Mode::ResultsToo => kind == Kind::ResultDrop,
            Mode::LeftOversToo => kind.is_of_a_left_over(),
        };
        if too && event > self.fires_at {
            resume_unwind(Box::new("a left-over"));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Item {
    hand: Hand,
    index: usize,
    /// Whether it has come to `f`.
    entered: bool,
}

struct Outcome {
    hand: Hand,
    index: usize,
    /// Whether `f` has returned it.
    returned: bool,
    consumed: bool,
}

impl Item {
    fn new(hand: &Hand, index: usize) -> Item {
        hand.items[index].made.fetch_add(1, Ordering::SeqCst);
        Item { hand: hand.clone(), index, entered: false }
    }
}

impl Outcome {
    fn new(hand: &Hand, index: usize) -> Outcome {
        hand.results[index].made.fetch_add(1, Ordering::SeqCst);
        Outcome { hand: hand.clone(), index, returned: false, consumed: false }
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.hand.items[self.index].dropped.fetch_add(1, Ordering::SeqCst);
        self.hand.event(if self.entered { Kind::ItemDrop } else { Kind::LeftOverDrop }, Some(self.index));
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.hand.results[self.index].dropped.fetch_add(1, Ordering::SeqCst);
        if self.returned {
            self.hand.event(if self.consumed { Kind::ConsumedDrop } else { Kind::ResultDrop }, Some(self.index));
        }
    }
}

/// Panics with a kind when dropped, if that is the event.
struct Last(Hand, Kind);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.event(self.1, None);
    }
}

/// The state of a worker.
fn state(hand: &Hand) -> Last {
    hand.event(Kind::Init, None);
    Last(hand.clone(), Kind::StateDrop)
}

/// What the states of the workers are clones of.
struct Template(Last);

impl Clone for Template {
    fn clone(&self) -> Template {
        Template(state(&self.0.0))
    }
}

struct Running<'a>(&'a Probe);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The source of all doors.
fn source(hand: &Hand) -> impl Iterator<Item = Item> + Send + use<> {
    let hand = hand.clone();
    let last = Last(hand.clone(), Kind::SourceDrop);
    (0..ITEMS).map(move |index| {
        let _last = &last;
        hand.event(Kind::Pull, Some(index));
        Item::new(&hand, index)
    })
}

/// The same in a vector.
fn items(hand: &Hand) -> Vec<Item> {
    let item = |index| {
        hand.event(Kind::Pull, Some(index));
        Item::new(hand, index)
    };
    (0..ITEMS).map(item).collect()
}

/// And their `f`.
fn f(mut item: Item) -> Outcome {
    let (hand, index) = (item.hand.clone(), item.index);
    hand.running.fetch_add(1, Ordering::SeqCst);
    hand.entered.fetch_add(1, Ordering::SeqCst);
    let _running = Running(&hand);
    item.entered = true;
    hand.event(Kind::Enter, Some(index));
    let mut result = Outcome::new(&hand, index);
    drop(item);
    thread::yield_now();
    hand.event(Kind::Exit, Some(index));
    result.returned = true;
    result
}

/// The same with something of its own.
fn owning_f(hand: &Hand) -> impl Fn(Item) -> Outcome + Send + Sync + use<> {
    let last = Last(hand.clone(), Kind::CaptureDrop);
    move |item| {
        let _last = &last;
        f(item)
    }
}

/// What a consumer gets: a result, or one that may be a panic.
trait Delivered {
    /// Looks at it, and gives the result back.
    fn consume(self, hand: &Hand) -> Option<Outcome>;
}

impl Delivered for Outcome {
    fn consume(mut self, hand: &Hand) -> Option<Outcome> {
        self.consumed = true;
        lock(&hand.consumed).push(self.index);
        hand.event(Kind::Consume, Some(self.index));
        Some(self)
    }
}

impl Delivered for Result<Outcome, TaskPanic> {
    fn consume(self, hand: &Hand) -> Option<Outcome> {
        match self {
            Ok(result) => result.consume(hand),
            Err(panic) => {
                *lock(&hand.caught) = Some(panic.into_payload());
                None
            }
        }
    }
}

impl Delivered for Result<Outcome, Infallible> {
    fn consume(self, hand: &Hand) -> Option<Outcome> {
        let Ok(result) = self;
        result.consume(hand)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Drive {
    ForEach,
    Fold,
    Loop,
    Collect,
    Mixed,
    TakeThree,
    DropAfterOne,
}

impl Drive {
    const ALL: [Drive; 7] =
        [Drive::ForEach, Drive::Fold, Drive::Loop, Drive::Collect, Drive::Mixed, Drive::TakeThree, Drive::DropAfterOne];

    /// How many results it asks for.
    fn takes(self) -> usize {
        match self {
            Drive::TakeThree => 3,
            Drive::DropAfterOne => 1,
            _ => ITEMS,
        }
    }

    fn takes_everything(self) -> bool {
        self.takes() == ITEMS
    }

    fn run<T: Delivered>(self, mut it: impl Iterator<Item = T>, hand: &Hand) {
        let consume = |result: T| drop(result.consume(hand));
        match self {
            Drive::ForEach => it.for_each(consume),
            Drive::Fold => drop(it.fold(Vec::new(), |mut kept, result| {
                kept.extend(result.consume(hand));
                kept
            })),
            Drive::Loop => {
                for result in it {
                    consume(result);
                }
            }
            Drive::Collect => it.collect::<Vec<_>>().into_iter().for_each(consume),
            Drive::Mixed => {
                it.next().into_iter().for_each(consume);
                it.by_ref().take(2).for_each(consume);
                it.for_each(consume);
            }
            Drive::TakeThree => it.take(3).for_each(consume),
            Drive::DropAfterOne => it.next().into_iter().for_each(consume),
        }
    }
}

/// The ways to have work done.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Door {
    Map,
    MapInit,
    MapTryInit,
    MapWith,
    MapCaught,
    MapConsume,
    /// With a report of each item that lasts a moment.
    MapSlow,
    Imap,
    ImapUnordered,
    ImapCaught,
    RunAhead,
    RunAheadUnordered,
    Scope,
    ScopeUnordered,
    Spawn,
    AsCompleted,
    ScopeSpawn,
    /// Data that rayon can split: made item by item on the workers, or a vector.
    Par,
    ParVec,
    ParCollectVec,
}

impl Door {
    /// Whether its threads may be at work after the consumer is done.
    fn runs_on(self) -> bool {
        use Door::{AsCompleted, Imap, ImapCaught, ImapUnordered, RunAhead, RunAheadUnordered, Spawn};
        matches!(self, Imap | ImapUnordered | ImapCaught | RunAhead | RunAheadUnordered | Spawn | AsCompleted)
    }

    /// Whether its items run whatever the consumer does.
    fn is_of_tasks(self) -> bool {
        matches!(self, Door::Spawn | Door::AsCompleted | Door::ScopeSpawn)
    }

    /// Whether there is a state for each worker that gets an item.
    fn has_states(self) -> bool {
        matches!(self, Door::MapInit | Door::MapTryInit | Door::MapWith)
    }

    fn is_ordered(self) -> bool {
        !matches!(self, Door::ImapUnordered | Door::RunAheadUnordered | Door::ScopeUnordered | Door::AsCompleted)
    }

    /// Whether a panic of an item comes to the consumer as a value.
    fn catches(self) -> bool {
        matches!(self, Door::MapCaught | Door::ImapCaught)
    }

    /// Whether all items are made before the first is worked on, by the caller.
    fn pulls_first(self) -> bool {
        self.is_of_tasks() || matches!(self, Door::ParVec | Door::ParCollectVec)
    }

    /// Whether the consumer has nothing before all is done.
    fn collects(self, drive: Drive) -> bool {
        drive == Drive::Collect || self == Door::ParCollectVec
    }

    /// Sends the items through. Whatever panics in there, comes out of here.
    #[allow(clippy::needless_pass_by_value)] // The hand is to be gone when this returns.
    fn run(self, drive: Drive, hand: Hand, pool: &Pool, chunk: usize) {
        let own = || owning_f(&hand);
        match self {
            Door::Map => drive.run(PoolIterator::pool_map(source(&hand), pool, own()).chunk_size(chunk), &hand),
            Door::MapInit => {
                let it = source(&hand).pool_map_init(pool, || state(&hand), |_state, item| f(item));
                drive.run(it.chunk_size(chunk), &hand);
            }
            Door::MapTryInit => {
                let init = || Ok::<_, Infallible>(state(&hand));
                let it = source(&hand).pool_map_try_init(pool, init, |_state, item| Ok(f(item)));
                drive.run(it.chunk_size(chunk), &hand);
            }
            Door::MapWith => {
                let template = Template(Last(hand.clone(), Kind::StateDrop));
                let it = source(&hand).pool_map_with(pool, template, |_state, item| f(item));
                drive.run(it.chunk_size(chunk), &hand);
            }
            Door::MapSlow => {
                let it = source(&hand).pool_map(pool, own()).chunk_size(chunk);
                drive.run(it.report_slow(Duration::ZERO), &hand);
            }
            Door::MapCaught => drive.run(source(&hand).pool_map(pool, own()).chunk_size(chunk).catch_panics(), &hand),
            Door::MapConsume => {
                let it = source(&hand).pool_map(pool, own()).chunk_size(chunk);
                it.consume(|results| drive.run(results, &hand));
            }
            Door::Imap => drive.run(source(&hand).pool_imap(pool, own()).chunk_size(chunk), &hand),
            Door::RunAhead => drive.run(source(&hand).pool_map(pool, own()).chunk_size(chunk).run_ahead(), &hand),
            Door::RunAheadUnordered => {
                let it = source(&hand).pool_map(pool, own()).chunk_size(chunk);
                drive.run(it.run_ahead().unordered(), &hand);
            }
            Door::ImapUnordered => drive.run(source(&hand).pool_imap_unordered(pool, own()).chunk_size(chunk), &hand),
            Door::ImapCaught => drive.run(source(&hand).pool_imap(pool, own()).chunk_size(chunk).catch_panics(), &hand),
            Door::Scope => {
                pool_map::scope(pool, |s| drive.run(s.imap(source(&hand), own()).chunk_size(chunk), &hand));
            }
            Door::ScopeUnordered => {
                pool_map::scope(pool, |s| drive.run(s.imap_unordered(source(&hand), own()).chunk_size(chunk), &hand));
            }
            Door::Par => {
                let pulls = hand.clone();
                let last = Last(hand.clone(), Kind::SourceDrop);
                let make = move |index| {
                    let _last = &last;
                    pulls.event(Kind::Pull, Some(index));
                    Item::new(&pulls, index)
                };
                let it = PoolParallelIterator::pool_map((0..ITEMS).into_par_iter().map(make), pool, own());
                it.chunk_size(chunk).consume(|results| drive.run(results, &hand));
            }
            Door::ParVec => {
                let it = PoolParallelIterator::pool_map(items(&hand).into_par_iter(), pool, own());
                it.chunk_size(chunk).consume(|results| drive.run(results, &hand));
            }
            Door::ParCollectVec => {
                let it = PoolParallelIterator::pool_map(items(&hand).into_par_iter(), pool, own());
                drive.run(it.chunk_size(chunk).collect_vec().into_iter(), &hand);
            }
            Door::Spawn => {
                let tasks: Vec<_> = source(&hand).map(|item| pool.spawn(move || f(item))).collect();
                drive.run(tasks.into_iter().map(Task::join), &hand);
            }
            Door::ScopeSpawn => pool_map::scope(pool, |s| {
                let tasks: Vec<_> = source(&hand).map(|item| s.spawn(move || f(item))).collect();
                drive.run(tasks.into_iter().map(ScopedTask::join), &hand);
            }),
            Door::AsCompleted => {
                let tasks: Vec<_> = source(&hand).map(|item| pool.spawn(move || f(item))).collect();
                drive.run(as_completed(tasks).map(Task::join), &hand);
            }
        }
        let caught = lock(&hand.caught).take();
        if let Some(payload) = caught {
            resume_unwind(payload);
        }
    }
}

/// Panics at each event of each run through `door`, and gives how many places that were. Events of the kinds in [`ALWAYS`] and
/// in `more` must be among them.
fn sweep(door: Door, drives: &[Drive], chunks: &[usize], more: &[Kind]) -> usize {
    let mut places = 0;
    let mut kinds = BTreeSet::new();
    // No workers: on the caller's thread.
    for workers in [0, 1, 2, 4] {
        let new_pool = || if workers == 0 { Pool::inline() } else { Pool::new(workers).expect("a few threads") };
        let shared = new_pool();
        for (drive, chunk) in drives.iter().flat_map(|drive| chunks.iter().map(|chunk| (*drive, *chunk))) {
            let pass = |fires_at, mode| {
                let pool = if door.runs_on() { new_pool() } else { shared.clone() };
                let (probe, hand, gone) = Probe::new(fires_at, mode);
                let end = catch_unwind(AssertUnwindSafe(|| door.run(drive, hand, &pool, chunk)));
                let fired = *lock(&probe.fired);
                let setting = format!(
                    "{door:?}, {drive:?}, {workers} workers, chunks of {chunk}, {fired:?} at event {fires_at}, {mode:?}"
                );
                let entered = probe.entered.load(Ordering::SeqCst);
                let works_on = |pool| {
                    assert_eq!((0..100).pool_map(pool, |x| x).sum::<i32>(), 4950, "the pool works on: {setting}");
                };
                if door.runs_on() {
                    works_on(&pool);
                    // The last handle: it waits for what runs. The source may end a little later.
                    pool.join();
                    assert_eq!(probe.running.load(Ordering::SeqCst), 0, "still running: {setting}");
                    gone.recv().expect_err("nothing is sent");
                    let after = probe.entered.load(Ordering::SeqCst) - entered;
                    assert!(door.is_of_tasks() || after <= workers, "{after} items started after the drop: {setting}");
                } else {
                    // Before the workers have anything else to do.
                    probe.over.store(true, Ordering::SeqCst);
                    assert_eq!(gone.try_recv(), Err(TryRecvError::Disconnected), "something is left: {setting}");
                    assert_eq!(probe.running.load(Ordering::SeqCst), 0, "still running: {setting}");
                    works_on(&pool);
                }
                probe.check(door, drive, end, &setting);
                (probe.events.load(Ordering::SeqCst), fired.map(|event| event.kind))
            };
            let (events, _) = pass(usize::MAX, Mode::Once);
            let mut modes = vec![Mode::Once];
            if drive == Drive::Loop && chunk == 1 {
                modes.push(Mode::Told);
            }
            // What was collected already is the collection's to drop.
            if !door.collects(drive) {
                // And what is left in a vector the vector's, for which a second panic is one too many.
                modes.push(if door == Door::ParVec { Mode::ResultsToo } else { Mode::LeftOversToo });
            }
            for (fires_at, mode) in (0..events).flat_map(|at| modes.iter().map(move |mode| (at, *mode))) {
                let (_, fired) = pass(fires_at, mode);
                places += usize::from(fired.is_some());
                kinds.extend(fired);
            }
        }
    }
    // Whether one is left over is a matter of chance.
    kinds.remove(&Kind::LeftOverDrop);
    assert_eq!(kinds, ALWAYS.iter().chain(more).copied().collect(), "what panicked at some time");
    places
}

impl Probe {
    /// Checks what is left of a run, what the consumer had, and how it ended.
    fn check(&self, door: Door, drive: Drive, end: Result<(), Box<dyn Any + Send>>, setting: &str) {
        assert_eq!(self.too_late.load(Ordering::SeqCst), 0, "something happened later: {setting}");
        for (index, (item, result)) in iter::zip(&self.items, &self.results).enumerate() {
            let [made, dropped] = [&item.made, &item.dropped].map(|count| count.load(Ordering::SeqCst));
            assert!(made <= 1 && dropped == made, "item {index} made {made}, dropped {dropped} times: {setting}");
            let [made, dropped] = [&result.made, &result.dropped].map(|count| count.load(Ordering::SeqCst));
            assert!(made <= 1 && dropped == made, "result {index} made {made}, dropped {dropped} times: {setting}");
        }
        let fired = *lock(&self.fired);
        let raised = end.is_err();
        if let Err(payload) = end {
            let fired = payload.downcast::<Fired>().expect("the payload that was thrown");
            assert_eq!(*fired, Fired(self.fires_at), "{setting}");
        }
        match fired {
            // In a panicking run: it happened less often than in the first. Fewer workers had a state, less was read ahead.
            None => assert!(
                self.fires_at == usize::MAX || !drive.takes_everything() || door.has_states(),
                "where is it? {setting}"
            ),
            Some(event) => {
                let must = door.raises(drive, event);
                assert!(must.is_none_or(|must| must == raised), "raised: {raised}, and not {must:?}: {setting}");
            }
        }
        self.check_consumed(door, drive, fired.filter(|_| raised), setting);
    }

    /// Checks what the consumer had of a run that ended with the panic of this event, if any.
    fn check_consumed(&self, door: Door, drive: Drive, raised: Option<Event>, setting: &str) {
        let mut consumed = lock(&self.consumed).clone();
        if !door.is_ordered() {
            consumed.sort_unstable();
        }
        let had = |want: &[usize]| assert_eq!(consumed, want, "what the consumer had: {setting}");
        let all: Vec<_> = (0..drive.takes()).collect();
        match raised {
            None | Some(Event { kind: Kind::SourceDrop | Kind::StateDrop | Kind::CaptureDrop, .. }) => {
                let before = raised.is_some() && (door.collects(drive) || door.pulls_first()) && consumed.is_empty();
                assert!(before || consumed.len() == all.len(), "what the consumer had: {consumed:?}, {setting}");
                if !before && door.is_ordered() {
                    had(&all);
                }
            }
            Some(Event { kind, index: Some(index) }) if door.is_ordered() && kind.is_of_an_item() => {
                if door.catches() && kind != Kind::Pull {
                    had(&all.into_iter().filter(|&other| other != index).collect::<Vec<_>>());
                } else if door.collects(drive) || (door.pulls_first() && kind == Kind::Pull) {
                    had(&[]);
                } else {
                    had(&all[..index]);
                }
            }
            // The consumer's own, or that of a worker's state.
            Some(_) => assert!(consumed.windows(2).all(|pair| pair[0] < pair[1]), "{consumed:?}: {setting}"),
        }
    }
}

impl Door {
    /// Whether a run ends with the panic of this event, where that is certain.
    fn raises(self, drive: Drive, event: Event) -> Option<bool> {
        let Event { kind, index } = event;
        if kind.is_the_consumers() || (kind == Kind::Pull && self.pulls_first()) {
            return Some(true);
        }
        if self == Door::ParCollectVec {
            // What is left of the vector is not ours.
            return (!kind.comes_after_all()).then_some(true);
        }
        match index {
            Some(_) if kind.is_of_a_left_over() => Some(false),
            Some(index) if self.is_ordered() => Some(index < drive.takes()),
            _ => (drive.takes_everything() && !kind.comes_after_all()).then_some(true),
        }
    }
}

/// What panics behind each door.
const ALWAYS: [Kind; 7] =
    [Kind::Pull, Kind::Enter, Kind::Exit, Kind::ItemDrop, Kind::ResultDrop, Kind::Consume, Kind::ConsumedDrop];

/// And where source and `f` own something.
const OWNED: &[Kind] = &[Kind::SourceDrop, Kind::CaptureDrop];

/// Sweeps in a process of its own, which a panic ends that escapes a destructor while another unwinds.
fn in_child(sweep: impl FnOnce() -> usize) {
    let test = test_of(&sweep);
    // Without frames, which are of no use here and take long.
    let output = child::with_env("RUST_BACKTRACE", "0").run_as(test, || {
        let places = sweep();
        println!("swept {places} places");
    });
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{out}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    let places = out.lines().find(|line| line.starts_with("swept ")).expect("the child has swept");
    println!("{test}: {places}");
}

const FEW: [Drive; 4] = [Drive::Loop, Drive::Collect, Drive::TakeThree, Drive::DropAfterOne];

#[test(minutes = 5)]
fn pool_map_by_every_method() {
    in_child(|| sweep(Door::Map, &Drive::ALL, &[1, 3], OWNED));
}

#[test(minutes = 5)]
fn pool_map_init() {
    in_child(|| sweep(Door::MapInit, &FEW, &[1, 3], &[Kind::SourceDrop, Kind::Init, Kind::StateDrop]));
}

#[test(minutes = 5)]
fn pool_map_try_init() {
    in_child(|| sweep(Door::MapTryInit, &FEW, &[1, 3], &[Kind::SourceDrop, Kind::Init, Kind::StateDrop]));
}

#[test(minutes = 5)]
fn pool_map_with() {
    in_child(|| sweep(Door::MapWith, &FEW, &[1, 3], &[Kind::SourceDrop, Kind::Init, Kind::StateDrop]));
}

#[test(minutes = 5)]
fn report_slow() {
    in_child(|| sweep(Door::MapSlow, &FEW, &[1, 3], OWNED));
}

#[test(minutes = 5)]
fn catch_panics() {
    in_child(|| sweep(Door::MapCaught, &FEW, &[1, 3], OWNED));
}

#[test(minutes = 5)]
fn pool_map_and_consume() {
    in_child(|| sweep(Door::MapConsume, &FEW, &[1, 3], OWNED));
}

#[test(minutes = 5)]
fn pool_imap() {
    in_child(|| sweep(Door::Imap, &Drive::ALL, &[1, 3], OWNED));
}

#[test(minutes = 5)]
fn run_ahead() {
    in_child(|| sweep(Door::RunAhead, &FEW, &[1, 3], OWNED));
}

#[test(minutes = 5)]
fn run_ahead_and_unordered() {
    in_child(|| sweep(Door::RunAheadUnordered, &FEW, &[1, 3], OWNED));
}

#[test(minutes = 5)]
fn pool_imap_unordered() {
    in_child(|| sweep(Door::ImapUnordered, &FEW, &[1, 3], OWNED));
}

#[test(minutes = 5)]
fn pool_imap_and_catch_panics() {
    in_child(|| sweep(Door::ImapCaught, &FEW, &[1, 3], OWNED));
}

#[test(minutes = 5)]
fn scope_imap() {
    in_child(|| sweep(Door::Scope, &FEW, &[1, 3], OWNED));
}

#[test(minutes = 5)]
fn scope_imap_unordered() {
    in_child(|| sweep(Door::ScopeUnordered, &FEW, &[1, 3], OWNED));
}

#[test(minutes = 5)]
fn spawn() {
    in_child(|| sweep(Door::Spawn, &Drive::ALL, &[1], &[Kind::SourceDrop]));
}

#[test(minutes = 5)]
fn tasks_as_completed() {
    in_child(|| sweep(Door::AsCompleted, &Drive::ALL, &[1], &[Kind::SourceDrop]));
}

#[test(minutes = 5)]
fn scope_spawn() {
    in_child(|| sweep(Door::ScopeSpawn, &Drive::ALL, &[1], &[Kind::SourceDrop]));
}

#[test(minutes = 5)]
fn data_that_rayon_can_split() {
    in_child(|| sweep(Door::Par, &Drive::ALL, &[1, 3], OWNED));
}

#[test(minutes = 5)]
fn a_vector_that_rayon_can_split() {
    in_child(|| sweep(Door::ParVec, &FEW, &[1, 3], &[Kind::CaptureDrop]));
}

#[test(minutes = 5)]
fn collect_vec() {
    in_child(|| sweep(Door::ParCollectVec, &[Drive::Collect, Drive::DropAfterOne], &[1, 3], &[Kind::CaptureDrop]));
}
