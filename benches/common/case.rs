//! A case: one piece of work, who does it, and which ratios are asked of it.

use super::rivals::{OURS, SEQUENTIAL};
use super::table::{Goal, Spread, Table};
use criterion::{BatchSize, Criterion, SamplingMode};
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

/// One who does the work of a case: from the input `I` to the outcome `O`.
pub(crate) struct Contestant<'a, I, O> {
    name: &'static str,
    run: Box<dyn Fn(I) -> O + 'a>,
    check: Check<O>,
}

/// How an outcome is compared with that of the first contestant.
enum Check<O> {
    Equal,
    /// After both were brought into the same order.
    Sorted(fn(&mut O)),
    /// Not at all: only a part of the work is done, to know what that part costs.
    Part,
}

impl<'a, I: 'a, O: 'a> Contestant<'a, I, O> {
    pub(crate) fn new(name: &'static str, run: impl Fn(I) -> O + 'a) -> Self {
        Contestant { name, run: Box::new(run), check: Check::Equal }
    }

    /// One who does a part of the work only.
    pub(crate) fn part(name: &'static str, run: impl Fn(I) -> O + 'a) -> Self {
        Contestant { name, run: Box::new(run), check: Check::Part }
    }

    /// The same work several times in a row.
    pub(crate) fn repeated(self, times: usize) -> Self
    where
        I: Clone,
    {
        let Contestant { name, run, check } = self;
        let repeated = move |input: I| {
            for _ in 1..times {
                black_box(run(input.clone()));
            }
            run(input)
        };
        Contestant { name, run: Box::new(repeated), check }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn run(&self, input: I) -> O {
        (self.run)(input)
    }

    /// How long one run takes; neither making its input nor dropping its outcome counts.
    fn time(&self, input: I) -> f64 {
        let start = Instant::now();
        let outcome = black_box(self.run(black_box(input)));
        let took = start.elapsed();
        drop(outcome);
        took.as_secs_f64()
    }
}

impl<'a, I: 'a, T: 'a> Contestant<'a, I, Vec<T>> {
    /// One who does not keep the order: the outcome is compared as a set.
    pub(crate) fn unordered(name: &'static str, run: impl Fn(I) -> Vec<T> + 'a) -> Self
    where
        T: Ord,
    {
        Contestant { name, run: Box::new(run), check: Check::Sorted(|outcome| outcome.sort()) }
    }
}

/// The times of one round, in seconds, one for each contestant.
pub(crate) struct Round<'r> {
    names: &'r [&'static str],
    seconds: &'r [f64],
}

impl Round<'_> {
    /// The time of one contestant; not a number if it sat this round out.
    pub(crate) fn of(&self, name: &str) -> f64 {
        let place = self.names.iter().position(|&other| other == name);
        self.seconds[place.unwrap_or_else(|| panic!("no contestant is called {name}"))]
    }
}

/// What is asked of the times of a round.
struct Question<'a> {
    subject: &'static str,
    against: String,
    goal: Goal,
    ratio: Box<dyn Fn(&Round) -> f64 + 'a>,
}

/// One piece of work with its contestants.
pub(crate) struct Case<'a, I, O> {
    work: String,
    items: usize,
    workers: usize,
    input: Box<dyn Fn() -> I + 'a>,
    contestants: Vec<Contestant<'a, I, O>>,
    questions: Vec<Question<'a>>,
}

/// Pools that have nothing to do go to sleep meanwhile, so that nobody runs beside the spinning of the one before.
const PAUSE: Duration = Duration::from_micros(300);

impl<'a, I, O: PartialEq> Case<'a, I, O> {
    /// The contestants do `work` on what `input` gives, which is `items` items, with `workers` workers. The first one is the
    /// one whose outcome is right.
    pub(crate) fn new(
        work: impl Into<String>,
        items: usize,
        workers: usize,
        input: impl Fn() -> I + 'a,
        contestants: Vec<Contestant<'a, I, O>>,
    ) -> Self {
        Case { work: work.into(), items, workers, input: Box::new(input), contestants, questions: Vec::new() }
    }

    /// Asks how much faster `pool_map` is than `rival`.
    pub(crate) fn against(self, rival: &'static str, goal: Goal) -> Self {
        self.race(OURS, rival, goal)
    }

    /// Asks how much faster `subject` is than `rival`.
    pub(crate) fn race(self, subject: &'static str, rival: &'static str, goal: Goal) -> Self {
        self.question(subject, rival, goal, move |round| round.of(rival) / round.of(subject))
    }

    /// Asks how close `pool_map` comes to the sequential loop divided among the workers.
    #[expect(clippy::cast_precision_loss, reason = "there are not so many workers")]
    pub(crate) fn against_ideal(self, goal: Goal) -> Self {
        let workers = self.workers as f64;
        let against = format!("{workers} × {SEQUENTIAL}");
        self.question(OURS, against, goal, move |round| round.of(SEQUENTIAL) / workers / round.of(OURS))
    }

    /// Asks anything of the times of a round.
    pub(crate) fn question(
        mut self,
        subject: &'static str,
        against: impl Into<String>,
        goal: Goal,
        ratio: impl Fn(&Round) -> f64 + 'a,
    ) -> Self {
        self.questions.push(Question { subject, against: against.into(), goal, ratio: Box::new(ratio) });
        self
    }

    pub(super) fn work(&self) -> &str {
        &self.work
    }

    /// Runs every contestant once, and stops the bench when one of them is wrong. Gives the times.
    pub(super) fn check(&self) -> Vec<f64> {
        let mut first = None;
        let mut seconds = Vec::new();
        for contestant in &self.contestants {
            let input = (self.input)();
            let start = Instant::now();
            let mut outcome = contestant.run(input);
            seconds.push(start.elapsed().as_secs_f64());
            let Some(right) = &first else {
                first = Some(outcome);
                continue;
            };
            let agrees = match contestant.check {
                Check::Equal => outcome == *right,
                Check::Sorted(sort) => {
                    let mut sorted = self.contestants[0].run((self.input)());
                    sort(&mut sorted);
                    sort(&mut outcome);
                    outcome == sorted
                }
                Check::Part => true,
            };
            assert!(agrees, "{} has a different outcome in {}", contestant.name, self.work);
        }
        seconds
    }

    /// Runs the contestants in turns until `budget` is used up, for `fewest` rounds at least, and notes the ratios.
    pub(super) fn measure(&self, first: &[f64], budget: Duration, fewest: usize, table: &mut Table) {
        const MOST_ROUNDS: usize = 1000;
        eprintln!("{} …", self.work);
        let slow = middle(first) * 8.0;
        let start = Instant::now();
        let mut rounds = Vec::new();
        while rounds.len() < fewest || (start.elapsed() < budget && rounds.len() < MOST_ROUNDS) {
            // Who is far behind the others takes part in every fourth round only, or it would use up the whole budget.
            let plays = |place: usize| rounds.len() % 4 == 0 || first[place] <= slow;
            rounds.push(self.round(rounds.len(), plays));
        }
        self.report(&rounds, table);
    }

    /// One run of each contestant that plays; who begins changes from round to round.
    fn round(&self, number: usize, plays: impl Fn(usize) -> bool) -> Vec<f64> {
        let count = self.contestants.len();
        let mut seconds = vec![f64::NAN; count];
        for place in (0..count).map(|turn| (turn + number) % count).filter(|&place| plays(place)) {
            let input = (self.input)();
            thread::sleep(PAUSE);
            seconds[place] = self.contestants[place].time(input);
        }
        seconds
    }

    fn report(&self, rounds: &[Vec<f64>], table: &mut Table) {
        let names: Vec<_> = self.contestants.iter().map(Contestant::name).collect();
        let spread = |ratio: &dyn Fn(&Round) -> f64| {
            Spread::of(rounds.iter().map(|seconds| ratio(&Round { names: &names, seconds })).collect())
        };
        let base = names[0];
        table.case(&self.work, self.items, self.workers, spread(&|round| round.of(base)).median);
        for name in &names {
            table.speed_up(name, base, spread(&|round| round.of(base) / round.of(name)));
        }
        for Question { subject, against, goal, ratio } in &self.questions {
            table.ratio(subject, against, *goal, spread(ratio));
        }
    }

    /// Hands every contestant to criterion.
    pub(super) fn criterion(&self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group(format!("{} ({} items)", self.work, self.items));
        // Enough for the order of things; what is quoted are the ratios.
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(500));
        for contestant in &self.contestants {
            group.bench_function(contestant.name, |bencher| {
                bencher.iter_batched(&self.input, &contestant.run, BatchSize::PerIteration);
            });
        }
        group.finish();
    }
}

fn middle(values: &[f64]) -> f64 {
    Spread::of(values.to_vec()).median
}
