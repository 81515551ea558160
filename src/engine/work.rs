//! What is done with one item: `f(item)`, `f(a, b)`, `f(&mut state, item)`, or any of these with a panic as a value.
//!
//! The engine knows only [`Work`]; each adaptor of [`PoolIterator`](crate::PoolIterator) is one implementation of it.

use crate::engine::star::StarFn;
use crate::observe::ObserverRef;
use crate::panics::{self, Call, TaskPanic};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

/// What a [`PoolMap`](crate::PoolMap) does with each item. The methods of [`PoolIterator`](crate::PoolIterator) choose it; it
/// cannot be implemented elsewhere.
pub trait Work<T>: Sync + sealed::Sealed {
    /// The result of one item.
    type Output: Send;

    /// What one worker keeps from item to item.
    #[doc(hidden)]
    type State: Send;

    /// Whether there is such a thing.
    #[doc(hidden)]
    const HAS_STATE: bool = false;

    /// Runs on the worker. `state` is this worker's alone, and `None` until its first item.
    #[doc(hidden)]
    fn run(&self, state: &mut Option<Self::State>, item: T, at: At<'_>) -> Self::Output;

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

/// Which item of which call is at work.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    pub(crate) call: &'a Arc<Call>,
    pub(crate) index: u64,
}

mod sealed {
    pub trait Sealed {}
    impl<F> Sealed for super::Map<F> {}
    impl<F> Sealed for super::StarMap<F> {}
    impl<N, F> Sealed for super::MapInit<N, F> {}
    impl<W> Sealed for super::Catching<W> {}
    impl<W> Sealed for super::Observed<'_, W> {}
}

/// `f(item)`: the work of [`pool_map`](crate::PoolIterator::pool_map).
#[derive(Clone, Copy)]
pub struct Map<F>(pub(crate) F);

impl<T, R, F> Work<T> for Map<F>
where
    T: Send,
    R: Send,
    F: Fn(T) -> R + Sync,
{
    type Output = R;
    type State = ();

    #[inline]
    fn run(&self, _: &mut Option<()>, item: T, _: At<'_>) -> R {
        (self.0)(item)
    }
}

/// `f(a, b)`: the work of [`pool_starmap`](crate::PoolIterator::pool_starmap).
#[derive(Clone, Copy)]
pub struct StarMap<F>(pub(crate) F);

impl<T, F> Work<T> for StarMap<F>
where
    T: Send,
    F: StarFn<T> + Sync,
    F::Output: Send,
{
    type Output = F::Output;
    type State = ();

    #[inline]
    fn run(&self, _: &mut Option<()>, item: T, _: At<'_>) -> F::Output {
        self.0.call_star(item)
    }
}

/// `f(&mut state, item)`: the work of [`pool_map_init`](crate::PoolIterator::pool_map_init).
#[derive(Clone, Copy)]
pub struct MapInit<N, F> {
    pub(crate) init: N,
    pub(crate) f: F,
}

impl<T, S, R, N, F> Work<T> for MapInit<N, F>
where
    T: Send,
    S: Send,
    R: Send,
    N: Fn() -> S + Sync,
    F: Fn(&mut S, T) -> R + Sync,
{
    type Output = R;
    type State = S;
    const HAS_STATE: bool = true;

    #[inline]
    fn run(&self, state: &mut Option<S>, item: T, _: At<'_>) -> R {
        let (state, item) = match state {
            Some(state) => (state, item),
            None => self.begin(state, item),
        };
        (self.f)(state, item)
    }
}

impl<N, F> MapInit<N, F> {
    /// Makes the state before a worker's first item. Where that panics, the item is left over like any other.
    #[cold]
    fn begin<'s, S, T>(&self, state: &'s mut Option<S>, item: T) -> (&'s mut S, T)
    where
        N: Fn() -> S,
    {
        match panics::catch(&self.init) {
            Ok(new) => (state.insert(new), item),
            Err(payload) => {
                panics::contain(item);
                panics::resume(payload)
            }
        }
    }
}

/// Other work, with panics as values: the work of [`catch_panics`](crate::PoolMap::catch_panics).
#[derive(Clone, Copy)]
pub struct Catching<W>(pub(crate) W);

impl<T, W> Work<T> for Catching<W>
where
    T: Send,
    W: Work<T>,
{
    type Output = Result<W::Output, TaskPanic>;
    type State = W::State;
    const HAS_STATE: bool = W::HAS_STATE;

    fn run(&self, state: &mut Option<W::State>, item: T, at: At<'_>) -> Self::Output {
        panics::run_item(at.call, at.index, || self.0.run(state, item, at)).inspect_err(|_| {
            // Nobody knows what the panic left half done in the state: the worker's next item makes a new one.
            panics::contain(state.take());
        })
    }

    fn add_watches<'s>(&'s self, watches: &mut Vec<&'s ObserverRef<'s>>) {
        self.0.add_watches(watches);
    }

    fn is_panic(output: &Self::Output) -> bool {
        output.is_err()
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

impl<T, W: Work<T>> Work<T> for Observed<'_, W> {
    type Output = W::Output;
    type State = W::State;
    const HAS_STATE: bool = W::HAS_STATE;

    #[inline]
    fn run(&self, state: &mut Option<W::State>, item: T, at: At<'_>) -> W::Output {
        self.work.run(state, item, at)
    }

    fn add_watches<'s>(&'s self, watches: &mut Vec<&'s ObserverRef<'s>>) {
        self.work.add_watches(watches);
        watches.push(&self.watch);
    }

    fn is_panic(output: &W::Output) -> bool {
        W::is_panic(output)
    }
}

/// All who watch a call, each once: those of its work, and its pool's.
pub(crate) fn watches<'s, T, W: Work<T>>(
    work: &'s W,
    of_pool: Option<&'s ObserverRef<'static>>,
) -> Vec<&'s ObserverRef<'s>> {
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

opaque_debug!("Map" => [F] Map<F>, "StarMap" => [F] StarMap<F>, "MapInit" => [N, F] MapInit<N, F>);
opaque_debug!("Catching" => [W] Catching<W>, "Observed" => ['a, W] Observed<'a, W>);
