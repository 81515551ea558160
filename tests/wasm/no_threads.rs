//! `no_threads`: every way to run a closure, on a system without threads. `no_threads panic`: a closure that panics there.

use std::env;
use std::thread;

use pool_map::{CancelToken, Pool, PoolIterator, Timeline, pool_println};

fn check(what: &str, f: impl FnOnce()) {
    f();
    println!("ok: {what}");
}

fn main() {
    if env::args().nth(1).as_deref() == Some("panic") {
        let quotients: Vec<i32> = (0..10).pool_map(4, |x| 10 / (x - 5)).collect();
        unreachable!("{quotients:?}");
    }
    // On a system that has threads, this program would prove nothing.
    assert!(thread::Builder::new().spawn(|| {}).is_err());
    let squares: Vec<u32> = (0..1000).map(|x| x * x).collect();

    check("pool_map by a number", || {
        assert_eq!((0..1000).pool_map(4, |x| x * x).collect::<Vec<u32>>(), squares);
    });
    check("pool_map in a loop", || {
        let mut expected = squares.iter().copied();
        for square in (0..1000).pool_map(4, |x| x * x) {
            assert_eq!(Some(square), expected.next());
        }
    });
    check("pool_map on the global pool", || {
        assert_eq!((0..1000).pool_map(Pool::global(), |x| x * x).collect::<Vec<u32>>(), squares);
    });
    check("pool_map on an inline pool", || {
        assert_eq!((0..1000).pool_map(Pool::inline(), |x| x * x).collect::<Vec<u32>>(), squares);
    });
    check("pool_map inside pool_map", || {
        let sums = (0..10).pool_map(4, |x| (0..x).pool_map(4, |y| y).sum::<u32>());
        assert_eq!(sums.sum::<u32>(), 120);
    });
    check("pool_map_init", || {
        let counts = (0..10).pool_map_init(
            4,
            || 0,
            |count, _| {
                *count += 1;
                *count
            },
        );
        assert_eq!(counts.sum::<u32>(), 55);
    });
    check("pool_for_each", || (0..10).pool_for_each(4, |x| assert!(x < 10)));
    check("pool_imap", || {
        assert_eq!((0..1000).pool_imap(4, |x| x * x).collect::<Vec<u32>>(), squares);
    });
    check("pool_imap_unordered", || {
        assert_eq!((0..1000).pool_imap_unordered(4, |x| x * x).count(), 1000);
    });
    check("scope", || {
        let sum: u32 = pool_map::scope(4, |scope| scope.imap(squares.iter(), |x| x % 7).sum());
        assert_eq!(sum, squares.iter().map(|x| x % 7).sum());
    });
    check("Pool::spawn", || {
        for pool in [Pool::global().clone(), Pool::inline()] {
            assert_eq!(pool.spawn(|| 6 * 7).join(), 42);
        }
    });
    check("Pool::install", || assert_eq!(Pool::global().install(|| 6 * 7), 42));
    check("cancel", || {
        let token = CancelToken::new();
        token.cancel();
        assert_eq!((0..10).pool_map(4, |x| x).cancel_on(&token).count(), 0);
    });
    check("Timeline", || {
        let timeline = Timeline::new();
        assert_eq!((0..10).pool_map(4, |x| x).observe(&timeline).count(), 10);
        assert!(timeline.to_string().contains("10 items"), "{timeline}");
    });
    check("pool_println", || pool_println!("a line by {}", "pool_println"));
    check("Pool::new says why it cannot start threads", || {
        println!("{}", Pool::new(2).expect_err("there are no threads"));
    });
}
