//! Two bars over one loop: the items that are done, and the results that have come out in order. Log lines go above them.
//!
//! The lower bar stands still while a slow item is at the front of the line, then jumps; the upper one goes on meanwhile.

use std::thread::sleep;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressIterator, ProgressStyle};
use pool_map::{CallInfo, Observer, PoolIterator, TaskInfo, clear_line_sink, pool_println, set_line_sink};

/// A bar that goes on whenever an item is done, whichever it is.
struct Completions(ProgressBar);

impl Observer for Completions {
    fn call_started(&self, call: &CallInfo<'_>) {
        if let (_, Some(items)) = call.size_hint() {
            self.0.set_length(items as u64);
        }
    }

    fn task_finished(&self, _: &TaskInfo<'_>) {
        self.0.inc(1);
    }

    fn call_finished(&self, _: &CallInfo<'_>) {
        self.0.finish();
    }
}

/// Every twentieth item takes a second, the others a fiftieth of that.
fn work(x: u64) -> u64 {
    if x % 20 == 3 {
        pool_println!("item {x} takes its time");
        sleep(Duration::from_secs(1));
    } else {
        sleep(Duration::from_millis(20));
    }
    x * x
}

fn main() {
    // The short way: a `PoolMap` is an `ExactSizeIterator` where its source is, so indicatif knows how long it is.
    let total: u32 = (0..40).pool_map(4, |x: u32| x + 1).progress().sum();
    println!("{total}");

    let bars = MultiProgress::new();
    let style = ProgressStyle::with_template("{msg:12} {wide_bar} {pos:>3}/{len}").expect("a template");
    let bar = |name| bars.add(ProgressBar::new(100).with_style(style.clone()).with_message(name));
    let done = Completions(bar("done"));
    let in_order = bar("in order");

    // Where standard error is no terminal there are no bars, and lines go where they always do.
    if !bars.is_hidden() {
        let bars = bars.clone();
        set_line_sink(move |line| bars.println(line).unwrap_or_default());
    }
    let mut sum = 0;
    // `for_each` rather than `for`, and the bar inside of it: so the results come out while the workers go on.
    (0..100).pool_map(4, work).observe(&done).for_each(|square| {
        sum += square;
        in_order.inc(1);
    });
    in_order.finish();
    clear_line_sink();
    println!("{sum}");
}
