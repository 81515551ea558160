//! The whole call as one job of rayon's: what `collect_vec` does where nobody watches or may stop it.
//!
//! Rayon splits the data, and each result is written to its place in the vector. What is ours is between the two: a
//! consumer that runs `f`, catches its panics with the index of the item, and lets nothing start behind the lowest.

use crate::base::sync::Mutex;
use crate::engine::stop::StopFlag;
use crate::engine::work::{At, WorkOn};
use crate::panics::{self, Call, TaskPanic};
use crate::threads::lease::Lease;
use rayon::iter::plumbing::{Consumer, Folder, ProducerCallback, UnindexedConsumer};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use std::cell::Cell;
use std::sync::Arc;

/// What the pieces of one call share.
struct Guard<'a, W> {
    work: &'a W,
    call: &'a Arc<Call>,
    stop: StopFlag,
    /// What came of the pieces, with the index at which each began.
    told: Mutex<Vec<(u64, Told)>>,
}

struct Told {
    deferred: Vec<String>,
    panic: Option<TaskPanic>,
}

pub(super) fn collect<I, W>(source: I, work: &W, call: &Arc<Call>, lease: &Lease) -> Vec<W::Output>
where
    I: IndexedParallelIterator,
    W: WorkOn<I::Item>,
{
    let guard = Guard { work, call, stop: StopFlag::new(), told: Mutex::new(Vec::new()) };
    let mut results = Vec::new();
    let outcome = panics::catch(|| {
        lease.install(|| Guarded { source, guard: &guard }.collect_into_vec(&mut results));
    });
    let mut told = guard.told.into_inner();
    told.sort_by_key(|(first, _)| *first);
    let (deferred, panics): (Vec<_>, Vec<_>) = told.into_iter().map(|(_, told)| (told.deferred, told.panic)).unzip();
    panics::emit(call.trace_sink(), deferred.concat().concat());
    let mut panics = panics.into_iter().flatten();
    match (outcome, panics.next()) {
        (Ok(()), _) => results,
        // The pieces lie one behind the other and each ends with its first panic, so this is the lowest.
        (Err(payload), Some(lowest)) => {
            panics::contain(payload);
            lowest.report();
            panics::mention(panics.collect(), true);
            lowest.resume()
        }
        // The data itself, when it was split.
        (Err(payload), None) => panics::resume(payload),
    }
}

/// The results as data that rayon can collect.
struct Guarded<'a, I, W> {
    source: I,
    guard: &'a Guard<'a, W>,
}

impl<I, W> ParallelIterator for Guarded<'_, I, W>
where
    I: IndexedParallelIterator,
    W: WorkOn<I::Item>,
{
    type Item = W::Output;

    fn drive_unindexed<C: UnindexedConsumer<W::Output>>(self, consumer: C) -> C::Result {
        self.drive(consumer)
    }
}

impl<I, W> IndexedParallelIterator for Guarded<'_, I, W>
where
    I: IndexedParallelIterator,
    W: WorkOn<I::Item>,
{
    fn len(&self) -> usize {
        self.source.len()
    }

    fn drive<C: Consumer<W::Output>>(self, base: C) -> C::Result {
        self.source.drive(Guarding { base, guard: self.guard, next: 0 })
    }

    fn with_producer<CB: ProducerCallback<W::Output>>(self, _: CB) -> CB::Output {
        unreachable!("BUG: a collect drives")
    }
}

/// Rayon's consumer or folder, with the index of the next item.
struct Guarding<'a, B, W> {
    base: B,
    guard: &'a Guard<'a, W>,
    next: u64,
}

impl<'a, T, C, W> Consumer<T> for Guarding<'a, C, W>
where
    C: Consumer<W::Output>,
    W: WorkOn<T>,
{
    type Folder = Guarding<'a, C::Folder, W>;
    type Reducer = C::Reducer;
    type Result = C::Result;

    fn split_at(self, index: usize) -> (Self, Self, C::Reducer) {
        let Guarding { base, guard, next } = self;
        let (left, right, reducer) = base.split_at(index);
        (Guarding { base: left, guard, next }, Guarding { base: right, guard, next: next + index as u64 }, reducer)
    }

    fn into_folder(self) -> Self::Folder {
        Guarding { base: self.base.into_folder(), guard: self.guard, next: self.next }
    }

    fn full(&self) -> bool {
        self.base.full()
    }
}

impl<T, F, W> Folder<T> for Guarding<'_, F, W>
where
    F: Folder<W::Output>,
    W: WorkOn<T>,
{
    type Result = F::Result;

    fn consume(self, item: T) -> Self {
        self.consume_iter([item])
    }

    fn consume_iter<J: IntoIterator<Item = T>>(self, items: J) -> Self {
        let Guarding { base, guard, next: first } = self;
        let Guard { work, call, stop, .. } = guard;
        let reached = Cell::new(first);
        let mut folded = None;
        // Where each item is noted down as it begins, the compiler cannot keep the count in a register, which shows where
        // items cost next to nothing. So the hook does not know it, and it is put in afterwards.
        let end = panics::run_job(call, panics::UNKNOWN_ITEM, |_| {
            let mut at = Reached { index: first, cell: &reached };
            let results = items.into_iter().map(|item| {
                if at.index >= stop.look() {
                    panics::stop();
                }
                let result = work.run(&mut None, item, At { call, index: at.index });
                at.index += 1;
                result
            });
            folded = Some(base.consume_iter(results));
        });
        let panic = end.panic.map(|panic| panic.at(reached.get())).filter(|panic| !panic.is_stop());
        if panic.is_some() {
            stop.stop_at(reached.get());
        }
        if panic.is_some() || !end.deferred.is_empty() {
            guard.told.lock().push((first, Told { deferred: end.deferred, panic }));
        }
        match folded {
            Some(base) => Guarding { base, guard, next: reached.get() },
            // Rayon knows no other way to end a collect early.
            None => panics::stop(),
        }
    }

    fn complete(self) -> F::Result {
        self.base.complete()
    }

    fn full(&self) -> bool {
        self.base.full()
    }
}

/// A count that is written down when it ends, by unwinding, too.
struct Reached<'a> {
    index: u64,
    cell: &'a Cell<u64>,
}

impl Drop for Reached<'_> {
    fn drop(&mut self) {
        self.cell.set(self.index);
    }
}
