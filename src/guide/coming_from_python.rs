//! Python's pools and this crate side by side, with an example for each name.
//!
//! The workers here are threads, not processes: nothing is pickled or copied, a closure may use local variables, and there is
//! no global interpreter lock. So [`multiprocessing.Pool`], [`multiprocessing.pool.ThreadPool`] and the executors of
//! [`concurrent.futures`] all become [`Pool`](crate::Pool).
//!
//! [`multiprocessing.Pool`]: https://docs.python.org/3/library/multiprocessing.html#multiprocessing.pool.Pool
//! [`multiprocessing.pool.ThreadPool`]: https://docs.python.org/3/library/multiprocessing.html#multiprocessing.pool.ThreadPool
//! [`concurrent.futures`]: https://docs.python.org/3/library/concurrent.futures.html
//!
//! | Python | here |
//! |---|---|
//! | `Pool(4)`, `ThreadPool(4)`, `ThreadPoolExecutor(4)`, `ProcessPoolExecutor(4)` | [`Pool::new(4)?`](#pool) |
//! | `Pool()` | [`Pool::global()`](#pool-without-a-number) |
//! | `Pool(initializer=…, initargs=…)` | [`on_start`](#initializer), or [`pool_map_init`](#initializer) for a state that `f` uses |
//! | `ThreadPoolExecutor(thread_name_prefix="Resize")` | [`.name("Resize")`](#thread_name_prefix) |
//! | `Pool(maxtasksperchild=…)` | [not supported](#not-supported) |
//! | `pool.map(f, items)` | [`pool.map(items, f)`](#map) |
//! | `pool.map(f, items, chunksize=10)` | [`.chunk_size(10)`](#chunksize) |
//! | `pool.imap(f, items)` | [`pool.imap(items, f)`](#imap) |
//! | `pool.imap_unordered(f, items)` | [`pool.imap_unordered(items, f)`](#imap_unordered) |
//! | `imap(…).next(timeout)` | [`next_timeout(…)`](#next-with-a-timeout) |
//! | `pool.starmap(f, pairs)` | [`pool.starmap(pairs, f)`](#starmap) |
//! | `pool.apply(f, args)` | [`pool.install(\|\| f(…))`](#apply) |
//! | `pool.apply_async(f, args)`, `executor.submit(f, …)` | [`pool.spawn(move \|\| f(…))`](#apply_async-submit) |
//! | `pool.apply_async(…, callback=g, error_callback=h)` | [in the closure](#callback) |
//! | `pool.map_async(f, items)`, `pool.starmap_async(f, pairs)` | [`pool.spawn` of a `map`](#map_async), or [`imap`](#imap) |
//! | `executor.map(f, a, b)` | [`zip`, then `pool_map`](#executormap-of-several) |
//! | `executor.map(f, items, buffersize=8)` | [`.max_in_flight(8)`](#buffersize) |
//! | `result.get()`, `future.result()` | [`task.join()`](#get) |
//! | `result.get(timeout)`, `result.wait(timeout)` | [`task.join_timeout(…)`](#get-with-a-timeout) |
//! | `result.ready()`, `future.done()` | [`task.is_finished()`](#ready) |
//! | `result.successful()`, `future.exception()` | [`task.try_join()`](#successful) |
//! | `future.running()` | [`task.is_running()`](#ready) |
//! | `future.cancel()` | [`task.cancel()`](#cancel), or a [`CancelToken`](crate::CancelToken) for many |
//! | `as_completed(futures)` | [`as_completed(tasks)`](#as_completed) |
//! | `wait(futures, return_when=FIRST_COMPLETED)`, `FIRST_EXCEPTION`, `ALL_COMPLETED` | [`as_completed(tasks)`](#wait) |
//! | `await loop.run_in_executor(pool, f)` | [`pool.spawn(f).await`](crate::guide::recipes#async-code) |
//! | `pool.close(); pool.join()`, `executor.shutdown()` | [`pool.join()`](#close-and-join) |
//! | `pool.terminate()`, `executor.shutdown(cancel_futures=True)`, `with Pool() as pool:` | [`drop(pool)`](#terminate) |
//! | `joblib`'s `n_jobs=1` | [`Pool::inline()`](#n_jobs1), or `POOL_MAP_INLINE=1` in the environment |
//! | `multiprocessing.current_process().name` | [`Worker::current()`](#current_process) |
//!
//! # Not supported
//!
//! - **Killing an item.** Ending a thread from outside would leave its locks locked and its memory allocated. A
//!   [`CancelToken`](crate::CancelToken) keeps further items from starting; to end early, an item has to check the token itself.
//! - **`maxtasksperchild`.** In Python it frees memory that a process has leaked. Threads share their memory, so fix the leak at
//!   its source.
//! - **Contexts, per-process initializers, pickling errors.** There are no processes.
//!
//! # Examples
//!
//! ## Pool
//!
//! ```
//! use pool_map::Pool;
//! let pool = Pool::new(4)?; // pool = Pool(4)
//! # assert_eq!(pool.threads(), 4);
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## Pool without a number
//!
//! ```
//! use pool_map::Pool;
//! let pool = Pool::global(); // pool = Pool()
//! # assert!(pool.threads() > 0);
//! ```
//!
//! ## initializer
//!
//! ```
//! use pool_map::{Pool, PoolIterator};
//! let pool = Pool::builder()
//!     .threads(2)
//!     .on_start(|worker| println!("{} is up", worker.name())) // initializer=…
//!     .build()?;
//! let lines = (1..4).pool_map_init(&pool, String::new, |buffer, x| {
//!     buffer.push('*'); // each worker has its own buffer
//!     x
//! });
//! assert_eq!(lines.sum::<u32>(), 6);
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## `thread_name_prefix`
//!
//! ```
//! use pool_map::Pool;
//! // ThreadPoolExecutor(2, thread_name_prefix="Resize")
//! let pool = Pool::builder().threads(2).name("Resize").build()?;
//! assert_eq!(pool.worker_names(), ["Resize-1", "Resize-2"]);
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## map
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! assert_eq!(pool.map(0..5, |x| x * x), [0, 1, 4, 9, 16]); // pool.map(square, range(5))
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## chunksize
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! use pool_map::PoolIterator;
//! // pool.map(square, range(5), chunksize=10)
//! let squares: Vec<u32> = (0..5).pool_map(&pool, |x| x * x).chunk_size(10).collect();
//! assert_eq!(squares, [0, 1, 4, 9, 16]);
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## imap
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! for square in pool.imap(0..5, |x| x * x) { // for square in pool.imap(square, range(5)):
//!     assert!(square < 20);
//! }
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## next with a timeout
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! use pool_map::NotReady;
//! use std::time::Duration;
//! let mut squares = pool.imap(0..3, |x| x * x);
//! match squares.next_timeout(Duration::from_secs(60)) { // it.next(timeout=60)
//!     Ok(Some(square)) => assert_eq!(square, 0),
//!     Ok(None) => println!("that was all"),                  // except StopIteration:
//!     Err(NotReady) => println!("not yet; the stream goes on"), // except TimeoutError:
//! }
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## `imap_unordered`
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! let mut seen = 0;
//! // for square in pool.imap_unordered(square, range(5)):
//! for square in pool.imap_unordered(0..5, |x| x * x) {
//!     seen += square;
//! }
//! assert_eq!(seen, 30);
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## starmap
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! // pool.starmap(pow, [(2, 5), (3, 2)])
//! assert_eq!(pool.starmap([(2, 5), (3, 2)], u32::pow), [32, 9]);
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## apply
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! assert_eq!(pool.install(|| 2 + 3), 5); // pool.apply(add, (2, 3))
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## `apply_async`, `submit`
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! let task = pool.spawn(|| 2 + 3); // result = pool.apply_async(add, (2, 3))
//! assert_eq!(task.join(), 5); // result.get()
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## callback
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! # fn f() -> Result<u32, String> { Ok(5) }
//! // pool.apply_async(f, callback=print, error_callback=log)
//! let task = pool.spawn(|| match f() {
//!     Ok(x) => println!("{x}"),
//!     Err(error) => eprintln!("{error}"),
//! });
//! # task.join();
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## `map_async`
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! let mut squares = pool.imap(0..5, |x| x * x); // result = pool.map_async(square, range(5))
//! let first = squares.next(); // this starts it: streams are lazy
//! let all: Vec<u32> = first.into_iter().chain(squares).collect(); // result.get()
//! assert_eq!(all, [0, 1, 4, 9, 16]);
//!
//! let inside = pool.clone();
//! // In the background, on one worker:
//! let task = pool.spawn(move || inside.map(0..5, |x| x * x));
//! assert_eq!(task.join(), [0, 1, 4, 9, 16]);
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## Executor.map of several
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! // list(executor.map(add, [1, 2, 3], [10, 20, 30]))
//! let sums = pool.starmap([1, 2, 3].into_iter().zip([10, 20, 30]), |a, b| a + b);
//! assert_eq!(sums, [11, 22, 33]);
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## buffersize
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! // executor.map(square, count(), buffersize=8)
//! let squares = pool.imap(0.., |x: u64| x * x).max_in_flight(8);
//! assert_eq!(squares.take(3).collect::<Vec<_>>(), [0, 1, 4]);
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## get
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! assert_eq!(pool.spawn(|| 5).join(), 5); // pool.apply_async(five).get(), which re-raises too
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## get with a timeout
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! use std::time::Duration;
//! match pool.spawn(|| 5).join_timeout(Duration::from_secs(60)) { // result.get(timeout=60)
//!     Ok(x) => assert_eq!(x, 5),
//!     Err(task) => println!("{task:?} is not done yet"), // except TimeoutError:
//! }
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## ready
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! let task = pool.spawn(|| 5);
//! while !task.is_finished() { // while not result.ready():
//!     std::thread::yield_now();
//! }
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## successful
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! match pool.spawn(|| "x".parse::<u32>().unwrap()).try_join() { // if result.successful():
//!     Ok(x) => println!("{x}"),
//!     Err(panic) => println!("{panic}"), // the trace, with the worker and the line
//! }
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## cancel
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! let task = pool.spawn(|| 5);
//! let in_time = task.cancel(); // future.cancel(), which only works before it starts
//! assert_eq!(task.try_join().is_err(), in_time);
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## `as_completed`
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! use pool_map::as_completed;
//! let tasks = (0..4).map(|x| pool.spawn(move || x * x)); // futures = [executor.submit(…) …]
//! let mut sum = 0;
//! for task in as_completed(tasks) { // for future in as_completed(futures):
//!     sum += task.join(); // future.result()
//! }
//! assert_eq!(sum, 14);
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## wait
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! use pool_map::as_completed;
//! let spawn = || (0..4).map(|x| pool.spawn(move || 12_u32.checked_div(x).expect("no zero")));
//! // wait(futures, return_when=FIRST_COMPLETED); the others go on
//! let first = as_completed(spawn()).next().expect("there are four");
//! assert!(first.is_finished());
//! // wait(futures, return_when=FIRST_EXCEPTION)
//! let failed = as_completed(spawn()).find_map(|task| task.try_join().err());
//! assert_eq!(failed.unwrap().message(), "no zero");
//! // wait(futures)
//! let results: Vec<Result<u32, _>> = spawn().map(|task| task.try_join()).collect();
//! assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## close and join
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! let task = pool.spawn(|| 5);
//! pool.join(); // pool.close(); pool.join(), tasks that tasks have spawned included
//! assert!(task.is_finished());
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## terminate
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! drop(pool.imap(0.., |x: u64| x)); // no further item of it starts
//! drop(pool); // pool.terminate(): drops queued tasks, waits for running ones
//! # Ok::<(), pool_map::PoolError>(())
//! ```
//!
//! ## `n_jobs=1`
//!
//! ```
//! let here = std::thread::current().id();
//! let pool = pool_map::Pool::inline(); // Parallel(n_jobs=1)
//! assert_eq!(pool.map(0..2, |_| std::thread::current().id()), [here, here]);
//! ```
//!
//! ## `current_process`
//!
//! ```
//! # let pool = pool_map::Pool::new(4)?;
//! use pool_map::Worker;
//! // current_process().name
//! let name = pool.install(|| Worker::current().unwrap().name().to_owned());
//! assert!(name.starts_with("PoolWorker-"));
//! # Ok::<(), pool_map::PoolError>(())
//! ```
