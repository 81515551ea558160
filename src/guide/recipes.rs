//! Recipes: short programs for common tasks.
//!
//! Whole programs are in `examples`: `sha256sum.rs` hashes files, `thumbnails.rs` shrinks images.
//!
//! - [`filter_map` and `flat_map`](#filter_map-and-flat_map)
//! - [Standard input, line by line](#standard-input-line-by-line)
//! - [A state that can fail](#a-state-that-can-fail)
//! - [The states back at the end](#the-states-back-at-the-end)
//! - [Errors of any type](#errors-of-any-type)
//! - [Retry, with a timeout](#retry-with-a-timeout)
//! - [A struct that holds the iterator](#a-struct-that-holds-the-iterator)
//! - [A function that returns the iterator](#a-function-that-returns-the-iterator)
//! - [Deep recursion](#deep-recursion)
//! - [rayon inside `f`](#rayon-inside-f)
//! - [Items that wait for one another](#items-that-wait-for-one-another)
//! - [Read ahead](#read-ahead)
//! - [Buffers that go round](#buffers-that-go-round)
//! - [Thread-locals](#thread-locals)
//! - [Async code](#async-code)
//!
//! # `filter_map` and `flat_map`
//!
//! Let `f` return an `Option` or a `Vec`, then flatten in [`consume`](crate::PoolMap::consume), where the workers go on meanwhile.
//! The order stays.
//!
//! ```
//! use pool_map::PoolIterator;
//!
//! let lines = ["1", "two", "3"];
//! let parsed = lines.iter().pool_map(4, |line| line.parse::<i32>().ok());
//! // was: lines.iter().filter_map(…).collect()
//! let numbers: Vec<i32> = parsed.consume(|results| results.flatten().collect());
//! assert_eq!(numbers, [1, 3]);
//!
//! let split = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
//! let lines = ["so much", "depends"].into_iter().pool_map(4, split);
//! let words: Vec<String> = lines.consume(|results| results.flatten().collect());
//! assert_eq!(words, ["so", "much", "depends"]);
//!
//! // The first hit in order. What runs behind it is stopped.
//! let is_long = |word: &str| (word.len() > 4).then(|| word.to_owned());
//! let words = ["so", "much", "depends", "upon"].into_iter().pool_map(4, is_long);
//! assert_eq!(words.consume(|hits| hits.flatten().next()).unwrap(), "depends");
//! ```
//!
//! Without `consume`, `collect` after another adaptor runs in [batches](crate::PoolIterator#which-methods-stream).
//!
//! # Standard input, line by line
//!
//! `stdin().lock()` is not [`Send`], so it works with `pool_map` only. That shows the result of a typed line when the next line
//! comes. `BufReader::new(stdin())` is `Send`, and `pool_imap` shows each result at once.
//!
//! ```no_run
//! use pool_map::PoolIterator;
//! use std::io::{BufRead, BufReader, stdin};
//!
//! let lines = BufReader::new(stdin()).lines();
//! for line in lines.pool_imap(4, |line| line.map(|line| line.to_uppercase())) {
//!     println!("{}", line?);
//! }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! For a test, let a function take any input:
//!
//! ```
//! use pool_map::PoolIterator;
//! use std::io::{self, BufRead, BufReader, Read};
//!
//! fn shout(input: impl Read + Send + 'static) -> io::Result<Vec<String>> {
//!     let lines = BufReader::new(input).lines();
//!     lines.pool_imap(4, |line| line.map(|line| line.to_uppercase())).collect()
//! }
//!
//! assert_eq!(shout("so\nmuch\n".as_bytes())?, ["SO", "MUCH"]); // or shout(stdin())
//! # Ok::<(), io::Error>(())
//! ```
//!
//! # A state that can fail
//!
//! A connection to a database is [`Send`] but often not [`Sync`], so each worker needs its own, and opening it can fail.
//! [`pool_map_try_init`](crate::PoolIterator::pool_map_try_init) gives the error to the item for which it was opened.
//!
//! ```
//! use pool_map::PoolIterator;
//!
//! struct Connection;
//!
//! impl Connection {
//!     fn open(path: &str) -> Result<Connection, String> {
//!         path.ends_with(".db").then_some(Connection).ok_or(format!("no database: {path}"))
//!     }
//!
//!     fn row(&mut self, key: u32) -> Result<u32, String> {
//!         Ok(key * 10)
//!     }
//! }
//!
//! fn rows(path: &str) -> Result<Vec<u32>, String> {
//!     (0..4).pool_map_try_init(2, || Connection::open(path), Connection::row).collect()
//! }
//!
//! assert_eq!(rows("words.db").unwrap(), [0, 10, 20, 30]);
//! assert_eq!(rows("words.txt").unwrap_err(), "no database: words.txt");
//! ```
//!
//! `examples/sqlite`, a crate of its own, is this with a real one: `cargo run --manifest-path examples/sqlite/Cargo.toml`.
//!
//! # The states back at the end
//!
//! Each worker counts in a state of its own, without a lock. The states are dropped together with the iterator, even after a
//! `break`, so let [`Drop`] send what they hold. They come back in no defined order.
//!
//! ```
//! use pool_map::PoolIterator;
//! use std::collections::HashMap;
//! use std::mem;
//! use std::sync::mpsc::{self, Sender};
//!
//! type Counts = HashMap<&'static str, u32>;
//!
//! struct State {
//!     counts: Counts,
//!     sender: Sender<Counts>,
//! }
//!
//! impl Drop for State {
//!     fn drop(&mut self) {
//!         // An error means that nobody wants the counts any more.
//!         let _ = self.sender.send(mem::take(&mut self.counts));
//!     }
//! }
//!
//! let (sender, states) = mpsc::channel();
//! let init = move || State { counts: Counts::new(), sender: sender.clone() };
//! let count = |state: &mut State, line: &'static str| {
//!     line.split(' ').for_each(|word| *state.counts.entry(word).or_default() += 1);
//!     line.len()
//! };
//! let lines = ["so much depends", "upon", "so much"];
//! let lengths: Vec<usize> = lines.into_iter().pool_map_init(2, init, count).collect();
//! assert_eq!(lengths, [15, 4, 7]); // the results, in order as ever
//!
//! let mut total = Counts::new();
//! for (word, count) in states.into_iter().flatten() {
//!     *total.entry(word).or_default() += count;
//! }
//! assert_eq!(total, HashMap::from([("so", 2), ("much", 2), ("depends", 1), ("upon", 1)]));
//! ```
//!
//! The loop over `states` ends because `init`, which owns the sender, is dropped with the iterator. The states could also add
//! themselves to a mutex, as in the example of [`pool_map_init`](crate::PoolIterator::pool_map_init).
//!
//! # Errors of any type
//!
//! Results travel between threads, so an error of any type is a `Box<dyn Error + Send + Sync>`. Let the caller return that
//! type too, and `?` works. If the caller's error is `Box<dyn Error>`, a closure converts it; `?` alone does not.
//!
//! ```
//! use pool_map::PoolIterator;
//! use std::error::Error;
//!
//! type AnyError = Box<dyn Error + Send + Sync>;
//!
//! fn length(line: &str) -> Result<u32, AnyError> {
//!     let (number, unit) = line.split_once(' ').ok_or("no unit")?;
//!     Ok(number.parse::<u32>()? * if unit == "km" { 1000 } else { 1 })
//! }
//!
//! fn total(lines: &[&str]) -> Result<u32, Box<dyn Error>> {
//!     let lengths = lines.iter().pool_map(4, |line| length(line));
//!     let lengths: Result<Vec<u32>, AnyError> = lengths.collect();
//!     Ok(lengths.map_err(|error| -> Box<dyn Error> { error })?.iter().sum())
//! }
//!
//! assert_eq!(total(&["2 km", "30 m"]).unwrap(), 2030);
//! assert_eq!(total(&["2 km", "30"]).unwrap_err().to_string(), "no unit");
//! ```
//!
//! # Retry, with a timeout
//!
//! Write the loop in `f`. Nothing can end an item from outside, so an attempt that may hang needs a timeout of its own, such as
//! that of the HTTP client or [`TcpStream::set_read_timeout`](std::net::TcpStream::set_read_timeout).
//!
//! ```
//! use pool_map::PoolIterator;
//! use std::thread::sleep;
//! use std::time::{Duration, Instant};
//!
//! /// Calls `attempt` until it succeeds, but starts no attempt after `timeout`.
//! fn retry<T, E>(
//!     timeout: Duration,
//!     mut attempt: impl FnMut() -> Result<T, E>,
//! ) -> Result<T, E> {
//!     let deadline = Instant::now() + timeout;
//!     let mut pause = Duration::from_millis(1);
//!     loop {
//!         match attempt() {
//!             Err(_) if Instant::now() + pause < deadline => sleep(pause),
//!             outcome => return outcome,
//!         }
//!         pause *= 2;
//!     }
//! }
//!
//! let fetch = |id: u32| {
//!     let mut failures = 0;
//!     retry(Duration::from_secs(30), || {
//!         failures += 1;
//!         if failures <= id { Err("timed out") } else { Ok(format!("page {id}")) }
//!     })
//! };
//! let pages: Result<Vec<String>, &str> = (0..3).pool_map(16, fetch).collect();
//! assert_eq!(pages.unwrap(), ["page 0", "page 1", "page 2"]);
//! ```
//!
//! Where `f` panics, [`catch_panics().with_items()`](crate::PoolMap::with_items) gives the item back, to be tried again when the
//! others are done.
//!
//! To wait for a result for a limited time only, run each attempt as a task of a second pool:
//!
//! ```
//! use pool_map::{Pool, PoolIterator};
//! use std::time::Duration;
//!
//! fn fetch(id: u32) -> String {
//!     format!("page {id}")
//! }
//!
//! let attempts = Pool::new(8)?;
//! let page = |id| {
//!     let attempt = attempts.spawn(move || fetch(id));
//!     let outcome = attempt.join_timeout(Duration::from_secs(30));
//!     outcome.map_err(|_| format!("page {id} took too long"))
//! };
//! let pages: Result<Vec<String>, String> = (0..3).pool_map(4, page).collect();
//! assert_eq!(pages.unwrap(), ["page 0", "page 1", "page 2"]);
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! An attempt that was given up on keeps its worker until it ends, and the drop of its pool waits for it. One that never ends
//! keeps the program from ending, so the client's own timeout is better.
//!
//! # A struct that holds the iterator
//!
//! The type of a closure has no name. Use a function pointer, or a box. A box only has `next`, which is all that a stream needs;
//! `pool_map` in a box would always run in [batches](crate::PoolIterator#which-methods-stream). [`types`](crate::types) has a
//! generic struct.
//!
//! ```
//! use pool_map::types::Map;
//! use pool_map::{PoolImap, PoolIterator};
//! use std::ops::Range;
//!
//! struct Squares {
//!     results: PoolImap<Range<u64>, Map<fn(u64) -> u64, u64>>,
//! }
//!
//! struct Lines {
//!     results: Box<dyn Iterator<Item = String> + Send>,
//! }
//!
//! let mut squares = Squares { results: (0..4).pool_imap(2, |x| x * x) };
//! assert_eq!(squares.results.nth(2), Some(4));
//!
//! let prefix = "> ".to_owned();
//! let quote = move |line| format!("{prefix}{line}");
//! let mut lines = Lines { results: Box::new(["so", "much"].into_iter().pool_imap(2, quote)) };
//! assert_eq!(lines.results.next().unwrap(), "> so");
//! ```
//!
//! # A function that returns the iterator
//!
//! `impl Iterator` works, with whatever the iterator borrows. A closure that uses an argument by value needs `move`.
//!
//! ```
//! use pool_map::PoolIterator;
//!
//! fn longer_than(words: &[String], length: usize) -> impl Iterator<Item = bool> {
//!     words.iter().pool_map(4, move |word| word.len() > length)
//! }
//!
//! let words = ["so".to_owned(), "much".to_owned()];
//! assert_eq!(longer_than(&words, 3).collect::<Vec<_>>(), [false, true]);
//! ```
//!
//! Before edition 2024, write `impl Iterator<Item = bool> + '_`.
//!
//! # Deep recursion
//!
//! A worker's stack has 8 MiB unless you say otherwise, as that of `main` usually has. A stack that overflows ends the process.
//! Memory is only used as far as the stack grows, so be generous.
//!
//! ```
//! use pool_map::{Pool, PoolIterator};
//!
//! fn depth(n: u64) -> u64 {
//!     if n == 0 { 0 } else { 1 + std::hint::black_box(depth(n - 1)) }
//! }
//!
//! let pool = Pool::builder().threads(2).stack_size(256 << 20).build()?; // 256 MiB
//! let depths: Vec<u64> = [10, 200_000].into_iter().pool_map(&pool, depth).collect();
//! assert_eq!(depths, [10, 200_000]);
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! # rayon inside `f`
//!
//! Inside `f`, rayon uses the workers of the pool that runs `f`. So `par_iter`, `join` and `scope` share them with the other items
//! instead of starting more threads.
//!
//! ```
//! use pool_map::{Pool, PoolIterator};
//! use rayon::prelude::*;
//!
//! let pool = Pool::new(2)?;
//! let total = |n: u64| {
//!     assert_eq!(rayon::current_num_threads(), 2);
//!     (1..=n).into_par_iter().sum::<u64>()
//! };
//! let totals: Vec<u64> = [10, 100].into_iter().pool_map(&pool, total).collect();
//! assert_eq!(totals, [55, 5050]);
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! # Items that wait for one another
//!
//! Such items need a worker each, at the same time. Give the call as many threads as there are items, by number: these are
//! threads that it has alone. The workers of a shared pool may be busy with other calls. `chunk_size(1)` keeps two of the items from
//! waiting on one worker.
//!
//! ```
//! use pool_map::PoolIterator;
//! use std::sync::Barrier;
//!
//! let barrier = Barrier::new(4);
//! let waits = (0..4).pool_map(4, |_| barrier.wait().is_leader()).chunk_size(1);
//! assert_eq!(waits.filter(|&is_leader| is_leader).count(), 1);
//! ```
//!
//! # Read ahead
//!
//! A stream of one worker whose `f` does nothing pulls its source while the body of your loop runs:
//!
//! ```
//! use pool_map::PoolIterator;
//!
//! let blocks = (0..3).map(|number| format!("block {number}")); // slow to read
//! for block in blocks.pool_imap(1, |block| block).max_in_flight(2) {
//!     println!("{block}"); // meanwhile the next one is read
//! }
//! // block 0
//! // block 1
//! // block 2
//! ```
//!
//! # Buffers that go round
//!
//! Your thread pulls the source and takes the results, so what the consumer gives back to the source needs no lock:
//!
//! ```
//! use pool_map::PoolIterator;
//! use std::cell::{Cell, RefCell};
//!
//! let free = RefCell::new(Vec::new());
//! let made = Cell::new(0);
//! let blocks = (0..1000_u32).map(|number| {
//!     let mut buffer: Vec<u8> = free.borrow_mut().pop().unwrap_or_else(|| {
//!         made.set(made.get() + 1);
//!         Vec::with_capacity(1 << 16)
//!     });
//!     buffer.clear();
//!     buffer.extend(number.to_le_bytes()); // read a block into it
//!     buffer
//! });
//! let sum = |buffer: Vec<u8>| {
//!     let sum: u64 = buffer.iter().map(|&byte| u64::from(byte)).sum();
//!     (sum, buffer)
//! };
//! let mut total = 0;
//! blocks.pool_map(4, sum).max_in_flight(8).for_each(|(sum, buffer)| {
//!     total += sum;
//!     free.borrow_mut().push(buffer);
//! });
//! println!("{total}, in {} buffers", made.get()); // 126180, in 8 buffers
//! # assert_eq!(total, 126180);
//! # assert!(made.get() <= 8);
//! ```
//!
//! # Thread-locals
//!
//! Threads that a number has leased go back to a cache and keep their thread-locals, so the next call may find what an earlier one
//! left there. They are dropped when the threads end: after ten seconds without work, or never if `main` returns first. If that
//! matters, because a thread-local holds counts or a file, use a pool and join it:
//!
//! ```
//! use pool_map::Pool;
//! use std::cell::Cell;
//! use std::sync::atomic::{AtomicU32, Ordering};
//!
//! static TOTAL: AtomicU32 = AtomicU32::new(0);
//!
//! struct Count(Cell<u32>);
//!
//! impl Drop for Count {
//!     fn drop(&mut self) {
//!         TOTAL.fetch_add(self.0.get(), Ordering::Relaxed);
//!     }
//! }
//!
//! thread_local! {
//!     static COUNT: Count = const { Count(Cell::new(0)) };
//! }
//!
//! let pool = Pool::new(2)?;
//! pool.map(0..100, |_| COUNT.with(|count| count.0.set(count.0.get() + 1)));
//! pool.join(); // ends the threads
//! assert_eq!(TOTAL.load(Ordering::Relaxed), 100);
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! For a state that lives as long as one call, use [`pool_map_init`](crate::PoolIterator::pool_map_init).
//!
//! # Async code
//!
//! A [`Task`](crate::Task) is a future, for any runtime. Dropping it detaches it; the closure still runs.
//!
//! ```
//! use pool_map::Pool;
//!
//! async fn checksum(pool: &Pool, bytes: Vec<u8>) -> u32 {
//!     pool.spawn(move || bytes.iter().map(|&byte| u32::from(byte)).sum()).await
//! }
//! # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
//! # let pool = Pool::new(1)?;
//! # let mut future = pin!(checksum(&pool, vec![1, 2, 3]));
//! # let mut context = Context::from_waker(Waker::noop());
//! # loop {
//! #     if let Poll::Ready(sum) = future.as_mut().poll(&mut context) {
//! #         assert_eq!(sum, 6);
//! #         break;
//! #     }
//! #     std::thread::yield_now();
//! # }
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! A stream that works ahead can be awaited, too, result by result, in order. [`PoolImap::poll_next`](crate::PoolImap::poll_next)
//! needs no dependency; with the feature `futures`, `into_stream` makes it a `Stream`. `cargo run --example tokio --features
//! futures` is this, with rows from a channel:
//!
//! ```text
//! use futures_util::StreamExt; // for `next`
//!
//! let (sender, mut rows) = tokio::sync::mpsc::channel(100);
//! // The source is pulled on a thread that is not the runtime's, and may block there.
//! let rows = std::iter::from_fn(move || rows.blocking_recv());
//! let mut sums = rows.pool_imap(2, checksum).into_stream();
//! while let Some((row, sum)) = sums.next().await {
//!     println!("{row}: {sum:08x}"); // meanwhile the runtime goes on with other tasks
//! }
//! ```
//!
//! With tokio a task replaces `spawn_blocking` for work that needs the processor:
//!
//! ```text
//! let pool = Pool::new(8)?;
//! let app = Router::new().route("/checksum", post(move |body: Bytes| async move {
//!     checksum(&pool, body.to_vec()).await.to_string()
//! }));
//! ```
