//! The options of a call, said once for [`PoolMap`](crate::PoolMap), [`PoolImap`](crate::PoolImap) and
//! [`PoolParMap`](crate::PoolParMap): what they are, what is checked, and the methods with their documentation.

use crate::engine::block::Block;
use crate::engine::caller_pulls::CallerState;
use crate::engine::sizing::Sizer;
use crate::engine::stop::{CancelToken, StopFlag};
use crate::engine::work::WorkOn;
use crate::observe::ObserverRef;
use crate::panics::Call;
use crate::panics::text::TraceLevel;
use crate::threads::lease::Workers;
use std::sync::Arc;

/// What a call was told before its start, besides its source and its work.
pub(crate) struct CallOptions {
    pub(super) call: Arc<Call>,
    pub(super) sizer: Sizer,
    pub(super) stop: Arc<StopFlag>,
    /// Whether an option was set that rayon's own collect knows nothing of.
    pub(super) is_special: bool,
}

impl CallOptions {
    /// Those of a call of `method` from here, with items of type `T` and results of type `R`.
    #[track_caller]
    pub(super) fn new<T, R>(method: &'static str, workers: &Workers) -> Self {
        CallOptions {
            call: Arc::new(Call::here(method, workers.trace()).with_trace_sink(workers.trace_sink())),
            sizer: Sizer::new::<T, R>(workers.threads()),
            stop: Arc::new(StopFlag::new()),
            is_special: false,
        }
    }

    #[track_caller]
    pub(super) fn check_items(option: &str, items: usize) {
        assert!(items > 0, "{option} needs at least one item, got 0");
    }

    /// What every option says that comes after the first result.
    #[track_caller]
    pub(super) fn too_late(option: &str) -> ! {
        panic!("{option} has to come before the first result is asked for")
    }

    pub(super) fn fix_chunk(&mut self, items: usize) {
        self.sizer.fix_chunk(items);
        self.is_special = true;
    }

    pub(super) fn fix_in_flight(&mut self, items: usize) {
        self.sizer.fix_in_flight(items);
        self.is_special = true;
    }

    pub(super) fn set_label(&mut self, label: String) {
        Arc::make_mut(&mut self.call).set_label(label);
    }

    pub(super) fn set_trace(&mut self, level: TraceLevel) {
        Arc::make_mut(&mut self.call).set_trace(level);
    }

    pub(super) fn stop_with(&mut self, token: &CancelToken) {
        token.stops(&self.stop);
        self.is_special = true;
    }

    /// Starts a call whose caller pulls the source.
    pub(super) fn into_state<B: Block, W: WorkOn<B::Item>>(self, work: W, workers: &Workers) -> CallerState<B, W> {
        let CallOptions { call, sizer, stop, .. } = self;
        let pool_watch = workers.observer().map(|observer| Box::new(ObserverRef::shared(observer)));
        CallerState::start(work, call, workers.threads(), sizer, stop, pool_watch)
    }
}

/// Writes the methods that set the options of an iterator, which has
///
/// - `fn options(&mut self, option: &str) -> &mut CallOptions`, and
/// - `fn with_work(self, option: &str, wrap: impl FnOnce(W) -> V) -> Self` with `V` for `W`.
///
/// Both panic with [`CallOptions::too_late`] where results can be asked for before an option is set; `too_late` then says
/// so in the documentation. What the documentation of a method has to say of this iterator alone stands before its name.
macro_rules! call_options {
    (
        impl $Name:ident<I: $Source:ident, W $(, $H:ident)?>;
        $(too_late: $too_late:literal;)?
        $(#[$chunk_size:meta])* chunk_size;
        $(#[$max_in_flight:meta])* max_in_flight;
        $(#[$cancel_on:meta])* cancel_on;
        $(#[$catch_panics:meta])* catch_panics;
        $(#[$with_items:meta])* with_items;
        $(#[$observe:meta])* observe;
    ) => {
        /// Options. Set them before the first result is requested.
        impl<I: $Source, W: WorkOn<I::Item> $(, $H)?> $Name<I, W $(, $H)?> {
            /// Uses chunks of `items` items instead of sizes measured during the run. A chunk is what one worker takes at a time.
            ///
            $(#[$chunk_size])*
            ///
            /// By default a chunk grows until it takes about 1/64 of the time the call has run so far, between 20 µs and
            /// 5 ms, and holds 8192 items or 64 KiB at most.
            ///
            /// # Panics
            ///
            #[doc = concat!("If `items` is 0", $(", or ", $too_late,)? ".")]
            #[track_caller]
            pub fn chunk_size(mut self, items: usize) -> Self {
                CallOptions::check_items("chunk_size", items);
                self.options("chunk_size").fix_chunk(items);
                self
            }

            /// Limits the number of items in flight: those taken from the source and not yet delivered, whether they wait for
            /// a worker, run, or have finished and wait for their turn. If the limit is smaller than
            /// [`chunk_size`](Self::chunk_size), the limit applies.
            ///
            $(#[$max_in_flight])*
            ///
            /// # Panics
            ///
            #[doc = concat!("If `items` is 0", $(", or ", $too_late,)? ".")]
            #[track_caller]
            pub fn max_in_flight(mut self, items: usize) -> Self {
                CallOptions::check_items("max_in_flight", items);
                self.options("max_in_flight").fix_in_flight(items);
                self
            }

            /// Gives this call a name, which its traces show next to the call site.
            ///
            $(
            /// # Panics
            ///
            #[doc = concat!("If ", $too_late, ".")]
            )?
            #[track_caller]
            pub fn named(mut self, label: impl Into<String>) -> Self {
                self.options("named").set_label(label.into());
                self
            }

            /// Sets how much a panic in this call prints. Overrides the level of the pool and `RUST_BACKTRACE`.
            ///
            $(
            /// # Panics
            ///
            #[doc = concat!("If ", $too_late, ".")]
            )?
            #[track_caller]
            pub fn trace(mut self, level: TraceLevel) -> Self {
                self.options("trace").set_trace(level);
                self
            }

            /// Lets `token` stop this call. Then no new item starts, and running items finish. The results up to the first
            /// item that did not run are delivered, then the iterator ends. It may yield fewer results than its
            /// [`size_hint`](Iterator::size_hint) said. See [`CancelToken`]. With several tokens, any of them stops the call.
            ///
            $(#[$cancel_on])*
            ///
            $(
            /// # Panics
            ///
            #[doc = concat!("If ", $too_late, ".")]
            )?
            #[track_caller]
            pub fn cancel_on(mut self, token: &CancelToken) -> Self {
                self.options("cancel_on").stop_with(token);
                self
            }

            /// Yields `Result<R, TaskPanic>` and runs every item. A panic becomes an `Err` in its place, and its trace is not
            /// printed.
            ///
            /// Your own panic hook still sees the panic. Without one, and at the level [`TraceLevel::Off`], the standard hook
            /// prints its message. A panic of a call inside `f` prints its own trace, and a panic that `f` itself caught
            /// prints one line.
            ///
            $(#[$catch_panics])*
            ///
            $(
            /// # Panics
            ///
            #[doc = concat!("If ", $too_late, ".")]
            )?
            #[track_caller]
            pub fn catch_panics(self) -> $Name<I, Catching<W> $(, $H)?>
            where
                I::Item: Send,
            {
                self.with_work("catch_panics", Catching)
            }

            /// Tells `observer` when this call starts, each item that ran, and when the call ends. Several observers may be
            /// attached. Without one, nothing is measured.
            ///
            $(#[$observe])*
            ///
            $(
            /// # Panics
            ///
            #[doc = concat!("If ", $too_late, ".")]
            )?
            #[track_caller]
            pub fn observe<'a>(mut self, observer: impl IntoObserver<'a>) -> $Name<I, Observed<'a, W> $(, $H)?> {
                self.options("observe").is_special = true;
                self.with_work("observe", |work| Observed { work, watch: ObserverRef::new(observer) })
            }

            /// Prints a line on standard error about each item that has been at work for `after`, and one when it ends:
            ///
            /// ```text
            /// [SLOW:PoolWorker-2] item 3737 for 30.0 s, in pool_map at src/main.rs:12:5
            /// [SLOW:PoolWorker-2] item 3737 ended after 41.3 s, in pool_map at src/main.rs:12:5
            /// ```
            ///
            /// So an item that hangs is seen while it hangs. An item has at most these two lines. With a time of zero every
            /// item that lasts a moment has them; with one that is too large for a clock, such as
            /// [`Duration::MAX`](std::time::Duration::MAX), none. The lines go where traces go. One thread of the process,
            /// `PoolSlowItems`, prints those of all calls; it ends half a second after the last such call. Where it cannot
            /// start, nothing is printed.
            ///
            /// As with an [observer](Self::observe), an item then costs two readings of the clock, and a lock of this call.
            ///
            /// # Examples
            ///
            /// ```
            /// use pool_map::PoolIterator;
            /// use std::time::Duration;
            ///
            /// let lengths: Vec<usize> = ["so", "much"]
            ///     .into_iter()
            ///     .pool_map(4, |word| word.len())
            ///     .report_slow(Duration::from_secs(30))
            ///     .collect();
            /// assert_eq!(lengths, [2, 4]);
            /// ```
            ///
            $(
            /// # Panics
            ///
            #[doc = concat!("If ", $too_late, ".")]
            )?
            #[track_caller]
            pub fn report_slow(mut self, after: std::time::Duration) -> $Name<I, Observed<'static, W> $(, $H)?> {
                let trace_sink = self.options("report_slow").call.trace_sink();
                self.observe(std::sync::Arc::new(crate::observe::SlowItems::new(after, trace_sink)))
            }
        }

        impl<I: $Source, W: WorkOn<I::Item> $(, $H)?> $Name<I, Catching<W> $(, $H)?> {
            /// Gives back each item whose `f` panicked, beside its panic: `Result<R, (T, TaskPanic)>`.
            ///
            /// Comes right after [`catch_panics`](Self::catch_panics). Each item is cloned before `f` has it, on the worker. An
            /// `f` that takes a reference needs no more than a cheap clone: of the reference, or of an `Arc`.
            ///
            $(#[$with_items])*
            ///
            $(
            /// # Panics
            ///
            #[doc = concat!("If ", $too_late, ".")]
            )?
            #[track_caller]
            pub fn with_items(self) -> $Name<I, CatchingItems<W, I::Item> $(, $H)?>
            where
                I::Item: Clone + Send,
            {
                self.with_work("with_items", CatchingItems::new)
            }
        }
    };
}

pub(crate) use call_options;
