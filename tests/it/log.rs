//! Log lines: their format, their ways out, and that none is lost or mixed.

use std::io::Write;
use std::panic::catch_unwind;
use std::process::Output;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use pool_map::{Pool, clear_line_sink, log_prefix, pool_println, set_line_sink};

use crate::child;

/// The name and the message of a log line, which must be whole.
fn parse(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix('(')?.split_once(") [")?;
    let (time, message) = rest.split_once(']')?;
    is_time(time).then_some((name, message.strip_prefix(' ').unwrap_or(message)))
}

/// Whether it is a local time or, without chrono, a number of seconds.
fn is_time(text: &str) -> bool {
    let pattern = if cfg!(feature = "chrono") { "dddd-dd-dd dd:dd:dd.dddddd" } else { "d.dddddd" };
    let extra = text.len().saturating_sub(pattern.len());
    let (more_seconds, text) = if cfg!(feature = "chrono") { ("", text) } else { text.split_at(extra) };
    let fits = |(found, expected): (u8, u8)| match expected {
        b'd' => found.is_ascii_digit(),
        mark => found == mark,
    };
    let is_seconds = more_seconds.bytes().all(|byte| byte.is_ascii_digit());
    is_seconds && text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(fits)
}

/// The log lines of a child: the test harness prints lines of its own around them.
fn lines_of(child: &Output) -> Vec<(String, String)> {
    assert!(child.status.success(), "{child:?}");
    let out = String::from_utf8(child.stdout.clone()).expect("text");
    let lines = out.lines().filter_map(parse);
    lines.map(|(name, message)| (name.to_owned(), message.to_owned())).collect()
}

type Lines = Arc<Mutex<Vec<String>>>;

fn collector() -> (Lines, impl Fn(&str) + Send + Sync + 'static) {
    let lines = Lines::default();
    let sink = Arc::clone(&lines);
    (lines, move |line: &str| {
        let mut lines = sink.lock().expect("no sink panics here");
        lines.push(line.to_owned());
    })
}

fn taken(lines: &Lines) -> Vec<String> {
    std::mem::take(&mut *lines.lock().expect("no sink panics here"))
}

fn messages(lines: &Lines) -> Vec<String> {
    let lines = taken(lines);
    lines.iter().map(|line| parse(line).expect("a whole line").1.to_owned()).collect()
}

#[test]
fn a_prefix_names_the_worker_or_the_thread() {
    let thread = thread::Builder::new().name("loader".to_owned());
    let shown = thread.spawn(|| log_prefix().to_string()).expect("a thread starts").join();
    assert_eq!(parse(&shown.expect("it does not panic")), Some(("loader", "")));

    let pool = Pool::builder().name("Shown").threads(1).build().expect("a thread starts");
    assert_eq!(parse(&pool.install(|| log_prefix().to_string())), Some(("Shown-1", "")));
    let earlier = log_prefix();
    assert_eq!(earlier.to_string(), earlier.clone().to_string(), "the time is that of the call");
}

#[cfg(not(feature = "chrono"))]
#[test]
fn without_chrono_seconds_count_from_the_first_line() {
    let child = child::run(|| {
        pool_println!("the first");
        Pool::new(1).expect("a thread starts").install(|| pool_println!("a later one"));
    });
    let out = String::from_utf8(child.stdout).expect("text");
    let times = out.lines().filter_map(|line| line.split_once("] ")?.0.rsplit_once('['));
    let times: Vec<f64> = times.map(|(_, time)| time.parse().expect("seconds")).collect();
    assert!(matches!(*times, [0.0, later] if later > 0.0), "{out}");
}

#[test]
fn the_macro_takes_what_println_takes() {
    let (lines, sink) = collector();
    let pool = Pool::builder().threads(1).line_sink(sink).build().expect("a thread starts");
    pool.install(|| {
        let x = 0;
        pool_println!();
        pool_println!("Started");
        pool_println!("Started: x={x}");
        pool_println!("Started: x={}, {y:?}", x, y = "y",);
        pool_println!("two\nlines");
    });
    let lines = taken(&lines);
    assert!(lines[0].ends_with(']'), "{lines:?}");
    let messages: Vec<_> = lines.iter().map(|line| parse(line).expect("a whole line").1).collect();
    assert_eq!(messages, ["", "Started", "Started: x=0", "Started: x=0, \"y\"", "two\nlines"]);
}

#[test]
fn lines_of_many_workers_are_never_mixed() {
    let child = child::run(|| {
        let pool = Pool::new(8).expect("eight threads start");
        // Longer than what a pipe takes in one piece.
        let tail = "x".repeat(5000);
        pool.install(|| {
            rayon::broadcast(|context| {
                for count in 0..1000 {
                    let tail = if count % 100 == 0 { &*tail } else { "" };
                    pool_println!("{} {count} {tail}.", context.index());
                }
            })
        });
    });
    let lines = lines_of(&child);
    assert_eq!(lines.len(), 8000);
    let mut next = [0; 8];
    for (name, message) in lines {
        let fields: Vec<_> = message.split(' ').collect();
        let index: usize = fields[0].parse().expect("an index");
        assert_eq!(name, format!("PoolWorker-{}", index + 1));
        assert_eq!(fields[1], next[index].to_string(), "in order, none lost");
        let tail = if next[index] % 100 == 0 { 5000 } else { 0 };
        assert_eq!(fields[2], "x".repeat(tail) + ".");
        next[index] += 1;
    }
}

#[test]
fn a_caller_may_hold_standard_output() {
    let child = child::run(|| {
        let pool = Pool::new(1).expect("a thread starts");
        let mut held = std::io::stdout().lock();
        writeln!(held).expect("a line of its own");
        pool.install(|| pool_println!("from the worker"));
        pool_println!("from the caller");
        drop(held);
    });
    let lines = lines_of(&child);
    assert_eq!(lines[0], ("PoolWorker-1".to_owned(), "from the worker".to_owned()));
    assert_eq!(lines[1].1, "from the caller");
    assert_eq!(lines.len(), 2);
}

#[test]
fn a_callers_line_is_captured_and_a_workers_is_not() {
    let child = child::captured().succeeds(|| {
        let pool = Pool::new(1).expect("a thread starts");
        pool.install(|| pool_println!("from the worker"));
        pool_println!("from the caller");
    });
    let out = String::from_utf8_lossy(&child.stdout);
    assert!(out.contains("] from the worker\n"), "{out}");
    assert!(!out.contains("from the caller"), "{out}");
}

#[cfg(unix)]
#[allow(unsafe_code)]
#[test]
fn a_closed_pipe_loses_lines_and_nothing_else() {
    let child = child::run(|| {
        let mut ends = [0; 2];
        // SAFETY: `ends` has room for two descriptors, which are used below as what they are.
        unsafe {
            assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
            assert_eq!(libc::dup2(ends[1], 1), 1);
            assert_eq!(libc::close(ends[0]), 0);
        }
        let pool = Pool::new(1).expect("a thread starts");
        pool.install(|| pool_println!("from the worker"));
        pool_println!("from the caller");
        pool_println!("from the caller again");
        // The harness would fail to print its summary.
        std::process::exit(7);
    });
    assert_eq!(child.status.code(), Some(7), "{child:?}");
    let err = String::from_utf8_lossy(&child.stderr);
    assert_eq!(err.matches("failed printing to stdout").count(), 1, "{err}");
}

#[cfg(unix)]
#[test]
fn without_a_free_descriptor_no_line_is_lost() {
    let child = child::run(|| {
        let pool = Pool::new(1).expect("a thread starts");
        assert_eq!(pool.map([1], |x| x), [1]);
        let all_taken = crate::take_all_descriptors();
        let lock = std::io::stdout().lock();
        pool.install(|| pool_println!("while there is none"));
        drop((lock, all_taken));
        pool.install(|| pool_println!("with some free again"));
    });
    let messages: Vec<_> = lines_of(&child).into_iter().map(|(_, message)| message).collect();
    assert_eq!(messages, ["while there is none", "with some free again"]);
}

#[cfg(unix)]
#[test]
fn nor_where_there_never_was_one() {
    let child = child::run(|| {
        let all_taken = crate::take_all_descriptors();
        let pool = Pool::new(1).expect("a thread starts");
        pool.install(|| pool_println!("the first"));
        let lock = std::io::stdout().lock();
        pool.install(|| pool_println!("while another thread has the lock"));
        drop(lock);
        pool.install(|| pool_println!("after it"));
        drop(all_taken);
        pool.install(|| pool_println!("the last"));
    });
    let messages: Vec<_> = lines_of(&child).into_iter().map(|(_, message)| message).collect();
    assert_eq!(messages, ["the first", "while another thread has the lock", "after it", "the last"]);
}

#[test]
fn a_pools_sink_wins_over_the_processs() {
    let child = child::run(|| {
        let (of_process, sink) = collector();
        set_line_sink(sink);
        let (of_pool, sink) = collector();
        let pool = Pool::builder().threads(1).line_sink(sink).build().expect("a thread starts");
        pool_println!("caller");
        pool.install(|| pool_println!("worker"));
        let plain = Pool::new(1).expect("a thread starts");
        plain.install(|| pool_println!("worker of another pool"));
        assert_eq!(messages(&of_pool), ["worker"]);
        assert_eq!(messages(&of_process), ["caller", "worker of another pool"]);

        clear_line_sink();
        plain.install(|| pool_println!("standard output"));
        assert!(messages(&of_process).is_empty());
        assert_eq!(Arc::strong_count(&of_process), 1, "the sink is dropped");
    });
    let messages: Vec<_> = lines_of(&child).into_iter().map(|(_, message)| message).collect();
    assert_eq!(messages, ["standard output"]);
}

#[test]
fn a_sink_may_log_and_replace_itself() {
    let child = child::run(|| {
        set_line_sink(|line| {
            pool_println!("in the sink");
            assert!(line.ends_with("] once"));
            clear_line_sink();
        });
        pool_println!("once");
        pool_println!("after it");
    });
    let messages: Vec<_> = lines_of(&child).into_iter().map(|(_, message)| message).collect();
    assert_eq!(messages, ["in the sink", "after it"]);
}

#[test]
fn a_sink_that_panics_panics_where_the_line_was_written() {
    let (tell, told) = mpsc::channel();
    let sink = move |line: &str| {
        tell.send(line.to_owned()).expect("the test listens");
        assert!(!line.ends_with("bad"), "the sink does not like it");
    };
    let pool = Pool::builder().threads(1).line_sink(sink).build().expect("a thread starts");
    let panic = catch_unwind(|| pool.install(|| pool_println!("bad")));
    let panic = panic.expect_err("it goes on here");
    assert_eq!(panic.downcast_ref(), Some(&"the sink does not like it"));
    pool.install(|| pool_println!("good"));
    let lines: Vec<_> = told.try_iter().collect();
    assert_eq!(lines.len(), 2, "the sink is asked again after its panic");
}
