//! What it costs to wait: no time of any core.

#![cfg(unix)]

use std::mem::MaybeUninit;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use pool_map::{Pool, PoolIterator};

use crate::child;
use crate::gate::Gate;

/// The processor time that this process has used.
#[allow(unsafe_code, reason = "the standard library does not know")]
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec` of ours.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(answer, 0);
    let (seconds, nanos) = (time.tv_sec.try_into().expect("positive"), time.tv_nsec.try_into().expect("below 10^9"));
    Duration::new(seconds, nanos)
}

/// How often a thread of this process has gone to sleep so far.
#[allow(unsafe_code, reason = "the standard library does not know")]
fn sleeps() -> libc::c_long {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a `rusage` of ours, for which zeros are fine.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    usage.ru_nvcsw
}

/// Half a second of sleeping on every worker at once would be two seconds of spinning; a tenth of one is far from both.
/// Looking ten thousand times a second whether there is something to do costs less than that, but it wakes a thread each time.
fn idles(wait: impl FnOnce()) {
    let before = (cpu_time(), sleeps());
    wait();
    let (used, slept) = (cpu_time().saturating_sub(before.0), sleeps() - before.1);
    assert!(used < Duration::from_millis(100) && slept < 100, "{used:?}, asleep {slept} times");
}

/// Real time is what is tested here: each wait lasts so long, and nothing else depends on it.
const WHILE: Duration = Duration::from_millis(500);

#[test]
fn no_core_is_used_while_items_sleep_or_the_source_blocks() {
    child::succeeds(|| {
        let pool = Pool::new(4).expect("four threads");
        idles(|| (0..4).pool_map(&pool, |_| thread::sleep(WHILE)).for_each(drop));
        idles(|| drop((0..4).pool_map(4, |_| thread::sleep(WHILE)).collect::<Vec<_>>()));
        idles(|| for () in (0..4).pool_map(&pool, |_| thread::sleep(WHILE)) {});
        let (sender, items) = mpsc::channel();
        let feeder = thread::spawn(move || {
            for item in 0..3 {
                sender.send(item).expect("somebody listens");
                thread::sleep(WHILE);
            }
        });
        idles(|| items.into_iter().pool_map(&pool, |x| x).for_each(drop));
        feeder.join().expect("it does not panic");
        // A stream whose source blocks, its consumer away and then waiting.
        let (sender, items) = mpsc::channel();
        sender.send(0).expect("somebody listens");
        let mut stream = items.into_iter().pool_imap(&pool, |x| x);
        assert_eq!(stream.next(), Some(0));
        idles(|| thread::sleep(WHILE));
        let feeder = thread::spawn(move || {
            thread::sleep(WHILE);
            sender.send(1).expect("somebody listens");
        });
        idles(|| assert_eq!(stream.next(), Some(1)));
        feeder.join().expect("it does not panic");
        // One at its limit, its consumer away.
        let mut stream = (0..).pool_imap(&pool, |x| x).max_in_flight(8);
        assert_eq!(stream.next(), Some(0));
        idles(|| thread::sleep(WHILE));
        // A task that another one waits for, which is waited for here.
        let (starts, started) = mpsc::channel();
        let task = pool.spawn(move || {
            starts.send(()).expect("somebody listens");
            thread::sleep(WHILE);
        });
        started.recv().expect("it starts");
        idles(|| pool.spawn(|| task.join()).join());
        // Calls that wait for a worker, which waits inside rayon.
        let (one, other, gate) = (Pool::new(1).expect("a thread"), Pool::new(1).expect("a thread"), Gate::default());
        thread::scope(|threads| {
            let (starts, started) = mpsc::channel();
            let begins = starts.clone();
            let (one, other, gate) = (&one, &other, &gate);
            threads.spawn(move || {
                (0..1).pool_for_each(one, |_| {
                    other.install(|| {
                        begins.send(()).expect("somebody listens");
                        gate.wait();
                    });
                });
            });
            started.recv().expect("it starts");
            for _ in 0..20 {
                let pulled = starts.clone();
                let source = (0..1).inspect(move |_| pulled.send(()).expect("somebody listens"));
                threads.spawn(move || source.pool_for_each(one, drop));
                started.recv().expect("it is pulled");
            }
            idles(|| thread::sleep(WHILE));
            gate.open();
        });
        // Neither do workers that have nothing to do, those of an idle lease among them.
        idles(|| thread::sleep(WHILE));
    });
}
