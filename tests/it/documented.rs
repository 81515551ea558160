//! The examples with which std and itertools document each method, with their source through a pool: what a reader of those
//! documents expects of a method, it does here as well.

#![allow(clippy::bool_assert_comparison, clippy::float_cmp, clippy::unnecessary_fold, clippy::iter_nth_zero)]
#![allow(clippy::manual_filter_map, clippy::map_flatten, clippy::manual_try_fold, clippy::redundant_clone)]
#![allow(clippy::redundant_closure_for_method_calls, clippy::items_after_statements, clippy::result_filter_map)]
#![allow(clippy::iter_overeager_cloned, clippy::double_ended_iterator_last, clippy::search_is_some)]
#![allow(clippy::unwrap_used, clippy::many_single_char_names)] // They stand as they are documented.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::ControlFlow;

use itertools::EitherOrBoth::{Both, Right};
use itertools::MinMaxResult::{MinMax, NoElements, OneElement};
use itertools::{Either, Itertools, Position, assert_equal};
use pool_map::types::Map;
use pool_map::{PoolIterator, PoolMap};

type Through<'a, T> = PoolMap<Box<dyn Iterator<Item = T> + 'a>, Map<fn(T) -> T, T>>;

/// The same items, by way of two workers.
trait ThroughAPool<'a>: Iterator<Item: Send> + Sized + 'a {
    /// As one type for all sources, which is compiled once.
    fn through(self) -> Through<'a, Self::Item> {
        let source: Box<dyn Iterator<Item = Self::Item> + 'a> = Box::new(self);
        source.pool_map(2, |x| x)
    }
}

impl<'a, I: Iterator<Item: Send> + 'a> ThroughAPool<'a> for I {}

/// What `next` gives up to the first `None`.
#[track_caller]
fn gives<T: PartialEq + std::fmt::Debug>(mut it: impl Iterator<Item = T>, expected: impl IntoIterator<Item = T>) {
    for x in expected {
        assert_eq!(it.next(), Some(x));
    }
    assert_eq!(it.next(), None);
}

#[test]
fn std_one_by_one() {
    let mut iter = [1, 2, 3].into_iter().through();
    gives(iter.by_ref(), [1, 2, 3]);
    assert_eq!((iter.next(), iter.next()), (None, None));
    let mut iter = [1, 2, 3].iter().through();
    assert_eq!((3, Some(3)), iter.size_hint());
    let _ = iter.next();
    assert_eq!((2, Some(2)), iter.size_hint());
    assert_eq!((0, Some(10)), (0..10).through().filter(|x| x % 2 == 0).size_hint());
    assert_eq!((0, Some(10)), (0..10).filter(|x| x % 2 == 0).through().size_hint());
    assert_eq!((5, Some(15)), (0..10).filter(|x| x % 2 == 0).chain(15..20).through().size_hint());
    assert_eq!((usize::MAX, None), (0..).through().size_hint());
    assert_eq!([1, 2, 3].into_iter().through().nth(1), Some(2));
    let mut iter = [1, 2, 3].into_iter().through();
    assert_eq!(iter.nth(1), Some(2));
    assert_eq!(iter.nth(1), None);
    assert_eq!([1, 2, 3].into_iter().through().nth(10), None);
    gives([1, 2, 3].iter().pool_map(2, |x| 2 * x), [2, 4, 6]);

    // The one difference: after the first `None` there is nothing more, as after `fuse`.
    struct Alternate {
        state: i32,
    }
    impl Iterator for Alternate {
        type Item = i32;
        fn next(&mut self) -> Option<i32> {
            let val = self.state;
            self.state += 1;
            (val % 2 == 0).then_some(val)
        }
    }
    let mut iter = Alternate { state: 0 };
    let mut mapped = iter.by_ref().through();
    assert_eq!([(); 4].map(|()| mapped.next()), [Some(0), None, None, None]);
    drop(mapped);
    assert_eq!((iter.next(), iter.next()), (Some(2), None));
    let mut mapped = iter.through().fuse();
    assert_eq!([(); 4].map(|()| mapped.next()), [Some(4), None, None, None]);
}

#[test]
fn std_adaptors() {
    gives([0, 1, 2, 3, 4, 5].into_iter().through().step_by(2), [0, 2, 4]);
    gives("abc".chars().through().chain("def".chars().through()), ['a', 'b', 'c', 'd', 'e', 'f']);
    gives([1, 2, 3].into_iter().through().chain([4, 5, 6]), [1, 2, 3, 4, 5, 6]);
    gives("abc".chars().through().zip("def".chars().through()), [('a', 'd'), ('b', 'e'), ('c', 'f')]);
    gives([1, 2, 3].into_iter().through().zip([4, 5, 6]), [(1, 4), (2, 5), (3, 6)]);
    gives((0..).through().zip("foo".chars()), [(0, 'f'), (1, 'o'), (2, 'o')]);
    let double = |x: i32| x * 2;
    let (a, b) = ([1, 2, 3], [2, 3, 4]);
    gives(
        std::iter::zip(a.into_iter().pool_map(2, double).skip(1), b.into_iter().pool_map(2, double).skip(1)),
        [(4, 6), (6, 8)],
    );
    gives([0_i32, 1, 2].into_iter().through().filter(|x| x.is_positive()), [1, 2]);
    gives([0, 1, 2].iter().through().filter(|&&x| x > 1), [&2]);
    gives(["1", "two", "NaN", "four", "5"].iter().through().filter_map(|s| s.parse().ok()), [1, 5]);
    let parsed = ["1", "two", "NaN", "four", "5"].iter().pool_map(2, |s| s.parse::<i32>());
    gives(parsed.filter(Result::is_ok).map(|s| s.unwrap()), [1, 5]);
    gives(['a', 'b', 'c'].into_iter().through().enumerate(), [(0, 'a'), (1, 'b'), (2, 'c')]);

    let mut iter = [1, 2, 3].into_iter().through().peekable();
    assert_eq!(iter.peek(), Some(&1));
    assert_eq!((iter.next(), iter.next()), (Some(1), Some(2)));
    assert_eq!((iter.peek().copied(), iter.peek().copied()), (Some(3), Some(3)));
    assert_eq!(iter.next(), Some(3));
    assert_eq!(iter.peek(), None);
    assert_eq!(iter.next(), None);
    let mut iter = [1, 2, 3].into_iter().through().peekable();
    assert_eq!(iter.peek_mut(), Some(&mut 1));
    assert_eq!(iter.next(), Some(1));
    if let Some(p) = iter.peek_mut() {
        assert_eq!(*p, 2);
        *p = 1000;
    }
    assert_eq!(iter.collect::<Vec<_>>(), vec![1000, 3]);

    gives([-1_i32, 0, 1].into_iter().through().skip_while(|x| x.is_negative()), [0, 1]);
    gives([-1, 0, 1, -2].into_iter().through().skip_while(|&x| x < 0), [0, 1, -2]);
    gives([-1_i32, 0, 1].into_iter().through().take_while(|x| x.is_negative()), [-1]);
    gives([-1, 0, 1, -2].into_iter().through().take_while(|&x| x < 0), [-1]);
    let mut iter = [1, 2, 3, 4].into_iter().through();
    assert_eq!(iter.by_ref().take_while(|&n| n != 3).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(iter.collect::<Vec<_>>(), [4]);
    gives([-1_i32, 4, 0, 1].into_iter().through().map_while(|x| 16_i32.checked_div(x)), [-16, 4]);
    let divided = [-1_i32, 4, 0, 1].into_iter().pool_map(2, |x| 16_i32.checked_div(x));
    gives(divided.take_while(Option::is_some).map(|x| x.unwrap()), [-16, 4]);
    let iter = [0, 1, 2, -3, 4, 5, -6].into_iter().through().map_while(|x| u32::try_from(x).ok());
    assert_eq!(iter.collect::<Vec<_>>(), [0, 1, 2]);
    let mut iter = [1, 2, -3, 4].into_iter().through();
    assert_eq!(iter.by_ref().map_while(|n| u32::try_from(n).ok()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(iter.collect::<Vec<i32>>(), [4]);
    gives([1, 2, 3].into_iter().through().skip(2), [3]);
    gives([1, 2, 3].into_iter().through().take(2), [1, 2]);
    gives((0..).through().take(3), [0, 1, 2]);
    gives([1, 2].into_iter().through().take(5), [1, 2]);
    let mut words = ["hello", "world", "of", "Rust"].into_iter().through();
    assert_eq!(words.by_ref().take(2).collect::<Vec<_>>(), ["hello", "world"]);
    assert_eq!(words.collect::<Vec<_>>(), ["of", "Rust"]);
    let scanned = [1, 2, 3, 4].into_iter().through().scan(1, |state, x| {
        *state *= x;
        (*state <= 6).then_some(-*state)
    });
    gives(scanned, [-1, -2, -6]);
    let words = ["alpha", "beta", "gamma"];
    assert_eq!(words.iter().through().flat_map(|s| s.chars()).collect::<String>(), "alphabetagamma");
    assert_eq!(words.iter().pool_map(2, |s| s.chars()).flatten().collect::<String>(), "alphabetagamma");
    assert_eq!(vec![vec![1, 2, 3, 4], vec![5, 6]].into_iter().through().flatten().collect_vec(), [1, 2, 3, 4, 5, 6]);
    assert_eq!([Some(123), Some(321), None, Some(231)].into_iter().through().flatten().collect_vec(), [123, 321, 231]);
    assert_eq!([Ok(123), Ok(321), Err(456), Ok(231)].into_iter().through().flatten().collect_vec(), [123, 321, 231]);
    let d3 = [[[1, 2], [3, 4]], [[5, 6], [7, 8]]];
    assert_eq!(d3.into_iter().through().flatten().collect_vec(), [[1, 2], [3, 4], [5, 6], [7, 8]]);
    assert_eq!(d3.into_iter().through().flatten().through().flatten().collect_vec(), [1, 2, 3, 4, 5, 6, 7, 8]);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let evens = [1, 4, 2, 3].iter().copied().through().inspect(|x| before.push(*x)).filter(|x| x % 2 == 0);
    assert_eq!(evens.inspect(|x| after.push(*x)).fold(0, |sum, i| sum + i), 6);
    assert_eq!((before, after), (vec![1, 4, 2, 3], vec![4, 2]));
    assert_eq!([1, 2, 3].iter().through().copied().collect_vec(), [1, 2, 3]);
    let a = [vec![0_u8, 1, 2], vec![3, 4], vec![23]];
    assert_eq!(a.iter().through().cloned().filter(|s| s.len() == 1).collect_vec(), [vec![23]]);
    assert_eq!(a.iter().through().filter(|s| s.len() == 1).cloned().collect_vec(), [vec![23]]);
    // Not there; the cure is to reverse and to repeat the source.
    gives([1, 2, 3].into_iter().rev().through(), [3, 2, 1]);
    let mut iter = [1, 2, 3].into_iter().cycle().through();
    for _ in 0..10 {
        assert_eq!((iter.next(), iter.next(), iter.next()), (Some(1), Some(2), Some(3)));
    }
}

#[test]
fn std_consumers() {
    assert_eq!([1, 2, 3].iter().through().count(), 3);
    assert_eq!([1, 2, 3, 4, 5].iter().through().count(), 5);
    assert_eq!([1, 2, 3].into_iter().through().last(), Some(3));
    assert_eq!([1, 2, 3, 4, 5].into_iter().through().last(), Some(5));
    let (tx, rx) = std::sync::mpsc::channel();
    (0..5).pool_map(2, |x| x * 2 + 1).for_each(move |x| tx.send(x).unwrap());
    assert_eq!(rx.iter().collect::<Vec<_>>(), vec![1, 3, 5, 7, 9]);
    let mut said = Vec::new();
    let numbers = (0..5).through().flat_map(|x| (x * 100)..(x * 110)).enumerate();
    numbers.filter(|&(i, x)| (i + x) % 3 == 0).for_each(|(i, x)| said.push(format!("{i}:{x}")));
    let numbers = (0..5).flat_map(|x| (x * 100)..(x * 110)).enumerate().filter(|&(i, x)| (i + x) % 3 == 0);
    assert_eq!(said, numbers.map(|(i, x)| format!("{i}:{x}")).collect_vec());
    assert_eq!([1, 2, 3].iter().pool_map(2, |x| x * 2).collect::<Vec<i32>>(), [2, 4, 6]);
    assert_eq!([1, 2, 3].iter().pool_map(2, |x| x * 2).collect::<VecDeque<i32>>(), [2, 4, 6]);
    let chars = ['g', 'd', 'k', 'k', 'n'];
    let hello: String = chars.into_iter().pool_map(2, |x| x as u8).pool_map(2, |x| (x + 1) as char).collect();
    assert_eq!("hello", hello);
    let result: Result<Vec<_>, &str> = [Ok(1), Err("nope"), Ok(3), Err("bad")].into_iter().through().collect();
    assert_eq!(Err("nope"), result);
    let result: Result<Vec<_>, &str> = [Ok(1), Ok(3)].into_iter().through().collect();
    assert_eq!(Ok(vec![1, 3]), result);
    let (even, odd): (Vec<_>, Vec<_>) = [1, 2, 3].into_iter().through().partition(|n| n % 2 == 0);
    assert_eq!((even, odd), (vec![2], vec![1, 3]));
    assert_eq!([1, 2, 3].into_iter().through().try_fold(0_i8, |acc, x| acc.checked_add(x)), Some(6));
    let mut iter = [10, 20, 30, 100, 40, 50].into_iter().pool_map(2, |x| x);
    assert_eq!(iter.try_fold(0_i8, |acc, x| acc.checked_add(x)), None);
    assert_eq!(iter.len(), 2);
    assert_eq!(iter.next(), Some(40));
    let triangular = (1..30)
        .through()
        .try_fold(0_i8, |prev, x| prev.checked_add(x).map_or(ControlFlow::Break(prev), ControlFlow::Continue));
    assert_eq!(triangular, ControlFlow::Break(120));
    let triangular = (1..30)
        .through()
        .try_fold(0_u64, |prev, x| prev.checked_add(x).map_or(ControlFlow::Break(prev), ControlFlow::Continue));
    assert_eq!(triangular, ControlFlow::Continue(435));
    let mut it = ["no_tea.txt", "stale_bread.json", "torrential_rain.png"].iter().copied().through();
    assert!(it.try_for_each(|x| std::fs::rename(x, x.replace('.', "/"))).is_err());
    assert_eq!(it.next(), Some("stale_bread.json"));
    let r = (2..100).through().try_for_each(|x| {
        if 323 % x == 0 {
            return ControlFlow::Break(x);
        }
        ControlFlow::Continue(())
    });
    assert_eq!(r, ControlFlow::Break(17));
    assert_eq!([1, 2, 3].iter().through().fold(0, |acc, x| acc + x), 6);
    let result = [1, 2, 3, 4, 5].iter().through().fold("0".to_string(), |acc, &x| format!("({acc} + {x})"));
    assert_eq!(result, "(((((0 + 1) + 2) + 3) + 4) + 5)");
    assert_eq!((1..10).through().reduce(|acc, e| acc + e).unwrap_or(0), 45);
    assert_eq!([2.4, f32::NAN, 1.3].into_iter().through().reduce(f32::max).unwrap_or(0.), 2.4);
    assert_eq!([2.4, f32::NAN, 1.3].into_iter().through().reduce(f32::min).unwrap_or(0.), 1.3);
    assert_eq!([1, 2, 3].iter().through().sum::<i32>(), 6);
    assert_eq!(Vec::<f32>::new().iter().through().sum::<f32>(), -0.0_f32);
    let factorial = |n: u32| (1..=n).through().product::<u32>();
    assert_eq!((factorial(0), factorial(1), factorial(5)), (1, 1, 120));
    let (left, right): (Vec<_>, Vec<_>) = [(1, 2), (3, 4), (5, 6)].into_iter().through().unzip();
    assert_eq!((left, right), (vec![1, 3, 5], vec![2, 4, 6]));
    let (x, (y, z)): (Vec<_>, (Vec<_>, Vec<_>)) = [(1, (2, 3)), (4, (5, 6))].into_iter().through().unzip();
    assert_eq!((x, y, z), (vec![1, 4], vec![2, 5], vec![3, 6]));
}

#[test]
fn std_searches_and_comparisons() {
    let a = || [1, 2, 3].into_iter().through();
    assert!(a().all(|x| x > 0));
    assert!(!a().all(|x| x > 2));
    let mut iter = a();
    assert!(!iter.all(|x| x != 2));
    assert_eq!(iter.next(), Some(3));
    assert!(a().any(|x| x > 0));
    assert!(!a().any(|x| x > 5));
    let mut iter = a();
    assert!(iter.any(|x| x != 2));
    assert_eq!(iter.next(), Some(2));
    assert_eq!((a().find(|&x| x == 2), a().find(|&x| x == 5)), (Some(2), None));
    let mut iter = a();
    assert_eq!(iter.find(|&x| x == 2), Some(2));
    assert_eq!(iter.next(), Some(3));
    assert_eq!(["lol", "NaN", "2", "5"].iter().through().find_map(|s| s.parse().ok()), Some(2));
    assert_eq!((a().position(|x| x == 2), a().position(|x| x == 5)), (Some(1), None));
    let mut iter = [1, 2, 3, 4].into_iter().through();
    assert_eq!(iter.position(|x| x >= 2), Some(1));
    assert_eq!(iter.next(), Some(3));
    assert_eq!(iter.position(|x| x == 4), Some(0));
    assert_eq!((a().max(), a().min()), (Some(3), Some(1)));
    assert_eq!((<[u32; 0]>::default().into_iter().through().max(), [0_u32; 0].iter().through().min()), (None, None));
    let a = || [-3_i32, 0, 1, 5, -10].into_iter().through();
    assert_eq!((a().max_by_key(|x| x.abs()), a().max_by(Ord::cmp)), (Some(-10), Some(5)));
    assert_eq!((a().min_by_key(|x| x.abs()), a().min_by(Ord::cmp)), (Some(0), Some(-10)));

    let (one, two) = (|| [1].iter().through(), || [1, 2].iter().through());
    assert_eq!(one().cmp(one()), Ordering::Equal);
    assert_eq!((one().cmp(two()), two().cmp(one())), (Ordering::Less, Ordering::Greater));
    let nan = |a: f64, b: f64| [a, b].into_iter().through();
    assert_eq!([f64::NAN].iter().through().partial_cmp([1.].iter().through()), None);
    assert_eq!(nan(1.0, f64::NAN).partial_cmp(nan(2.0, f64::NAN)), Some(Ordering::Less));
    assert_eq!(nan(2.0, f64::NAN).partial_cmp(nan(1.0, f64::NAN)), Some(Ordering::Greater));
    assert_eq!(nan(f64::NAN, 1.0).partial_cmp(nan(f64::NAN, 2.0)), None);
    assert_eq!((one().eq(one()), one().eq(two())), (true, false));
    assert_eq!((one().ne(one()), one().ne(two())), (false, true));
    assert_eq!((one().lt(one()), one().lt(two()), two().lt(one()), two().lt(two())), (false, true, false, false));
    assert_eq!((one().le(one()), one().le(two()), two().le(one()), two().le(two())), (true, true, false, true));
    assert_eq!((one().gt(one()), one().gt(two()), two().gt(one()), two().gt(two())), (false, false, true, false));
    assert_eq!((one().ge(one()), one().ge(two()), two().ge(one()), two().ge(two())), (true, false, true, true));
    assert!([1, 2, 2, 9].iter().through().is_sorted());
    assert!(![1, 3, 2, 4].iter().through().is_sorted());
    assert!(![0.0, 1.0, f32::NAN].iter().through().is_sorted());
    assert!(std::iter::empty::<i32>().through().is_sorted());
    assert!([1, 2, 2, 9].iter().through().is_sorted_by(|a, b| a <= b));
    assert!(![1, 2, 2, 9].iter().through().is_sorted_by(|a, b| a < b));
    assert!([0].iter().through().is_sorted_by(|_, _| false));
    assert!(["c", "bb", "aaa"].iter().through().is_sorted_by_key(|s| s.len()));
    assert!(![-2_i32, -1, 0, 3].iter().through().is_sorted_by_key(|n| n.abs()));
}

#[test]
fn itertools_adaptors() {
    assert_equal((1..7).through().interleave(vec![-1, -2]), [1, -1, 2, -2, 3, 4, 5, 6]);
    assert_equal((1..7).through().interleave_shortest(vec![-1, -2]), [1, -1, 2, -2, 3]);
    assert_equal(Itertools::intersperse((0..3).through(), 8), [0, 8, 1, 8, 2]);
    assert_equal([3, 1, 4, 1, 5].iter().through().get(1..=3), &[1, 4, 1]);
    assert_equal([3, 1, 4, 1, 5].iter().through().get(2..), &[4, 1, 5]);
    assert_equal((0..1).through().zip_longest((1..3).through()), [Both(0, 1), Right(2)]);
    assert_equal((0..4).through().batching(|it| Some((it.next()?, it.next()?))), [(0, 1), (2, 3)]);
    let grouped = [1, 3, -2, -2, 1, 0, 1, 2].into_iter().through().chunk_by(|elt| *elt >= 0);
    let grouped = grouped.into_iter().map(|(key, chunk)| (key, chunk.collect())).collect_vec();
    assert_eq!(grouped, [(true, vec![1, 3]), (false, vec![-2, -2]), (true, vec![1, 0, 1, 2])]);
    for chunk in &[1, 1, 2, -2, 6, 0, 3, 1].into_iter().through().chunks(3) {
        assert_eq!(4, chunk.sum::<i32>());
    }
    assert_equal((1..5).through().tuple_windows::<(_, _)>(), [(1, 2), (2, 3), (3, 4)]);
    assert_equal((0..5).through().tuples::<(_, _)>(), [(0, 1), (2, 3)]);
    let (mut t1, t2) = vec![0, 1, 2, 3].into_iter().through().tee();
    assert_eq!(t1.next(), Some(0));
    assert_equal(t2, 0..4);
    assert_equal(t1, 1..4);
    assert_equal((1_i32..42).through().map_into::<f64>(), (1..42).map(f64::from));
    assert_equal([Ok(41), Err(false), Ok(11)].into_iter().through().map_ok(|i| i + 1), [Ok(42), Err(false), Ok(12)]);
    assert_equal([Ok(22), Err(false), Ok(11)].into_iter().through().filter_ok(|&i| i > 20), [Ok(22), Err(false)]);
    let flat = vec![Ok(0..2), Err(false), Ok(2..4)].into_iter().through().flatten_ok();
    assert_equal(flat, [Ok(0), Ok(1), Err(false), Ok(2), Ok(3)]);
    let values: [Result<i32, &str>; 3] = [Ok(1), Ok(0), Ok(3)];
    assert_eq!(values.into_iter().through().process_results(|iter| iter.max().unwrap_or(0)), Ok(3));
    let values = [Ok(2), Ok(1), Err("overflow")];
    assert!(values.into_iter().through().process_results(|iter| iter.max().unwrap_or(0)).is_err());
    let (a, b) = ((0..11).step_by(3).through(), (0..11).step_by(5).through());
    assert_equal(a.merge(b), [0, 0, 3, 5, 6, 9, 10]);
    let (a, b) = ((0..).zip("bc".chars()).through(), (0..).zip("ad".chars()).through());
    assert_equal(a.merge_by(b, |x, y| x.1 <= y.1), [(0, 'a'), (0, 'b'), (1, 'c'), (1, 'd')]);
    let thirds = (0..3).map(|first| (first..6).step_by(3).through());
    assert_equal(thirds.kmerge(), [0, 1, 2, 3, 4, 5]);
    assert_equal((0..2).through().cartesian_product("αβ".chars()), [(0, 'α'), (0, 'β'), (1, 'α'), (1, 'β')]);
    let coalesced = [-1., -2., -3., 3., 1., 0., -1.].into_iter().through();
    let coalesced = coalesced.coalesce(|x, y| if (x >= 0.) == (y >= 0.) { Ok(x + y) } else { Err((x, y)) });
    assert_equal(coalesced, [-6., 4., -1.]);
    assert_equal([1., 1., 2., 3., 3., 2., 2.].into_iter().through().dedup(), [1., 2., 3., 2.]);
    let counted = ['a', 'a', 'b', 'c', 'c', 'b', 'b'].into_iter().through().dedup_with_count();
    assert_equal(counted, [(2, 'a'), (1, 'b'), (2, 'c'), (2, 'b')]);
    assert_equal([10, 20, 30, 20, 40, 10, 50].into_iter().through().duplicates(), [20, 10]);
    assert_equal([10, 20, 30, 20, 40, 10, 50].into_iter().through().unique(), [10, 20, 30, 40, 50]);
    assert_equal(["a", "bb", "aa", "c", "ccc"].iter().through().unique_by(|s| s.len()), &["a", "bb", "ccc"]);
    assert_equal((0..).pool_map(2, |i| char::from_digit(i, 16)).while_some(), "0123456789abcdef".chars());
    assert_equal((1..5).through().combinations(3), [vec![1, 2, 3], vec![1, 2, 4], vec![1, 3, 4], vec![2, 3, 4]]);
    assert_equal((1..3).through().powerset(), [vec![], vec![1], vec![2], vec![1, 2]]);
    assert_equal((0..5).through().pad_using(10, |i| 2 * i), [0, 1, 2, 3, 4, 10, 12, 14, 16, 18]);
    assert_equal((0..10).through().pad_using(5, |i| 2 * i), 0..10);
    let positions = [(Position::First, 0), (Position::Middle, 1), (Position::Middle, 2), (Position::Last, 3)];
    assert_equal((0..4).through().with_position(), positions);
    assert_equal((0..1).through().with_position(), [(Position::Only, 0)]);
    assert_equal([1, 2, 3, 3, 4, 6, 7, 9].iter().through().positions(|v| v % 2 == 0), [1, 4, 5]);
    let pushed = vec![vec![1], vec![3, 2, 1]].into_iter().through().update(|v| v.push(0));
    assert_equal(pushed, [vec![1, 0], vec![3, 2, 1, 0]]);
    assert_equal("αβγ".chars().through().dropping(2), "γ".chars());
    assert_equal([5, 9, 8, 4, 2, 12, 0].iter().through().tail(3), &[2, 12, 0]);
    assert_equal((0..100).through().tail(10), 90..100);
    let mut iter = (0..10).through().multipeek();
    assert_eq!([0, 1, 2].map(|_| iter.peek().copied()), [Some(0), Some(1), Some(2)]);
    assert_eq!((iter.next(), iter.peek()), (Some(0), Some(&1)));
}

#[test]
fn itertools_consumers() {
    let mut iter = (1..5).through();
    assert_eq!((Some((1, 2)), Some((3, 4))), (iter.next_tuple(), iter.next_tuple()));
    assert_eq!(((1..3).through().collect_tuple(), (1..4).through().collect_tuple::<(_, _)>()), (Some((1, 2)), None));
    assert_eq!("Hα".chars().through().find_position(|ch| ch.is_lowercase()), Some((1, 'α')));
    let numbers = || [1, 2, 3, 4].into_iter().through();
    assert_eq!((numbers().find_or_last(|x| *x > 5), numbers().find_or_last(|x| *x > 2)), (Some(4), Some(3)));
    assert_eq!((numbers().find_or_first(|x| *x > 5), numbers().find_or_first(|x| *x > 2)), (Some(1), Some(3)));
    let mut iter = ['A', 'B', 'C', 'D'].into_iter().through();
    assert_eq!((iter.contains(&'B'), iter.next()), (true, Some('C')));
    assert_eq!((iter.contains(&'E'), iter.next()), (false, None));
    let data = [1, 1, 1, 2, 2, 3, 3, 3, 4, 5, 5];
    assert!(!data.iter().through().all_equal() && data[0..3].iter().through().all_equal());
    assert_eq!(data.iter().through().all_equal_value(), Err(Some((&1, &2))));
    assert!(![1, 2, 3, 4, 1, 5].iter().through().all_unique() && (1..5).through().all_unique());
    assert_eq!(vec![vec![1], vec![2, 3], vec![4, 5, 6]].into_iter().through().concat(), [1, 2, 3, 4, 5, 6]);
    let mut xs = [0; 4];
    xs.iter_mut().through().set_from(1..);
    assert_eq!(xs, [1, 2, 3, 4]);
    assert_eq!([1, 2, 3].iter().through().join(", "), "1, 2, 3");
    assert_eq!(format!("{:.2}", [1.1, 2.711_828, -3.].iter().through().format(", ")), "1.10, 2.71, -3.00");
    assert_eq!([Ok(1), Ok(2), Err("not"), Ok(3)].into_iter().through().fold_ok(0, |a, b| a + b), Err("not"));
    assert_eq!((0..10).through().tree_reduce(|x, y| x + y), Some(45));
    assert_eq!(
        (0..10).through().map(|x| x.to_string()).tree_reduce(|x, y| format!("{x}{y}")),
        Some("0123456789".into())
    );
    assert_eq!(((1..1).through().sum1::<i32>(), (1..11).through().sum1::<i32>()), (None, Some(55)));
    assert_eq!(((1..1).through().product1::<i32>(), (1..11).through().product1::<i32>()), (None, Some(3_628_800)));
    assert_equal("bdacfe".chars().through().sorted(), "abcdef".chars());
    let people = || [("Jane", 20), ("John", 18), ("Jill", 30), ("Jack", 30)].into_iter().through();
    assert_equal(people().sorted_by_key(|x| -x.1).map(|x| x.0), ["Jill", "Jack", "Jane", "John"]);
    let numbers = || [6, 9, 1, 14, 0, 4, 8, 7, 11, 2, 10, 3, 13, 12, 5].into_iter().through();
    assert_equal(numbers().k_smallest(5), 0..5);
    assert_equal(numbers().k_largest(5), [14, 13, 12, 11, 10]);
    let (successes, failures): (Vec<_>, Vec<_>) =
        [Ok(1), Err(false), Err(true), Ok(2)].into_iter().through().partition_map(|r| match r {
            Ok(v) => Either::Left(v),
            Err(v) => Either::Right(v),
        });
    assert_eq!((successes, failures), (vec![1, 2], vec![false, true]));
    let lookup = [(0, 10), (2, 12), (3, 13), (0, 20), (3, 33), (2, 42)].into_iter().through().into_group_map();
    assert_eq!((&lookup[&0], lookup.get(&1), &lookup[&2]), (&vec![10, 20], None, &vec![12, 42]));
    let a = [(1, 2), (2, 2), (3, 9), (4, 8), (5, 9)];
    assert_eq!(a.iter().through().min_set_by_key(|x| x.1), [&(1, 2), &(2, 2)]);
    assert_eq!(a.iter().through().max_set_by_key(|x| x.1), [&(3, 9), &(5, 9)]);
    let a = |range: std::ops::Range<usize>| [-3, 0, 1, 5, -10][range].iter().through();
    assert_eq!((a(0..0).minmax(), a(0..1).minmax(), a(0..5).minmax()), (NoElements, OneElement(&-3), MinMax(&-10, &5)));
    assert_eq!((a(0..5).position_max(), a(0..5).position_min()), (Some(3), Some(4)));
    let filtered = |from, to| (0..10).through().filter(move |x| *x > from && *x < to);
    assert_eq!((filtered(1, 3).exactly_one().ok(), filtered(1, 3).at_most_one().ok()), (Some(2), Some(Some(2))));
    assert!(filtered(1, 5).exactly_one().unwrap_err().eq(2..5));
    assert!(filtered(1, 4).at_most_one().unwrap_err().eq(2..4));
    let counts = [1, 1, 1, 3, 3, 5].iter().through().counts();
    assert_eq!((counts[&1], counts[&3], counts[&5], counts.get(&0)), (3, 2, 1, None));
    let (a, b, c): (Vec<_>, Vec<_>, Vec<_>) = [(1, 2, 3), (4, 5, 6), (7, 8, 9)].into_iter().through().multiunzip();
    assert_eq!((a, b, c), (vec![1, 4, 7], vec![2, 5, 8], vec![3, 6, 9]));
    assert_eq!(((10..15).through().try_len(), (10..).through().try_len()), (Ok(5), Err((usize::MAX, None))));
}
