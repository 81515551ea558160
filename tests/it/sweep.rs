//! A panic in any place: of the source, of `f` before and after its work, of each destructor, of the consumer.
//!
//! A probe counts all that happens in user code. A first run, without a panic, learns how much that is; then one run for
//! each of these events panics there. Afterwards nothing is left, nothing runs, the payload is the one that was thrown, and
//! the pool works on.

use std::any::Any;
use std::collections::BTreeSet;
use std::iter;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};

use pool_map::{Pool, PoolIterator, PoolParallelIterator, TaskPanic};
use rayon::prelude::*;

use crate::child;

/// How many items a run has.
const ITEMS: usize = 8;

/// What may panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Pull,
    Enter,
    Exit,
    ItemDrop,
    /// Of a result that the consumer has not looked at.
    ResultDrop,
    Consume,
    /// Of one that it has.
    ConsumedDrop,
    SourceDrop,
    Init,
    StateDrop,
}

impl Kind {
    /// Whether a panic of this kind is raised wherever it happens: it happens on the consumer's own stack.
    fn is_the_consumers(self) -> bool {
        matches!(self, Kind::Consume | Kind::ConsumedDrop)
    }

    /// Whether a panic of this kind may go no further where the whole source was consumed: it comes when all is over.
    fn comes_after_all(self) -> bool {
        matches!(self, Kind::SourceDrop | Kind::StateDrop)
    }
}

/// The payload of the one panic of a run.
#[derive(Debug, PartialEq)]
struct Fired(usize);

/// Counts everything that happens in a run, and panics in one place of it.
struct Probe {
    events: AtomicUsize,
    fires_at: usize,
    fired: Mutex<Option<Kind>>,
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
    fn new(fires_at: usize) -> (Arc<Probe>, Hand, Receiver<()>) {
        let probe = Arc::new(Probe {
            events: AtomicUsize::new(0),
            fires_at,
            fired: Mutex::default(),
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

    fn event(&self, kind: Kind) {
        if self.over.load(Ordering::SeqCst) {
            self.too_late.fetch_add(1, Ordering::SeqCst);
        }
        let event = self.events.fetch_add(1, Ordering::SeqCst);
        if event == self.fires_at {
            *self.fired.lock().unwrap_or_else(PoisonError::into_inner) = Some(kind);
            // Without the hook: some ten thousand traces are of no use to anybody.
            resume_unwind(Box::new(Fired(event)));
        }
    }
}

struct Item {
    hand: Hand,
    index: usize,
}

struct Outcome {
    hand: Hand,
    index: usize,
    consumed: bool,
}

impl Item {
    fn new(hand: &Hand, index: usize) -> Item {
        hand.items[index].made.fetch_add(1, Ordering::SeqCst);
        Item { hand: hand.clone(), index }
    }
}

impl Outcome {
    fn new(hand: &Hand, index: usize) -> Outcome {
        hand.results[index].made.fetch_add(1, Ordering::SeqCst);
        Outcome { hand: hand.clone(), index, consumed: false }
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.hand.items[self.index].dropped.fetch_add(1, Ordering::SeqCst);
        self.hand.event(Kind::ItemDrop);
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.hand.results[self.index].dropped.fetch_add(1, Ordering::SeqCst);
        self.hand.event(if self.consumed { Kind::ConsumedDrop } else { Kind::ResultDrop });
    }
}

/// Panics with a kind when dropped, if that is the event.
struct Last(Hand, Kind);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.event(self.1);
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
        hand.event(Kind::Pull);
        Item::new(&hand, index)
    })
}

/// The same in a vector.
fn items(hand: &Hand) -> Vec<Item> {
    let item = |index| {
        hand.event(Kind::Pull);
        Item::new(hand, index)
    };
    (0..ITEMS).map(item).collect()
}

/// And their `f`.
fn f(item: Item) -> Outcome {
    let hand = item.hand.clone();
    hand.running.fetch_add(1, Ordering::SeqCst);
    let _running = Running(&hand);
    hand.event(Kind::Enter);
    let result = Outcome::new(&hand, item.index);
    drop(item);
    hand.event(Kind::Exit);
    result
}

/// What a consumer gets: a result, or one that may be a panic.
trait Delivered {
    /// Looks at it, and gives the result back.
    fn consume(self, hand: &Hand) -> Option<Outcome>;
}

impl Delivered for Outcome {
    fn consume(mut self, hand: &Hand) -> Option<Outcome> {
        self.consumed = true;
        hand.event(Kind::Consume);
        Some(self)
    }
}

impl Delivered for Result<Outcome, TaskPanic> {
    fn consume(self, hand: &Hand) -> Option<Outcome> {
        match self {
            Ok(result) => result.consume(hand),
            Err(panic) => {
                *hand.caught.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic.into_payload());
                None
            }
        }
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

    fn takes_everything(self) -> bool {
        !matches!(self, Drive::TakeThree | Drive::DropAfterOne)
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
    MapCaught,
    Imap,
    ImapUnordered,
    ImapCaught,
    Scope,
    ScopeUnordered,
    Spawn,
    /// Data that rayon can split: made item by item on the workers, or a vector.
    Par,
    ParVec,
    ParCollectVec,
}

impl Door {
    /// Whether its threads may be at work after the consumer is done.
    fn runs_on(self) -> bool {
        matches!(self, Door::Imap | Door::ImapUnordered | Door::ImapCaught | Door::Spawn)
    }

    /// Sends the items through. Whatever panics in there, comes out of here.
    #[allow(clippy::needless_pass_by_value)] // The hand is to be gone when this returns.
    fn run(self, drive: Drive, hand: Hand, pool: &Pool, chunk: usize) {
        match self {
            Door::Map => drive.run(PoolIterator::pool_map(source(&hand), pool, f).chunk_size(chunk), &hand),
            Door::MapInit => {
                let init = || {
                    hand.event(Kind::Init);
                    Last(hand.clone(), Kind::StateDrop)
                };
                let it = source(&hand).pool_map_init(pool, init, |_state, item| f(item)).chunk_size(chunk);
                drive.run(it, &hand);
            }
            Door::MapCaught => drive.run(source(&hand).pool_map(pool, f).chunk_size(chunk).catch_panics(), &hand),
            Door::Imap => drive.run(source(&hand).pool_imap(pool, f).chunk_size(chunk), &hand),
            Door::ImapUnordered => drive.run(source(&hand).pool_imap_unordered(pool, f).chunk_size(chunk), &hand),
            Door::ImapCaught => drive.run(source(&hand).pool_imap(pool, f).chunk_size(chunk).catch_panics(), &hand),
            Door::Scope => {
                pool_map::scope(pool, |s| drive.run(s.imap(source(&hand), f).chunk_size(chunk), &hand));
            }
            Door::ScopeUnordered => {
                pool_map::scope(pool, |s| drive.run(s.imap_unordered(source(&hand), f).chunk_size(chunk), &hand));
            }
            Door::Par => {
                let pulls = hand.clone();
                let last = Last(hand.clone(), Kind::SourceDrop);
                let make = move |index| {
                    let _last = &last;
                    pulls.event(Kind::Pull);
                    Item::new(&pulls, index)
                };
                let it = PoolParallelIterator::pool_map((0..ITEMS).into_par_iter().map(make), pool, f);
                it.chunk_size(chunk).consume(|results| drive.run(results, &hand));
            }
            Door::ParVec => {
                let it = PoolParallelIterator::pool_map(items(&hand).into_par_iter(), pool, f);
                it.chunk_size(chunk).consume(|results| drive.run(results, &hand));
            }
            Door::ParCollectVec => {
                let it = PoolParallelIterator::pool_map(items(&hand).into_par_iter(), pool, f);
                drive.run(it.chunk_size(chunk).collect_vec().into_iter(), &hand);
            }
            Door::Spawn => {
                let tasks: Vec<_> = source(&hand).map(|item| pool.spawn(move || f(item))).collect();
                drive.run(tasks.into_iter().map(pool_map::Task::join), &hand);
            }
        }
        let caught = hand.caught.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(payload) = caught {
            resume_unwind(payload);
        }
    }
}

/// Panics at each event of each run through `door`, and gives how many places that were.
fn sweep(door: Door, drives: &[Drive], chunks: &[usize], expected: &[Kind]) -> usize {
    let mut places = 0;
    let mut kinds = BTreeSet::new();
    for workers in [1, 2, 4] {
        let shared = Pool::new(workers).expect("a few threads");
        for (drive, chunk) in drives.iter().flat_map(|drive| chunks.iter().map(|chunk| (*drive, *chunk))) {
            let (clean, hand, gone) = Probe::new(usize::MAX);
            door.run(drive, hand, &shared, chunk);
            gone.recv().expect_err("nothing is sent");
            for fires_at in 0..clean.events.load(Ordering::SeqCst) {
                let pool = if door.runs_on() { Pool::new(workers).expect("a few threads") } else { shared.clone() };
                let (probe, hand, gone) = Probe::new(fires_at);
                let end = catch_unwind(AssertUnwindSafe(|| door.run(drive, hand, &pool, chunk)));
                let fired = *probe.fired.lock().unwrap_or_else(PoisonError::into_inner);
                let setting =
                    format!("{door:?}, {drive:?}, {workers} workers, chunks of {chunk}, {fired:?} at event {fires_at}");
                assert_eq!((0..100).pool_map(&pool, |x| x).sum::<i32>(), 4950, "the pool works on: {setting}");
                if door.runs_on() {
                    // The last handle: it waits for what runs. The source may end a little later.
                    pool.join();
                    assert_eq!(probe.running.load(Ordering::SeqCst), 0, "still running: {setting}");
                    gone.recv().expect_err("nothing is sent");
                }
                probe.over.store(true, Ordering::SeqCst);
                assert_eq!(gone.try_recv(), Err(TryRecvError::Disconnected), "something is left: {setting}");
                probe.check(drive, end, &setting);
                places += usize::from(fired.is_some());
                kinds.extend(fired);
            }
        }
    }
    assert!(kinds.iter().eq(expected), "what panicked at some time: {kinds:?}");
    places
}

impl Probe {
    /// Checks what is left of a run, and how it ended.
    fn check(&self, drive: Drive, end: Result<(), Box<dyn Any + Send>>, setting: &str) {
        assert_eq!(self.running.load(Ordering::SeqCst), 0, "still running: {setting}");
        assert_eq!(self.too_late.load(Ordering::SeqCst), 0, "something happened later: {setting}");
        for (index, (item, result)) in iter::zip(&self.items, &self.results).enumerate() {
            let [made, dropped] = [&item.made, &item.dropped].map(|count| count.load(Ordering::SeqCst));
            assert!(made <= 1 && dropped == made, "item {index} made {made}, dropped {dropped} times: {setting}");
            let [made, dropped] = [&result.made, &result.dropped].map(|count| count.load(Ordering::SeqCst));
            assert!(made <= 1 && dropped == made, "result {index} made {made}, dropped {dropped} times: {setting}");
        }
        let fired = *self.fired.lock().unwrap_or_else(PoisonError::into_inner);
        match (end, fired) {
            (Err(payload), Some(_)) => {
                let fired = payload.downcast::<Fired>().expect("the payload that was thrown");
                assert_eq!(*fired, Fired(self.fires_at), "{setting}");
            }
            (Err(_), None) => panic!("a panic out of nothing: {setting}"),
            (Ok(()), Some(kind)) => {
                assert!(!kind.is_the_consumers(), "a panic got lost: {setting}");
                assert!(!drive.takes_everything() || kind.comes_after_all(), "a panic got lost: {setting}");
            }
            // It happened less often than in the first run: fewer workers had a state, less was read ahead.
            (Ok(()), None) => {}
        }
    }
}

/// What panics behind each door.
const ALWAYS: [Kind; 7] =
    [Kind::Pull, Kind::Enter, Kind::Exit, Kind::ItemDrop, Kind::ResultDrop, Kind::Consume, Kind::ConsumedDrop];

/// Sweeps in a process of its own, which a panic ends that escapes a destructor while another unwinds.
fn in_a_child(test: &str, door: Door, drives: &[Drive], chunks: &[usize], more: &[Kind]) {
    let Some(output) = child::of(test) else {
        let places = sweep(door, drives, chunks, &[&ALWAYS, more].concat());
        println!("swept {places} places");
        return;
    };
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{out}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    let places = out.lines().find(|line| line.starts_with("swept ")).expect("the child has swept");
    println!("{door:?}: {places}");
}

const FEW: [Drive; 4] = [Drive::Loop, Drive::Collect, Drive::TakeThree, Drive::DropAfterOne];

#[test]
fn pool_map_by_every_method() {
    in_a_child("sweep::pool_map_by_every_method", Door::Map, &Drive::ALL, &[1, 3], &[Kind::SourceDrop]);
}

#[test]
fn pool_map_init() {
    in_a_child("sweep::pool_map_init", Door::MapInit, &FEW, &[1, 3], &[Kind::SourceDrop, Kind::Init, Kind::StateDrop]);
}

#[test]
fn catch_panics() {
    in_a_child("sweep::catch_panics", Door::MapCaught, &FEW, &[1, 3], &[Kind::SourceDrop]);
}

#[test]
fn pool_imap() {
    in_a_child("sweep::pool_imap", Door::Imap, &Drive::ALL, &[1, 3], &[Kind::SourceDrop]);
}

#[test]
fn pool_imap_unordered() {
    in_a_child("sweep::pool_imap_unordered", Door::ImapUnordered, &FEW, &[1, 3], &[Kind::SourceDrop]);
}

#[test]
fn pool_imap_and_catch_panics() {
    in_a_child("sweep::pool_imap_and_catch_panics", Door::ImapCaught, &FEW, &[1, 3], &[Kind::SourceDrop]);
}

#[test]
fn scope_imap() {
    in_a_child("sweep::scope_imap", Door::Scope, &FEW, &[1, 3], &[Kind::SourceDrop]);
}

#[test]
fn scope_imap_unordered() {
    in_a_child("sweep::scope_imap_unordered", Door::ScopeUnordered, &FEW, &[1, 3], &[Kind::SourceDrop]);
}

#[test]
fn spawn() {
    in_a_child("sweep::spawn", Door::Spawn, &Drive::ALL, &[1], &[Kind::SourceDrop]);
}

#[test]
fn data_that_rayon_can_split() {
    in_a_child("sweep::data_that_rayon_can_split", Door::Par, &Drive::ALL, &[1, 3], &[Kind::SourceDrop]);
}

#[test]
fn a_vector_that_rayon_can_split() {
    in_a_child("sweep::a_vector_that_rayon_can_split", Door::ParVec, &FEW, &[1, 3], &[]);
}

#[test]
fn collect_vec() {
    in_a_child("sweep::collect_vec", Door::ParCollectVec, &[Drive::Collect, Drive::DropAfterOne], &[1, 3], &[]);
}
