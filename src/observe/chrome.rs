//! A timeline for the tools that read Chrome's trace format: the Perfetto UI, `chrome://tracing`, the Firefox Profiler,
//! speedscope.

use super::snapshot::Snapshot;
use super::spans::Span;
use super::timeline::Timeline;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};

impl Timeline {
    /// Writes the timeline as a trace in Chrome's JSON format.
    ///
    /// Open the file in the [Perfetto UI](https://ui.perfetto.dev), `chrome://tracing`, the [Firefox
    /// Profiler](https://profiler.firefox.com) or [speedscope](https://www.speedscope.app). Each thread is a track with its
    /// name. Each item is an event with its index in `args`; items of nested calls are below theirs. If a thread ran very many
    /// items, neighbours are merged into one event, with their number as `items` in `args`.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::{PoolIterator, Timeline};
    ///
    /// let timeline = Timeline::new();
    /// (0..3).pool_map(1, drop).named("nothing").observe(&timeline).for_each(drop);
    /// let mut json = Vec::new();
    /// timeline.write_chrome_trace(&mut json)?;
    /// let json = String::from_utf8(json).unwrap();
    /// assert_eq!(json.matches(r#""name":"nothing","ph":"X""#).count(), 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `out`.
    pub fn write_chrome_trace(&self, out: impl Write) -> io::Result<()> {
        write(&self.snapshot(), &mut BufWriter::new(out))
    }
}

/// Perfetto wants the events of one track to lie within each other or apart, as items on a thread do. Merged items of nested
/// calls may reach out of theirs, so those have a track of their own.
pub(super) fn write(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n")?;
    out.write_all(br#"{"name":"process_name","ph":"M","pid":1,"tid":0,"args":{"name":"pool_map"}}"#)?;
    for (row, track) in snapshot.rows.iter().zip((1_u64..).step_by(2)) {
        let apart = u64::from(row.nested.resolution > 0 && !row.nested.list.is_empty());
        head(out, track, &row.name)?;
        if apart > 0 {
            head(out, track + 1, &format!("{} (nested)", row.name))?;
        }
        for span in &row.outer.list {
            event(out, snapshot, track, span)?;
        }
        for span in &row.nested.list {
            event(out, snapshot, track + apart, span)?;
        }
    }
    out.write_all(b"\n]}\n")?;
    out.flush()
}

/// The name and the place of a track.
fn head(out: &mut impl Write, track: u64, name: &str) -> io::Result<()> {
    let name = quoted(name);
    write!(out, ",\n{{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":{track},\"args\":{{\"name\":{name}}}}}")?;
    write!(
        out,
        ",\n{{\"name\":\"thread_sort_index\",\"ph\":\"M\",\"pid\":1,\"tid\":{track},\"args\":{{\"sort_index\":{track}}}}}"
    )
}

fn event(out: &mut impl Write, snapshot: &Snapshot, track: u64, span: &Span) -> io::Result<()> {
    let (name, start, duration) = (quoted(snapshot.name(span.call)), micros(span.start), micros(span.end - span.start));
    write!(out, ",\n{{\"name\":{name},\"ph\":\"X\",\"pid\":1,\"tid\":{track},\"ts\":{start},\"dur\":{duration}")?;
    write!(out, ",\"args\":{{\"call\":{}", span.call)?;
    if span.items != 1 {
        write!(out, ",\"items\":{}", span.items)?;
    }
    if span.panics > 0 {
        write!(out, ",\"panicked\":{}", span.panics)?;
    }
    // The last of them, since speedscope cuts off what stands in the middle.
    write!(out, ",\"index\":{}}}", span.index)?;
    // The one name that the viewers agree on for red.
    if span.panics > 0 {
        write!(out, ",\"cname\":\"terrible\"")?;
    }
    write!(out, "}}")
}

/// The format counts in microseconds, and takes fractions.
fn micros(nanos: u64) -> String {
    format!("{}.{:03}", nanos / 1000, nanos % 1000)
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut json = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\n' => json.push_str("\\n"),
            // Not wanted by JSON, but some tools paste it into a script.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(json, "\\u{:04x}", u32::from(character));
            }
            character if character.is_control() => {
                let _ = write!(json, "\\u{:04x}", u32::from(character));
            }
            character => json.push(character),
        }
    }
    json + "\""
}

#[cfg(test)]
mod tests {
    #[test]
    fn text_is_escaped() {
        assert_eq!(super::quoted("a \"b\" \\ é\n\t</x>\u{2028}"), r#""a \"b\" \\ é\n\u0009\u003c/x\u003e\u2028""#);
    }
}
