//! Promise 1: `it.pool_map(n, f)` yields what `it.map(f)` yields, through every method, in any mix.

// `same!` expands for `Map` too, which has a `next_back`; large items are what one of the tests is about.
#![allow(clippy::double_ended_iterator_last, clippy::large_stack_arrays)]

use itertools::Itertools;
use pool_map::types::Map;
use pool_map::{Pool, PoolIterator, PoolParMap, PoolParallelIterator, Timeline};
use rayon::iter::IntoParallelRefIterator;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::fmt::Debug;
use std::iter::{self, FusedIterator};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

const CHUNKS: [Option<usize>; 4] = [None, Some(1), Some(3), Some(1000)];

fn counted<'a, A, B>(calls: &'a AtomicUsize, f: impl Fn(A) -> B + Sync + 'a) -> impl Fn(A) -> B + Sync + 'a {
    move |item| {
        calls.fetch_add(1, Ordering::Relaxed);
        f(item)
    }
}

/// Checks that `body` sees no difference between `map` and `pool_map`, and how often `f` ran: as often as under `map`
/// where that reaches the end of the source, else no more often than there are items.
macro_rules! same {
    ($source:expr, $f:expr, |$it:ident| $body:expr) => {{
        let calls = AtomicUsize::new(0);
        let expected = {
            #[allow(unused_mut)]
            let mut $it = $source.map(counted(&calls, $f));
            $body
        };
        let least = calls.into_inner();
        let most = $source.count();
        for workers in [1, 2, 5] {
            for chunk in CHUNKS {
                let calls = AtomicUsize::new(0);
                let found = {
                    let it = $source.pool_map(workers, counted(&calls, $f));
                    #[allow(unused_mut)]
                    let mut $it = if let Some(items) = chunk { it.chunk_size(items) } else { it };
                    $body
                };
                let setting = format!("{workers} workers, chunks of {chunk:?}: {}", stringify!($body));
                assert_eq!(found, expected, "{setting}");
                let calls = calls.into_inner();
                assert!((least..=most).contains(&calls), "{calls} calls, not {least} to {most}, with {setting}");
            }
        }
    }};
}

/// Scatters the values, so that minima, maxima and groups are not where the source has its ends.
fn hash(x: u32) -> u64 {
    u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
}

fn small(x: u32) -> u64 {
    hash(x) % 7
}

fn pair(x: u32) -> (u64, u32) {
    (hash(x), x)
}

fn letter(x: u32) -> char {
    char::from_digit(x % 36, 36).expect("below 36")
}

fn text(x: u32) -> String {
    format!("<{x}>")
}

fn up_to_70(x: u32) -> Result<u32, String> {
    if x < 70 { Ok(x) } else { Err(format!("{x} is too much")) }
}

fn some_up_to_70(x: u32) -> Option<u32> {
    (x < 70).then_some(x)
}

fn nothing(_: u32) {}

#[test]
fn every_collection_is_the_same() {
    same!(0..100, hash, |it| it.collect::<Vec<_>>());
    same!(0..100, hash, |it| it.collect::<VecDeque<_>>());
    same!(0..100, hash, |it| it.collect::<LinkedList<_>>());
    same!(0..100, hash, |it| it.collect::<Box<[_]>>());
    same!(0..100, hash, |it| it.collect::<Arc<[_]>>());
    same!(0..100, hash, |it| it.collect::<Rc<[_]>>());
    same!(0..100, hash, |it| it.collect::<BTreeSet<_>>());
    same!(0..100, small, |it| it.collect::<HashSet<_>>());
    same!(0..100, hash, |it| it.collect::<BinaryHeap<_>>().into_sorted_vec());
    same!(0..100, pair, |it| it.collect::<HashMap<_, _>>());
    same!(0..100, pair, |it| it.collect::<BTreeMap<_, _>>());
    same!(0..100, letter, |it| it.collect::<String>());
    same!(0..100, text, |it| it.collect::<String>());
    same!(0..100, nothing, |it| it.collect::<()>());
    same!(0..100, nothing, |it| it.collect::<Vec<()>>());
    same!(0..100, pair, |it| it.collect::<(Vec<_>, HashSet<_>)>());
}

#[test]
fn collecting_results_and_options_stops_at_the_first_failure_in_order() {
    same!(0..70, up_to_70, |it| it.collect::<Result<Vec<_>, _>>());
    same!(0..100, up_to_70, |it| it.collect::<Result<Vec<_>, _>>());
    same!(0..100, up_to_70, |it| it.collect::<Result<HashSet<_>, _>>());
    same!(0..70, some_up_to_70, |it| it.collect::<Option<Vec<_>>>());
    same!(0..100, some_up_to_70, |it| it.collect::<Option<Vec<_>>>());
    same!(0..100, |x: u32| up_to_70(x).map(drop), |it| it.collect::<Result<(), _>>());
    same!(0..100, up_to_70, |it| it.sum::<Result<u32, _>>());
    same!(0..70, some_up_to_70, |it| it.product::<Option<u32>>());
    same!(0..100, some_up_to_70, |it| it.product::<Option<u32>>());
    same!(0..100, up_to_70, |it| it.partition_result::<Vec<_>, Vec<_>, _, _>());
}

#[test]
fn every_method_that_takes_the_whole_is_the_same() {
    same!(0..100, hash, |it| it.sum::<u64>());
    same!(1..12, small, |it| it.map(|x| x + 1).product::<u64>());
    same!(1..12, |x: u32| u64::from(x), |it| it.product::<u64>());
    same!(0..100, hash, |it| it.count());
    same!(0..100, hash, |it| it.last());
    same!(0..100, small, |it| it.min());
    same!(0..100, small, |it| it.max());
    same!(0..100, pair, |it| it.min_by(|a, b| (a.0 % 5).cmp(&(b.0 % 5))));
    same!(0..100, pair, |it| it.max_by(|a, b| (a.0 % 5).cmp(&(b.0 % 5))));
    same!(0..100, pair, |it| it.min_by_key(|x| x.0 % 5));
    same!(0..100, pair, |it| it.max_by_key(|x| x.0 % 5));
    same!(0..100, text, |it| it.reduce(|a, b| a + &b));
    same!(0..100, text, |it| it.fold(String::new(), |a, b| a + &b));
    same!(0..100, pair, |it| it.unzip::<_, _, Vec<_>, Vec<_>>());
    same!(0..100, hash, |it| it.partition::<Vec<_>, _>(|x| x % 2 == 0));
    same!(0..100, hash, |it| it.is_sorted());
    same!(0..100, text, |it| {
        let mut seen = Vec::new();
        it.for_each(|x| seen.push(x));
        seen
    });
    same!(0..100, text, |it| {
        let mut seen = Vec::new();
        for x in it {
            seen.push(x);
        }
        seen
    });
    same!(0..100, text, |it| {
        let mut seen = vec!["before".to_owned()];
        seen.extend(it);
        seen
    });
}

#[test]
fn every_method_that_stops_early_is_the_same() {
    same!(0..100, hash, |it| (0..5).map(|n| it.nth(n * n)).collect::<Vec<_>>());
    same!(0..100, hash, |it| it.nth(99));
    same!(0..100, hash, |it| (it.nth(100), it.next()));
    same!(0..100, pair, |it| (it.find(|x| x.1 == 40), it.next()));
    same!(0..100, pair, |it| (it.find(|x| x.1 == 400), it.next()));
    same!(0..100, pair, |it| (it.find_map(|x| (x.1 == 40).then_some(x.0)), it.next()));
    same!(0..100, pair, |it| (it.any(|x| x.1 == 40), it.next()));
    same!(0..100, pair, |it| (it.all(|x| x.1 < 40), it.next()));
    same!(0..100, pair, |it| (it.position(|x| x.1 == 40), it.next()));
    same!(0..100, pair, |it| (it.try_fold(0_u64, |sum, x| if x.1 < 40 { Ok(sum + x.0) } else { Err(x) }), it.next()));
    same!(0..100, pair, |it| {
        let broke = it.try_for_each(|x| if x.1 < 40 { ControlFlow::Continue(()) } else { ControlFlow::Break(x) });
        (broke, it.next())
    });
    same!(0..100, hash, |it| it.cmp((0..100).map(hash)));
    same!(0..100, hash, |it| it.partial_cmp((0..99).map(hash)));
    same!(0..100, hash, |it| it.eq((0..100).map(hash)));
    same!(0..100, hash, |it| it.ne((0..99).map(hash)));
    same!(0..100, hash, |it| it.lt((0..100).map(small)));
    same!(0..100, hash, |it| it.ge((0..100).map(small)));
    same!(0..100, hash, |it| it.is_sorted_by_key(|x| x % 3));
}

#[test]
fn every_adaptor_on_top_is_the_same() {
    same!(0..100, hash, |it| it.zip("abcdef".chars()).collect::<Vec<_>>());
    same!(0..100, hash, |it| it.chain([1, 2, 3]).collect::<Vec<_>>());
    same!(0..100, hash, |it| [1, 2, 3].into_iter().chain(it).collect::<Vec<_>>());
    same!(0..100, hash, |it| it.enumerate().collect::<Vec<_>>());
    same!(0..100, hash, |it| {
        let mut it = it.peekable();
        let mut seen = Vec::new();
        while let Some(x) = it.next() {
            seen.push((x, it.peek().copied(), it.next_if(|x| x % 2 == 0)));
        }
        seen
    });
    same!(0..100, hash, |it| it.skip(30).collect::<Vec<_>>());
    same!(0..100, hash, |it| it.take(30).collect::<Vec<_>>());
    same!(0..100, hash, |it| it.step_by(7).collect::<Vec<_>>());
    same!(0..100, pair, |it| it.take_while(|x| x.1 < 40).collect::<Vec<_>>());
    same!(0..100, pair, |it| it.skip_while(|x| x.1 < 40).collect::<Vec<_>>());
    same!(0..100, pair, |it| it.map_while(|x| (x.1 < 40).then_some(x.0)).collect::<Vec<_>>());
    same!(0..100, hash, |it| it.filter(|x| x % 3 == 0).collect::<Vec<_>>());
    same!(0..100, hash, |it| it.filter_map(|x| (x % 3 == 0).then_some(x / 3)).collect::<Vec<_>>());
    same!(0..100, small, |it| it.flat_map(|x| 0..x).collect::<Vec<_>>());
    same!(0..100, |x: u32| vec![x; 2], |it| it.flatten().collect::<Vec<_>>());
    same!(0..100, hash, |it| it.map(|x| x + 1).collect::<Vec<_>>());
    same!(0..100, hash, |it| {
        let mut seen = Vec::new();
        let count = it.inspect(|x| seen.push(*x)).filter(|x| x % 2 == 0).count();
        (count, seen)
    });
    same!(0..100, hash, |it| it
        .scan(0, |sum, x| {
            *sum += x;
            (*sum < 100_000_000).then_some(*sum)
        })
        .collect::<Vec<_>>());
    same!(0..100, hash, |it| it.fuse().collect::<Vec<_>>());
    same!(0..100, hash, |it| it.pool_map(2, |x| x + 1).pool_map(3, |x| x * 2).collect::<Vec<_>>());
}

#[test]
fn itertools_adaptors_are_the_same() {
    same!(0..100, hash, |it| it.chunks(7).into_iter().map(Iterator::collect::<Vec<_>>).collect::<Vec<_>>());
    same!(0..100, hash, |it| it.chunk_by(|x| x % 2).into_iter().map(|(k, g)| (k, g.sum::<u64>())).collect::<Vec<_>>());
    same!(0..100, hash, |it| it.tuple_windows::<(_, _, _)>().collect::<Vec<_>>());
    same!(0..100, hash, |it| it.tuples::<(_, _)>().collect::<Vec<_>>());
    same!(0..100, hash, |it| it.sorted().collect::<Vec<_>>());
    same!(0..100, hash, |it| it.interleave(0..50).collect::<Vec<_>>());
    same!(0..100, small, |it| it.dedup().collect::<Vec<_>>());
    same!(0..100, small, |it| it.counts());
    same!(0..100, small, |it| it.minmax());
    same!(0..100, text, |it| it.join(","));
    same!(0..100, pair, |it| it.into_group_map());
    same!(0..100, hash, |it| {
        let mut it = it.multipeek();
        (it.peek().copied(), it.peek().copied(), it.collect::<Vec<_>>())
    });
    same!(0..100, up_to_70, |it| it.process_results(|good| good.sum::<u32>()));
    same!(0..100, hash, |it| it.merge((0..100_u32).map(u64::from)).collect::<Vec<_>>());
}

#[test]
fn any_mix_of_methods_is_the_same() {
    same!(0..100, hash, |it| {
        let one = it.next();
        let three: Vec<u64> = it.by_ref().take(3).collect();
        let tenth = it.nth(10);
        let even = it.find(|x| x % 2 == 0);
        let some: Vec<u64> = it.by_ref().step_by(3).take(4).collect();
        let two = it.next_tuple::<(_, _)>();
        let rest = it.fold(Vec::new(), |mut rest, x| {
            rest.push(x);
            rest
        });
        (one, three, tenth, even, some, two, rest)
    });
    same!(0..100, hash, |it| {
        let before = (it.next(), it.next());
        (before, it.collect::<Vec<_>>())
    });
    same!(0..100, hash, |it| {
        let most: Vec<u64> = it.by_ref().take(99).collect();
        (most, it.by_ref().collect::<Vec<_>>(), it.next(), it.count())
    });
}

#[test]
fn a_question_mark_in_the_loop_leaves_it_there() {
    fn total(source: impl Iterator<Item = Result<u32, String>>) -> Result<u32, String> {
        let mut total = 0;
        for x in source {
            total += x?;
        }
        Ok(total)
    }

    same!(0..70, up_to_70, |it| total(it));
    same!(0..100, up_to_70, |it| total(it));
}

#[test]
fn sources_of_every_kind_give_the_same() {
    let words = ["so", "much", "depends", "upon"];
    same!(words.iter(), |word: &&str| word.len(), |it| it.collect::<Vec<_>>());
    same!("so much depends".chars(), |c: char| c.to_ascii_uppercase(), |it| it.collect::<String>());
    same!("a\nb\n\nc".lines(), |line: &str| line.len(), |it| it.collect::<Vec<_>>());
    same!(words.chunks(3), <[&str]>::concat, |it| it.collect::<Vec<_>>());
    same!((0..50).rev(), hash, |it| it.collect::<Vec<_>>());
    same!((0..50).chain(90..99).step_by(4), hash, |it| it.collect::<Vec<_>>());
    same!((0..50).filter(|x| x % 3 == 0), hash, |it| it.collect::<Vec<_>>());
    same!((0..10_u32).flat_map(|x| 0..x), hash, |it| it.collect::<Vec<_>>());
    same!(iter::successors(Some(1_u32), |x| x.checked_mul(3)), hash, |it| it.collect::<Vec<_>>());
    same!(Box::new(0..50_u32) as Box<dyn Iterator<Item = u32>>, hash, |it| it.collect::<Vec<_>>());
    same!([1, 2, 3].into_iter().cycle().take(20), hash, |it| it.collect::<Vec<_>>());
    same!(BTreeMap::from([(1, 'a'), (2, 'b')]).into_iter(), |(k, v): (u32, char)| format!("{k}{v}"), |it| it
        .collect::<Vec<_>>());
    same!(iter::empty::<u32>(), hash, |it| (it.next(), it.len(), it.collect::<Vec<_>>()));
    same!(iter::once(7), hash, |it| (it.len(), it.next(), it.len(), it.next(), it.len()));
}

#[test]
fn a_source_passed_by_reference_is_read_ahead_of_what_is_delivered() {
    for workers in 1..=4 {
        let mut source = 0..100_u32;
        let taken: Vec<u64> = source.by_ref().pool_map(workers, hash).take(5).collect();
        assert_eq!(taken, (0..5).map(hash).collect::<Vec<_>>());
        assert!((5..=100).contains(&source.start), "at least what was delivered is gone");

        let mut source = 0..100_u32;
        let taken: Vec<u64> = source.by_ref().pool_map(workers, hash).max_in_flight(1).take(5).collect();
        assert_eq!(taken, (0..5).map(hash).collect::<Vec<_>>());
        assert_eq!(source.next(), Some(5), "nothing is read ahead with max_in_flight(1)");
    }
}

#[test]
fn an_iterator_may_change_threads_between_any_two_methods() {
    let expected: Vec<u64> = (0..100).map(hash).collect();
    let elsewhere = Pool::new(1).expect("one thread");
    for workers in [1, 2, 4] {
        for chunk in CHUNKS {
            let it = (0..100).pool_map(workers, hash);
            let mut it = if let Some(items) = chunk { it.chunk_size(items) } else { it };
            let mut found: Vec<u64> = it.by_ref().take(5).collect();
            thread::scope(|scope| {
                scope.spawn(|| found.extend(it.by_ref().take(20)));
            });
            // On a worker a call runs in place.
            elsewhere.install(|| found.extend(it.by_ref().take(20)));
            assert_eq!(it.len(), 55);
            found.extend(it.by_ref().take(20));
            elsewhere.install(|| it.for_each(|x| found.push(x)));
            assert_eq!(found, expected);
        }
    }
}

// ---- Sizes -----------------------------------------------------------------------------------------------------------

#[test]
fn every_length_around_every_limit_comes_out_whole() {
    for workers in 1..=8 {
        for chunk in [None, Some(1), Some(2), Some(3), Some(7), Some(64)] {
            let one = chunk.unwrap_or(1);
            let window = workers * (6 * one).max(16);
            let mut lengths = vec![0, 1, 2, workers - 1, workers, workers + 1, 2 * workers + 1];
            for edge in [one, one * workers, window, 2 * window] {
                lengths.extend([edge - 1, edge, edge + 1]);
            }
            lengths.sort_unstable();
            lengths.dedup();
            for length in lengths {
                let make = || {
                    let it = (0..length).pool_map(workers, |x| x * 3);
                    if let Some(items) = chunk { it.chunk_size(items) } else { it }
                };
                let expected: Vec<usize> = (0..length).map(|x| x * 3).collect();
                let setting = format!("{length} items, {workers} workers, chunks of {chunk:?}");
                assert_eq!(make().collect::<Vec<_>>(), expected, "{setting}");
                let mut looped = Vec::new();
                for x in make() {
                    looped.push(x);
                }
                assert_eq!(looped, expected, "{setting}");
            }
        }
    }
}

#[test]
fn the_largest_options_are_taken_at_their_word() {
    let expected: Vec<u64> = (0..100).map(hash).collect();
    for most in [usize::MAX, usize::MAX / 2, usize::MAX >> 23] {
        assert_eq!((0..100).pool_map(2, hash).chunk_size(most).collect::<Vec<_>>(), expected);
        assert_eq!((0..100).pool_map(2, hash).max_in_flight(most).collect::<Vec<_>>(), expected);
        assert_eq!((0..100).pool_map(2, hash).chunk_size(most).max_in_flight(most).collect::<Vec<_>>(), expected);
        let mut looped = (0..100).pool_map(2, hash).chunk_size(most).max_in_flight(most);
        assert!(expected.iter().all(|x| looped.next() == Some(*x)));
        assert_eq!(looped.next(), None);
    }
}

#[test]
fn many_cheap_items_come_out_whole() {
    let count = 200_000_u64;
    for workers in [1, 2, 4] {
        assert_eq!((0..count).pool_map(workers, |x| x).sum::<u64>(), count * (count - 1) / 2);
        let mut next = 0;
        for x in (0..count).pool_map(workers, |x| x) {
            assert_eq!(x, next);
            next += 1;
        }
        assert_eq!(next, count);
    }
}

#[test]
fn items_without_size_are_counted_all_the_same() {
    struct Nothing;

    for workers in [1, 3] {
        let count = (0..10_000).map(|_| Nothing).pool_map(workers, |Nothing| ()).count();
        assert_eq!(count, 10_000);
        let mut looped = 0;
        for Nothing in iter::repeat_with(|| Nothing).take(10_000).pool_map(workers, |nothing| nothing) {
            looped += 1;
        }
        assert_eq!(looped, 10_000);
        assert_eq!(vec![(); 100].into_iter().pool_map(workers, |()| ()).collect::<Vec<_>>(), [(); 100]);
    }
}

#[test]
fn large_items_go_through_small_stacks() {
    const LARGE: usize = 20_000;

    let pool = Pool::builder().threads(3).stack_size(512 << 10).build().expect("three small threads");
    let large = |x: u8| [x; LARGE];
    let found: Vec<[u8; LARGE]> = (0..60).map(large).pool_map(&pool, |item| item.map(|x| x + 1)).collect();
    assert!(found.iter().zip(1..=60).all(|(item, x)| item == &large(x)));
    let boxed: usize = (0..40_u8).map(|x| vec![x; 1 << 20]).pool_map(&pool, |item| item.len()).sum();
    assert_eq!(boxed, 40 << 20);
}

/// An unoptimised build makes a copy at almost every move, in std's `map` too. Measured, each stack needs 14 MiB to hand items
/// of one MiB on (`map` alone needs 11), and 3 MiB in an optimised build. Here it has twice that.
#[test]
fn items_of_a_megabyte_go_through_by_value() {
    const STACK: usize = if cfg!(debug_assertions) { 32 << 20 } else { 6 << 20 };
    let everything = || {
        let pool = Pool::builder().threads(2).stack_size(STACK).build().expect("two threads");
        let large = |x: u8| [x; 1 << 20];
        let mapped = || {
            (0..40).map(large).pool_map(&pool, |mut item| {
                item[1] += 1;
                item
            })
        };
        let mut next = 0;
        for item in mapped() {
            assert_eq!([item[0], item[1], item[item.len() - 1]], [next, next + 1, next]);
            next += 1;
        }
        mapped().for_each(|item| {
            next -= 1;
            assert_eq!([item[0], item[1]], [39 - next, 40 - next]);
        });
        assert_eq!(next, 0);
    };
    thread::Builder::new().stack_size(STACK).spawn(everything).expect("a thread").join().expect("they are the same");
}

/// Where std's `Map` may go through `catch_unwind`, so may ours.
#[test]
fn they_are_unwind_safe_where_map_is() {
    fn check<T: UnwindSafe + RefUnwindSafe>(_: &T) {}
    let data = [1, 2, 3];
    let f = |x: &u32| x + 1;
    check(&data.iter().map(f));
    check(&data.iter().pool_map(2, f));
    check(&data.iter().pool_map_init(2, String::new, |_, x| x + 1).catch_panics());
    check(&data.iter().pool_map(2, f).observe(&Timeline::new()));
    check(&data.into_iter().pool_imap(2, |x| x + 1));
    pool_map::scope(2, |s| check(&s.imap(&data, f)));
    check(&data.par_iter().pool_map(2, f));
}

/// The bounds are those of the methods, as with rayon's own `Map`.
#[test]
fn a_struct_that_holds_split_data_needs_no_bounds() {
    struct Holds<I, F, R>(PoolParMap<I, Map<F, R>>);
    let Holds(results) = Holds([1, 2, 3].par_iter().pool_map(2, |x| x + 1));
    assert_eq!(results.sum::<u32>(), 9);
}

#[test]
fn anything_that_stands_for_a_pool_gives_the_same() {
    let expected: Vec<u64> = (0..50).map(hash).collect();
    let pool = Pool::new(2).expect("two threads");
    let shared = Arc::new(pool.clone());
    assert_eq!((0..50).pool_map(NonZeroUsize::MIN, hash).collect::<Vec<_>>(), expected);
    assert_eq!((0..50).pool_map(&pool, hash).collect::<Vec<_>>(), expected);
    assert_eq!((0..50).pool_map(&*shared, hash).collect::<Vec<_>>(), expected);
    assert_eq!((0..50).pool_map(pool, hash).collect::<Vec<_>>(), expected);
    assert_eq!((0..50).pool_map(Pool::global(), hash).collect::<Vec<_>>(), expected);
    assert!((0..50).pool_map(Pool::inline(), hash).eq(expected));
}

// ---- size_hint, len, fusing -------------------------------------------------------------------------------------------

#[test]
fn len_is_exact_after_every_next() {
    fn is_exact_and_fused<I: ExactSizeIterator + FusedIterator>(it: I) -> I {
        it
    }

    for workers in 1..=6 {
        for chunk in CHUNKS {
            for limit in [None, Some(1), Some(5), Some(64)] {
                let mut it = is_exact_and_fused((0..100).pool_map(workers, hash));
                if let Some(items) = chunk {
                    it = it.chunk_size(items);
                }
                if let Some(items) = limit {
                    it = it.max_in_flight(items);
                }
                for left in (0..100).rev() {
                    assert_eq!(it.len(), left + 1);
                    assert!(it.next().is_some());
                    assert_eq!(it.size_hint(), (left, Some(left)));
                }
                for _ in 0..3 {
                    assert_eq!(it.next(), None);
                    assert_eq!(it.size_hint(), (0, Some(0)));
                }
            }
        }
    }
}

#[test]
fn len_is_exact_between_any_two_methods() {
    same!(0..100, hash, |it| {
        let mut lengths = vec![it.len()];
        it.next();
        lengths.push(it.len());
        it.by_ref().take(7).for_each(drop);
        lengths.push(it.len());
        it.nth(4);
        lengths.push(it.len());
        it.any(|x| x == hash(40));
        lengths.push(it.len());
        lengths.push(it.by_ref().enumerate().skip(3).step_by(2).take(3).count());
        lengths.push(it.len());
        it.by_ref().for_each(drop);
        lengths.push(it.len());
        lengths
    });
}

#[test]
fn size_hint_holds_what_is_left_of_sources_that_do_not_know_their_length() {
    fn check<I: Iterator<Item = u32>>(make: impl Fn() -> I) {
        let total = make().count();
        for workers in [1, 2, 4] {
            for chunk in CHUNKS {
                let mut plain = make().map(hash);
                let it = make().pool_map(workers, hash);
                let mut it = if let Some(items) = chunk { it.chunk_size(items) } else { it };
                assert_eq!(it.size_hint(), plain.size_hint(), "before anything is pulled");
                for done in 1..=total {
                    assert_eq!(it.next(), plain.next());
                    let left = total - done;
                    let (low, high) = it.size_hint();
                    let (plain_low, plain_high) = plain.size_hint();
                    assert!(low <= left && high.is_none_or(|high| left <= high), "{low}..={high:?} without {left}");
                    // What was read ahead is known, so the hint can only be narrower than that of `map`.
                    assert!(low >= plain_low);
                    assert!(plain_high.is_none_or(|plain| high.is_some_and(|high| high <= plain)));
                }
                assert_eq!(it.next(), None);
                assert_eq!(it.size_hint(), (0, Some(0)));
            }
        }
    }

    check(|| (0..100).filter(|x| x % 3 == 0));
    check(|| (0..100).chain(200..).take_while(|x| *x < 250));
    check(|| (0..9).flat_map(|x| 0..x));
    check(|| iter::successors(Some(1), |x: &u32| x.checked_mul(2)));
    check(|| {
        let mut left = 60;
        iter::from_fn(move || {
            left -= 1;
            (left > 0).then_some(left)
        })
    });
}

#[test]
fn size_hint_of_endless_sources_does_not_overflow() {
    let mut it = (0..usize::MAX).pool_map(2, |x| x);
    for left in (usize::MAX - 50..usize::MAX).rev() {
        it.next();
        assert_eq!(it.size_hint(), (left, Some(left)));
    }
    let mut it = iter::repeat(1).pool_map(2, |x| x);
    for _ in 0..50 {
        assert_eq!(it.size_hint(), (usize::MAX, None));
        it.next();
    }
    let mut it = (0..u128::MAX).pool_map(2, |x| x);
    assert_eq!((it.next(), it.size_hint()), (Some(0), (usize::MAX, None)));
}

/// A source that gives what it likes, and says so.
struct Liar<I> {
    items: I,
    says: (usize, Option<usize>),
}

impl<I: Iterator> Iterator for Liar<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.items.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.says
    }
}

#[test]
fn a_lying_size_hint_changes_no_result() {
    let expected: Vec<u64> = (0..100).map(hash).collect();
    let lies = [
        (0, None),
        (0, Some(0)),
        (5, Some(5)),
        (1000, Some(1000)),
        (9, Some(3)),
        (usize::MAX, Some(0)),
        (usize::MAX, None),
    ];
    for says in lies {
        for workers in [1, 2, 5] {
            for chunk in CHUNKS {
                let make = || {
                    let it = Liar { items: 0..100, says }.pool_map(workers, hash);
                    if let Some(items) = chunk { it.chunk_size(items) } else { it }
                };
                let mut looped = Vec::new();
                for x in make() {
                    looped.push(x);
                }
                assert_eq!(looped, expected, "a loop where the source says {says:?}");
                let mut folded = Vec::new();
                make().for_each(|x| folded.push(x));
                assert_eq!(folded, expected, "for_each where the source says {says:?}");
                assert_eq!(make().last(), expected.last().copied());
                if says.0 < usize::MAX {
                    // `Vec` itself believes the other one, under `map` as well.
                    assert_eq!(make().collect::<Vec<_>>(), expected, "collect where the source says {says:?}");
                }
            }
        }
    }
}

#[test]
fn a_size_hint_is_not_asked_for_by_a_loop() {
    struct Shy(std::ops::Range<u32>);
    impl Iterator for Shy {
        type Item = u32;

        fn next(&mut self) -> Option<u32> {
            self.0.next()
        }

        fn size_hint(&self) -> (usize, Option<usize>) {
            panic!("asked for its size")
        }
    }

    let mut looped = Vec::new();
    for x in Shy(0..50).pool_map(2, hash) {
        looped.push(x);
    }
    assert_eq!(looped, (0..50).map(hash).collect::<Vec<_>>());
    assert_eq!(Shy(0..50).pool_map(2, hash).sum::<u64>(), looped.iter().sum::<u64>());
}

#[test]
fn the_first_none_of_the_source_is_the_end() {
    // None after 5 items, then items again; counts what it is asked.
    struct Blinking<'a>(&'a AtomicUsize);
    impl Iterator for Blinking<'_> {
        type Item = usize;

        fn next(&mut self) -> Option<usize> {
            let call = self.0.fetch_add(1, Ordering::Relaxed);
            (call % 6 != 5).then_some(call)
        }
    }

    for workers in [1, 2, 4, 8] {
        for chunk in CHUNKS {
            let asked = AtomicUsize::new(0);
            let make = || {
                let it = Blinking(&asked).pool_map(workers, |x| x);
                if let Some(items) = chunk { it.chunk_size(items) } else { it }
            };
            assert_eq!(make().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
            assert_eq!(asked.swap(0, Ordering::Relaxed), 6, "the source is not asked again after its end");

            let mut it = make();
            assert!((0..5).all(|x| it.next() == Some(x)));
            for _ in 0..10 {
                assert_eq!(it.next(), None);
            }
            assert_eq!(it.count(), 0);
            assert_eq!(asked.load(Ordering::Relaxed), 6, "the source is not asked again after its end");
        }
    }
}

// ---- pool_starmap, pool_map_init, pool_for_each, Debug ----------------------------------------------------------------

macro_rules! star {
    ($($arg:ident),+) => {{
        #[allow(clippy::too_many_arguments)]
        fn spread($($arg: u64),+) -> Vec<u64> {
            vec![$($arg),+]
        }
        let tuples = || (0..40_u64).map(|base| {
            let mut value = 100 * base;
            ($({
                value += 1;
                let $arg = value;
                $arg
            },)+)
        });
        let expected: Vec<_> = tuples().map(|($($arg,)+)| spread($($arg),+)).collect();
        for workers in [1, 3] {
            assert_eq!(tuples().pool_starmap(workers, spread).collect::<Vec<_>>(), expected);
            assert!(tuples().pool_starmap(workers, |$($arg: u64),+| spread($($arg),+)).eq(expected.iter().cloned()));
        }
    }};
}

#[test]
fn starmap_spreads_tuples_of_1_to_12() {
    star!(a);
    star!(a, b);
    star!(a, b, c);
    star!(a, b, c, d);
    star!(a, b, c, d, e);
    star!(a, b, c, d, e, g);
    star!(a, b, c, d, e, g, h);
    star!(a, b, c, d, e, g, h, i);
    star!(a, b, c, d, e, g, h, i, j);
    star!(a, b, c, d, e, g, h, i, j, k);
    star!(a, b, c, d, e, g, h, i, j, k, l);
    star!(a, b, c, d, e, g, h, i, j, k, l, m);
}

#[test]
fn starmap_takes_functions_of_different_types() {
    fn label(id: u32, name: &str, on: bool) -> String {
        format!("{id}:{name}:{on}")
    }

    let names = ["a", "b", "c"];
    let rows = || (0..).zip(names).zip([true, false, true]).map(|((id, name), on)| (id, name, on));
    let found: Vec<String> = rows().pool_starmap(2, label).collect();
    assert_eq!(found, ["0:a:true", "1:b:false", "2:c:true"]);
    assert_eq!((1..4_u32).zip(2..5).pool_starmap(2, u32::pow).collect::<Vec<_>>(), [1, 8, 81]);
}

/// A state that notes where it was made and where it was dropped.
struct Noted<'a> {
    id: usize,
    uses: usize,
    dropped: &'a Mutex<Vec<ThreadId>>,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.dropped.lock().expect("not poisoned").push(thread::current().id());
    }
}

/// Runs `count` items with states through `drive` and checks what the docs say of `init`.
fn check_states<D>(pool: &Pool, count: usize, drive: D)
where
    D: FnOnce(&mut dyn Iterator<Item = (usize, usize)>) -> Vec<(usize, usize)>,
{
    let made = Mutex::new(Vec::new());
    let dropped = Mutex::new(Vec::new());
    let init = || {
        let mut made = made.lock().expect("not poisoned");
        made.push(thread::current().name().map(str::to_owned));
        Noted { id: made.len() - 1, uses: 0, dropped: &dropped }
    };
    let mut it = (0..count).pool_map_init(pool, init, |state: &mut Noted<'_>, _| {
        state.uses += 1;
        (state.id, state.uses)
    });
    let found = drive(&mut it);
    assert!(dropped.lock().expect("not poisoned").is_empty(), "a state lives as long as the iterator");
    drop(it);
    let made = made.into_inner().expect("not poisoned");
    assert!(made.len() <= pool.threads(), "{} states for {} workers", made.len(), pool.threads());
    assert!(made.iter().all_unique(), "two states on one worker: {made:?}");
    assert!(made.iter().flatten().all(|name| pool.worker_names().contains(name)), "not all on workers: {made:?}");
    assert_eq!(dropped.into_inner().expect("not poisoned"), vec![thread::current().id(); made.len()]);
    // Each state was used, and counted all its items.
    assert_eq!(found.len(), count);
    let mut uses = vec![Vec::new(); made.len()];
    for (id, used) in found {
        uses[id].push(used);
    }
    for uses in &mut uses {
        // What a worker has handed back may be run by another one after later items.
        uses.sort_unstable();
        assert!(!uses.is_empty(), "a state without items");
        assert!(uses.iter().copied().eq(1..=uses.len()), "one at a time: {uses:?}");
    }
}

#[test]
fn init_runs_at_most_once_on_each_worker_that_gets_items() {
    for workers in 1..=6 {
        let pool = Pool::new(workers).expect("a few threads");
        for count in [0, 1, 2, workers, 100, 1000] {
            check_states(&pool, count, |it| it.collect());
            check_states(&pool, count, |it| {
                let mut found: Vec<_> = it.take(3).collect();
                for x in it {
                    found.push(x);
                }
                found
            });
        }
    }
}

#[test]
fn init_does_not_run_without_items() {
    let inits = AtomicUsize::new(0);
    let init = || inits.fetch_add(1, Ordering::Relaxed);
    assert_eq!((0..0).pool_map_init(4, init, |_, x| x).count(), 0);
    assert_eq!(inits.load(Ordering::Relaxed), 0);
    assert_eq!((0..1).pool_map_init(4, init, |_, x: i32| x).collect::<Vec<_>>(), [0]);
    assert_eq!(inits.load(Ordering::Relaxed), 1, "one item needs one state");
}

#[test]
fn the_state_is_kept_from_batch_to_batch() {
    let mut looped = Vec::new();
    for x in (0..1000).pool_map_init(
        1,
        || 0,
        |count, _| {
            *count += 1;
            *count
        },
    ) {
        looped.push(x);
    }
    assert_eq!(looped, (1..=1000).collect::<Vec<_>>());
    let mut it = (0..100).pool_map_init(
        1,
        || 0,
        |count, _| {
            *count += 1;
            *count
        },
    );
    assert_eq!(it.by_ref().take(10).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    assert_eq!(it.collect::<Vec<_>>(), (11..=100).collect::<Vec<_>>(), "and from batches to the stream");
}

#[test]
fn a_leased_call_makes_as_many_states_as_workers_at_most() {
    for workers in 1..=6 {
        let inits = AtomicUsize::new(0);
        let init = || inits.fetch_add(1, Ordering::Relaxed);
        let mut seen = HashSet::new();
        for id in (0..500).pool_map_init(workers, init, |id, _| *id) {
            seen.insert(id);
        }
        let inits = inits.into_inner();
        assert!(inits <= workers);
        assert_eq!(seen.len(), inits);
    }
}

#[test]
fn for_each_runs_the_body_once_for_every_item() {
    for workers in 1..=4 {
        let seen: Vec<AtomicUsize> = iter::repeat_with(AtomicUsize::default).take(500).collect();
        (0..500).pool_for_each(workers, |x: usize| {
            seen[x].fetch_add(1, Ordering::Relaxed);
        });
        assert!(seen.into_iter().all(|count| count.into_inner() == 1));
    }
}

#[test]
fn debug_shows_the_source() {
    fn shown(it: &impl Debug) -> String {
        format!("{it:?}")
    }

    let text = shown(&(3..7).pool_map(2, hash));
    assert!(text.starts_with("PoolMap") && text.contains("3..7"), "{text}");
    let mut it = (0..40).pool_map_init(2, || 0, |_, x: i32| x).max_in_flight(1);
    it.next();
    let text = shown(&it);
    assert!(text.contains("1..40"), "{text}");
    assert!(shown(&(3..7).zip(0..).pool_starmap(2, |a: i32, b: i32| a + b).catch_panics()).contains("PoolMap"));
}
