//! Work of a known cost: spinning that the optimiser cannot see through, and random costs that are the same in every run.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// An `f` that keeps a core busy for about so many nanoseconds.
///
/// The steps are counted, so every contestant does the same work, whatever the clock of its core does. How long it took is
/// measured with the sequential loop, and that is what the tables say.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    steps: u32,
}

impl Work {
    /// So many steps that a sequential loop over such items takes `time` for each.
    ///
    /// A core begins with an item while it is at the last steps of the one before, which counts where items are short. So
    /// their steps are found by trying.
    pub(crate) fn of(time: Duration) -> Work {
        let mut work = Work::alone(time);
        if work.steps > 0 && time < Duration::from_micros(1) {
            for _ in 0..4 {
                work = Work::in_steps_of(work.ns_in_loop() / f64::from(work.steps), time);
                work.steps = work.steps.max(1);
            }
        }
        work
    }

    /// So many steps that an item takes `time` when there is none before it; without trying, for many different items.
    pub(crate) fn alone(time: Duration) -> Work {
        Work::in_steps_of(*STEP_NS.get_or_init(measure_step), time)
    }

    /// The same number of steps in every process, for counting instructions.
    pub(crate) fn uncalibrated(time: Duration) -> Work {
        Work::in_steps_of(2.0, time)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds at most, and not negative")]
    fn in_steps_of(step_ns: f64, time: Duration) -> Work {
        Work { steps: (time.as_secs_f64() * 1e9 / step_ns).round() as u32 }
    }

    fn ns_in_loop(self) -> f64 {
        fastest(2_000, || (0..2_000).for_each(|item| _ = self.on(item)))
    }

    /// Works, and gives a number that depends on every step. Without steps it is `seed`.
    #[inline]
    pub(crate) fn on(self, seed: u64) -> u64 {
        black_box(spin(black_box(seed), self.steps))
    }
}

static STEP_NS: OnceLock<f64> = OnceLock::new();

#[inline]
fn spin(mut x: u64, steps: u32) -> u64 {
    for _ in 0..steps {
        // Each step waits for the one before, and two of them cannot be folded into one.
        x = (x ^ (x >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    x
}

fn measure_step() -> f64 {
    fastest(20_000, || _ = black_box(spin(black_box(1), black_box(20_000))))
}

/// Nanoseconds for one of `count`, in the fastest of many tries: what disturbs a try only makes it longer.
fn fastest(count: u32, all: impl Fn()) -> f64 {
    let try_once = || {
        let start = Instant::now();
        all();
        start.elapsed().as_secs_f64() * 1e9 / f64::from(count)
    };
    (0..50).map(|_| try_once()).fold(f64::INFINITY, f64::min)
}

/// Random numbers from a fixed start, so that every run has the same ones (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// Any of the numbers below `end`, each about as often.
    #[expect(clippy::cast_possible_truncation, reason = "less than `end`")]
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next_u64() % end as u64) as usize
    }

    /// Many short times, a few long ones.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float has")]
    pub(crate) fn exponential(&mut self, mean: Duration) -> Duration {
        let uniform = ((self.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64; // In (0, 1].
        mean.mul_f64(-uniform.ln())
    }
}

/// `25 ns`, `10 µs`, `2 ms`.
pub(crate) fn time_name(time: Duration) -> String {
    match time.as_nanos() {
        ns @ 0..1_000 => format!("{ns} ns"),
        ns @ 1_000..1_000_000 => format!("{} µs", ns / 1_000),
        ns => format!("{} ms", ns / 1_000_000),
    }
}
