//! [`PoolResults`]: the results of a call as an iterator, for the closure that consumes them while the workers go on.

use crate::engine::caller_pulls::Stream;
use crate::engine::inbox::Chunked;
use crate::engine::source::Source;
use crate::engine::work::WorkOn;
use crate::panics;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::{fmt, mem, vec};

/// Where [`PoolResults`] get their chunks, whatever the data they are made from.
trait Chunks<R> {
    fn next_chunk(&mut self) -> Option<vec::IntoIter<R>>;
    fn size_hint(&self) -> (usize, Option<usize>);
    fn was_cut_short(&self) -> bool;
}

impl<S, W> Chunks<W::Output> for Stream<'_, S, W>
where
    S: Source<Item: Send, Block: Send>,
    W: WorkOn<S::Item>,
{
    fn next_chunk(&mut self) -> Option<vec::IntoIter<W::Output>> {
        match self.scope {
            Some(scope) => self.advance(scope).then(|| mem::take(&mut self.delivery.inbox.current)),
            None => self.run_here().map(|result| vec![result].into_iter()),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.delivery.size_hint(self.source)
    }

    fn was_cut_short(&self) -> bool {
        self.delivery.was_cut_short(self.source)
    }
}

/// The results of a call, in order, while the workers go on. Given to the closure of
/// [`PoolMap::consume`](crate::PoolMap::consume) or [`PoolParMap::consume`](crate::PoolParMap::consume).
///
/// `I` is the source of the call. If that is an [`ExactSizeIterator`], so is this. By default `I` stands for data that rayon
/// can split, whose length is known.
pub struct PoolResults<'a, R, I = vec::IntoIter<R>> {
    current: vec::IntoIter<R>,
    chunks: &'a mut dyn Chunks<R>,
    source: PhantomData<fn() -> I>,
}

impl<'a, R, I> PoolResults<'a, R, I> {
    pub(super) fn new<S, W>(stream: &'a mut Stream<'_, S, W>) -> Self
    where
        S: Source<Item: Send, Block: Send>,
        W: WorkOn<S::Item, Output = R>,
    {
        PoolResults { current: Vec::new().into_iter(), chunks: stream, source: PhantomData }
    }

    pub(super) fn into_vec(self) -> Vec<R>
    where
        Self: ExactSizeIterator,
    {
        let mut results = Vec::with_capacity(self.len());
        while let Some(chunk) = self.chunks.next_chunk() {
            results.extend(chunk);
        }
        results
    }

    /// Whether a [`CancelToken`](crate::CancelToken) has ended the results early, as
    /// [`PoolMap::was_cut_short`](crate::PoolMap::was_cut_short) says. Known once `next` has returned `None`, and `false` before.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::{CancelToken, PoolIterator};
    ///
    /// let token = CancelToken::new();
    /// let squares = (0..1_000_000).pool_map(2, |x| x * x).cancel_on(&token);
    /// let (first, is_all) = squares.consume(|mut results| {
    ///     let squares: Vec<u64> = results.by_ref().inspect(|_| token.cancel()).collect();
    ///     (squares[0], !results.was_cut_short())
    /// });
    /// assert_eq!((first, is_all), (0, false));
    /// ```
    #[must_use]
    pub fn was_cut_short(&self) -> bool {
        self.current.len() == 0 && self.chunks.was_cut_short()
    }
}

impl<R, I> Chunked<R> for PoolResults<'_, R, I> {
    fn current(&mut self) -> &mut vec::IntoIter<R> {
        &mut self.current
    }

    fn refill(&mut self) -> Option<R> {
        loop {
            self.current = self.chunks.next_chunk()?;
            if let Some(result) = self.current.next() {
                return Some(result);
            }
        }
    }
}

impl<R, I> Iterator for PoolResults<'_, R, I> {
    type Item = R;

    #[inline]
    fn next(&mut self) -> Option<R> {
        self.next_result()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (low, high) = self.chunks.size_hint();
        let here = self.current.len();
        (low.saturating_add(here), high.and_then(|high| high.checked_add(here)))
    }

    fn fold<A, G>(mut self, init: A, g: G) -> A
    where
        G: FnMut(A, R) -> A,
    {
        self.fold_results(init, g)
    }
}

impl<R, I> Drop for PoolResults<'_, R, I> {
    fn drop(&mut self) {
        panics::contain_all(mem::take(&mut self.current));
    }
}

impl<R, I: ExactSizeIterator> ExactSizeIterator for PoolResults<'_, R, I> {}

impl<R, I> FusedIterator for PoolResults<'_, R, I> {}

impl<R, I> fmt::Debug for PoolResults<'_, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolResults").field("left", &self.size_hint()).finish_non_exhaustive()
    }
}
