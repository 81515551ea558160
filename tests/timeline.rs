//! A timeline counts exactly, and what it writes is read by others.
//!
//! A program of its own: `serde_json` can compare its values with numbers, and where it is in sight `sum()` in a comparison no
//! longer knows its type.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use pool_map::{IntoPool, Pool, PoolIterator, Timeline, TraceLevel};
use serde_json::Value;

// Every `#[test]` has a time limit.
#[macro_use]
extern crate watched;
#[path = "../src/testing/watch.rs"]
mod watch;

/// What is written to memory.
fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("memory takes it");
    String::from_utf8(out).expect("text")
}

fn svg(timeline: &Timeline) -> String {
    written(|out| timeline.write_svg(out))
}

/// The events of the trace, as another parser sees them.
fn events(timeline: &Timeline) -> Vec<Value> {
    let json = written(|out| timeline.write_chrome_trace(out));
    let trace: Value = serde_json::from_str(&json).expect("JSON");
    trace["traceEvents"].as_array().expect("a list").clone()
}

/// Those of items.
fn item_events(timeline: &Timeline) -> Vec<Value> {
    events(timeline).into_iter().filter(|event| event["ph"] == "X").collect()
}

/// The fields of each line of the joblog below the head.
fn jobs(timeline: &Timeline) -> Vec<Vec<String>> {
    let table = written(|out| timeline.write_joblog(out));
    let mut lines = table.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let head = ["Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Command"];
    assert_eq!(lines.next().expect("a head"), head);
    let lines: Vec<_> = lines.collect();
    assert!(lines.iter().all(|line| line.len() == head.len()), "{table}");
    lines
}

/// Checks that it is XML without a script, and gives the titles of the bars.
fn bars(svg: &str) -> Vec<String> {
    let document = roxmltree::Document::parse(svg).expect("XML");
    assert!(!svg.contains("<script") && !svg.contains("NaN") && !svg.contains("inf\""), "{svg}");
    let nodes = document.descendants().filter(|node| node.has_tag_name("rect"));
    nodes.flat_map(|bar| bar.children().filter_map(|title| title.text().map(str::to_owned))).collect()
}

/// A timeline of `count` items on `workers` threads, each of which takes part.
fn run(count: usize, pool: impl IntoPool) -> Timeline {
    let timeline = Timeline::new();
    let work = |x: usize| (0..x % 10 * 100).fold(x, |sum, y| std::hint::black_box(sum ^ y));
    (0..count).pool_map(pool, work).observe(&timeline).for_each(drop);
    timeline
}

#[test]
fn all_that_it_writes_agrees_on_the_items() {
    let timeline = run(2000, 3);
    assert_eq!((timeline.items(), timeline.panics()), (2000, 0));
    assert!(timeline.to_string().starts_with("2 000 items in "), "{timeline}");

    let indices: BTreeSet<_> = item_events(&timeline).iter().map(|event| event["args"]["index"].as_u64()).collect();
    assert_eq!(indices, (0..2000).map(Some).collect());

    let jobs = jobs(&timeline);
    let numbers: BTreeSet<usize> = jobs.iter().map(|job| job[0].parse().expect("a number")).collect();
    assert_eq!((jobs.len(), numbers), (2000, (1..=2000).collect()));
    assert!(jobs.is_sorted_by_key(|job| job[2].parse::<f64>().expect("seconds").to_bits()));

    let runtimes: f64 = jobs.iter().map(|job| job[3].parse::<f64>().expect("seconds")).sum();
    assert!((runtimes - timeline.busy().as_secs_f64()).abs() < 1e-6, "{runtimes} {:?}", timeline.busy());
    bars(&svg(&timeline));
}

#[test]
fn a_trace_has_a_named_track_for_each_thread() {
    let pool = Pool::builder().threads(2).name("Track").build().expect("threads");
    let timeline = Timeline::new();
    let both = std::sync::Barrier::new(2);
    (0..2).pool_map(&pool, |_| _ = both.wait()).chunk_size(1).observe(&timeline).for_each(drop);
    (0..1).pool_map(Pool::inline(), drop).observe(&timeline).for_each(drop);

    let events = events(&timeline);
    let heads = events.iter().filter(|event| event["name"] == "thread_name");
    let tracks: Vec<_> =
        heads.map(|head| (head["tid"].as_u64(), head["args"]["name"].as_str().unwrap_or_default())).collect();
    let names: Vec<_> = tracks.iter().map(|(_, name)| *name).collect();
    assert_eq!(names, [std::thread::current().name().expect("a test's name"), "Track-1", "Track-2"]);
    assert!(events.iter().filter(|event| event["ph"] == "M").all(|event| event.get("ts").is_none()));
    for event in item_events(&timeline) {
        assert!(tracks.iter().any(|(track, _)| *track == event["tid"].as_u64()));
        assert!(event["ts"].is_number() && event["dur"].as_f64().expect("a number") >= 0.0);
    }
}

#[test]
fn threads_beyond_a_thousand_share_a_row() {
    let timeline = Timeline::new();
    let pool = Pool::inline();
    let call = || (0..2).pool_map(&pool, drop).observe(&timeline).for_each(drop);
    for request in 0..1100 {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name(format!("request-{request}"));
            thread.spawn_scoped(scope, call).expect("a thread").join().expect("no panic");
        });
    }
    assert_eq!(timeline.items(), 2200);
    let events = events(&timeline);
    let heads: Vec<_> = events.iter().filter(|event| event["name"] == "thread_name").collect();
    let tracks: Vec<_> = heads.iter().map(|head| head["args"]["name"].as_str().expect("a name")).collect();
    assert_eq!((tracks.len(), tracks[1024]), (1025, "others"));
    let jobs = jobs(&timeline);
    assert!(jobs.len() > 2 * 1024 && jobs.iter().any(|job| job[1] == "others"), "{}", jobs.len());
    bars(&svg(&timeline));
}

#[test]
fn items_of_nested_calls_lie_within_theirs_on_the_same_track() {
    let timeline = Arc::new(Timeline::new());
    let pool = Pool::builder().threads(2).observer(Arc::clone(&timeline)).build().expect("threads");
    pool.map(0..5_u64, |x| (0..4).pool_map(&pool, |y| x + y).sum::<u64>());
    assert_eq!(timeline.items(), 25);
    let events = item_events(&timeline);
    let time = |event: &Value| {
        let start = event["ts"].as_f64().expect("a number");
        (start, start + event["dur"].as_f64().expect("a number"))
    };
    let (outer, inner): (Vec<_>, Vec<_>) = events.iter().partition(|event| event["name"] == "Pool::map");
    assert_eq!((outer.len(), inner.len()), (5, 20));
    for event in inner {
        let ((start, end), track) = (time(event), &event["tid"]);
        let around = outer.iter().filter(|outer| outer["tid"] == *track).map(|outer| time(outer));
        let around = around.filter(|(from, to)| *from <= start && end <= *to + 1e-3).count();
        assert_eq!(around, 1);
    }
    assert!(timeline.to_string().contains("\nnested: 20 items inside those items\n"), "{timeline}");
    assert_eq!(jobs(&timeline).len(), 25);
    bars(&svg(&timeline));
}

#[test]
fn labels_of_any_kind_are_escaped() {
    let label = "a \"b\" <c> & 'd'\n\t\u{1}\u{fffe} \\é日本 ]]> </script>";
    let timeline = Timeline::new();
    (0..3)
        .pool_map(Pool::inline(), |_| std::hint::black_box(vec![0; 100]).clear())
        .named(label)
        .observe(&timeline)
        .for_each(drop);

    let events = item_events(&timeline);
    assert_eq!(events.len(), 3);
    assert!(events.iter().all(|event| event["name"] == label), "as it was");
    let picture = svg(&timeline);
    assert!(picture.contains("“a &quot;b&quot; &lt;c&gt; &amp; &#39;d&#39;"), "{picture}");
    let titles = bars(&picture);
    assert!(titles.iter().all(|title| title.starts_with("a \"b\" <c> & 'd'")), "{titles:?}");
    assert!(jobs(&timeline).iter().all(|job| job[8].starts_with("a \"b\" <c> & 'd'   ")));
    assert_eq!(timeline.to_string().matches(label).count(), 0, "one call needs no name");
}

#[test]
fn names_of_threads_are_escaped() {
    let pool = Pool::builder().threads(1).name("<W&\t\"é\">").build().expect("a thread");
    let timeline = Timeline::new();
    (0..1).pool_map(&pool, drop).observe(&timeline).for_each(drop);
    bars(&svg(&timeline));
    assert!(events(&timeline).iter().any(|event| event["args"]["name"] == "<W&\t\"é\">-1"));
    assert_eq!(jobs(&timeline)[0][1], "<W& \"é\">-1");
    assert!(timeline.to_string().lines().nth(2).expect("a row").starts_with("<W&\u{fffd}\"é\">-1 "), "{timeline}");
}

#[test]
fn nothing_is_a_picture_too() {
    for timeline in [Timeline::new(), run(0, 2)] {
        assert!(timeline.to_string().starts_with("0 items in "), "{timeline}");
        assert_eq!((item_events(&timeline).len(), jobs(&timeline).len()), (0, 0));
        assert_eq!(bars(&svg(&timeline)), Vec::<String>::new());
    }
}

#[test]
fn one_item_is_a_picture() {
    // A number would start one worker for it.
    let timeline = run(1, Pool::new(4).expect("four threads"));
    let text = timeline.to_string();
    assert!(text.starts_with("1 item in ") && text.contains("\n+ 3 workers without an item\n"), "{text}");
    assert_eq!((item_events(&timeline).len(), jobs(&timeline).len()), (1, 1));
    bars(&svg(&timeline));
}

#[test]
fn a_call_that_panicked_half_way_is_whole() {
    let timeline = Timeline::new();
    let boom = |x: u32| assert_ne!(x, 7, "boom");
    let results = (0..100).pool_map(1, boom).chunk_size(1).trace(TraceLevel::Off).observe(&timeline);
    catch_unwind(AssertUnwindSafe(|| results.for_each(drop))).expect_err("item 7 panics");
    assert_eq!((timeline.items(), timeline.panics()), (8, 1));
    assert!(timeline.elapsed() > Duration::ZERO && timeline.elapsed() >= timeline.busy());
    assert!(timeline.to_string().ends_with("\npanicked: item 7\n"), "{timeline}");
    let failed: Vec<_> = jobs(&timeline).into_iter().filter(|job| job[6] != "0").collect();
    assert_eq!((failed.len(), &*failed[0][0], &*failed[0][6]), (1, "8", "101"));
    let events = item_events(&timeline);
    let panicked: Vec<_> = events.iter().filter(|event| event["args"].get("panicked").is_some()).collect();
    assert_eq!((events.len(), panicked.len()), (8, 1));
    assert_eq!(panicked[0]["args"]["index"], 7);
    let picture = svg(&timeline);
    bars(&picture);
    assert!(picture.contains("class=\"cross\"") && picture.contains(">panicked<"), "a mark, and what it means");
}

#[test]
fn a_slow_item_stands_out() {
    let timeline = Timeline::new();
    // The clock decides: item 3 ends once it has taken a hundred times as long as everything before it.
    let start = std::time::Instant::now();
    let wait = |x: u32| {
        let until = start.elapsed() * if x == 3 { 100 } else { 0 };
        while start.elapsed() < until {
            std::thread::yield_now();
        }
    };
    (0..8).pool_map(Pool::inline(), wait).observe(&timeline).for_each(drop);
    assert!(timeline.to_string().contains("slowest: item 3 ("), "{timeline}");
    let picture = svg(&timeline);
    assert!(picture.contains("class=\"slow\"") && picture.contains("class=\"mark\"") && picture.contains(">slow<"));
    assert!(bars(&picture).iter().any(|title| title.starts_with("pool_map 3: ")));
}

#[test]
fn a_picture_is_as_large_for_many_items_as_for_some() {
    let many = svg(&run(100_000, 2)).len();
    assert!(many < 200_000, "{many}");
    bars(&svg(&run(3000, 64)));
}

#[test]
fn a_timeline_can_be_read_while_calls_run() {
    let timeline = Timeline::new();
    let mut results = (0..10).pool_map(1, |x| x).max_in_flight(1).observe(&timeline);
    assert_eq!(results.by_ref().take(3).count(), 3);
    assert_eq!(timeline.items(), 3);
    let first = timeline.elapsed();
    assert!(first > Duration::ZERO, "the call has begun and has not ended");
    bars(&svg(&timeline));
    assert_eq!(results.count(), 7);
    assert_eq!(timeline.items(), 10);
    let at_the_end = timeline.elapsed();
    assert!(at_the_end >= first);
    assert_eq!(timeline.elapsed(), at_the_end, "its clock stands still with nothing at work");
}

#[test]
fn what_is_delivered_is_recorded() {
    for pool in [Pool::new(2).expect("threads"), Pool::inline()] {
        let timeline = Timeline::new();
        let mut delivered = 0;
        for _ in (0..2000).pool_map(&pool, |x: u32| x).observe(&timeline) {
            delivered += 1;
            assert!(timeline.items() >= delivered);
        }
        let timeline = Arc::new(Timeline::new());
        for (x, delivered) in (0..2000).pool_imap(&pool, |x: u32| x).observe(&timeline).zip(1..) {
            assert!(timeline.items() >= delivered, "{x}");
        }
        let timeline = Arc::new(Timeline::new());
        let watched = Pool::builder().threads(1).observer(&timeline).build().expect("a thread");
        for tasks in 1..50 {
            watched.spawn(|| ()).join();
            assert_eq!(timeline.items(), tasks);
        }
    }
}

#[test]
fn items_that_run_are_listed_while_they_do() {
    let pools = [Pool::builder().threads(2).name("Runs").build().expect("threads"), Pool::inline()];
    for pool in pools {
        let timeline = Arc::new(Timeline::new());
        let seen = |index: usize| {
            let mine = |task: &&pool_map::RunningTask| task.index() == index && task.label() == Some("seen");
            let running = timeline.running();
            let task = running.iter().find(mine).expect("it runs");
            assert_eq!(task.worker(), std::thread::current().name().expect("a name"));
            running.len()
        };
        // The two wait for each other.
        let both = std::sync::Barrier::new(pool.threads());
        let work = |index: usize| {
            both.wait();
            let count = seen(index);
            both.wait();
            count
        };
        let counts: Vec<_> = (0..2).pool_map(&pool, work).chunk_size(1).named("seen").observe(&timeline).collect();
        assert_eq!(counts, [pool.threads(); 2]);
        assert!(timeline.running().is_empty());

        let nested = |_: u32| (0..3).pool_map(Pool::inline(), seen).named("seen").observe(&timeline).sum::<usize>();
        assert_eq!((0..1).pool_map(&pool, nested).observe(&timeline).collect::<Vec<_>>(), [6]);
        let boom = |index| assert_eq!(seen(index), 7, "boom");
        let results = (0..3).pool_map(&pool, boom).chunk_size(1).named("seen").observe(&timeline);
        assert_eq!(results.catch_panics().filter(Result::is_err).count(), 3);
        assert!(timeline.running().is_empty());
    }
    let timeline = Arc::new(Timeline::new());
    let pool = Pool::builder().threads(1).observer(&timeline).build().expect("a thread");
    let inside = Arc::clone(&timeline);
    assert_eq!(pool.spawn(move || inside.running().len()).join(), 1);
    assert!(timeline.running().is_empty());
}

#[test]
fn a_timeline_may_be_taken_across_a_panic() {
    let timeline = Timeline::new();
    let boom =
        || (0..3).pool_map(Pool::inline(), |x| assert_ne!(x, 1)).trace(TraceLevel::Off).observe(&timeline).count();
    assert!(catch_unwind(boom).is_err());
    assert_eq!((timeline.items(), timeline.panics()), (2, 1));
}

#[test]
fn several_calls_are_told_apart() {
    let timeline = Timeline::new();
    for name in ["first", "second"] {
        (0..2).pool_map(2, drop).named(name).observe(&timeline).for_each(drop);
    }
    let names: Vec<_> = item_events(&timeline).iter().map(|event| event["name"].clone()).collect();
    assert_eq!(names.iter().filter(|name| **name == "first").count(), 2);
    assert_eq!(names.iter().filter(|name| **name == "second").count(), 2);
    let text = timeline.to_string();
    assert!(text.contains(" of first (") && text.contains(" of second ("), "{text}");
}

#[test]
fn a_title_stands_in_place_of_the_figures() {
    let timeline = Timeline::new().titled("a < b");
    assert!(svg(&timeline).contains(">a &lt; b</text>"));
}

/// Fails once it has taken so many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.0.min(bytes.len());
        self.0 -= room;
        if room == 0 { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(room) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let timeline = run(3000, 2);
    for room in [0, 10, 1000] {
        let errors = [
            timeline.write_svg(Full(room)),
            timeline.write_chrome_trace(Full(room)),
            timeline.write_joblog(Full(room)),
        ];
        for error in errors {
            assert_eq!(error.expect_err("there is no room").kind(), io::ErrorKind::StorageFull);
        }
    }
    // No directory takes bytes.
    let error = fs::File::create("/").and_then(|file| timeline.write_svg(file)).expect_err("not a file");
    assert_ne!(error.kind(), io::ErrorKind::Other, "the system's own error: {error}");
}

#[test]
fn a_stream_has_a_feeder_in_its_summary() {
    let timeline = Arc::new(Timeline::new());
    // The feeder's share is measured: at least a percent.
    let slow = (0..5).inspect(|_| std::thread::sleep(Duration::from_millis(5)));
    assert!(slow.pool_imap(2, |x: u64| x).observe(Arc::clone(&timeline)).eq(0..5));
    let text = timeline.to_string();
    assert!(text.starts_with("5 items in ") && text.contains(" on 2 workers"), "{text}");
    assert!(text.contains("\ncaller: 0 % in the source, "), "its time is the feeder's: {text}");
    let share = text.split("\nfeeder: ").nth(1).and_then(|rest| rest.split(" % in the source\n").next());
    let share: u32 = share.and_then(|share| share.parse().ok()).expect("a share");
    assert!((1..=100).contains(&share), "{text}");

    let timeline = Timeline::new();
    pool_map::scope(Pool::inline(), |s| s.imap(0..5, |x: u64| x).observe(&timeline).for_each(drop));
    let text = timeline.to_string();
    assert!(text.contains(" on 1 worker") && !text.contains("\nfeeder:"), "{text}");
}

#[test]
fn tasks_have_no_caller_in_the_summary() {
    let timeline = Arc::new(Timeline::new());
    let pool = Pool::builder().threads(2).observer(Arc::clone(&timeline)).build().expect("threads");
    let tasks: Vec<_> = (0..10_u64).map(|x| pool.spawn(move || x)).collect();
    assert!(tasks.into_iter().map(pool_map::Task::join).eq(0..10));
    let text = timeline.to_string();
    assert!(text.starts_with("10 items in ") && text.contains(" on 2 workers"), "{text}");
    assert!(!text.contains("caller:") && !text.contains("feeder:"), "{text}");
    // What a task spawns may run after it, on a worker that has nothing else. Its time is measured.
    let timeline = Arc::new(Timeline::new());
    let pool = Pool::builder().threads(1).observer(Arc::clone(&timeline)).build().expect("a thread");
    let inside = pool.clone();
    let inner = pool.spawn(move || inside.spawn(|| std::thread::sleep(Duration::from_millis(20)))).join();
    inner.join();
    assert!(timeline.elapsed() >= timeline.busy(), "{timeline}");
    assert!(timeline.busy() >= Duration::from_millis(20));
}
