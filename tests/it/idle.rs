//! What it costs to wait: no time of any core.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use pool_map::{Pool, PoolIterator};

use crate::child;

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

/// Half a second of sleeping on every worker at once would be two seconds of spinning; a tenth of one is far from both.
fn idles(wait: impl FnOnce()) {
    let before = cpu_time();
    wait();
    let used = cpu_time().saturating_sub(before);
    assert!(used < Duration::from_millis(100), "{used:?}");
}

const WHILE: Duration = Duration::from_millis(500);

#[test]
fn no_core_is_used_while_items_sleep_or_the_source_blocks() {
    let Some(child) = child::of("idle::no_core_is_used_while_items_sleep_or_the_source_blocks") else {
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
        // Neither do workers that have nothing to do, those of an idle lease among them.
        idles(|| thread::sleep(WHILE));
        return;
    };
    assert!(child.status.success(), "{child:?}");
}
