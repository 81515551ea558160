//! Promise 11 as a table: everything that waits for a pool, inside everything of rayon's that waits, started from everywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pool_map::{Pool, PoolIterator, Task};
use rayon::Yield;
use rayon::prelude::*;

use crate::task::block_on;

/// Where the outer closure runs.
#[derive(Clone, Copy, Debug)]
enum Start {
    Item,
    Task,
    Install,
}

/// What of rayon's it calls.
#[derive(Clone, Copy, Debug)]
enum Inside {
    Join,
    Scope,
    ParIter,
    YieldNow,
    Install,
    Broadcast,
}

/// What is used within that.
#[derive(Clone, Copy, Debug)]
enum Use {
    JoinedTask,
    AwaitedTask,
    Stream,
    Call,
    DetachedTask,
}

const STARTS: [Start; 3] = [Start::Item, Start::Task, Start::Install];
const USES: [Use; 5] = [Use::JoinedTask, Use::AwaitedTask, Use::Stream, Use::Call, Use::DetachedTask];

/// How many items, tasks or installs of the outer closure there are.
const OUTER: usize = 4;

/// One cell of the table. Clones share the counter.
#[derive(Clone)]
struct Case {
    start: Start,
    inside: Inside,
    uses: Use,
    /// Where the outer closure runs.
    home: Pool,
    /// What is used within: the same pool or another one, whose work then goes back to `home`.
    target: Pool,
    goes_back: bool,
    /// How many inner closures have run.
    ran: Arc<AtomicUsize>,
}

/// Ends what was begun.
type End<'a> = Box<dyn FnOnce() + Send + 'a>;

impl Case {
    /// The innermost work.
    fn work(&self) {
        let (a, b) = rayon::join(|| 1, thread::yield_now);
        assert_eq!((a, b), (1, ()));
        if self.goes_back {
            assert_eq!((0..3).pool_map(&self.home, |x| x).sum::<usize>(), 3);
            assert_eq!(self.home.install(|| rayon::join(|| 1, || 2)), (1, 2));
        }
        self.ran.fetch_add(1, Ordering::SeqCst);
    }

    /// Gives the target one closure to run.
    fn begin(&self) -> End<'_> {
        let (target, case) = (&self.target, self.clone());
        match self.uses {
            Use::JoinedTask => {
                let task = target.spawn(move || case.work());
                Box::new(|| task.join())
            }
            Use::AwaitedTask => {
                let task = target.spawn(move || case.work());
                Box::new(|| block_on(task))
            }
            Use::Stream => {
                let work = move |x| {
                    if x == 2 {
                        case.work();
                    }
                    x
                };
                let mut stream = target.imap(0..4, work).chunk_size(1);
                assert_eq!(stream.next(), Some(0));
                Box::new(move || assert!(stream.eq(1..4)))
            }
            Use::Call => Box::new(move || {
                let work = |x| {
                    if x == 2 {
                        case.work();
                    }
                    x
                };
                assert!((0..4).pool_map(target, work).chunk_size(1).eq(0..4));
            }),
            Use::DetachedTask => {
                drop(target.spawn(move || case.work()));
                Box::new(|| ())
            }
        }
    }

    /// What the outer closure does. Gives how many inner closures that makes.
    fn outer(&self) -> usize {
        let uses = || {
            self.begin()();
            1
        };
        match self.inside {
            Inside::Join => {
                let (a, b) = rayon::join(uses, uses);
                a + b
            }
            Inside::Scope => {
                rayon::scope(|scope| {
                    for _ in 0..3 {
                        scope.spawn(|_| self.begin()());
                    }
                });
                3
            }
            Inside::ParIter => (0..4).into_par_iter().map(|_: usize| uses()).sum(),
            Inside::YieldNow => {
                let end = self.begin();
                while rayon::yield_now() == Some(Yield::Executed) {}
                end();
                1
            }
            Inside::Install => self.target.install(|| (0..4).into_par_iter().map(|_: usize| uses()).sum()),
            Inside::Broadcast => rayon::broadcast(|_| uses()).into_iter().sum(),
        }
    }

    fn run(&self) {
        let expected = match self.start {
            Start::Item => (0..OUTER).pool_map(&self.home, |_| self.outer()).chunk_size(1).sum::<usize>(),
            Start::Task => {
                let spawn = |_| {
                    let case = self.clone();
                    self.home.spawn(move || case.outer())
                };
                let tasks: Vec<_> = (0..OUTER).map(spawn).collect();
                tasks.into_iter().map(Task::join).sum()
            }
            Start::Install => (0..OUTER).map(|_| self.home.install(|| self.outer())).sum(),
        };
        if matches!(self.uses, Use::DetachedTask) {
            while self.ran.load(Ordering::SeqCst) < expected {
                thread::yield_now();
            }
        }
        assert_eq!(self.ran.load(Ordering::SeqCst), expected);
    }

    /// What a thread beside it does with the same pools.
    fn disturb(&self) {
        for pool in [&self.home, &self.target] {
            let tasks: Vec<_> = (0..3).map(|x| pool.spawn(move || rayon::join(|| x, || 1).0)).collect();
            assert!(pool.imap(0..8, |x| x).eq(0..8));
            assert!(tasks.into_iter().map(Task::join).eq(0..3));
        }
    }
}

/// How many pools there are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pools {
    One,
    /// What is used within is on the second, and goes back to the first.
    Two,
}

/// One row: all that starts something in which `inside` is called, and all that is used there.
fn row(inside: Inside, pools: Pools) {
    for workers in [1, 2, 4] {
        let home = Pool::new(workers).expect("a few threads start");
        let (target, across) = match pools {
            Pools::One => (home.clone(), ""),
            Pools::Two => (Pool::new(workers).expect("a few threads start"), " across two pools"),
        };
        for (start, uses) in STARTS.into_iter().flat_map(|start| USES.map(|uses| (start, uses))) {
            for (disturbed, beside) in [(false, ""), (true, ", beside a thread")] {
                let goes_back = pools == Pools::Two;
                let (home, target, ran) = (home.clone(), target.clone(), Arc::default());
                let case = Case { start, inside, uses, home, target, goes_back, ran };
                // The watchdog says the name of the thread.
                let name = format!("{uses:?} inside {inside:?} from {start:?} on {workers}{across}{beside}");
                thread::scope(|threads| {
                    if disturbed {
                        threads.spawn(|| case.disturb());
                    }
                    let run = || {
                        case.run();
                    };
                    thread::Builder::new().name(name).spawn_scoped(threads, run).expect("a thread starts");
                });
            }
        }
    }
}

macro_rules! rows {
    ($($inside:ident: $one:ident, $two:ident;)*) => {$(
        #[test]
        fn $one() {
            row(Inside::$inside, Pools::One);
        }

        #[test]
        fn $two() {
            row(Inside::$inside, Pools::Two);
        }
    )*};
}

rows! {
    Join: inside_join, inside_join_across_two_pools;
    Scope: inside_scope, inside_scope_across_two_pools;
    ParIter: inside_par_iter, inside_par_iter_across_two_pools;
    YieldNow: inside_a_loop_of_yield_now, inside_a_loop_of_yield_now_across_two_pools;
    Install: inside_install, inside_install_across_two_pools;
    Broadcast: inside_broadcast, inside_broadcast_across_two_pools;
}
