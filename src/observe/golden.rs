//! All that a timeline writes, byte by byte: made-up runs against what is kept in `tests/golden`.
//!
//! `BLESS=1 cargo test --lib golden` writes those files anew. Look at the difference before you keep it, at the pictures with
//! your own eyes.

use super::observer::{CallInfo, CallStart, CallTotals, CallerRole, Observer, TaskInfo, TaskOutcome};
use super::snapshot::Snapshot;
use super::spans::Span;
use super::timeline::Timeline;
use super::{chrome, joblog, summary, svg};
use std::panic::Location;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};
use std::{env, fs};

/// A run that is made up. All times are microseconds since its origin.
struct ScriptedRun(Timeline);

/// One thread of it.
#[derive(Clone, Copy)]
struct Thread<'a> {
    run: &'a ScriptedRun,
    name: &'a str,
    index: Option<usize>,
}

const fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

impl ScriptedRun {
    fn new() -> Self {
        let mut timeline = Timeline::new();
        timeline.origin_date = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        ScriptedRun(timeline)
    }

    /// A whole call: of `workers` workers and one part of its caller's time, from the start to the end.
    fn call(&self, id: u64, label: Option<&str>, workers: usize, role: CallerRole, depth: usize, times: [u64; 2]) {
        let [start, end] = times;
        let started = self.0.origin + us(start);
        let elapsed = us(end - start);
        let start = CallStart { id, started, size_hint: (0, None), workers, role, depth, caller: "main".into() };
        // Nested calls have other shares, and those are not to be seen.
        let waiting = if depth == 0 { elapsed / 2 } else { Duration::ZERO };
        let totals = CallTotals { items: 0, elapsed, source: elapsed / 10, waiting };
        let (method, site) = (if role == CallerRole::Results { "pool_imap" } else { "pool_map" }, site());
        let call = CallInfo { start: &start, method, site, label, totals };
        self.0.call_started(&call);
        self.0.call_finished(&call);
    }

    fn worker<'a>(&'a self, name: &'a str, index: usize) -> Thread<'a> {
        Thread { run: self, name, index: Some(index) }
    }

    /// Draws it and sums it up.
    fn keep(self, name: &str) -> Snapshot {
        let snapshot = self.0.snapshot();
        compare(&format!("{name}.svg"), &svg::drawn(&snapshot));
        compare(&format!("{name}.txt"), &summary::summary(&snapshot));
        snapshot
    }
}

impl Thread<'_> {
    fn item(self, call: u64, index: u64, start: u64, end: u64) {
        self.task(call, index, start, end, 0, TaskOutcome::Returned);
    }

    fn task(self, call: u64, index: u64, start: u64, end: u64, depth: usize, outcome: TaskOutcome) {
        let at = |micros| self.run.0.origin + us(micros);
        self.run.0.task_finished(&TaskInfo {
            call,
            label: None,
            index,
            worker: self.name,
            worker_index: self.index,
            depth,
            start: at(start),
            end: at(end),
            outcome,
        });
    }
}

/// Where all calls are said to be.
fn site() -> &'static Location<'static> {
    Location::caller()
}

#[track_caller]
fn compare(name: &str, text: &str) {
    let text = &text.replace(&format!("golden.rs:{}", site().line()), "golden.rs:LINE");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if env::var_os("BLESS").is_some() {
        fs::write(&path, text).expect("the folder is there");
    }
    let kept = fs::read_to_string(&path).expect("a kept file");
    let differ = kept.lines().zip(text.lines()).find(|(kept, text)| kept != text);
    assert_eq!(differ, None, "a line of {name}: kept, written now");
    assert_eq!(kept.len(), text.len(), "{name}");
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("memory takes it");
    String::from_utf8(out).expect("text")
}

/// All there can be in one picture: two calls, one of them labelled; wide bars, narrow ones and those of no time at all, slow
/// ones, panics, nested calls, a worker without an item.
#[test]
fn a_run_with_everything() {
    let run = ScriptedRun::new();
    let (one, two) = (run.worker("PoolWorker-1", 0), run.worker("PoolWorker-2", 1));
    let main = Thread { run: &run, name: "main", index: None };
    run.call(1, None, 4, CallerRole::Both, 0, [100, 1300]);
    run.call(2, Some("thumbnails <1>"), 2, CallerRole::Both, 0, [1500, 2600]);
    run.call(3, None, 2, CallerRole::Both, 1, [200, 250]);
    run.call(4, None, 1, CallerRole::Nothing, 0, [2000, 2100]);

    one.task(3, 0, 200, 215, 1, TaskOutcome::Returned);
    one.task(3, 1, 220, 250, 1, TaskOutcome::Panicked);
    one.item(1, 0, 110, 260);
    (0..30).for_each(|place| one.item(1, 2 + place, 300 + 4 * place, 300 + 4 * place + place % 4));
    one.item(1, 32, 500, 508);
    one.task(1, 33, 520, 640, 0, TaskOutcome::Panicked);
    one.task(1, 34, 650, 651, 0, TaskOutcome::Panicked);
    one.task(1, 35, 652, 653, 0, TaskOutcome::Panicked);
    one.item(2, 1000, 1500, 1580);

    two.item(1, 1, 110, 810);
    two.item(1, 36, 820, 820);
    two.item(1, 37, 900, 1290);
    two.task(2, 1001, 1500, 2050, 0, TaskOutcome::Panicked);
    two.item(2, 1002, 2050, 2590);
    main.item(4, 0, 2010, 2090);

    let snapshot = run.keep("everything");
    compare("everything.json", &written(|out| chrome::write(&snapshot, out)));
    compare("everything.tsv", &written(|out| joblog::write(&snapshot, out)));
}

/// A few more rows than have room for an index in their bars, and of items that all took the same.
#[test]
fn a_stream_on_a_dozen_workers() {
    let run = ScriptedRun::new();
    run.call(7, Some("rows"), 12, CallerRole::Results, 0, [0, 1_000_000]);
    let names: Vec<String> = (1..=12).map(|number| format!("a pool with quite a long name-{number}")).collect();
    for (index, name) in names.iter().enumerate() {
        for item in 0..9 {
            let start = 1000 * index as u64 + 100_000 * item;
            run.worker(name, index).item(7, item, start, start + 90_000);
        }
    }
    run.keep("dozen");
}

/// Rows closer than a line of text, more than are drawn, more than the summary has; and more calls than have room.
#[test]
fn a_crowd() {
    let run = ScriptedRun::new();
    let labels: Vec<String> = (0..9).map(|call| format!("a call with a label, {call}")).collect();
    labels.iter().zip(1..).for_each(|(label, id)| run.call(id, Some(label), 300, CallerRole::Both, 0, [0, 90]));
    let names: Vec<String> = (1..=259).map(|number| format!("PoolWorker-{number}")).collect();
    names.iter().enumerate().for_each(|(index, name)| run.worker(name, index).item(1, index as u64, 10, 80));
    let snapshot = run.0.snapshot();
    let svg = svg::drawn(&snapshot);
    assert_eq!(svg.matches("class=\"idle\" x=\"").count(), 256 + 1, "the rows, and the legend");
    assert_eq!(svg.matches(">PoolWorker-").count(), 128, "each second one has its name");
    assert!(
        svg.contains("height=\"1918\"") && svg.contains(">+ 3 more threads<") && svg.contains(">9 calls<"),
        "{svg}"
    );
    assert!(svg.contains("<text x=\"119.6\" y=\"67.5\" class=\"small\" text-anchor=\"end\">PoolWorker-1<"), "{svg}");
    let text = summary::summary(&snapshot);
    assert_eq!(text.matches("PoolWorker-").count(), 64);
    assert!(text.contains("\n+ 195 more\n+ 41 workers without an item\n"), "{text}");
}

/// Between the two: rows with small names. The clock ran for a while before the call.
#[test]
fn a_few_dozen_rows() {
    let run = ScriptedRun::new();
    run.call(1, None, 22, CallerRole::Both, 0, [70, 120]);
    let names: Vec<String> = (1..=22).map(|number| format!("PoolWorker-{number}")).collect();
    for (index, name) in names.iter().enumerate() {
        run.worker(name, index).item(1, index as u64, 70, 70 + 2 * index as u64);
    }
    run.worker(&names[3], 3).task(1, 22, 80, 100, 0, TaskOutcome::Panicked);
    run.keep("dozens");
}

/// None of the items is wide enough to be drawn by itself, not even the slow one; and more panics than are named.
#[test]
fn a_run_of_narrow_items() {
    let run = ScriptedRun::new();
    run.call(1, None, 1, CallerRole::Both, 0, [100, 1100]);
    let worker = run.worker("PoolWorker-1", 0);
    (0..40).for_each(|item| worker.item(1, item, 110 + 20 * item, 111 + 20 * item));
    worker.item(1, 40, 1000, 1003);
    (41..51).for_each(|item| worker.task(1, item, 1010 + item, 1011 + item, 0, TaskOutcome::Panicked));
    run.keep("narrow");
}

/// More threads than the call has workers, since it ran on its caller's as well; and items of no call that was told of.
#[test]
fn what_was_worked_is_compared_with_those_who_worked() {
    let run = ScriptedRun::new();
    run.call(1, None, 1, CallerRole::Both, 0, [0, 100]);
    run.worker("PoolWorker-1", 0).item(1, 0, 0, 100);
    Thread { run: &run, name: "main", index: None }.item(1, 1, 0, 100);
    let text = summary::summary(&run.0.snapshot());
    assert!(text.starts_with("2 items in 100 µs on 1 worker: speed-up 2.00, efficiency 100 %\n"), "{text}");

    let run = ScriptedRun::new();
    run.call(1, None, 3, CallerRole::Both, 0, [0, 100]);
    Thread { run: &run, name: "main", index: None }.item(1, 0, 0, 100);
    let text = summary::summary(&run.0.snapshot());
    assert!(text.contains("\n+ 2 workers without an item\n"), "it stands for one: {text}");

    // As much as the one worker of the call can, and one after the other.
    let run = ScriptedRun::new();
    run.call(1, None, 1, CallerRole::Both, 0, [0, 1000]);
    run.worker("PoolWorker-1", 0).item(1, 0, 0, 250);
    Thread { run: &run, name: "main", index: None }.item(1, 1, 250, 1000);
    let text = summary::summary(&run.0.snapshot());
    assert!(text.starts_with("2 items in 1.00 ms on 1 worker: speed-up 1.00, efficiency 100 %\n"), "{text}");
    let bar = format!(" 25 %  {}{}\n", "█".repeat(7), "·".repeat(23));
    assert!(text.contains(&bar), "half a block is none: {text}");

    let run = ScriptedRun::new();
    run.worker("PoolWorker-1", 0).item(1, 0, 100, 300);
    let text = summary::summary(&run.0.snapshot());
    assert!(text.starts_with("1 item in 200 µs on 1 worker: speed-up 1.00, efficiency 100 %\n"), "{text}");
}

/// What is merged because there is too much of it.
#[test]
fn items_that_were_merged() {
    let run = ScriptedRun::new();
    run.call(1, None, 1, CallerRole::Both, 0, [0, 1000]);
    run.worker("PoolWorker-1", 0).item(1, 0, 0, 1000);
    let mut snapshot = run.0.snapshot();
    let row = &mut snapshot.rows[0];
    let merged = Span { start: 0, end: 400_000, busy: 100_000, call: 1, index: 0, items: 40, panics: 2 };
    row.outer.list = vec![merged, Span { start: 400_000, end: 990_000, busy: 590_000, items: 2, panics: 0, ..merged }];
    row.nested.list = vec![Span { start: 100_000, end: 200_000, busy: 50_000, items: 3, panics: 0, ..merged }];
    row.nested.resolution = 1000;
    compare("merged.svg", &svg::drawn(&snapshot));
    compare("merged.json", &written(|out| chrome::write(&snapshot, out)));
    compare("merged.tsv", &written(|out| joblog::write(&snapshot, out)));
}

/// Nothing at all, and one call without an item.
#[test]
fn a_run_of_nothing() {
    ScriptedRun::new().keep("nothing");
    let run = ScriptedRun::new();
    run.call(1, None, 1, CallerRole::Both, 0, [5, 5]);
    assert_eq!(summary::summary(&run.0.snapshot()), "0 items in 0 ns on 1 worker\n");
}
