//! Coming from rayon, `par_bridge`, pariter or channels: every shape and its counterpart here.
//!
//! The main difference: these methods are on plain iterators, and what they return is a plain iterator, in order. So what
//! follows `pool_map` runs on your thread, where it may borrow, write and return early. Only `f` runs on the workers.
//!
//! | rayon | here |
//! |---|---|
//! | `par_iter().map(f).collect()` | [`iter().pool_map(n, f).collect()`](#map-and-collect) |
//! | `par_iter().for_each(f)` | [`pool_for_each(n, f)`](#for_each) |
//! | `try_for_each(f)` | [`pool_try_for_each(n, f)`](#try_for_each) |
//! | `fold(…).reduce(…)` | [`chunks`, then `pool_map`, then `fold`; or the states of `pool_map_init`](#fold-and-reduce) |
//! | `map_with(value, f)`, `map_init(init, f)` | [`pool_map_with(n, value, f)`, `pool_map_init(n, init, f)`](#map_with-and-map_init) |
//! | `filter_map(f).collect()` | [`pool_map(n, f).consume(\|results\| results.flatten().collect())`](#filter_map-and-collect) |
//! | `find_any(p)` | [`pool_imap_unordered(n, f).find(…)`](#find_any) |
//! | `with_min_len`, `with_max_len`, `par_chunks` | [`chunk_size`, `chunks`](#chunks) |
//! | `ThreadPoolBuilder::num_threads(4)`, `num_threads(0)` | [`Pool::new(4)`, `Pool::global()`](#num_threads) |
//! | `RAYON_NUM_THREADS` | [`POOL_MAP_THREADS`](#rayon_num_threads) |
//! | `scope(\|s\| s.spawn(…))`, `std::thread::scope` | [`scope(n, \|s\| s.spawn(…))`](#scope) |
//! | `rayon::join`, recursion | stay with rayon; [inside `f`](crate::guide::recipes#rayon-inside-f) too |
//! | `iter.par_bridge()` | [`iter.pool_map(n, f)`](#par_bridge), in order |
//! | pariter's `parallel_map`, `readahead` | [`pool_imap`](#pariter) |
//! | threads, channels and a reorder buffer | [`pool_imap`](#channels-by-hand) |
//!
//! In all examples, `n` is a number of threads or a [`Pool`](crate::Pool).
//!
//! # map and collect
//!
//! ```
//! use pool_map::PoolIterator;
//! use rayon::prelude::*;
//!
//! let words = vec!["so", "much", "depends"];
//! let theirs: Vec<usize> = words.par_iter().map(|word| word.len()).collect();
//! let ours: Vec<usize> = words.iter().pool_map(4, |word| word.len()).collect();
//! assert_eq!(ours, theirs);
//! ```
//!
//! If items take less than 100 ns, keep `par_iter()` and add [`pool_map`](crate::PoolParallelIterator) after it:
//!
//! ```
//! use pool_map::PoolParallelIterator;
//! use rayon::prelude::*;
//!
//! let squares: Vec<u64> = vec![1, 2, 3].par_iter().pool_map(4, |x| x * x).collect();
//! assert_eq!(squares, [1, 4, 9]);
//! ```
//!
//! # `for_each`
//!
//! ```
//! use pool_map::PoolIterator;
//! use rayon::prelude::*;
//! use std::sync::atomic::{AtomicUsize, Ordering};
//!
//! let total = AtomicUsize::new(0);
//! let add = |word: &&str| {
//!     total.fetch_add(word.len(), Ordering::Relaxed);
//! };
//! ["so", "much"].par_iter().for_each(add);
//! ["so", "much"].iter().pool_for_each(4, add);
//! assert_eq!(total.into_inner(), 12);
//! ```
//!
//! Often the atomic can go: `pool_map(4, f).for_each(…)` runs the second closure on your thread, in order.
//!
//! ```
//! use pool_map::PoolIterator;
//!
//! let mut total = 0;
//! ["so", "much"].iter().pool_map(4, |word| word.len()).for_each(|length| total += length);
//! assert_eq!(total, 6);
//! ```
//!
//! # `try_for_each`
//!
//! Rayon returns one of the errors. Here it is always the first one in order.
//!
//! ```
//! use pool_map::PoolIterator;
//! use rayon::prelude::*;
//!
//! let check = |line: &&str| line.parse::<u32>().map(drop).map_err(|_| line.to_string());
//! let lines = ["1", "two", "3"];
//! let theirs = lines.par_iter().try_for_each(check);
//! let ours = lines.iter().pool_try_for_each(4, |line| check(&line));
//! assert_eq!(ours, Err("two".to_owned()));
//! assert_eq!(ours, theirs);
//! ```
//!
//! # fold and reduce
//!
//! In rayon, each job folds a part, and `reduce` joins the parts. Here you choose the parts: `chunks` of a slice. The results are
//! joined on your thread, in order, so the joining need not be associative.
//!
//! ```
//! use pool_map::PoolIterator;
//! use rayon::prelude::*;
//! use std::collections::HashMap;
//!
//! type Counts = HashMap<char, u32>;
//!
//! fn add(mut counts: Counts, word: &&str) -> Counts {
//!     word.chars().for_each(|letter| *counts.entry(letter).or_default() += 1);
//!     counts
//! }
//!
//! fn join(mut counts: Counts, more: Counts) -> Counts {
//!     more.into_iter().for_each(|(letter, n)| *counts.entry(letter).or_default() += n);
//!     counts
//! }
//!
//! let words = ["so", "much", "depends", "upon"];
//! let theirs = words.par_iter().fold(Counts::new, add).reduce(Counts::new, join);
//! let parts = words.chunks(2).pool_map(4, |words| words.iter().fold(Counts::new(), add));
//! let ours = parts.fold(Counts::new(), join);
//! assert_eq!(ours, theirs);
//! ```
//!
//! Any other iterator has no `chunks`. Let each worker fold into its state, and let the states send what they hold when they are
//! dropped. They arrive in no defined order, so here the joining must not depend on it.
//!
//! ```
//! use pool_map::PoolIterator;
//! use rayon::prelude::*;
//! use std::array;
//! use std::sync::mpsc::{self, Sender};
//!
//! type Lengths = [u32; 8]; // how many words have that length
//!
//! fn add(mut lengths: Lengths, word: &str) -> Lengths {
//!     lengths[word.len()] += 1;
//!     lengths
//! }
//!
//! fn join(some: Lengths, more: Lengths) -> Lengths {
//!     array::from_fn(|length| some[length] + more[length])
//! }
//!
//! struct State {
//!     lengths: Lengths,
//!     sender: Sender<Lengths>,
//! }
//!
//! impl Drop for State {
//!     fn drop(&mut self) {
//!         let _ = self.sender.send(self.lengths);
//!     }
//! }
//!
//! let words = || "so much depends upon".split(' ');
//! let theirs = words().par_bridge().fold(|| [0; 8], add).reduce(|| [0; 8], join);
//!
//! let (sender, states) = mpsc::channel();
//! let init = move || State { lengths: [0; 8], sender: sender.clone() };
//! let add = |state: &mut State, word: &str| state.lengths = add(state.lengths, word);
//! words().pool_map_init(4, init, add).for_each(drop);
//! assert_eq!(states.into_iter().fold([0; 8], join), theirs);
//! ```
//!
//! [Recipes](crate::guide::recipes#the-states-back-at-the-end) says more about it.
//!
//! # `map_with` and `map_init`
//!
//! Rayon makes a state for each piece that it splits off, which can be many. Here it is one for each worker.
//!
//! ```
//! use pool_map::PoolIterator;
//! use rayon::prelude::*;
//!
//! let reversed = |buffer: &mut Vec<char>, word: &str| {
//!     buffer.clear();
//!     buffer.extend(word.chars().rev());
//!     buffer.iter().collect::<String>()
//! };
//! let words = ["so", "much"];
//! let theirs = words.par_iter().map_init(Vec::new, |buffer, word| reversed(buffer, word));
//! let ours = words.iter().pool_map_init(4, Vec::new, |buffer, word| reversed(buffer, word));
//! assert_eq!(ours.collect::<Vec<_>>(), theirs.collect::<Vec<_>>());
//! ```
//!
//! `map_with` clones a value instead, and so does `pool_map_with`:
//!
//! ```
//! use pool_map::PoolIterator;
//! use rayon::prelude::*;
//! use std::sync::mpsc;
//!
//! let (sender, receiver) = mpsc::channel();
//! let send = |sender: &mut mpsc::Sender<u32>, x: u32| sender.send(x * x).unwrap();
//! (0..4_u32).into_par_iter().map_with(sender.clone(), send).for_each(drop);
//! (0..4).pool_map_with(4, sender, send).for_each(drop);
//! assert_eq!(receiver.iter().sum::<u32>(), 2 * 14);
//! ```
//!
//! # `filter_map` and collect
//!
//! ```
//! use pool_map::PoolIterator;
//! use rayon::prelude::*;
//!
//! let lines = ["1", "two", "3"];
//! let parse = |line: &&str| line.parse::<u32>().ok();
//! let theirs: Vec<u32> = lines.par_iter().filter_map(parse).collect();
//! let ours = lines.iter().pool_map(4, parse);
//! let ours: Vec<u32> = ours.consume(|results| results.flatten().collect());
//! assert_eq!(ours, theirs);
//! ```
//!
//! [Recipes](crate::guide::recipes#filter_map-and-flat_map) says more about it.
//!
//! # `find_any`
//!
//! ```
//! use pool_map::PoolIterator;
//! use rayon::prelude::*;
//!
//! let is_square = |x: &u64| x.isqrt().pow(2) == *x;
//! let theirs = (50..80_u64).into_par_iter().find_any(is_square);
//! let tested = (50..80_u64).pool_imap_unordered(4, move |x| (x, is_square(&x)));
//! let ours = tested.filter(|(_, hit)| *hit).map(|(x, _)| x).next();
//! assert_eq!(ours, Some(64));
//! assert_eq!(ours, theirs);
//! ```
//!
//! `find_first` is the same with `pool_map` in place of `pool_imap_unordered`.
//!
//! # chunks
//!
//! Workers take cheap items several at a time, by measured cost. To set the number, use `chunk_size`; to give `f` a whole slice,
//! use `chunks`.
//!
//! ```
//! use pool_map::PoolIterator;
//! use rayon::prelude::*;
//!
//! let numbers: Vec<u32> = (0..10).collect();
//! let theirs: Vec<u32> = numbers.par_iter().with_max_len(2).map(|x| x + 1).collect();
//! let ours: Vec<u32> = numbers.iter().pool_map(4, |x| x + 1).chunk_size(2).collect();
//! assert_eq!(ours, theirs);
//!
//! let theirs: Vec<u32> = numbers.par_chunks(3).map(|part| part.iter().sum()).collect();
//! let ours: Vec<u32> = numbers.chunks(3).pool_map(4, |part| part.iter().sum()).collect();
//! assert_eq!(ours, theirs);
//! ```
//!
//! # `num_threads`
//!
//! There is no need to build a pool for a number of threads; write the number. `num_threads(0)`, one thread per core, is
//! [`Pool::global()`](crate::Pool::global). A plain 0 panics.
//!
//! ```
//! use pool_map::{Pool, PoolIterator};
//! use rayon::prelude::*;
//!
//! let four = rayon::ThreadPoolBuilder::new().num_threads(4).build()?;
//! let theirs: Vec<u32> = four.install(|| (0..8_u32).into_par_iter().map(|x| x * x).collect());
//! let ours: Vec<u32> = (0..8).pool_map(4, |x| x * x).collect();
//! assert_eq!(ours, theirs);
//!
//! let pool = Pool::global(); // num_threads(0)
//! assert_eq!(pool.map(0..4, |x| x * x), [0, 1, 4, 9]);
//! # Ok::<(), rayon::ThreadPoolBuildError>(())
//! ```
//!
//! # `RAYON_NUM_THREADS`
//!
//! `POOL_MAP_THREADS` sets how many threads [`Pool::global`](crate::Pool::global) has, and how many [`Cores`](crate::Cores)
//! leases. Without it both have one for each core.
//!
//! ```
//! use pool_map::{Cores, PoolIterator};
//!
//! let squares: Vec<u32> = (0..4).pool_map(Cores, |x| x * x).collect();
//! assert_eq!(squares, [0, 1, 4, 9]);
//! ```
//!
//! `RAYON_NUM_THREADS=1` for a debugger is `POOL_MAP_INLINE=1`: calls by number then run on your own thread.
//!
//! # scope
//!
//! [`Scope::spawn`](crate::Scope::spawn) gives a task that can be joined, as that of `std::thread::scope`; rayon's gives nothing
//! back. The threads are a pool's.
//!
//! ```
//! let words = vec!["so", "much", "depends"];
//! let (mut longest, mut letters) = (None, 0);
//! rayon::scope(|s| {
//!     s.spawn(|_| longest = words.iter().map(|word| word.len()).max());
//!     s.spawn(|_| letters = words.iter().map(|word| word.len()).sum());
//! });
//! let ours = pool_map::scope(2, |s| {
//!     let longest = s.spawn(|| words.iter().map(|word| word.len()).max());
//!     let letters = s.spawn(|| words.iter().map(|word| word.len()).sum());
//!     (longest.join(), letters.join())
//! });
//! assert_eq!(ours, (longest, letters));
//! ```
//!
//! # `par_bridge`
//!
//! `par_bridge` loses the order, and its iterator must be [`Send`]. The usual cure is to enumerate and sort. Neither is needed here.
//!
//! ```
//! use pool_map::PoolIterator;
//! use rayon::prelude::*;
//!
//! let lines = || "so\nmuch\ndepends".lines();
//! let mut theirs: Vec<(usize, usize)> =
//!     lines().enumerate().par_bridge().map(|(at, line)| (at, line.len())).collect();
//! theirs.sort();
//!
//! let ours: Vec<usize> = lines().pool_map(4, str::len).collect();
//! assert!(ours.iter().eq(theirs.iter().map(|(_, length)| length)));
//! ```
//!
//! # pariter
//!
//! | pariter | here |
//! |---|---|
//! | `it.parallel_map(f)` | `it.pool_imap(n, f)` |
//! | `it.parallel_map_custom(\|o\| o.threads(4).buffer_size(8), f)` | `it.pool_imap(4, f).max_in_flight(8)` |
//! | `it.parallel_map_scoped(scope, f)` | `it.pool_map(n, f)`, or `imap` of a [`scope`](crate::scope()) |
//! | `it.parallel_filter(p)` | `it.pool_imap(n, \|x\| p(&x).then_some(x)).flatten()` |
//! | `it.readahead()` | `it.pool_imap(1, \|x\| x)` |
//!
//! ```text
//! use pariter::IteratorExt;
//! for square in (0..4).parallel_map_custom(|o| o.threads(4).buffer_size(8), |x| x * x) { … }
//! ```
//!
//! ```
//! use pool_map::PoolIterator;
//!
//! let squares = (0..4).pool_imap(4, |x| x * x).max_in_flight(8);
//! assert_eq!(squares.collect::<Vec<_>>(), [0, 1, 4, 9]);
//!
//! let even: Vec<u32> = (0..6).pool_imap(4, |x| (x % 2 == 0).then_some(x)).flatten().collect();
//! assert_eq!(even, [0, 2, 4]);
//!
//! let lines = ["so", "much"];
//! let lengths: Vec<_> = pool_map::scope(4, |s| s.imap(&lines, |line| line.len()).collect());
//! assert_eq!(lengths, [2, 4]);
//! ```
//!
//! # Channels by hand
//!
//! Workers that share a queue, sequence numbers, and a buffer that restores the order:
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::sync::{Mutex, mpsc};
//! use std::thread;
//!
//! let jobs = Mutex::new((0..8_u32).enumerate());
//! let (sender, results) = mpsc::sync_channel(8);
//! let mut squares = Vec::new();
//! thread::scope(|scope| {
//!     for _ in 0..4 {
//!         let (sender, jobs) = (sender.clone(), &jobs);
//!         scope.spawn(move || {
//!             loop {
//!                 let Some((number, x)) = jobs.lock().unwrap().next() else { break };
//!                 sender.send((number, x * x)).unwrap();
//!             }
//!         });
//!     }
//!     drop(sender);
//!     let mut early = BTreeMap::new();
//!     for (number, square) in results {
//!         early.insert(number, square);
//!         while let Some(square) = early.remove(&squares.len()) {
//!             squares.push(square);
//!         }
//!     }
//! });
//! assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49]);
//! ```
//!
//! The same here:
//!
//! ```
//! use pool_map::PoolIterator;
//!
//! let mut squares = Vec::new();
//! for square in (0..8).pool_imap(4, |x| x * x) {
//!     squares.push(square);
//! }
//! assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49]);
//! ```
//!
//! The number of results that wait behind a slow item is limited ([`max_in_flight`](crate::PoolImap::max_in_flight)), which the buffer
//! above is not. A channel can be the source, too: `receiver.into_iter().pool_imap(4, f)`.
