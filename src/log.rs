//! Log lines that say which worker wrote them and when: the only file that names chrono.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::{fmt, mem};

use chrono::{Local, NaiveDateTime, TimeDelta, Utc};
use parking_lot::RwLock;

use crate::base::current_worker::{self, LineSink, Worker, name_of_this_thread};
use crate::base::{stdio, unwind};

/// Prints a line to standard output, after the name of the worker and the time.
///
/// It takes what [`println!`] takes. The line, with its [`log_prefix`](crate::log_prefix()) and its end, is one write: lines of
/// several workers never mix. A message of several lines has the prefix on the first one.
///
/// # Where the line goes
///
/// - To the pool's [`line_sink`](crate::PoolBuilder::line_sink) on a worker of a pool that has one, else to the one
///   [of the process](crate::set_line_sink) on any thread.
/// - Otherwise, on a worker of a [`Pool`](crate::Pool) or the feeder of a stream: directly to standard output, so a test does
///   not capture it. A failed write loses the line and nothing else. On Unix and Windows it goes to what was standard output
///   when the first pool or call was made, and the lock of [`std::io::stdout`] is not taken: the line comes out even while another
///   thread holds it. Text that [`print!`] left in the buffer of standard output, an unfinished line, then comes out after
///   it. That takes one file descriptor, kept until the process ends. Where none was free, the line waits for that lock, and
///   the worker waits with it for at most 100 ms.
///   On other systems the line waits for that lock, and follows such text.
/// - Otherwise, on any other thread: through [`print!`], so a test captures it. If standard output is closed the first
///   such line is lost with the message of `print!` on standard error, but without its panic; later ones are lost in
///   silence.
///
/// # Examples
///
/// ```
/// use pool_map::{Pool, pool_println};
///
/// let x = 0;
/// pool_println!("Ready"); // (main) [2026-11-22 01:49:03.664871] Ready
/// let pool = Pool::new(2)?;
/// pool.install(|| pool_println!("Started: x={x}")); // (PoolWorker-1) [2026-11-22 01:49:03.666114] Started: x=0
/// # Ok::<(), pool_map::PoolError>(())
/// ```
///
/// # Panics
///
/// If the sink that takes the line does, or the formatting of an argument.
#[macro_export]
macro_rules! pool_println {
    () => {
        $crate::__print_line(::core::format_args!(""))
    };
    ($($message:tt)*) => {
        $crate::__print_line(::core::format_args!($($message)*))
    };
}

/// Who writes and when: the start of a log line.
///
/// Made by [`log_prefix`]; its `Display` is `(PoolWorker-1) [2026-11-22 01:49:03.666114]`.
#[derive(Clone, Debug)]
pub struct LogPrefix {
    /// The worker or, off the pools, the thread.
    name: Arc<str>,
    /// Local time.
    time: NaiveDateTime,
}

/// The name of this worker or thread, and the local time of now in microseconds.
///
/// For the formatter of a logger: it is what [`pool_println!`](crate::pool_println!) puts before its messages. Off the
/// pools it shows the thread's own name, and for a thread without one its id, as in `(ThreadId(7))`.
///
/// # Examples
///
/// ```
/// let prefix = pool_map::log_prefix();
/// println!("{prefix} Ready"); // (main) [2026-11-22 01:49:03.666114] Ready
/// ```
#[must_use]
pub fn log_prefix() -> LogPrefix {
    LogPrefix { name: name_of_this_thread(), time: local_time() }
}

fn local_time() -> NaiveDateTime {
    /// How many seconds local time is ahead of UTC, as last seen by any thread. Relaxed: nothing else hangs on it.
    static AHEAD: AtomicI32 = AtomicI32::new(0);
    // Chrono keeps the time zone in a thread-local. In the destructor of another one it may be gone, and chrono panics,
    // which there ends the process.
    match unwind::quietly(Local::now) {
        Some(now) => {
            AHEAD.store(now.offset().local_minus_utc(), Ordering::Relaxed);
            now.naive_local()
        }
        None => Utc::now().naive_utc() + TimeDelta::seconds(AHEAD.load(Ordering::Relaxed).into()),
    }
}

impl fmt::Display for LogPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}) [{}]", self.name, self.time.format("%Y-%m-%d %H:%M:%S%.6f"))
    }
}

/// What `pool_println!` stands for.
#[doc(hidden)]
pub fn print_line(message: fmt::Arguments<'_>) {
    let line = line(&log_prefix(), message);
    match sink() {
        Some(sink) => sink.take(&line[..line.len() - 1]),
        None => print(&line),
    }
}

/// The line with its end; without a blank where there is no message.
fn line(prefix: &LogPrefix, message: fmt::Arguments<'_>) -> String {
    match message.as_str() {
        Some("") => format!("{prefix}\n"),
        _ => format!("{prefix} {message}\n"),
    }
}

// ---- Sinks ----------------------------------------------------------------------------------------------------------

/// The sink of the process. Never locked while user code runs, the drop of a sink included.
static PROCESS_SINK: RwLock<Option<LineSink>> = RwLock::new(None);

/// Sends the log lines of the whole process to `sink`, instead of standard output.
///
/// `sink` gets each line of [`pool_println!`](crate::pool_println!) without its line end, on the thread that wrote it;
/// several threads may call it at once. No lock is held, so it may block, and it may log: its own lines go to standard
/// output. If it panics, that is the panic of whoever wrote the line, on a worker the item's. Workers of a pool with a
/// [`line_sink`](crate::PoolBuilder::line_sink) write to that one. A sink set before is replaced.
///
/// # Examples
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use pool_map::{clear_line_sink, pool_println, set_line_sink};
///
/// let lines = Arc::new(Mutex::new(Vec::new()));
/// let sink = Arc::clone(&lines);
/// set_line_sink(move |line| sink.lock().unwrap().push(line.to_owned()));
/// pool_println!("Ready");
/// clear_line_sink();
///
/// assert!(lines.lock().unwrap()[0].ends_with("] Ready"));
/// ```
pub fn set_line_sink(sink: impl Fn(&str) + Send + Sync + 'static) {
    replace_sink(Some(Arc::new(sink)));
}

/// Takes the process's sink away again: log lines go to standard output.
///
/// # Examples
///
/// ```
/// pool_map::set_line_sink(|line| eprintln!("{line}"));
/// pool_map::clear_line_sink();
/// pool_map::pool_println!("on standard output");
/// ```
pub fn clear_line_sink() {
    replace_sink(None);
}

fn replace_sink(sink: Option<LineSink>) {
    let old = mem::replace(&mut *PROCESS_SINK.write(), sink);
    drop(old);
}

/// The sink for a line of this thread, unless this thread is in one already.
fn sink() -> Option<Taker> {
    if IN_A_SINK.try_with(Cell::get).unwrap_or(true) {
        return None;
    }
    current_worker::pool_sink().or_else(|| PROCESS_SINK.read().clone()).map(Taker)
}

thread_local! {
    /// Whether a sink runs on this thread: the lines it writes itself would otherwise come back to it without end.
    static IN_A_SINK: Cell<bool> = const { Cell::new(false) };
}

/// A sink that is about to take a line.
struct Taker(LineSink);

impl Taker {
    fn take(self, line: &str) {
        let _guard = InASink::enter();
        (self.0)(line);
    }
}

/// Keeps the flag up, over a panic of the sink too.
struct InASink;

impl InASink {
    fn enter() -> InASink {
        IN_A_SINK.set(true);
        InASink
    }
}

impl Drop for InASink {
    fn drop(&mut self) {
        IN_A_SINK.set(false);
    }
}

// ---- Printing -------------------------------------------------------------------------------------------------------

/// Whether `print!` has failed: from then on standard output is written to directly, where failing is silent.
static PRINT_FAILED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread feeds a stream. Whoever takes the results may hold the lock of standard output meanwhile.
    static IS_FEEDER: Cell<bool> = const { Cell::new(false) };
}

/// Lets the lines of this thread, a feeder, go past the lock of standard output.
pub(crate) fn go_past_the_lock() {
    IS_FEEDER.set(true);
}

/// Prints a whole line, end included.
fn print(line: &str) {
    if Worker::is_here() || IS_FEEDER.get() || PRINT_FAILED.load(Ordering::Relaxed) {
        stdio::write_stdout(line);
    } else if unwind::catch(|| print!("{line}")).is_err() {
        PRINT_FAILED.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use std::thread;

    use super::*;

    fn fixed(name: &str) -> LogPrefix {
        let day = NaiveDate::from_ymd_opt(2026, 11, 22).expect("a day");
        let time = day.and_hms_micro_opt(1, 49, 3, 6_114).expect("a time");
        LogPrefix { name: Arc::from(name), time }
    }

    #[test]
    fn microseconds_keep_their_zeros() {
        assert_eq!(fixed("PoolWorker-1").to_string(), "(PoolWorker-1) [2026-11-22 01:49:03.006114]");
    }

    #[test]
    fn the_time_is_the_local_one() {
        let before = Local::now().naive_local();
        let shown = log_prefix().time;
        // The clock of the system may be set meanwhile, but hardly by so much.
        assert!((shown - before).abs() < TimeDelta::minutes(10), "{before} {shown}");
    }

    #[test]
    fn one_prefix_and_one_end_a_line() {
        let prefix = fixed("main");
        assert_eq!(line(&prefix, format_args!("x={}", 0)), format!("{prefix} x=0\n"));
        assert_eq!(line(&prefix, format_args!("a\nb")), format!("{prefix} a\nb\n"));
        assert_eq!(line(&prefix, format_args!("")), format!("{prefix}\n"));
    }

    #[test]
    fn a_thread_without_a_name_shows_its_id() {
        let unnamed = thread::spawn(|| (thread::current().id(), name_of_this_thread()));
        let (id, name) = unnamed.join().expect("it does not panic");
        assert_eq!(*name, *format!("{id:?}"));
    }
}
