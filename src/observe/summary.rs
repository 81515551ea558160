//! A timeline in words and figures: its `Display`.

use super::row::{Row, Slow};
use super::snapshot::Snapshot;
use super::timeline::Timeline;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// So many rows for threads; a machine with more of them gets a line for the rest.
const ROWS: usize = 64;
/// How wide a bar is that stands for the whole time.
const BAR: u32 = 30;
/// A name longer than this is cut.
const NAME: usize = 24;

/// The summary, in several lines.
impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&summary(&self.snapshot()))
    }
}

pub(super) fn summary(snapshot: &Snapshot) -> String {
    let mut text = headline(snapshot) + "\n";
    if snapshot.items() > 0 {
        table(&mut text, snapshot);
    }
    if !snapshot.callers.is_zero() {
        let _ = writeln!(text, "{}", caller(snapshot));
    }
    if !snapshot.feeders.is_zero() {
        let _ = writeln!(text, "feeder: {} in the source", percent(snapshot.fed, snapshot.feeders));
    }
    if snapshot.nested_items() > 0 {
        let _ = writeln!(text, "nested: {} inside those items", items(snapshot.nested_items()));
    }
    if snapshot.items() > 0 {
        let slowest: Vec<String> = snapshot.slowest().iter().map(|slow| slow_item(snapshot, slow)).collect();
        let _ = writeln!(text, "mean: {} an item; slowest: {}", time(snapshot.mean()), slowest.join(", "));
    }
    if snapshot.panics() > 0 {
        let _ = writeln!(text, "{}", panics(snapshot));
    }
    text
}

/// How much was done in which time, and what the workers were good for.
pub(super) fn headline(snapshot: &Snapshot) -> String {
    let workers = plural(snapshot.workers as u64, "worker");
    let mut text = format!("{} in {} on {workers}", items(snapshot.items()), time(snapshot.elapsed));
    if let Some(speed_up) = ratio(snapshot.busy(), snapshot.elapsed) {
        let efficiency = percent(snapshot.busy(), available(snapshot));
        let _ = write!(text, ": speed-up {speed_up:.2}, efficiency {efficiency}");
    }
    text
}

/// The time that the workers had together. Where calls on several pools ran at once there are more threads than workers of
/// any call.
fn available(snapshot: &Snapshot) -> Duration {
    let of = |threads: usize| snapshot.elapsed.saturating_mul(u32::try_from(threads).unwrap_or(u32::MAX));
    if snapshot.busy() > of(snapshot.workers) { of(snapshot.rows.len()) } else { of(snapshot.workers) }
}

fn table(text: &mut String, snapshot: &Snapshot) {
    let width = snapshot.rows.iter().map(|row| short(&row.name).chars().count()).max().unwrap_or(0).max(6);
    let _ = writeln!(text, "{:width$} {:>11} {:>9} {:>9} {:>5}", "worker", "items", "busy", "idle", "share");
    for row in snapshot.rows.iter().take(ROWS) {
        let idle = snapshot.elapsed.saturating_sub(row.busy);
        let share = percent(row.busy, snapshot.elapsed);
        let (name, busy, idle) = (short(&row.name), time(row.busy), time(idle));
        let count = grouped(row.items);
        let bar = bar(row, snapshot.elapsed);
        let _ = writeln!(text, "{name:width$} {count:>11} {busy:>9} {idle:>9} {share:>5}  {bar}");
    }
    let more = snapshot.rows.len().saturating_sub(ROWS);
    if more > 0 {
        let _ = writeln!(text, "+ {more} more");
    }
    // Callers have rows as well; they are all there is where nothing ran on workers.
    let workers = snapshot.rows.iter().filter(|row| row.is_worker).count();
    let idle = snapshot.workers.saturating_sub(if workers > 0 { workers } else { snapshot.rows.len() });
    // Nobody counted how many workers the others are.
    let is_known = !snapshot.rows.iter().any(|row| row.is_shared && row.is_worker);
    if idle > 0 && is_known {
        let _ = writeln!(text, "+ {} without an item", plural(idle as u64, "worker"));
    }
}

/// Full blocks for the time at work, dots for the rest.
fn bar(row: &Row, elapsed: Duration) -> String {
    let share = ratio(row.busy, elapsed).unwrap_or(0.0).min(1.0);
    let filled = (0..BAR).filter(|&place| (f64::from(place) + 0.5) / f64::from(BAR) < share).count();
    "█".repeat(filled) + &"·".repeat(BAR as usize - filled)
}

/// What the threads that asked for the results spent their time with.
fn caller(snapshot: &Snapshot) -> String {
    let consumer = snapshot.callers.saturating_sub(snapshot.source).saturating_sub(snapshot.waiting);
    let share = |part| percent(part, snapshot.callers);
    format!(
        "caller: {} in the source, {} waiting for results, {} with them",
        share(snapshot.source),
        share(snapshot.waiting),
        share(consumer)
    )
}

fn slow_item(snapshot: &Snapshot, slow: &Slow) -> String {
    let took = time(Duration::from_nanos(slow.took()));
    // With several calls an index alone does not say which item it is.
    if snapshot.calls > 1 {
        format!("item {} of {} ({took})", slow.index, snapshot.name(slow.call))
    } else {
        format!("item {} ({took})", slow.index)
    }
}

fn panics(snapshot: &Snapshot) -> String {
    let mut panicked: Vec<(u64, u64)> = snapshot.rows.iter().flat_map(|row| row.panicked.iter().copied()).collect();
    panicked.sort_unstable();
    panicked.truncate(8);
    let known: Vec<String> = panicked.iter().map(|(_, index)| format!("item {index}")).collect();
    let more = snapshot.panics() - known.len() as u64;
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("panicked: {}{more}", known.join(", "))
}

// ---- Words for figures ----------------------------------------------------------------------------------------------

/// `1 item`, `2 000 items`.
pub(super) fn items(count: u64) -> String {
    plural(count, "item")
}

fn plural(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// The digits in groups of three.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Three digits or more and a unit: `250 ns`, `31.2 µs`, `1.05 ms`, `8.00 s`, `154 s`.
pub(super) fn time(time: Duration) -> String {
    let nanos = time.as_nanos();
    if nanos < 1000 {
        return format!("{nanos} ns");
    }
    let (unit, value) = match nanos {
        ..1_000_000 => ("µs", time.as_secs_f64() * 1e6),
        1_000_000..1_000_000_000 => ("ms", time.as_secs_f64() * 1e3),
        _ => ("s", time.as_secs_f64()),
    };
    // What is rounded up to the next digit has one decimal less.
    let decimals = match value {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

/// `part` over `whole`, where that is a number.
fn ratio(part: Duration, whole: Duration) -> Option<f64> {
    (!whole.is_zero()).then(|| part.as_secs_f64() / whole.as_secs_f64())
}

fn percent(part: Duration, whole: Duration) -> String {
    ratio(part, whole).map_or_else(|| "–".to_owned(), |ratio| format!("{:.0} %", ratio * 100.0))
}

/// A name that fits into a column, without what would break it.
pub(super) fn short(name: &str) -> String {
    let clean = name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    if name.chars().count() <= NAME {
        return clean.collect();
    }
    clean.take(NAME - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        let text = |nanos| time(Duration::from_nanos(nanos));
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (9_996, "10.0 µs"),
            (31_249, "31.2 µs"),
            (1_050_000, "1.05 ms"),
            (99_960_000, "100 ms"),
            (8_000_000_000, "8.00 s"),
            (7_200_000_000_000, "7200 s"),
        ];
        for (nanos, want) in cases {
            assert_eq!(text(nanos), want);
        }
    }

    #[test]
    fn large_counts_are_grouped() {
        assert_eq!([0, 12, 999, 1_000, 1_234_567].map(grouped), ["0", "12", "999", "1 000", "1 234 567"]);
    }

    #[test]
    fn nothing_is_no_share_of_nothing() {
        assert_eq!(percent(Duration::ZERO, Duration::ZERO), "–");
        assert_eq!(percent(Duration::from_secs(1), Duration::from_secs(3)), "33 %");
    }
}
