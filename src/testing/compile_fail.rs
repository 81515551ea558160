//! What must not compile, each with the error it must not compile for. A line `// error: …` has words of the compiler's message;
//! `.ci/messages` looks whether it says them. Rustdoc only compares the codes.

/// `f` is shared by the workers, so it cannot change what it captured.
///
/// ```compile_fail,E0594
/// // error: cannot assign to `calls`, as it is a captured variable in a `Fn` closure
/// use pool_map::PoolIterator;
/// let mut calls = 0;
/// (0..8).pool_map(4, |x| { calls += 1; x }).for_each(drop);
/// ```
///
/// ```compile_fail,E0596
/// // error: cannot borrow `seen` as mutable, as it is a captured variable in a `Fn` closure
/// use pool_map::PoolIterator;
/// let mut seen = vec![];
/// (0..8).pool_map(4, |x| seen.push(x)).for_each(drop);
/// ```
///
/// ```compile_fail,E0525
/// // error: expected a closure that implements the `Fn` trait, but this closure only implements `FnMut`
/// // error: `pool_map_init` has a state for each worker
/// use pool_map::PoolIterator;
/// let mut sum = 0;
/// let add = |x: i32| { sum += x; sum };
/// (0..8).pool_map(4, add).for_each(drop);
/// ```
///
/// ```compile_fail,E0507
/// // error: cannot move out of `name`, a captured variable in an `Fn` closure
/// use pool_map::PoolIterator;
/// let name = String::new();
/// (0..8).pool_map(4, |_| name).for_each(drop);
/// ```
///
/// ```compile_fail,E0277
/// // error: `Cell<i32>` cannot be shared between threads safely
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
/// // error: `Rc<{integer}>` cannot be sent between threads safely
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
/// // error: `i32` is neither a number of threads (`usize`) nor a `Pool`
/// // error: write `n as usize`
/// // error: impl IntoPool for usize {}
/// use pool_map::PoolIterator;
/// (0..8).pool_map(4_i32, |x| x).for_each(drop);
/// ```
struct NotAPool;

/// A pool in an `Arc` is passed as what the `Arc` points to.
///
/// ```compile_fail,E0277
/// // error: `Arc<Pool>` is neither a number of threads (`usize`) nor a `Pool`
/// // error: write `&*pool`
/// use pool_map::{Pool, PoolIterator};
/// let pool = std::sync::Arc::new(Pool::inline());
/// (0..8).pool_map(pool, |x| x).for_each(drop);
/// ```
struct PoolInAnArc;

/// `pool_starmap` wants as many arguments as the tuple has values.
///
/// ```compile_fail,E0593
/// // error: function is expected to take 2 arguments, but it takes 3 arguments
/// use pool_map::PoolIterator;
/// fn add(a: i32, b: i32, c: i32) -> i32 { a + b + c }
/// (0..8).zip(0..8).pool_starmap(4, add).for_each(drop);
/// ```
struct Arguments;

/// Results come from the front only.
///
/// ```compile_fail,E0277
/// // error: DoubleEndedIterator` is not satisfied
/// use pool_map::PoolIterator;
/// (0..8).pool_map(4, |x| x).rev().for_each(drop);
/// ```
struct Backwards;

/// `pool_map` gives `f` each tuple whole.
///
/// ```compile_fail,E0593
/// // error: it takes 2 distinct arguments
/// use pool_map::PoolIterator;
/// fn add(a: i32, b: i32) -> i32 { a + b }
/// (0..8).zip(0..8).pool_map(4, add).for_each(drop);
/// ```
struct Tuples;

/// There is one iterator, not several.
///
/// ```compile_fail,E0277
/// // error: the trait `Clone` is not implemented for `PoolMap
/// use pool_map::PoolIterator;
/// (0..8).pool_map(4, |x| x).cycle().take(3).for_each(drop);
/// ```
struct NotClone;

/// An error of any type changes threads, too.
///
/// ```compile_fail,E0277
/// // error: `dyn std::error::Error` cannot be sent between threads safely
/// use pool_map::PoolIterator;
/// fn parse(line: &str) -> Result<i32, Box<dyn std::error::Error>> { Ok(line.parse()?) }
/// ["1"].iter().pool_map(4, |line| parse(line)).for_each(drop);
/// ```
///
/// ```compile_fail,E0277
/// // error: `?` couldn't convert the error
/// use pool_map::PoolIterator;
/// use std::error::Error;
/// fn parse(line: &str) -> Result<i32, Box<dyn Error + Send + Sync>> { Ok(line.parse()?) }
/// fn sum() -> Result<i32, Box<dyn Error>> {
///     let numbers: Result<Vec<i32>, _> = ["1"].into_iter().pool_map(2, parse).collect();
///     Ok(numbers?.iter().sum())
/// }
/// ```
struct NotSendError;

/// What a worker keeps stays with the worker.
///
/// ```compile_fail
/// // error: lifetime may not live long enough
/// use pool_map::PoolIterator;
/// (0..8).pool_map_init(4, String::new, |state, _: i32| state.as_str()).for_each(drop);
/// ```
struct BorrowedState;

/// `pool_for_each` has no result.
///
/// ```compile_fail,E0277
/// // error: the `?` operator can only be used in a closure that returns `Result` or `Option`
/// use pool_map::PoolIterator;
/// ["1"].iter().pool_for_each(4, |line| { line.parse::<i32>()?; });
/// ```
struct QuestionMark;

/// A collection is no iterator.
///
/// ```compile_fail,E0599
/// // error: the method `pool_map` exists for struct `Vec
/// // error: `Vec<{integer}>: Iterator`
/// use pool_map::PoolIterator;
/// vec![1, 2].pool_map(4, |x| x).for_each(drop);
/// ```
struct NotAnIterator;

/// A stream may outlive the function that it is made in.
///
/// ```compile_fail,E0597
/// // error: `words` does not live long enough
/// use pool_map::PoolIterator;
/// let words = vec!["so"];
/// words.iter().pool_imap(4, |word| word.len()).for_each(drop);
/// ```
///
/// ```compile_fail,E0373
/// // error: closure may outlive the current function
/// use pool_map::PoolIterator;
/// let factor = 2;
/// (0..8).pool_imap(4, |x| x * factor).for_each(drop);
/// ```
///
/// ```compile_fail,E0277
/// // error: StdinLock
/// use pool_map::PoolIterator;
/// use std::io::BufRead;
/// std::io::stdin().lock().lines().pool_imap(4, |line| line.unwrap()).for_each(drop);
/// ```
struct BorrowedByAStream;
