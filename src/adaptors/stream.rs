//! [`PoolStream`]: a stream that runs ahead, as async code wants it.

use crate::adaptors::imap::{Background, Host, PoolImap};
use crate::engine::work::{Work, WorkOn};
use futures_core::{FusedStream, Stream};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A [`PoolImap`] as a [`Stream`]. Made by [`PoolImap::into_stream`]; with the feature `futures`.
///
/// It is a type of its own because `next`, `filter` and others are methods of both `Iterator` and `StreamExt`.
#[must_use = "streams are lazy: nothing is pulled and no thread starts until it is polled"]
pub struct PoolStream<I: Iterator, W: Work, H = Background>(PoolImap<I, W, H>);

impl<I, W, H> PoolImap<I, W, H>
where
    I: Iterator,
    W: WorkOn<I::Item>,
    H: Host<I, W>,
{
    /// The results for async code, on any runtime: a [`Stream`], as [`poll_next`](PoolImap::poll_next) describes. With the
    /// feature `futures`.
    ///
    /// # Examples
    ///
    /// With tokio; any other runtime would do:
    ///
    /// ```
    /// use futures_util::StreamExt;
    /// use pool_map::PoolIterator;
    /// use std::sync::mpsc;
    ///
    /// async fn lengths(rows: mpsc::Receiver<String>) -> Vec<usize> {
    ///     let mut lengths = rows.into_iter().pool_imap(2, |row| row.len()).into_stream();
    ///     let mut all = Vec::new();
    ///     while let Some(length) = lengths.next().await {
    ///         all.push(length); // in the order of the rows
    ///     }
    ///     all
    /// }
    ///
    /// let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// let (sender, rows) = mpsc::channel();
    /// let lengths = runtime.block_on(async {
    ///     tokio::spawn(async move {
    ///         for row in ["so", "much", "depends"] {
    ///             sender.send(row.to_owned()).expect("the stream listens");
    ///         }
    ///     });
    ///     lengths(rows).await
    /// });
    /// println!("{lengths:?}"); // [2, 4, 7]
    /// assert_eq!(lengths, [2, 4, 7]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_stream(self) -> PoolStream<I, W, H> {
        PoolStream(self)
    }
}

impl<I: Iterator, W: Work, H> PoolStream<I, W, H> {
    /// The iterator that it was made of, for [`was_cut_short`](PoolImap::was_cut_short).
    pub fn get_ref(&self) -> &PoolImap<I, W, H> {
        &self.0
    }
}

impl<I, W, H> Stream for PoolStream<I, W, H>
where
    I: Iterator,
    W: WorkOn<I::Item>,
    H: Host<I, W>,
{
    type Item = W::Output;

    /// # Panics
    ///
    /// If `f` or the source does.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<W::Output>> {
        self.0.poll_next(context)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<I, W, H> FusedStream for PoolStream<I, W, H>
where
    I: Iterator,
    W: WorkOn<I::Item>,
    H: Host<I, W>,
{
    fn is_terminated(&self) -> bool {
        self.0.is_over()
    }
}

impl<I: Iterator, W: Work, H: fmt::Debug> fmt::Debug for PoolStream<I, W, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PoolStream").field(&self.0).finish()
    }
}
