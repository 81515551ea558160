//! A timeline as the table that GNU parallel writes with `--joblog`.

use super::snapshot::Snapshot;
use super::spans::Span;
use super::timeline::Timeline;
use std::io::{self, BufWriter, Write};
use std::time::{Duration, UNIX_EPOCH};

impl Timeline {
    /// Writes the timeline as a table like GNU parallel's `--joblog`, for tools that read it.
    ///
    /// Each item is a tab-separated line, in the order of their starts. `Seq` is the index counted from 1, `Host` the worker,
    /// `Starttime` the seconds since 1970, `JobRuntime` the seconds it took, `Exitval` 0 or, after a panic, 101, and `Command`
    /// the name of the call and the index. `Send`, `Receive` and `Signal` are 0. If a thread ran very many items, neighbours
    /// are merged into one line, with their number in `Command` and their total run time as `JobRuntime`.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::{PoolIterator, Timeline};
    ///
    /// let timeline = Timeline::new();
    /// (0..3).pool_map(1, drop).observe(&timeline).for_each(drop);
    /// let mut table = Vec::new();
    /// timeline.write_joblog(&mut table)?;
    /// let table = String::from_utf8(table).unwrap();
    /// let (head, row) = table.split_once('\n').unwrap();
    /// assert!(head.starts_with("Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\t"));
    /// assert!(row.starts_with("1\tPoolWorker-"));
    /// assert!(table.ends_with("\t0\t0\t0\t0\tpool_map 2\n"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `out`.
    pub fn write_joblog(&self, out: impl Write) -> io::Result<()> {
        write(&self.snapshot(), &mut BufWriter::new(out))
    }
}

pub(super) fn write(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n")?;
    let names: Vec<String> = snapshot.rows.iter().map(|row| field(&row.name)).collect();
    let mut lines: Vec<(&str, &Span)> = Vec::new();
    for (row, name) in snapshot.rows.iter().zip(&names) {
        let spans = row.outer.list.iter().chain(&row.nested.list);
        lines.extend(spans.map(|span| (name.as_str(), span)));
    }
    lines.sort_by_key(|(_, span)| (span.start, span.call, span.index));
    lines.iter().try_for_each(|(worker, span)| line(out, snapshot, worker, span))?;
    out.flush()
}

fn line(out: &mut impl Write, snapshot: &Snapshot, worker: &str, span: &Span) -> io::Result<()> {
    let since_1970 = snapshot.origin_date.duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = since_1970 + Duration::from_nanos(span.start);
    let status = if span.panics > 0 { 101 } else { 0 };
    let (seconds, millis) = (start.as_secs(), start.subsec_millis());
    let runtime = Duration::from_nanos(span.busy).as_secs_f64();
    write!(out, "{}\t{worker}\t{seconds}.{millis:03}\t{runtime:.9}\t0\t0\t{status}\t0\t", span.index + 1)?;
    write!(out, "{} {}", field(snapshot.name(span.call)), span.index)?;
    if span.items > 1 {
        write!(out, " and {} more", span.items - 1)?;
    }
    writeln!(out)
}

/// Text without what ends a field or a line.
fn field(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
