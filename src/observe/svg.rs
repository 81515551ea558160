//! A timeline as a picture: a row for each thread, a bar for each item, time from left to right.
//!
//! What is narrower than [`NARROW`] is not drawn by itself: the rows have columns of one pixel, and each is as strong as the
//! share of its time that was worked in it. So the picture is as large for a million items as for a thousand.

use super::row::{Row, Slow};
use super::snapshot::Snapshot;
use super::spans::{Span, Spans, nanos};
use super::summary::{headline, short, time};
use super::timeline::Timeline;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

const WIDTH: f64 = 960.0;
/// The edges of the plot, but for the left one, which leaves room for the names.
const RIGHT: f64 = 936.0;
const TOP: f64 = 62.0;
/// Below the plot: the axis and the legend.
const FOOT: f64 = 64.0;
/// How wide a character is taken to be, of text of 12 pixels.
const CHARACTER: f64 = 7.4;
/// An item narrower than so many pixels is part of a column.
const NARROW: f64 = 3.0;
/// How many strengths a column may have.
const LEVELS: usize = 4;
/// Two marks of one row are at least so many pixels apart.
const MARKS_APART: f64 = 8.0;
/// More threads than this are counted only.
const ROWS: usize = 256;

/// Paper of its own, so the picture can be read wherever it lies. The tones of items, slow and panicked ones are from the palette
/// of Okabe and Ito, and the last two have marks besides.
const STYLE: &str = "\
.paper { fill: #fff } .grid { stroke: #d8dbe0 } .idle { fill: #eceef1 }
text { font: 12px sans-serif; fill: #3c4149 } .small { font-size: 9px } .title { font-size: 14px; font-weight: bold }
.item { fill: #0072b2 } .slow { fill: #e69f00 } .panic { fill: #d55e00 } .nested { fill: #7cc7ee }
.index { fill: #fff; text-anchor: middle } .on-slow { fill: #000 }
.mark { fill: #e69f00; stroke: #3c4149 } .cross { stroke: #3c4149; stroke-width: 4.5 } .cross-top { stroke: #fff; stroke-width: 2 }
.l1 { fill-opacity: 0.4 } .l2 { fill-opacity: 0.6 } .l3 { fill-opacity: 0.8 }
@media (prefers-color-scheme: dark) {
.paper { fill: #16191e } .grid { stroke: #3a404a } .idle { fill: #262b33 }
text { fill: #d3d8df } .index { fill: #fff } .on-slow { fill: #000 } .item { fill: #2f8fd0 }
.mark { stroke: #fff } .cross { stroke: #000 }
}";

impl Timeline {
    /// Draws the timeline as an SVG picture: a row for each thread, a bar for each item.
    ///
    /// The lighter background of a row is time in which the thread was idle or did something else. If there are too many items
    /// to draw, a bar stands for several, and is the stronger the more the thread was busy. A triangle marks
    /// those of the five slowest items that took at least twice the mean, a cross those that panicked. Items of nested calls
    /// are a strip at the bottom of their bar. The picture follows the reader's light or dark scheme, and contains no script.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::{PoolIterator, Timeline};
    ///
    /// let timeline = Timeline::new();
    /// (0..3).pool_map(1, drop).observe(&timeline).for_each(drop);
    /// let mut svg = Vec::new();
    /// timeline.write_svg(&mut svg)?;
    /// assert!(svg.starts_with(b"<svg xmlns="));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `out`.
    pub fn write_svg(&self, mut out: impl Write) -> io::Result<()> {
        out.write_all(drawn(&self.snapshot()).as_bytes())?;
        out.flush()
    }
}

/// The picture as SVG.
pub(super) fn drawn(snapshot: &Snapshot) -> String {
    Drawing::of(snapshot)
}

/// A picture in the making.
struct Drawing<'p> {
    snapshot: &'p Snapshot,
    /// Those of the slowest that stand out.
    slow: Vec<Slow>,
    svg: String,
    /// Where the plot begins, to the right of the names.
    left: f64,
    /// Pixels for each nanosecond.
    scale: f64,
    /// From one row to the next.
    pitch: f64,
    /// How many rows are drawn.
    drawn: usize,
}

impl<'p> Drawing<'p> {
    fn of(snapshot: &'p Snapshot) -> String {
        let drawn = snapshot.rows.len().min(ROWS);
        let longest = snapshot.rows.iter().map(|row| short(&row.name).chars().count()).max().unwrap_or(0);
        let left = (float(longest as u64) * CHARACTER + 24.0).max(48.0);
        let pitch = match drawn {
            ..=8 => 28.0,
            9..=20 => 20.0,
            21..=64 => 14.0,
            _ => 7.0,
        };
        let scale = (RIGHT - left) / float((snapshot.end - snapshot.start).max(1));
        let slow = outliers(snapshot);
        let mut drawing = Drawing { snapshot, slow, svg: String::new(), left, scale, pitch, drawn };
        drawing.head();
        drawing.axis();
        for (place, row) in snapshot.rows.iter().take(drawn).enumerate() {
            drawing.row(place, row);
        }
        drawing.legend();
        drawing.svg + "</svg>\n"
    }

    // ---- Where things are ----

    fn x_of(&self, moment: u64) -> f64 {
        self.left + float(moment.saturating_sub(self.snapshot.start)) * self.scale
    }

    fn bottom(&self) -> f64 {
        TOP + float(self.drawn as u64) * self.pitch
    }

    /// The height of a bar; the rest of the row is air.
    fn thickness(&self) -> f64 {
        (self.pitch * 0.78).floor()
    }

    // ---- What is drawn ----

    fn head(&mut self) {
        let height = self.bottom() + FOOT;
        let title = escaped(&self.snapshot.title.clone().unwrap_or_else(|| headline(self.snapshot)));
        let _ = writeln!(
            self.svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>"
        );
        self.text(12.0, 24.0, "class=\"title\"", &title);
        self.text(12.0, 44.0, "", &escaped(&calls(self.snapshot)));
    }

    /// A grid line and a time at round numbers.
    fn axis(&mut self) {
        let whole = self.snapshot.end - self.snapshot.start;
        let ticks = Ticks::over(whole);
        let bottom = self.bottom();
        for place in (0..).map(|count| count * ticks.step).take_while(|place| *place <= whole) {
            let x = self.x_of(self.snapshot.start + place);
            let anchor = if x > WIDTH - 40.0 { "end" } else { "middle" };
            let _ = writeln!(self.svg, "<path class=\"grid\" d=\"M{x:.1} {}V{:.1}\"/>", TOP - 4.0, bottom + 4.0);
            self.text(x, bottom + 18.0, &format!("text-anchor=\"{anchor}\""), &ticks.label(place));
        }
    }

    fn row(&mut self, place: usize, row: &Row) {
        let y = TOP + float(place as u64) * self.pitch;
        let high = self.thickness();
        let is_tight = self.pitch < 12.0;
        // Where the rows are closer than a line of text, every second one has its name.
        if !is_tight || place % 2 == 0 {
            let class = if self.pitch < 20.0 { "class=\"small\" text-anchor=\"end\"" } else { "text-anchor=\"end\"" };
            let down = if self.pitch < 20.0 { 3.0 } else { 4.0 };
            self.text(self.left - 8.0, y + high / 2.0 + down, class, &escaped(&short(&row.name)));
        }
        let (left, wide) = (self.left, RIGHT - self.left);
        let _ = writeln!(
            self.svg,
            "<rect class=\"idle\" x=\"{left:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{high}\"/>"
        );
        let strip = (high / 3.0).floor();
        let has_nested = !row.nested.list.is_empty();
        let label = if has_nested { high - strip } else { high };
        self.bars(&row.outer, "item", y, high, label);
        self.slow_bars(row, y, high, label);
        if has_nested {
            self.bars(&row.nested, "nested", y + high - strip, strip, 0.0);
        }
        self.marks(row, y, high);
    }

    /// The bars of one row: the narrow ones as columns, the others each by itself on top. Their index is written into those
    /// with room for it in their upper `label` pixels.
    fn bars(&mut self, spans: &Spans, class: &str, y: f64, high: f64, label: f64) {
        let scale = self.scale;
        let is_wide = |span: &&Span| span.items == 1 && float(span.end - span.start) * scale >= NARROW;
        let mut columns = Columns::new(RIGHT - self.left);
        let narrow = spans.list.iter().filter(|span| !is_wide(span));
        narrow.for_each(|span| columns.add(self.x_of(span.start) - self.left, self.x_of(span.end) - self.left, span));
        for (level, runs) in columns.runs() {
            let mut path = String::new();
            for (from, to) in runs {
                let _ = write!(path, "M{:.1} {y:.1}h{}v{high}h-{}z", self.left + from, to - from, to - from);
            }
            let _ = writeln!(self.svg, "<path class=\"{class} l{level}\" d=\"{path}\"/>");
        }
        let wide: Vec<Span> = spans.list.iter().filter(is_wide).copied().collect();
        for span in &wide {
            self.bar(span, class, y, high, label);
        }
    }

    /// The slow items of one thread, each by itself on top: its own times are known even where it is merged with others.
    fn slow_bars(&mut self, row: &Row, y: f64, high: f64, label: f64) {
        for slow in self.slow_of(row) {
            let Slow { call, index, start, end, panicked } = slow;
            let busy = end - start;
            if float(busy) * self.scale >= NARROW {
                let span = Span { start, end, busy, call, index, items: 1, panics: u32::from(panicked) };
                self.bar(&span, "slow", y, high, label);
            }
        }
    }

    fn slow_of(&self, row: &Row) -> Vec<Slow> {
        self.slow.iter().filter(|slow| row.slowest.iter().any(|own| own.is(slow))).copied().collect()
    }

    fn bar(&mut self, span: &Span, class: &str, y: f64, high: f64, label: f64) {
        let class = match class {
            _ if span.panics > 0 => "panic",
            class => class,
        };
        let (from, to) = (self.x_of(span.start), self.x_of(span.end));
        // A hair of ground between two items, so that they are two.
        let wide = to - from - 0.7;
        let title = escaped(&self.describe(span));
        let _ = writeln!(
            self.svg,
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{high}\">\
             <title>{title}</title></rect>"
        );
        let index = span.index.to_string();
        if label >= 14.0 && wide >= float(index.len() as u64) * CHARACTER + 6.0 && span.panics == 0 {
            let on = if class == "slow" { "class=\"index on-slow\"" } else { "class=\"index\"" };
            self.text(f64::midpoint(from, to), y + label / 2.0 + 4.0, on, &index);
        }
    }

    fn describe(&self, span: &Span) -> String {
        let took = time(Duration::from_nanos(span.end - span.start));
        let panicked = if span.panics > 0 { ", panicked" } else { "" };
        format!("{} {}: {took}{panicked}", self.snapshot.name(span.call), span.index)
    }

    /// The triangles and crosses of one row.
    fn marks(&mut self, row: &Row, y: f64, high: f64) {
        // At the beginning, since the index stands in the middle.
        let marked =
            |slow: &Slow| f64::midpoint(self.x_of(slow.start), self.x_of(slow.end)).min(self.x_of(slow.start) + 7.0);
        for x in apart(self.slow_of(row).iter().map(marked).collect()) {
            let _ = writeln!(self.svg, "<path class=\"mark\" d=\"M{:.1} {:.1}h8l-4 6z\"/>", x - 4.0, y - 3.0);
        }
        let panicked = row.outer.list.iter().chain(&row.nested.list).filter(|span| span.panics > 0);
        let middles = panicked.map(|span| f64::midpoint(self.x_of(span.start), self.x_of(span.end)));
        for x in apart(middles.collect()) {
            let reach = (high / 2.0 - 1.5).clamp(2.0, 4.0);
            let middle = y + high / 2.0;
            for class in ["cross", "cross-top"] {
                let _ = writeln!(self.svg, "<path class=\"{class}\" d=\"{}\"/>", cross(x, middle, reach));
            }
        }
    }

    /// What the colours and the marks mean, as far as they occur.
    fn legend(&mut self) {
        let y = self.bottom() + 44.0;
        let mut x = 12.0;
        let rows = &self.snapshot.rows;
        let merged =
            |row: &Row| row.outer.list.iter().any(|s| s.items > 1 || float(s.end - s.start) * self.scale < NARROW);
        let entries = [
            ("item", "item", true),
            ("item l2", "several items, stronger where busier", rows.iter().any(merged)),
            ("nested", "of a nested call", rows.iter().any(|row| !row.nested.list.is_empty())),
            ("slow", "slow", !self.slow.is_empty()),
            ("panic", "panicked", self.snapshot.panics() > 0),
            ("idle", "idle", true),
        ];
        for (class, meaning, _) in entries.into_iter().filter(|&(_, _, occurs)| occurs) {
            let top = y - 10.0;
            let _ = writeln!(self.svg, "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top}\" width=\"16\" height=\"12\"/>");
            match class {
                "slow" => {
                    let _ = writeln!(self.svg, "<path class=\"mark\" d=\"M{:.1} {:.1}h8l-4 6z\"/>", x + 4.0, top - 3.0);
                }
                "panic" => {
                    for class in ["cross", "cross-top"] {
                        let path = cross(x + 8.0, top + 6.0, 4.0);
                        let _ = writeln!(self.svg, "<path class=\"{class}\" d=\"{path}\"/>");
                    }
                }
                _ => {}
            }
            self.text(x + 22.0, y, "", meaning);
            x += 22.0 + float(meaning.len() as u64) * CHARACTER + 16.0;
        }
        let more = rows.len() - self.drawn;
        if more > 0 {
            self.text(x, y, "", &format!("+ {more} more threads"));
        }
    }

    fn text(&mut self, x: f64, y: f64, attributes: &str, text: &str) {
        let _ = writeln!(self.svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{text}</text>");
    }
}

impl Slow {
    fn is(&self, other: &Slow) -> bool {
        (self.call, self.index, self.start) == (other.call, other.index, other.start)
    }
}

/// Those of the slowest items that took at least twice as long as an item on average.
fn outliers(snapshot: &Snapshot) -> Vec<Slow> {
    let stands_out = nanos(snapshot.mean()).saturating_mul(2).max(1);
    let mut slow = snapshot.slowest();
    slow.retain(|slow| slow.took() >= stands_out);
    slow
}

/// Which calls the picture shows.
fn calls(snapshot: &Snapshot) -> String {
    let mut names: Vec<String> = Vec::new();
    for call in &snapshot.named_calls {
        let place = format!("{}:{}", call.site.file(), call.site.line());
        let name = match &call.label {
            Some(label) => format!("{} “{}” at {place}", call.method, short(label)),
            None => format!("{} at {place}", call.method),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    named(&names, snapshot.calls)
}

/// These names, if there is room for them; of one only its end, and of many only how many calls those are.
fn named(names: &[String], calls: u64) -> String {
    /// What fits into the width.
    const ROOM: usize = 110;
    let text = names.join(", ");
    match text.chars().count() {
        ..=ROOM => text,
        _ if names.len() > 1 => format!("{calls} calls"),
        length => format!("…{}", text.chars().skip(length - ROOM).collect::<String>()),
    }
}

fn cross(x: f64, y: f64, reach: f64) -> String {
    let (left, right, top, bottom) = (x - reach, x + reach, y - reach, y + reach);
    format!("M{left:.1} {top:.1}L{right:.1} {bottom:.1}M{left:.1} {bottom:.1}L{right:.1} {top:.1}")
}

/// Leaves out what would lie on top of the one before.
fn apart(mut places: Vec<f64>) -> Vec<f64> {
    places.sort_by(f64::total_cmp);
    let mut last = f64::NEG_INFINITY;
    places.retain(|&place| {
        let keep = place - last >= MARKS_APART;
        last = if keep { place } else { last };
        keep
    });
    places
}

// ---- Columns --------------------------------------------------------------------------------------------------------

/// One row in columns of a pixel, each with the share of its time that was worked.
struct Columns(Vec<f64>);

impl Columns {
    fn new(width: f64) -> Columns {
        Columns(vec![0.0; pixel(width) + 1])
    }

    /// Adds the time of `span`, which reaches from one place to another.
    fn add(&mut self, from: f64, to: f64, span: &Span) {
        let share = if span.end > span.start { float(span.busy) / float(span.end - span.start) } else { 1.0 };
        let last = pixel(to).min(self.0.len() - 1);
        for column in pixel(from).min(last)..=last {
            let start = from.max(float(column as u64));
            let end = to.min(float(column as u64 + 1));
            // Even an item of no time at all is to be seen, where it begins.
            let at_least = if column == pixel(from).min(last) { 1e-9 } else { 0.0 };
            self.0[column] += ((end - start) * share).max(at_least);
        }
    }

    fn level(share: f64) -> usize {
        (1..LEVELS).find(|&level| share <= float(level as u64) / float(LEVELS as u64)).unwrap_or(LEVELS)
    }

    /// Neighbours of equal strength together, by their strength from 1 on.
    fn runs(&self) -> Vec<(usize, Vec<(f64, f64)>)> {
        let mut runs: Vec<(usize, Vec<(f64, f64)>)> = (1..=LEVELS).map(|level| (level, Vec::new())).collect();
        let mut column = 0;
        while column < self.0.len() {
            let level = |column: usize| (self.0[column] > 0.0).then(|| Columns::level(self.0[column]));
            let here = level(column);
            let length = (column..self.0.len()).take_while(|&next| level(next) == here).count();
            if let Some(here) = here {
                runs[here - 1].1.push((float(column as u64), float((column + length) as u64)));
            }
            column += length;
        }
        runs.retain(|(_, runs)| !runs.is_empty());
        runs
    }
}

// ---- The axis -------------------------------------------------------------------------------------------------------

/// Round numbers along an axis.
struct Ticks {
    /// In nanoseconds; at least 1.
    step: u64,
    unit: &'static str,
    unit_ns: u64,
}

impl Ticks {
    /// Five to ten of them, unless that would be parts of a nanosecond.
    fn over(whole: u64) -> Ticks {
        let steps = (0..19).flat_map(|power| [1, 2, 5].map(|digit: u64| digit.saturating_mul(10_u64.pow(power))));
        let step = steps.into_iter().find(|step| whole / step <= 10).unwrap_or(u64::MAX);
        let (unit, unit_ns) = match whole {
            ..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            1_000_000..1_000_000_000 => ("ms", 1_000_000),
            _ => ("s", 1_000_000_000),
        };
        Ticks { step, unit, unit_ns }
    }

    fn label(&self, place: u64) -> String {
        let decimals = usize::from(self.step < self.unit_ns);
        format!("{:.decimals$} {}", float(place) / float(self.unit_ns), self.unit)
    }
}

// ---- Numbers and text -----------------------------------------------------------------------------------------------

#[expect(clippy::cast_precision_loss, reason = "for a place on paper")]
fn float(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, which is what is meant"
)]
fn pixel(place: f64) -> usize {
    place as usize
}

/// Text for XML. What XML cannot hold at all is replaced.
fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '&' => xml.push_str("&amp;"),
            '"' => xml.push_str("&quot;"),
            '\'' => xml.push_str("&#39;"),
            '\n' | '\r' | '\t' => xml.push(' '),
            '\u{fffe}' | '\u{ffff}' => xml.push('\u{fffd}'),
            character if character.is_control() => xml.push('\u{fffd}'),
            character => xml.push(character),
        }
    }
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_neither_few_nor_many() {
        for whole in [10, 999, 1_000, 12_345, 999_999, 8_000_000_000, 86_400_000_000_000, u64::MAX / 2] {
            let ticks = Ticks::over(whole);
            assert!((4..=10).contains(&(whole / ticks.step)), "{whole}");
        }
        assert_eq!(Ticks::over(0).step, 1);
        let ticks = Ticks::over(2_000_000_000);
        assert_eq!([0, 1].map(|count| ticks.label(count * ticks.step)), ["0.0 s", "0.2 s"]);
        assert_eq!(Ticks::over(500).label(100), "100 ns");
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escaped("<\"a\" & 'b'>\n\u{1}é"), "&lt;&quot;a&quot; &amp; &#39;b&#39;&gt; \u{fffd}é");
    }

    #[test]
    fn names_without_room_are_counted_or_cut() {
        let [short, fits, long] = [54, 110, 111].map(|length| "é".repeat(length));
        assert_eq!(named(&[short.clone(), short.clone()], 7), format!("{short}, {short}"));
        assert_eq!(named(&[short.clone(), short + "é"], 7), "7 calls");
        assert_eq!(named(std::slice::from_ref(&fits), 7), fits);
        assert_eq!(named(&[long], 7), format!("…{fits}"));
    }

    #[test]
    fn marks_keep_their_distance() {
        assert_eq!(apart(vec![20.0, 0.0, 7.0, 8.0, 15.0]), [0.0, 8.0, 20.0]);
    }

    #[test]
    fn columns_are_as_strong_as_busy() {
        let span = |busy| Span { start: 0, end: 10, busy, call: 1, index: 0, items: 2, panics: 0 };
        let mut columns = Columns::new(6.0);
        columns.add(0.0, 2.0, &span(10));
        columns.add(2.0, 4.0, &span(2));
        columns.add(6.0, 6.0, &span(10));
        assert_eq!(columns.runs(), [(1, vec![(2.0, 4.0), (6.0, 7.0)]), (4, vec![(0.0, 2.0)])]);
    }
}
