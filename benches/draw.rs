//! Draws a picture of the `README.md` from what the bench `cost` measured: speed-up against the cost of an item.
//!
//! ```text
//! cargo bench -p pool-map-benches --bench cost -- ratios
//! cargo run -p pool-map-benches
//! ```

use std::fmt::Write;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ratios = here.join("..").join(target).join("criterion").join("ratios");

    let of_a_range = |work: &str| work.starts_with("collect of") && !work.ends_with("source");
    let cost = read(&ratios.join("cost.csv"), |row| of_a_range(row.work).then_some(row.ns_per_item))?;
    let costs = ["1 ns", "10 ns", "100 ns", "1 µs", "10 µs", "100 µs"];
    let ticks: Vec<_> = costs.iter().zip(0..).map(|(name, power)| (10_f64.powi(power), (*name).to_owned())).collect();
    let picture = here.join("../examples/pictures/speed-up-by-cost.svg");
    fs::write(picture, draw("cost of an item in the sequential loop", &ticks, &cost))
}

// ---- What was measured ----------------------------------------------------------------------------------------------

/// What a line of the file says of its case.
struct Row<'a> {
    work: &'a str,
    ns_per_item: f64,
}

/// One contestant: where it was measured, and its speed-up there.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// The speed-ups of a file, at the places that `place` gives.
fn read(path: &Path, place: impl Fn(&Row) -> Option<f64>) -> io::Result<Vec<Line>> {
    let mut lines: Vec<Line> = Vec::new();
    for text in fs::read_to_string(path)?.lines() {
        let fields: Vec<&str> = text.split(',').collect();
        let &["speed-up", work, _, _, ns_per_item, name, _, speed_up, ..] = fields.as_slice() else { continue };
        let row = Row { work, ns_per_item: number(ns_per_item)? };
        let Some(place) = place(&row).filter(|_| !["sequential", "floor"].contains(&name)) else { continue };
        let point = (place, number(speed_up)?);
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { name: name.to_owned(), points: vec![point] }),
        }
    }
    Ok(lines)
}

fn number(text: &str) -> io::Result<f64> {
    text.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("not a number: {text:?}")))
}

// ---- The picture ----------------------------------------------------------------------------------------------------

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
/// The plot's edges: left, right, top, bottom.
const EDGES: [f64; 4] = [48.0, 488.0, 28.0, 308.0];

/// Tones that can be told apart on white and on black.
const COLOURS: [&str; 6] = ["#e8590c", "#1c7ed6", "#2f9e44", "#ae3ec9", "#c09000", "#868e96"];

const STYLE: &str =
    "text { font: 12px sans-serif; fill: #444 } .grid { stroke: #8884 } .one { stroke: #888; stroke-dasharray: 4 }
.paper { fill: #fff }
@media (prefers-color-scheme: dark) { text { fill: #ccc } .paper { fill: #1b1d21 } }";

/// One line for each contestant over a logarithmic axis with `ticks`.
fn draw(axis: &str, ticks: &[(f64, String)], lines: &[Line]) -> String {
    let [left, right, top, bottom] = EDGES;
    let points = || lines.iter().flat_map(|line| &line.points);
    let highest = points().map(|&(_, y)| y).fold(1.0, f64::max).ceil();
    let last = points().map(|&(x, _)| x).fold(1.0, f64::max);
    let reach = ticks.iter().map(|&(x, _)| x).fold(last, |reach, x| if x < last * 1.5 { reach.max(x) } else { reach });
    let x_of = |x: f64| left + (right - left) * x.max(1.0).ln() / reach.ln().max(0.1);
    let y_of = |y: f64| bottom - (bottom - top) * y / highest;

    let mut svg = format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n");
    let _ = writeln!(svg, "<title>Speed-up over the sequential loop against {axis}</title>\n<style>{STYLE}</style>");
    // The page may be dark where the system is light, and the other way round.
    let _ = writeln!(svg, "<rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>");
    let _ = writeln!(svg, "<text x=\"{left}\" y=\"16\">times as fast as the sequential loop</text>");
    let middle = f64::midpoint(left, right);
    let _ = writeln!(svg, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{axis}</text>", HEIGHT - 12.0);
    for (x, name) in ticks.iter().filter(|(x, _)| *x <= reach) {
        let x = x_of(*x);
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{x:.1} {top}V{bottom}\"/>");
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>", bottom + 16.0);
    }
    // Four to eight steps, however high it goes.
    let step = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0].into_iter().find(|step| highest / step <= 8.0).unwrap_or(16.0);
    let mut grid = |y: f64, class: &str| {
        let at = y_of(y);
        let _ = writeln!(svg, "<path class=\"{class}\" d=\"M{left} {at:.1}H{right}\"/>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{y}</text>", left - 6.0, at + 4.0);
    };
    (0..=8).map(|count| f64::from(count) * step).filter(|&y| y <= highest).for_each(|y| grid(y, "grid"));
    grid(1.0, "one");
    for ((line, colour), place) in lines.iter().zip(COLOURS.iter().cycle()).zip(0..) {
        let thickness = if line.name == "pool_map" { 3.5 } else { 1.5 };
        let points: Vec<_> = line.points.iter().map(|&(x, y)| (x_of(x), y_of(y))).collect();
        let path: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let look = format!("stroke=\"{colour}\" stroke-width=\"{thickness}\"");
        let _ = writeln!(svg, "<polyline fill=\"none\" {look} points=\"{}\"/>", path.join(" "));
        for (x, y) in points {
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        let (x, y) = (right + 16.0, top + 12.0 + 20.0 * f64::from(place));
        let _ = writeln!(svg, "<path {look} d=\"M{x} {y}h20\"/>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\">{}</text>", x + 26.0, y + 4.0, line.name);
    }
    svg + "</svg>\n"
}
