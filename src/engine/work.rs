//! What is done with one item: `f(item)`, `f(a, b)`, `f(&mut state, item)`, or any of these with a panic as a value.
//!
//! The engine knows only [`Work`] and [`WorkOn`]; each adaptor of [`PoolIterator`](crate::PoolIterator) is one implementation of it.

use crate::base::sync::Mutex;
use crate::engine::star::StarFn;
use crate::observe::ObserverRef;
use crate::panics::{self, Call, TaskPanic};
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

/// What an iterator of this crate does with its items, as far as that can be said without them: what comes of one, and what a
/// worker keeps. Not for implementing elsewhere: the methods of [`PoolIterator`](crate::PoolIterator) choose it.
pub trait Work: sealed::Sealed {
    /// What comes of one item.
    type Output;

    /// What one worker keeps from item to item.
    #[doc(hidden)]
    type State;

    /// Whether there is such a thing.
    #[doc(hidden)]
    const HAS_STATE: bool = false;

    /// Adds those who watch this work.
    #[doc(hidden)]
    fn add_watches<'s>(&'s self, _watches: &mut Vec<&'s ObserverRef<'s>>) {}

    /// Whether an output stands for a panic.
    #[doc(hidden)]
    #[must_use]
    fn is_panic(_: &Self::Output) -> bool {
        false
    }
}

/// [`Work`] that can be done on items of type `T`, by workers.
pub trait WorkOn<T>: Work<Output: Send, State: Send> + Sync {
    /// Runs on the worker. `state` is this worker's alone, and `None` until its first item.
    #[doc(hidden)]
    fn run(&self, state: &mut Option<Self::State>, item: T, at: At<'_>) -> Self::Output;
}

/// Which item of which call is at work.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
#[expect(unnameable_types, reason = "what a sealed trait deals in")]
pub struct At<'a> {
    pub(crate) call: &'a Arc<Call>,
    pub(crate) index: u64,
}

mod sealed {
    #[expect(unnameable_types, reason = "a sealed trait: nobody else may implement it")]
    pub trait Sealed {}
    impl<F, R> Sealed for super::Map<F, R> {}
    impl<F, R> Sealed for super::StarMap<F, R> {}
    impl<N, F, S, R> Sealed for super::MapInit<N, F, S, R> {}
    impl<N, F, S, R> Sealed for super::MapTryInit<N, F, S, R> {}
    impl<S, F, R> Sealed for super::MapWith<S, F, R> {}
    impl<W> Sealed for super::Catching<W> {}
    impl<W, T> Sealed for super::CatchingItems<W, T> {}
    impl<W> Sealed for super::Observed<'_, W> {}
}

/// `f(item)`, which gives an `R`: the work of [`pool_map`](crate::PoolIterator::pool_map).
pub struct Map<F, R> {
    f: F,
    gives: PhantomData<fn() -> R>,
}

impl<F, R> Map<F, R> {
    pub(crate) fn new(f: F) -> Self {
        Map { f, gives: PhantomData }
    }
}

impl<F, R> Work for Map<F, R> {
    type Output = R;
    type State = ();
}

impl<T, R, F> WorkOn<T> for Map<F, R>
where
    T: Send,
    R: Send,
    F: Fn(T) -> R + Sync,
{
    #[inline]
    fn run(&self, _: &mut Option<()>, item: T, _: At<'_>) -> R {
        (self.f)(item)
    }
}

/// `f(a, b)`, which gives an `R`: the work of [`pool_starmap`](crate::PoolIterator::pool_starmap).
pub struct StarMap<F, R> {
    f: F,
    gives: PhantomData<fn() -> R>,
}

impl<F, R> StarMap<F, R> {
    pub(crate) fn new(f: F) -> Self {
        StarMap { f, gives: PhantomData }
    }
}

impl<F, R> Work for StarMap<F, R> {
    type Output = R;
    type State = ();
}

impl<T, R, F> WorkOn<T> for StarMap<F, R>
where
    T: Send,
    R: Send,
    F: StarFn<T, Output = R> + Sync,
{
    #[inline]
    fn run(&self, _: &mut Option<()>, item: T, _: At<'_>) -> R {
        self.f.call_star(item)
    }
}

/// `f(&mut state, item)`, which gives an `R`, with a state `S` for each worker: the work of
/// [`pool_map_init`](crate::PoolIterator::pool_map_init).
pub struct MapInit<N, F, S, R> {
    init: N,
    f: F,
    gives: PhantomData<fn() -> (S, R)>,
}

impl<N, F, S, R> MapInit<N, F, S, R> {
    pub(crate) fn new(init: N, f: F) -> Self {
        MapInit { init, f, gives: PhantomData }
    }
}

impl<N, F, S, R> Work for MapInit<N, F, S, R> {
    type Output = R;
    type State = S;
    const HAS_STATE: bool = true;
}

impl<T, S, R, N, F> WorkOn<T> for MapInit<N, F, S, R>
where
    T: Send,
    S: Send,
    R: Send,
    N: Fn() -> S + Sync,
    F: Fn(&mut S, T) -> R + Sync,
{
    #[inline]
    fn run(&self, state: &mut Option<S>, item: T, _: At<'_>) -> R {
        let (state, item) = if let Some(state) = state {
            (state, item)
        } else {
            let (new, item) = begin(&self.init, item);
            (state.insert(new), item)
        };
        (self.f)(state, item)
    }
}

/// Makes the state before a worker's first item. Where that panics, the item is left over like any other.
#[cold]
fn begin<T, S>(init: impl FnOnce() -> S, item: T) -> (S, T) {
    match panics::catch(init) {
        Ok(new) => (new, item),
        Err(payload) => {
            panics::contain(item);
            panics::resume(payload)
        }
    }
}

/// `f(&mut state, item)` with a state for each worker that may fail to be made: the work of
/// [`pool_map_try_init`](crate::PoolIterator::pool_map_try_init).
pub struct MapTryInit<N, F, S, R> {
    init: N,
    f: F,
    gives: PhantomData<fn() -> (S, R)>,
}

impl<N, F, S, R> MapTryInit<N, F, S, R> {
    pub(crate) fn new(init: N, f: F) -> Self {
        MapTryInit { init, f, gives: PhantomData }
    }
}

impl<N, F, S, R> Work for MapTryInit<N, F, S, R> {
    type Output = R;
    type State = S;
    const HAS_STATE: bool = true;
}

impl<T, S, R, E, N, F> WorkOn<T> for MapTryInit<N, F, S, Result<R, E>>
where
    T: Send,
    S: Send,
    R: Send,
    E: Send,
    N: Fn() -> Result<S, E> + Sync,
    F: Fn(&mut S, T) -> Result<R, E> + Sync,
{
    #[inline]
    fn run(&self, state: &mut Option<S>, item: T, _: At<'_>) -> Result<R, E> {
        let (state, item) = if let Some(state) = state {
            (state, item)
        } else {
            let (new, item) = begin(&self.init, item);
            (state.insert(new?), item)
        };
        (self.f)(state, item)
    }
}

/// `f(&mut state, item)` with a clone of one state for each worker: the work of
/// [`pool_map_with`](crate::PoolIterator::pool_map_with).
pub struct MapWith<S, F, R> {
    /// Cloned under the lock, since it need not be `Sync`. Nothing else of ours is locked then.
    state: Mutex<S>,
    f: F,
    gives: PhantomData<fn() -> R>,
}

impl<S, F, R> MapWith<S, F, R> {
    pub(crate) fn new(state: S, f: F) -> Self {
        MapWith { state: Mutex::new(state), f, gives: PhantomData }
    }
}

impl<S, F, R> Work for MapWith<S, F, R> {
    type Output = R;
    type State = S;
    const HAS_STATE: bool = true;
}

impl<T, S, R, F> WorkOn<T> for MapWith<S, F, R>
where
    T: Send,
    S: Clone + Send,
    R: Send,
    F: Fn(&mut S, T) -> R + Sync,
{
    #[inline]
    fn run(&self, state: &mut Option<S>, item: T, _: At<'_>) -> R {
        let (state, item) = if let Some(state) = state {
            (state, item)
        } else {
            let (new, item) = begin(|| self.state.lock().clone(), item);
            (state.insert(new), item)
        };
        (self.f)(state, item)
    }
}

/// Other work, with panics as values: the work of [`catch_panics`](crate::PoolMap::catch_panics).
pub struct Catching<W>(pub(crate) W);

impl<W: Work> Work for Catching<W> {
    type Output = Result<W::Output, TaskPanic>;
    type State = W::State;
    const HAS_STATE: bool = W::HAS_STATE;

    fn add_watches<'s>(&'s self, watches: &mut Vec<&'s ObserverRef<'s>>) {
        self.0.add_watches(watches);
    }

    fn is_panic(output: &Self::Output) -> bool {
        output.is_err()
    }
}

impl<T, W> WorkOn<T> for Catching<W>
where
    T: Send,
    W: WorkOn<T>,
{
    fn run(&self, state: &mut Option<W::State>, item: T, at: At<'_>) -> Self::Output {
        panics::run_item(at.call, at.index, || self.0.run(state, item, at)).inspect_err(|_| {
            // Nobody knows what the panic left half done in the state: the worker's next item makes a new one.
            panics::contain(state.take());
        })
    }
}

/// The same with the item beside its panic: the work of `catch_panics().with_items()`.
pub struct CatchingItems<W, T> {
    work: W,
    gives_back: PhantomData<fn() -> T>,
}

impl<W, T> CatchingItems<W, T> {
    pub(crate) fn new(Catching(work): Catching<W>) -> Self {
        CatchingItems { work, gives_back: PhantomData }
    }
}

impl<W: Work, T> Work for CatchingItems<W, T> {
    type Output = Result<W::Output, (T, TaskPanic)>;
    type State = W::State;
    const HAS_STATE: bool = W::HAS_STATE;

    fn add_watches<'s>(&'s self, watches: &mut Vec<&'s ObserverRef<'s>>) {
        self.work.add_watches(watches);
    }

    fn is_panic(output: &Self::Output) -> bool {
        output.is_err()
    }
}

impl<T, W> WorkOn<T> for CatchingItems<W, T>
where
    T: Clone + Send,
    W: WorkOn<T>,
{
    fn run(&self, state: &mut Option<W::State>, item: T, at: At<'_>) -> Self::Output {
        let (mut item, mut kept) = (Some(item), None);
        let result = panics::run_item(at.call, at.index, || {
            // If this panics, the item itself is there.
            kept.clone_from(&item);
            self.work.run(state, item.take().expect("BUG: it is taken once"), at)
        });
        match result {
            Ok(result) => {
                panics::contain(kept);
                Ok(result)
            }
            Err(panic) => {
                panics::contain(state.take());
                Err((item.or(kept).expect("BUG: the item or its clone is there"), panic))
            }
        }
    }
}

/// Other work with an observer attached: the work of [`PoolMap::observe`](crate::PoolMap::observe) and
/// [`PoolImap::observe`](crate::PoolImap::observe).
///
/// It runs what it holds and nothing else: the engine sees the watch, and reads the clock.
pub struct Observed<'a, W> {
    pub(crate) work: W,
    pub(crate) watch: ObserverRef<'a>,
}

// Observers hear of panics, and of what comes after them.
impl<W: UnwindSafe> UnwindSafe for Observed<'_, W> {}
impl<W: RefUnwindSafe> RefUnwindSafe for Observed<'_, W> {}

impl<W: Work> Work for Observed<'_, W> {
    type Output = W::Output;
    type State = W::State;
    const HAS_STATE: bool = W::HAS_STATE;

    fn add_watches<'s>(&'s self, watches: &mut Vec<&'s ObserverRef<'s>>) {
        self.work.add_watches(watches);
        watches.push(&self.watch);
    }

    fn is_panic(output: &W::Output) -> bool {
        W::is_panic(output)
    }
}

impl<T, W: WorkOn<T>> WorkOn<T> for Observed<'_, W> {
    #[inline]
    fn run(&self, state: &mut Option<W::State>, item: T, at: At<'_>) -> W::Output {
        self.work.run(state, item, at)
    }
}

/// All who watch a call, each once: those of its work, and its pool's.
pub(crate) fn watches<'s, W: Work>(work: &'s W, of_pool: Option<&'s ObserverRef<'static>>) -> Vec<&'s ObserverRef<'s>> {
    let mut watches = Vec::new();
    work.add_watches(&mut watches);
    let own = of_pool.filter(|own| !watches.iter().any(|watch| watch.is_twin_of(own)));
    watches.extend(own);
    watches
}

macro_rules! opaque_debug {
    ($($name:literal => [$($generics:tt)*] $ty:ty),+ $(,)?) => {$(
        impl<$($generics)*> std::fmt::Debug for $ty {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($name)
            }
        }
    )+};
}

opaque_debug!("Map" => [F, R] Map<F, R>, "StarMap" => [F, R] StarMap<F, R>);
opaque_debug!("MapInit" => [N, F, S, R] MapInit<N, F, S, R>, "MapTryInit" => [N, F, S, R] MapTryInit<N, F, S, R>);
opaque_debug!("MapWith" => [S, F, R] MapWith<S, F, R>);
opaque_debug!("Catching" => [W] Catching<W>, "CatchingItems" => [W, T] CatchingItems<W, T>, "Observed" => ['a, W] Observed<'a, W>);
