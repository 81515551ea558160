//! How many items travel together: arithmetic on what was measured, without clocks and without threads.
//!
//! Handing a chunk over costs about a microsecond, whatever is in it, so cheap items travel in large chunks and slow
//! ones alone. Chunks grow with the run: the first results come at once, and what is lost at the end (while the last
//! chunk is worked on by one worker alone) stays a small part of the whole. `benches/cost.rs` measures the outcome.

use std::time::Duration;

/// No chunk takes longer than a 64th of the time the call has run so far…
const PART_OF_RUN: u32 = 64;
/// …within these bounds: below the first the hand-over would show, above the second the wait for a first result.
const SHORTEST: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_millis(5);
/// No chunk holds more items than this, nor more bytes of items or results.
const MOST_ITEMS: usize = 8192;
const MOST_BYTES: usize = 64 * 1024;
/// So many chunks a worker may be in flight: queued, worked on, or finished and waiting for their turn.
const CHUNKS_IN_FLIGHT: usize = 6;
/// Or as many items as take a worker this long, so that the caller need not be woken for each short chunk.
const TIME_IN_FLIGHT: Duration = Duration::from_micros(500);
/// So many items a worker may be in flight however slow they are, so that one slow item does not idle the others.
const ITEMS_IN_FLIGHT: usize = 16;
/// So many items may be in flight in all before it is known what they cost, so that a small input is handed over whole.
const FIRST_IN_FLIGHT: usize = 64;
/// Items that take a worker this long are slow: few of them are held at a time, since they may own much, and handing over a
/// single one costs nothing beside that.
const SLOW: Duration = Duration::from_micros(100);
/// Where items are slow, as many as take a worker this long may wait for it, or for the consumer when they are done; and two
/// at least.
const BACKLOG: Duration = Duration::from_micros(500);
/// Handing an item over by itself costs about this much.
const HAND_OVER: Duration = Duration::from_nanos(5);
/// Where the source takes this long for an item, each is handed over by itself, so that none waits for a source that pauses: a
/// channel takes 5 ns and more, the lines of a file 50. What gives an item in less has it at hand.
const SOURCE_WORTH_EACH: Duration = Duration::from_nanos(3);
/// The same where `f` takes this long.
const WORK_WORTH_EACH: Duration = Duration::from_nanos(500);
/// A worker naps for the next items if the source takes no longer for one.
const SOON: Duration = Duration::from_micros(10);
/// A source is quick if `f` takes so many times as long for an item.
const QUICK: f64 = 8.0;

/// Decides the size of chunks and of the whole window for one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizer {
    workers: usize,
    /// What the user fixed; at least 1 each.
    fixed_chunk: Option<usize>,
    fixed_in_flight: Option<usize>,
    /// The most items that [`MOST_ITEMS`] and [`MOST_BYTES`] allow; at least 1.
    most: usize,
    /// Nanoseconds that one item takes in `f`, smoothed; 0 until the first chunk is back.
    work_ns: f64,
    /// Nanoseconds that the source takes for one item, smoothed; 0 until the first block was pulled.
    pull_ns: f64,
    /// Items pulled so far.
    pulled: usize,
}

impl Sizer {
    /// For items `T` that become results `R`.
    pub(crate) fn new<T, R>(workers: usize) -> Self {
        let bytes = size_of::<T>().max(size_of::<R>()).max(1);
        let most = (MOST_BYTES / bytes).clamp(1, MOST_ITEMS);
        Sizer { workers, fixed_chunk: None, fixed_in_flight: None, most, work_ns: 0.0, pull_ns: 0.0, pulled: 0 }
    }

    pub(crate) fn fix_chunk(&mut self, items: usize) {
        self.fixed_chunk = Some(items);
    }

    pub(crate) fn fix_in_flight(&mut self, items: usize) {
        self.fixed_in_flight = Some(items);
    }

    /// Notes that `items` items took `time` in `f`, on one worker.
    pub(crate) fn worked(&mut self, items: usize, time: Duration) {
        smooth(&mut self.work_ns, items, time);
    }

    /// Notes that the source took `time` for `items` items.
    pub(crate) fn pulled(&mut self, items: usize, time: Duration) {
        smooth(&mut self.pull_ns, items, time);
        self.pulled = self.pulled.saturating_add(items);
    }

    /// The same where they were handed over one by one meanwhile.
    pub(crate) fn pulled_each(&mut self, items: usize, time: Duration) {
        let handed_over = HAND_OVER.saturating_mul(u32::try_from(items).unwrap_or(u32::MAX));
        self.pulled(items, time.saturating_sub(handed_over));
    }

    /// How many items a chunk holds now, `elapsed` after the start of the call.
    fn chunk(&self, elapsed: Duration) -> usize {
        let free = match self.fixed_chunk {
            Some(items) => items,
            // Nothing is known of the first item: it goes alone.
            None if self.work_ns == 0.0 => 1,
            None => items_in(self.chunk_time(elapsed), self.work_ns.max(self.pull_ns)).min(self.most),
        };
        match self.fixed_in_flight {
            // Two chunks a worker: one to work on, one to go on with.
            Some(limit) if self.fixed_chunk.is_none() => free.min((limit / self.workers.saturating_mul(2)).max(1)),
            Some(limit) => free.min(limit),
            None => free,
        }
    }

    /// Whether the user has fixed how many items may be in flight.
    pub(crate) fn is_limited(&self) -> bool {
        self.fixed_in_flight.is_some()
    }

    fn is_slow(&self) -> bool {
        !self.is_limited() && self.work_ns >= ns(SLOW)
    }

    /// Whether the workers together are done with items sooner than the source gives more, which it does soon.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub(crate) fn is_worth_a_nap(&self) -> bool {
        let is_source_slower = self.work_ns > 0.0 && self.pull_ns * self.workers as f64 > self.work_ns;
        is_source_slower && self.pull_ns <= ns(SOON)
    }

    fn chunk_time(&self, elapsed: Duration) -> Duration {
        // So that a worker that stops for want of room stops soon.
        let most = if self.is_slow() { BACKLOG / 2 } else { LONGEST };
        chunk_time(elapsed).min(most)
    }

    /// How many items may wait for a worker or, when they are done, for the consumer, where items are slow. What waits for an
    /// item before it does not count.
    pub(crate) fn backlog(&self) -> Option<usize> {
        let items = || items_in(BACKLOG, self.work_ns).max(self.fixed_chunk.unwrap_or(1).saturating_mul(2));
        self.is_slow().then(|| self.workers.saturating_mul(items()))
    }

    /// How many of `queued` items one worker takes. Once the source has ended, the rest is shared out in shrinking parts,
    /// so that all workers finish at about the same time.
    pub(crate) fn take(&self, elapsed: Duration, queued: usize, source_ended: bool) -> usize {
        let chunk = self.chunk(elapsed);
        if source_ended && self.fixed_chunk.is_none() {
            chunk.min((queued / self.workers.saturating_mul(2)).max(1))
        } else {
            chunk
        }
    }

    /// How many items may be pulled and not yet delivered.
    fn in_flight(&self, elapsed: Duration) -> usize {
        let chunks = self.chunk(elapsed).saturating_mul(CHUNKS_IN_FLIGHT).max(ITEMS_IN_FLIGHT);
        let limit = self.workers.saturating_mul(chunks);
        match (self.fixed_in_flight, self.fixed_chunk) {
            (Some(fixed), _) => fixed,
            (None, Some(_)) => limit,
            (None, None) if self.work_ns == 0.0 => limit.max(self.most.min(FIRST_IN_FLIGHT)),
            (None, None) => {
                let for_a_while = items_in(TIME_IN_FLIGHT, self.work_ns.max(self.pull_ns));
                let for_a_while = for_a_while.min(self.most.saturating_mul(CHUNKS_IN_FLIGHT));
                limit.max(self.workers.saturating_mul(for_a_while))
            }
        }
    }

    /// How many items of a stream may be in flight before the first is timed, since they may be slow.
    pub(crate) fn most_untimed(&self) -> Option<usize> {
        let is_known = self.work_ns > 0.0 || self.is_limited() || self.fixed_chunk.is_some();
        (!is_known).then(|| self.workers.saturating_mul(3))
    }

    /// How long the caller does not want to be woken for a single chunk: as long as four of them take. Waking it for each is
    /// a switch of threads for each, which shows where there are as many workers as cores.
    pub(crate) fn nap(&self, elapsed: Duration) -> Option<Duration> {
        self.fixed_chunk.is_none().then(|| 4 * chunk_time(elapsed))
    }

    /// What the caller may do now.
    pub(crate) fn plan(&self, elapsed: Duration) -> Plan {
        // A batch has a chunk for each worker at least, and measured chunks begin with one item.
        let batch = self.workers.saturating_mul(self.fixed_chunk.unwrap_or(1));
        let chunk = self.chunk(elapsed);
        let source_is_quick = self.pull_ns > 0.0 && self.pull_ns * QUICK <= self.work_ns;
        Plan {
            block: self.block(elapsed),
            chunk,
            in_flight: self.in_flight(elapsed),
            queue_room: usize::MAX,
            queues_each: self.work_ns == 0.0
                || self.pull_ns >= ns(SOURCE_WORTH_EACH)
                || self.work_ns >= ns(WORK_WORTH_EACH),
            is_untimed: self.work_ns == 0.0 && self.fixed_chunk.is_none(),
            source_is_quick,
            batch,
        }
    }

    fn block(&self, elapsed: Duration) -> BlockPlan {
        let (items, time, look) = match self.fixed_chunk {
            Some(_) => (self.chunk(elapsed), Duration::MAX, self.most),
            // Handed over soon: should the source pause, no more is held back than has gone out.
            None if self.work_ns == 0.0 => (self.pulled.clamp(1, ITEMS_IN_FLIGHT), SHORTEST, 1),
            None => {
                (self.chunk(elapsed), self.chunk_time(elapsed), items_in(SHORTEST / 8, self.pull_ns).min(MOST_ITEMS))
            }
        };
        BlockPlan { items, capacity: items.min(self.most), time, look }
    }
}

/// What the caller may do: how much to pull before it hands it over, and how many items may be in flight.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) block: BlockPlan,
    /// How many items one worker takes at a time; at least 1.
    pub(crate) chunk: usize,
    pub(crate) in_flight: usize,
    /// How many more items may be queued, on top of that.
    pub(crate) queue_room: usize,
    /// Items are queued one by one, where the source may pause. Else it gives blocks.
    pub(crate) queues_each: bool,
    /// Nothing is known of `f` yet, so what the source has at hand is queued at once, as far as the limit allows. A small call
    /// is handed over whole, which takes one turn under the lock.
    pub(crate) is_untimed: bool,
    /// The source takes so little time beside `f` that results which are ready may wait for it.
    pub(crate) source_is_quick: bool,
    /// How many items the smallest batch has.
    pub(crate) batch: usize,
}

/// What the caller pulls at a time: so many items, or as many as the source gives in this time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BlockPlan {
    pub(crate) items: usize,
    /// Room to make for them beforehand: less than `items` where the user fixed a number that may never come.
    pub(crate) capacity: usize,
    pub(crate) time: Duration,
    /// The clock is read after so many items: often where the source is slow, seldom where the reading would show.
    pub(crate) look: usize,
}

fn ns(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn chunk_time(elapsed: Duration) -> Duration {
    (elapsed / PART_OF_RUN).clamp(SHORTEST, LONGEST)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, which is what is meant"
)]
fn items_in(time: Duration, ns_per_item: f64) -> usize {
    ((ns(time) / ns_per_item.max(0.1)) as usize).max(1)
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn smooth(estimate: &mut f64, items: usize, time: Duration) {
    if items > 0 {
        let now = (ns(time) / items as f64).max(0.1);
        *estimate = if *estimate == 0.0 { now } else { f64::midpoint(*estimate, now) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn measured(workers: usize, work: Duration) -> Sizer {
        let mut sizer = Sizer::new::<u64, u64>(workers);
        sizer.worked(1, work);
        sizer
    }

    #[test]
    fn times_are_of_one_item_and_smoothed() {
        let mut sizer = Sizer::new::<u64, u64>(1);
        sizer.worked(10, Duration::from_micros(10));
        sizer.worked(0, SECOND);
        assert_eq!(sizer.chunk(Duration::ZERO), 20, "20 µs of items of 1 µs");
        sizer.worked(1, Duration::from_micros(3));
        assert_eq!(sizer.chunk(Duration::ZERO), 10, "half of the way to 3 µs");
    }

    #[test]
    fn until_the_first_result_a_block_has_as_many_items_as_all_before_it() {
        let mut sizer = Sizer::new::<u64, u64>(1);
        for (pulled, items) in [(0, 1), (1, 1), (1, 2), (3, 5), (20, 16)] {
            sizer.pulled(pulled, Duration::from_nanos(100 * pulled as u64));
            let block = sizer.plan(Duration::ZERO).block;
            assert_eq!((block.items, block.time, block.look), (items, SHORTEST, 1), "after {pulled} more");
        }
        sizer.worked(1, Duration::from_nanos(10));
        let block = sizer.plan(Duration::ZERO).block;
        assert_eq!((block.items, block.time, block.look), (200, SHORTEST, 25), "the clock shows 2.5 µs of the source");
    }

    #[test]
    fn a_source_is_quick_where_f_takes_eight_times_as_long() {
        let mut sizer = measured(2, Duration::from_nanos(800));
        assert!(!sizer.plan(SECOND).source_is_quick, "nothing is known of it");
        sizer.pulled(1, Duration::from_nanos(100));
        assert!(sizer.plan(SECOND).source_is_quick);
        sizer.pulled(1, Duration::from_nanos(104));
        assert!(!sizer.plan(SECOND).source_is_quick);
    }

    #[test]
    fn the_caller_naps_for_four_chunks_of_measured_size() {
        let mut sizer = measured(2, Duration::from_micros(20));
        assert_eq!(sizer.nap(Duration::ZERO), Some(Duration::from_micros(80)));
        assert_eq!(sizer.nap(Duration::from_millis(64)), Some(Duration::from_millis(4)));
        sizer.fix_chunk(2);
        assert_eq!(sizer.nap(Duration::ZERO), None);
    }

    #[test]
    fn a_small_input_is_handed_over_whole() {
        assert_eq!(Sizer::new::<u64, u64>(4).plan(Duration::ZERO).in_flight, 64);
        assert_eq!(Sizer::new::<u64, u64>(20).plan(Duration::ZERO).in_flight, 320);
        assert_eq!(Sizer::new::<[u8; 1024], u64>(4).plan(Duration::ZERO).in_flight, 64);
    }

    #[test]
    fn the_limit_is_six_chunks_or_half_a_millisecond_or_sixteen_items() {
        let limit = |work, elapsed| measured(2, work).plan(elapsed).in_flight;
        assert_eq!(limit(Duration::from_micros(1), 64 * Duration::from_millis(1)), 2 * 6 * 1000);
        assert_eq!(limit(Duration::from_micros(1), Duration::ZERO), 2 * 500);
        assert_eq!(limit(SECOND, SECOND), 2 * 16);
        assert_eq!(limit(Duration::from_nanos(1), SECOND), 2 * 6 * MOST_ITEMS);
    }

    #[test]
    fn of_slow_items_few_may_wait() {
        let backlog = |work| measured(2, work).backlog();
        assert_eq!(backlog(Duration::from_micros(99)), None);
        assert_eq!([100, 200, 250, 1000].map(|us| backlog(Duration::from_micros(us))), [10, 4, 4, 4].map(Some));
        let mut sizer = measured(2, SECOND);
        sizer.fix_chunk(5);
        assert_eq!(sizer.backlog(), Some(20), "two chunks for each worker");
        sizer.fix_in_flight(100);
        assert_eq!(sizer.backlog(), None, "the user has said how many");
        assert_eq!([99, 100, 250].map(|us| measured(2, Duration::from_micros(us)).chunk(SECOND)), [50, 2, 1]);
    }

    #[test]
    fn items_go_one_by_one_where_that_does_not_show_and_before_they_are_timed() {
        let mut sizer = Sizer::new::<u64, u64>(1);
        assert!(sizer.plan(SECOND).queues_each, "it is not timed");
        sizer.worked(1, Duration::from_nanos(499));
        assert!(!sizer.plan(SECOND).queues_each);
        sizer.pulled_each(100, Duration::from_nanos(799));
        assert!(!sizer.plan(SECOND).queues_each, "2.99 ns each, besides the hand-over");
        sizer.pulled(100, Duration::from_nanos(302));
        assert!(sizer.plan(SECOND).queues_each, "3.005 ns each, on average");
        assert!(measured(1, Duration::from_nanos(500)).plan(SECOND).queues_each);
    }

    #[test]
    fn a_nap_is_worth_it_where_the_source_is_slower_than_all_workers_and_still_quick() {
        let mut sizer = measured(4, Duration::from_nanos(400));
        sizer.pulled(1, Duration::from_nanos(100));
        assert!(!sizer.is_worth_a_nap());
        sizer.pulled(1, Duration::from_nanos(102));
        assert!(sizer.is_worth_a_nap());
        sizer.pulled(1, Duration::from_micros(19));
        assert!(sizer.is_worth_a_nap(), "9.55 µs on average");
        sizer.pulled(1, Duration::from_micros(11));
        assert!(!sizer.is_worth_a_nap());
    }

    #[test]
    fn of_a_stream_three_items_for_each_worker_go_out_before_the_first_is_timed() {
        let mut sizer = Sizer::new::<u64, u64>(4);
        assert_eq!(sizer.most_untimed(), Some(12));
        sizer.worked(1, SECOND);
        assert_eq!(sizer.most_untimed(), None);
        for fix in [Sizer::fix_chunk, Sizer::fix_in_flight] {
            let mut sizer = Sizer::new::<u64, u64>(4);
            fix(&mut sizer, 100);
            assert_eq!(sizer.most_untimed(), None);
        }
    }

    #[test]
    fn the_first_item_goes_alone() {
        assert_eq!(Sizer::new::<u64, u64>(4).take(SECOND, 1000, false), 1);
    }

    #[test]
    fn a_chunk_takes_a_64th_of_the_run_between_20_us_and_5_ms() {
        let sizer = measured(4, Duration::from_micros(1));
        assert_eq!(sizer.chunk(Duration::ZERO), 20);
        assert_eq!(sizer.chunk(Duration::from_millis(64)), 1000);
        assert_eq!(sizer.chunk(Duration::from_secs(100)), 5000);
        assert_eq!(measured(4, SECOND).chunk(SECOND), 1, "slow items travel alone");
    }

    #[test]
    fn a_slow_source_does_not_wait_to_fill_a_chunk() {
        let mut sizer = measured(4, Duration::from_nanos(10));
        sizer.pulled(1, Duration::from_millis(10));
        assert_eq!(sizer.plan(SECOND).block.items, 1);
        assert_eq!(sizer.plan(SECOND).block.look, 1);
    }

    #[test]
    fn fat_items_do_not_pile_up() {
        let fat = |sizer: &mut Sizer| {
            sizer.worked(1, Duration::from_nanos(1));
            sizer.chunk(100 * SECOND)
        };
        assert_eq!(fat(&mut Sizer::new::<u8, u8>(1)), MOST_ITEMS);
        assert_eq!(fat(&mut Sizer::new::<(), ()>(1)), MOST_ITEMS);
        assert_eq!(fat(&mut Sizer::new::<[u8; 1024], u8>(1)), 64);
        assert_eq!(fat(&mut Sizer::new::<u8, [u8; 1024]>(1)), 64);
        assert_eq!(fat(&mut Sizer::new::<[u8; 1 << 20], u8>(1)), 1);
    }

    #[test]
    fn the_rest_is_shared_out_in_shrinking_parts() {
        let sizer = measured(2, Duration::from_nanos(1));
        let mut rest = 100;
        let mut parts = Vec::new();
        while rest > 0 {
            let part = sizer.take(SECOND, rest, true);
            parts.push(part);
            rest -= part;
        }
        assert_eq!(parts[..4], [25, 18, 14, 10]);
        assert!(parts.ends_with(&[1, 1, 1]));
    }

    #[test]
    fn the_users_limit_wins_over_the_users_chunk() {
        for (chunk, limit, want) in [(10, 100, 10), (100, 10, 10), (1, 1, 1)] {
            let mut sizer = measured(4, SECOND);
            sizer.fix_chunk(chunk);
            sizer.fix_in_flight(limit);
            let plan = sizer.plan(SECOND);
            assert_eq!((plan.block.items, plan.in_flight), (want, limit));
        }
    }

    #[test]
    fn measured_chunks_leave_room_for_two_a_worker() {
        let mut sizer = measured(4, Duration::from_nanos(1));
        sizer.fix_in_flight(100);
        assert_eq!(sizer.plan(SECOND).block.items, 12);
    }

    #[test]
    fn nothing_overflows() {
        let mut sizer = Sizer::new::<u64, u64>(usize::MAX);
        for _ in 0..3 {
            let plan = sizer.plan(Duration::MAX);
            assert!(plan.block.items > 0 && plan.block.look > 0 && plan.in_flight > 0);
            sizer.worked(usize::MAX, Duration::ZERO);
            sizer.pulled(usize::MAX, Duration::ZERO);
        }
        sizer.fix_chunk(usize::MAX);
        sizer.fix_in_flight(usize::MAX);
        assert_eq!(sizer.plan(Duration::MAX).in_flight, usize::MAX);
        assert_eq!(sizer.take(Duration::MAX, usize::MAX, true), usize::MAX);
    }
}
