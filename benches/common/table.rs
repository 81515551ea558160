//! What was found: as a markdown table for the reader, as lines of a CSV file for the pictures.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// What a ratio has to reach.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    None,
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    /// One goal for one or two workers, another one for more; none where the workers outnumber the cores.
    pub(crate) fn on(workers: usize, few: f64, many: f64) -> Goal {
        match workers {
            _ if workers > super::cores() => Goal::None,
            0..=2 => Goal::AtLeast(few),
            _ => Goal::AtLeast(many),
        }
    }

    /// This goal where `holds`, else none.
    pub(crate) fn only_if(self, holds: bool) -> Goal {
        if holds { self } else { Goal::None }
    }

    fn columns(self, value: f64) -> [String; 2] {
        let (sign, goal, met) = match self {
            Goal::None => return ["–".to_owned(), "–".to_owned()],
            Goal::AtLeast(goal) => ("≥", goal, value >= goal),
            Goal::AtMost(goal) => ("≤", goal, value <= goal),
        };
        [format!("{sign} {goal}"), if met { "yes" } else { "**no**" }.to_owned()]
    }
}

/// The middle of many values, and how far they lie apart.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    /// Of those values that are numbers.
    pub(crate) fn of(mut values: Vec<f64>) -> Spread {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| {
            // Between two values where the place falls between them.
            let last = values.len().checked_sub(1).expect("a value at least");
            let (below, part) = (last * quarter / 4, last * quarter % 4);
            let above = (below + 1).min(last);
            values[below] + (values[above] - values[below]) * [0.0, 0.25, 0.5, 0.75][part]
        };
        Spread { median: at(2), low: at(1), high: at(3) }
    }
}

/// The tables of one bench in the making.
pub(crate) struct Table {
    bench: &'static str,
    /// The case that is being noted.
    case: Option<CaseRow>,
    speed_ups: Vec<(CaseRow, Vec<(String, f64)>)>,
    ratios: String,
    figures: String,
    csv: String,
}

/// What a row says of its case.
#[derive(Clone)]
struct CaseRow {
    work: String,
    items: usize,
    workers: usize,
    /// Nanoseconds for one item, as the first contestant took them.
    ns: f64,
}

impl Table {
    pub(super) fn new(bench: &'static str) -> Table {
        Table {
            bench,
            case: None,
            speed_ups: Vec::new(),
            ratios: String::new(),
            figures: String::new(),
            csv: "kind,work,items,workers,ns_per_item,subject,against,median,low,high,goal,met\n".to_owned(),
        }
    }

    /// The rows that follow are of this case.
    #[expect(clippy::cast_precision_loss, reason = "there are not so many items")]
    pub(super) fn case(&mut self, work: &str, items: usize, workers: usize, seconds: f64) {
        let row = CaseRow { work: work.to_owned(), items, workers, ns: seconds * 1e9 / items as f64 };
        self.speed_ups.push((row.clone(), Vec::new()));
        self.case = Some(row);
    }

    /// How much faster `subject` was than the first contestant.
    pub(super) fn speed_up(&mut self, subject: &str, base: &str, spread: Spread) {
        self.line("speed-up", subject, base, &spread, &["–".to_owned(), "–".to_owned()]);
        let (_, speed_ups) = self.speed_ups.last_mut().expect("BUG: a row without its case");
        speed_ups.push((subject.to_owned(), spread.median));
    }

    pub(super) fn ratio(&mut self, subject: &str, against: &str, goal: Goal, spread: Spread) {
        let goal = goal.columns(spread.median);
        self.line("ratio", subject, against, &spread, &goal);
        let CaseRow { work, workers, .. } = self.case.as_ref().expect("BUG: a row without its case");
        let Spread { median, low, high } = spread;
        let ratio = format!("{} ({}–{})", digits(median), digits(low), digits(high));
        let [goal, met] = goal;
        let _ = writeln!(self.ratios, "| {work} | {workers} | {subject} | {against} | {ratio} | {goal} | {met} |");
    }

    pub(super) fn figure(&mut self, work: &str, unit: &str, goal: Goal, figure: f64) {
        let [goal, met] = goal.columns(figure);
        let figure = digits(figure);
        let _ = writeln!(self.figures, "| {work} | {figure} {unit} | {goal} | {met} |");
        let _ = writeln!(self.csv, "figure,{work},,,,,{unit},{figure},,,{goal},{met}");
    }

    fn line(&mut self, kind: &str, subject: &str, against: &str, spread: &Spread, [goal, met]: &[String; 2]) {
        let CaseRow { work, items, workers, ns } = self.case.as_ref().expect("BUG: a row without its case");
        let Spread { median, low, high } = spread;
        let met = met.trim_matches('*');
        let _ = writeln!(
            self.csv,
            "{kind},{work},{items},{workers},{ns:.2},{subject},{against},{median:.4},{low:.4},{high:.4},{goal},{met}"
        );
    }

    /// Prints the tables, and writes the lines.
    pub(super) fn publish(&self) {
        self.print();
        let folder = folder();
        fs::create_dir_all(&folder).expect("the target folder can be written to");
        let path = folder.join(self.bench).with_extension("csv");
        fs::write(&path, &self.csv).expect("the target folder can be written to");
        eprintln!("written: {}", path.display());
    }

    pub(super) fn print(&self) {
        println!("### {}\n", self.bench);
        if !self.speed_ups.is_empty() {
            self.print_speed_ups();
        }
        if !self.ratios.is_empty() {
            println!("Times as fast as another, in the same round:\n");
            println!("| work | workers | subject | against | ratio (quartiles) | goal | met |");
            println!("|---|---|---|---|---|---|---|\n{}", self.ratios);
        }
        if !self.figures.is_empty() {
            println!("| work | figure | goal | met |\n|---|---|---|---|\n{}", self.figures);
        }
    }

    /// How many times as fast as the first contestant, who is there for that, everyone was: a column for each of them, in
    /// the order of their first appearance.
    fn print_speed_ups(&self) {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in self.speed_ups.iter().flat_map(|(_, speed_ups)| speed_ups) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        println!("Times as fast as the first contestant, whose time for an item is given (medians):\n");
        println!("| work | items | workers | ns an item | {} |", names.join(" | "));
        println!("|---|---|---|---|{}", "---|".repeat(names.len()));
        for (CaseRow { work, items, workers, ns }, speed_ups) in &self.speed_ups {
            print!("| {work} | {items} | {workers} | {} |", digits(*ns));
            for name in &names {
                let speed_up = speed_ups.iter().find(|(other, _)| other == name);
                print!(" {} |", speed_up.map_or("–".to_owned(), |(_, speed_up)| digits(*speed_up)));
            }
            println!();
        }
        println!();
    }
}

/// Where the lines go. Cargo runs a bench in the folder of its package; the target folder is the workspace's.
fn folder() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(target).join("criterion").join("ratios")
}

/// Three significant digits, but no rounding before the point.
pub(crate) fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        0.0..0.01 => format!("{value:.4}"),
        0.0..1.0 => format!("{value:.3}"),
        0.0..10.0 => format!("{value:.2}"),
        0.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
