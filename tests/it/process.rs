//! Faults of the whole process: what ends it, ends it at once and says so; what does not, goes unnoticed.

#![cfg(unix)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::{env, fs, hint, iter, thread};

use pool_map::{Pool, PoolIterator, Timeline, TraceLevel, pool_println, scope, traced};

use crate::child::{self, Child, test_of};
use crate::gate::text;
use crate::seen;

const SIGABRT: i32 = 6;

/// Without frames, which take seconds to be looked up in a program as large as this one.
fn short() -> Child<'static> {
    child::with_env("RUST_BACKTRACE", "0")
}

/// Runs `act` as an item, or what stands for one, behind the door of that name.
fn behind(door: &str, act: fn()) {
    let pool = Pool::new(2).expect("two threads");
    match door {
        "map" => (0..100).pool_map(2, |_| act()).for_each(drop),
        "loop" => for () in (0..100).pool_map(&pool, |_| act()) {},
        "imap" => (0..100).pool_imap(&pool, move |_| act()).for_each(drop),
        "scope" => scope(&pool, |s| s.imap(0..100, |_| act()).for_each(drop)),
        "spawn" => pool.spawn(act).join(),
        "nested" => (0..100).pool_map(&pool, |_| (0..9).pool_map(&pool, |_| act()).count()).for_each(drop),
        "source" => (0..100).inspect(move |_| act()).pool_imap(&pool, |x| x).for_each(drop),
        door => panic!("no door {door}"),
    }
}

const DOORS: [&str; 7] = ["map", "loop", "imap", "scope", "spawn", "nested", "source"];

/// What becomes of a process in which `act` runs behind each of the doors.
#[track_caller]
fn each_door(act: fn(), check: impl Fn(Output)) {
    let test = test_of(&check);
    for door in DOORS {
        check(short().with_env("DOOR", door).run_as(test, || behind(&own_door(), act)));
    }
}

/// In the child, the door that it is for.
fn own_door() -> String {
    env::var("DOOR").expect("the parent sets it")
}

#[test]
fn an_exit_inside_f_is_the_end() {
    each_door(
        || process::exit(7),
        |child| {
            assert_eq!(child.status.code(), Some(7), "{child:?}");
        },
    );
}

#[test]
fn an_abort_inside_f_is_the_end() {
    fn abort() {
        // A core file is of no use.
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `none` is valid for the time of the call.
        #[allow(unsafe_code, reason = "a call of libc")]
        unsafe {
            libc::setrlimit(libc::RLIMIT_CORE, &raw const none)
        };
        process::abort();
    }
    each_door(abort, |child| {
        assert_eq!(child.status.signal(), Some(SIGABRT), "{child:?}");
    });
}

#[test]
fn a_stack_overflow_names_the_worker() {
    fn down(depth: u64) -> u64 {
        let frame = hint::black_box([depth; 64]);
        if depth == u64::MAX { 0 } else { down(depth + 1) + frame[0] }
    }
    let seen = seen::child(|| {
        let pool = Pool::builder().threads(1).stack_size(1 << 18).build().expect("a small thread");
        (0..3).pool_map(&pool, down).for_each(drop);
    });
    assert!(seen.status.signal().is_some(), "{}", seen.status);
    assert_eq!((seen.count("'PoolWorker-1'"), seen.count("has overflowed its stack")), (1, 1), "{}", seen.stderr);
}

/// Does something when its thread ends.
struct AtTheEnd(fn());

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        (self.0)();
    }
}

thread_local! {
    static END: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
}

fn at_the_end(act: fn()) {
    END.set(Some(AtTheEnd(act)));
}

/// Has all that this crate keeps for a thread made for this one. What is made last goes first at the thread's end.
fn make_ours() {
    let timeline = Timeline::new();
    assert_eq!((0..5).pool_map(Pool::inline(), |x| x).observe(&timeline).count(), 5);
    assert_eq!((timeline.items(), traced(|| 1)), (5, 1));
}

/// What becomes of a panic at the end of a worker on which `start` ran first of all, and then a task.
#[track_caller]
fn panics_too_late(start: impl Fn() + Send + Sync + 'static, task: fn()) {
    let seen = seen::child_as(test_of(&start), || {
        let pool = Pool::builder().threads(1).on_start(move |_| start()).build().expect("a thread");
        pool.spawn(task).join();
        // The worker ends here.
        drop(pool);
    });
    assert_eq!(seen.status.signal(), Some(SIGABRT), "{}", seen.stderr);
    // No job of ours runs any more, so the message is that of the hook before.
    assert!(seen.stderr.contains("too late") && !seen.stderr.contains("[TRACE:"), "{}", seen.stderr);
    assert!(
        !seen.stderr.contains("Thread Local Storage") && !seen.stderr.contains("while processing"),
        "{}",
        seen.stderr
    );
}

#[test]
fn a_panic_in_the_destructor_of_a_thread_local_aborts_as_std_has_it() {
    panics_too_late(|| (), || at_the_end(|| panic!("too late")));
}

#[test]
fn so_does_one_in_a_destructor_that_comes_after_ours() {
    panics_too_late(|| at_the_end(|| panic!("too late")), make_ours);
}

#[test]
fn all_doors_are_open_in_the_destructor_of_a_thread_local() {
    static TIMES: AtomicUsize = AtomicUsize::new(0);
    fn everything() {
        assert!((0..50).pool_map(2, |x| x + 1).eq(1..51));
        assert_eq!((0..50).pool_map(2, |x| x).sum::<i32>(), 1225);
        assert_eq!((0..50).pool_imap(2, |x| x).sum::<i32>(), 1225);
        assert_eq!(scope(2, |s| s.imap(0..50, |x| x).sum::<i32>()), 1225);
        assert_eq!(Pool::global().spawn(|| 7).join(), 7);
        let own = Pool::new(1).expect("a thread");
        assert_eq!(own.spawn(|| 8).join(), 8);
        drop(own);
        pool_println!("a line");
        assert!(catch_unwind(|| traced(|| panic!("a trace"))).is_err());
        for pool in [Pool::new(2).expect("two threads"), Pool::inline()] {
            let timeline = Timeline::new();
            let call = || (0..50).pool_map(&pool, |x| assert!(x < 20, "item {x}")).trace(TraceLevel::Header);
            let fails = AssertUnwindSafe(|| call().observe(&timeline).for_each(drop));
            assert_eq!(text(&*catch_unwind(fails).expect_err("item 20 panics")), "item 20");
            assert!(timeline.items() >= 20);
        }
        TIMES.fetch_add(1, Ordering::SeqCst);
    }
    short().succeeds(|| {
        // On a worker, on a feeder, on a plain thread: first while what this crate keeps for the thread is there, then after it.
        for steps in [[make_ours, || at_the_end(everything)], [|| at_the_end(everything), make_ours]] {
            let both = move || steps.iter().for_each(|step| step());
            let pool = Pool::builder().threads(2).on_start(move |_| steps[0]()).build().expect("two threads");
            pool.install(|| rayon::broadcast(|_| steps[1]()));
            let source = iter::once(()).inspect(move |()| both());
            assert_eq!(source.pool_imap(&pool, |()| ()).count(), 1);
            drop(pool);
            let end = thread::spawn(both).join();
            assert!(end.is_ok());
        }
        // Nobody joins the feeders.
        while TIMES.load(Ordering::SeqCst) < 8 {
            thread::yield_now();
        }
    });
}

#[test]
fn every_door_may_be_the_first_one_while_a_panic_unwinds() {
    struct Uses;
    impl Drop for Uses {
        fn drop(&mut self) {
            behind(&own_door(), || {
                let end = catch_unwind(|| panic!("inside"));
                assert!(end.is_err());
            });
        }
    }
    for door in DOORS {
        short().with_env("DOOR", door).succeeds(|| {
            let end = catch_unwind(AssertUnwindSafe(|| {
                let _uses = Uses;
                panic!("outside");
            }));
            assert_eq!(text(&*end.expect_err("it panics")), "outside");
        });
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_thousand_pools_at_once() {
    child::succeeds(|| {
        let before = crate::threads();
        let made = thread::scope(|threads| {
            let makers: Vec<_> = (0..4)
                .map(|_| {
                    let make = || Pool::builder().threads(1).stack_size(1 << 16).build().expect("a small thread");
                    threads.spawn(move || (0..250).map(|_| make()).collect::<Vec<_>>())
                })
                .collect();
            makers.into_iter().flat_map(|maker| maker.join().expect("it does not panic")).collect::<Vec<Pool>>()
        });
        let all = Arc::new(Barrier::new(1000));
        let tasks: Vec<_> = made
            .iter()
            .map(|pool| {
                let all = Arc::clone(&all);
                pool.spawn(move || {
                    all.wait();
                    thread::current().name().map(str::to_owned)
                })
            })
            .collect();
        let names: BTreeSet<_> = tasks.into_iter().map(pool_map::Task::join).collect();
        assert!(names.into_iter().flatten().eq((1..=1000).map(|n| format!("PoolWorker-{n}")).collect::<BTreeSet<_>>()));
        for pool in &made {
            assert!((0..3).pool_map(pool, |x| x).eq(0..3));
        }
        drop(made);
        crate::wait_for_threads(before);
    });
}

#[cfg(target_os = "linux")]
#[test]
#[allow(unsafe_code, reason = "a call of libc")]
fn where_only_some_of_the_threads_can_start_a_call_runs_here() {
    child::with_env("RUST_MIN_STACK", "536870912").succeeds(|| {
        let before = crate::threads();
        // Room for a few stacks of half a GiB, not for sixteen.
        let limit = libc::rlimit { rlim_cur: 4 << 30, rlim_max: 4 << 30 };
        // SAFETY: `limit` is valid for the time of the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
        let here = thread::current().id();
        let threads: BTreeSet<_> = (0..100).pool_map(16, |_| thread::current().id() == here).collect();
        assert!(threads.into_iter().eq([true]));
        assert!((0..100).pool_imap(16, move |_| thread::current().id() == here).all(|is_here| is_here));
        assert!(scope(16, |s| s.imap(0..100, |_| thread::current().id() == here).all(|is_here| is_here)));
        crate::wait_for_threads(before);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_fork_inside_f() {
    short().succeeds(|| {
        let pool = Pool::new(2).expect("two threads");
        let inside = |x: u32| {
            x != 5
                || crate::without_threads::forked(|| {
                    let fails = || (0..9).pool_map(&pool, |x| assert!(x < 5, "item {x}")).count();
                    let payload = catch_unwind(AssertUnwindSafe(fails)).expect_err("item 5 panics");
                    (0..50).pool_map(&pool, |x| x).eq(0..50)
                        && (0..50).pool_imap(2, |x| x).eq(0..50)
                        && text(&*payload) == "item 5"
                })
        };
        assert!((0..20).pool_map(&pool, inside).all(|right| right));
        assert!((0..20).pool_map(&pool, |x| x).eq(0..20));
    });
}

#[test]
#[allow(unsafe_code, reason = "calls of libc")]
fn a_standard_error_that_takes_nothing_is_nobodys_business() {
    /// Puts the writing end of a pipe in the place of standard error, prepared by `act`.
    fn with_pipe(act: impl FnOnce(&mut [libc::c_int; 2])) {
        let mut pipe = [0; 2];
        // SAFETY: `pipe` has room for two descriptors; those that are closed or replaced are nobody else's.
        unsafe {
            assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
            act(&mut pipe);
            assert_eq!(libc::dup2(pipe[1], 2), 2);
        }
    }
    fn panics() {
        let fails = || (0..9).pool_map(2, |x| assert!(x < 5, "item {x}")).count();
        assert_eq!(text(&*catch_unwind(fails).expect_err("item 5 panics")), "item 5");
        assert!(thread::spawn(|| traced(|| panic!("a trace"))).join().is_err());
        let pool = Pool::new(1).expect("a thread");
        drop(pool.spawn(|| panic!("unheard")));
        pool.join();
        assert!((0..9).pool_map(2, |x| x).eq(0..9));
    }
    short().succeeds(|| {
        // Nobody reads any more.
        // SAFETY: the descriptor is this pipe's.
        with_pipe(|pipe| assert_eq!(unsafe { libc::close(pipe[0]) }, 0));
        panics();
        // It is full, and says so in place of waiting.
        with_pipe(|pipe| {
            // SAFETY: the descriptor is this pipe's, and the buffer is as long as is said.
            unsafe {
                assert_eq!(libc::fcntl(pipe[1], libc::F_SETFL, libc::O_NONBLOCK), 0);
                while libc::write(pipe[1], [0_u8; 4096].as_ptr().cast(), 4096) > 0 {}
                while libc::write(pipe[1], [0_u8].as_ptr().cast(), 1) > 0 {}
            }
        });
        panics();
    });
}

#[test]
fn traces_of_many_threads_are_never_mixed() {
    let seen = seen::child(|| {
        let all = Barrier::new(8);
        let long = "x".repeat(3000);
        thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    all.wait();
                    for round in 0..20 {
                        let fails = |x: u32| assert_ne!(x, 3, "round {round} {long}.");
                        let call = || (0..9).pool_map(1, fails).trace(TraceLevel::Header).for_each(drop);
                        assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
                    }
                });
            }
        });
    });
    seen.succeeded();
    let lines: Vec<_> = seen.stderr.lines().collect();
    assert!(lines.iter().all(|line| line.starts_with("[TRACE:PoolWorker-")), "{}", seen.stderr);
    // What belongs together stands together.
    let blocks = lines.split_inclusive(|line| line.contains("in pool_map called at"));
    let mut count = 0;
    for block in blocks {
        let tag = block[0].split(']').next();
        assert!(block.len() == 4 && block.iter().all(|line| line.split(']').next() == tag), "{block:?}");
        assert!(block[0].contains("item 3 panicked at") && block[0].ends_with("x."), "{block:?}");
        count += 1;
    }
    assert_eq!(count, 160);
}

/// A program made of `main`, which knows this crate by these names, each a copy of its own.
fn program(name: &str, copies: &[&str], main: &str) -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // The copies lie beside the program's folder, for inside they would be of one workspace, which has each name once.
    let folder = all.join(name);
    fs::create_dir_all(folder.join("src")).expect("a folder");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut manifest = format!(
        "[package]\nname = \"{name}\"\nedition = \"2024\"\n[workspace]\n[profile.dev]\ndebug = 0\n[dependencies]\n"
    );
    for copy in copies {
        manifest.extend(["", copy, " = { path = \"../", copy, "\", package = \"pool-map\" }\n"]);
        fs::create_dir_all(all.join(copy)).expect("a folder");
        let status = Command::new("cp").arg("-R").arg(here.join("src/.")).arg(all.join(copy)).status();
        assert!(status.is_ok_and(|status| status.success()), "a copy of the sources");
        let of_copy = fs::read_to_string(here.join("Cargo.toml")).expect("the manifest");
        let (package, rest) = of_copy.split_once("[features]").expect("it has features");
        let (features, _) = rest.split_once("[dev-dependencies]").expect("and what tests need");
        let version = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
        let own = format!("version = \"0.0.{}\"", copy.len());
        let of_copy = package.replacen(&version, &own, 1).replace("readme = \"README.md\"\n", "");
        let library = "[lib]\npath = \"lib.rs\"\n";
        let of_copy = format!("{of_copy}[features]{features}{library}");
        fs::write(all.join(copy).join("Cargo.toml"), of_copy).expect("a manifest");
    }
    fs::write(folder.join("Cargo.toml"), manifest).expect("a manifest");
    fs::write(folder.join("src/main.rs"), main).expect("a program");
    // The versions that this test was itself built with are at hand without a network.
    fs::copy(here.join("Cargo.lock"), folder.join("Cargo.lock")).expect("a lock file");
    let build = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--target-dir", "target"])
        .current_dir(&folder)
        .output()
        .expect("cargo");
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    folder.join("target/debug").join(name)
}

// Cargo builds a program in it.
#[test(minutes = 5)]
fn two_versions_of_this_crate_in_one_program() {
    let main = "\
fn main() {
    let fails = |x: u32| assert!(x < 7, \"item {x}\");
    let text = |payload: Box<dyn std::any::Any + Send>| *payload.downcast::<String>().unwrap();
    for _ in 0..2 {
        let end = std::panic::catch_unwind(|| one::PoolIterator::pool_map(0..9, 2, fails).trace(one::TraceLevel::Header).count());
        assert_eq!(text(end.unwrap_err()), \"item 7\");
        let end = std::panic::catch_unwind(|| other::PoolIterator::pool_map(0..9, 2, fails).trace(other::TraceLevel::Header).count());
        assert_eq!(text(end.unwrap_err()), \"item 7\");
    }
    // Each runs in place on the other's workers.
    let nested = |x: u32| other::PoolIterator::pool_map(0..x, 2, |y| y).sum::<u32>();
    assert_eq!(one::PoolIterator::pool_map(0..5, 2, nested).sum::<u32>(), 10);
}
";
    let exe = program("two-versions", &["one", "other"], main);
    let mut command = Command::new("timeout");
    command.arg("20").arg(exe);
    let seen = seen::run(command);
    seen.succeeded();
    // Each panic is told once by the version whose item it was.
    assert_eq!(seen.count("item 7 panicked at src/main.rs:2:"), 4, "{}", seen.stderr);
    assert_eq!(seen.count("  in pool_map called at src/main.rs:"), 4, "{}", seen.stderr);
}
