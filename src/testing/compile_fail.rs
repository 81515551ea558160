//! What must not compile, each with the error it must not compile for.

/// `f` is shared by the workers, so it cannot change what it captured.
///
/// ```compile_fail,E0594
/// use pool_map::PoolIterator;
/// let mut calls = 0;
/// (0..8).pool_map(4, |x| { calls += 1; x }).for_each(drop);
/// ```
///
/// ```compile_fail,E0277
/// use pool_map::PoolIterator;
/// let calls = std::cell::Cell::new(0);
/// (0..8).pool_map(4, |x| { calls.set(calls.get() + 1); x }).for_each(drop);
/// ```
struct FnMut;

/// Items and results change threads; so does what `f` captured.
///
/// ```compile_fail,E0277
/// use pool_map::PoolIterator;
/// (0..8).map(std::rc::Rc::new).pool_map(4, |x| *x).for_each(drop);
/// ```
///
/// ```compile_fail,E0277
/// use pool_map::PoolIterator;
/// (0..8).pool_map(4, std::rc::Rc::new).for_each(drop);
/// ```
///
/// ```compile_fail,E0277
/// use pool_map::PoolIterator;
/// let one = std::rc::Rc::new(1);
/// (0..8).pool_map(4, |x| x + *one).for_each(drop);
/// ```
///
/// ```compile_fail,E0277
/// use pool_map::PoolIterator;
/// (0..8).pool_map_init(4, || std::rc::Rc::new(1), |one, x| x + **one).for_each(drop);
/// ```
struct NotSend;

/// The iterator lives no longer than what it borrows.
///
/// ```compile_fail,E0597
/// use pool_map::PoolIterator;
/// let squares;
/// {
///     let factor = 2;
///     squares = (0..8).pool_map(4, |x| x * factor);
/// }
/// squares.for_each(drop);
/// ```
///
/// ```compile_fail,E0505
/// use pool_map::PoolIterator;
/// let words = vec![String::new()];
/// let mut lengths = words.iter().pool_map(4, |word| word.len());
/// lengths.next();
/// drop(words);
/// lengths.next();
/// ```
///
/// ```compile_fail,E0597
/// use pool_map::PoolIterator;
/// fn lengths() -> impl Iterator<Item = usize> {
///     let words = vec![String::new()];
///     words.iter().pool_map(4, |word| word.len())
/// }
/// ```
struct Borrowed;

/// The observer of a stream outlives the iterator, for items may be running when that is dropped.
///
/// ```compile_fail,E0597
/// use pool_map::{PoolIterator, Timeline};
/// let timeline = Timeline::new();
/// (0..8).pool_imap(4, |x| x).observe(&timeline).for_each(drop);
/// ```
///
/// ```compile_fail,E0597
/// use pool_map::Timeline;
/// pool_map::scope(4, |s| {
///     let timeline = Timeline::new();
///     s.imap(0..8, |x| x).observe(&timeline).for_each(drop);
/// });
/// ```
struct BorrowedObserver;

/// An adaptor that is not used does nothing, and the compiler says so.
///
/// ```
/// #![deny(unused_must_use)]
/// use pool_map::PoolIterator;
/// let _ = (0..8).pool_map(4, |x| x);
/// ```
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// use pool_map::PoolIterator;
/// (0..8).pool_map(4, |x| x);
/// ```
struct MustUse;

/// What stands for a pool: a `usize`, a `NonZeroUsize`, a pool; no negative number, no other type.
///
/// ```compile_fail,E0277
/// use pool_map::PoolIterator;
/// (0..8).pool_map(4_i32, |x| x).for_each(drop);
/// ```
struct NotAPool;

/// `pool_starmap` wants as many arguments as the tuple has values.
///
/// ```compile_fail,E0593
/// use pool_map::PoolIterator;
/// fn add(a: i32, b: i32, c: i32) -> i32 { a + b + c }
/// (0..8).zip(0..8).pool_starmap(4, add).for_each(drop);
/// ```
struct Arguments;

/// Results come from the front only.
///
/// ```compile_fail,E0277
/// use pool_map::PoolIterator;
/// (0..8).pool_map(4, |x| x).rev().for_each(drop);
/// ```
struct Backwards;
