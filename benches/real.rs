//! How does it fare with real work: time, peak memory, and time to the first result?
//!
//! A tree of files is hashed, the lines of a large CSV are parsed, images are made smaller, a file is compressed block by
//! block. Each way to do that runs in a process of its own, so that its peak memory is its own.

mod common;

use common::{
    BRIDGE, Lab, Mode, OURS, PARITER, Random, SEQUENTIAL, Spread, digits, peak_memory, wanted_words, workers,
};
use flate2::{Compression, write::GzEncoder};
use pariter::IteratorExt;
use pool_map::PoolIterator;
use rayon::prelude::*;
use sha2::{Digest, Sha512};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use std::{array, env, iter, thread};

const COLLECTED: &str = "rayon by hand";
const WAYS: [&str; 5] = [SEQUENTIAL, OURS, COLLECTED, BRIDGE, PARITER];

struct Work {
    name: &'static str,
    /// How many items take one to two seconds.
    items: usize,
    /// Writes the data of so many items to that path.
    write: fn(&Path, usize) -> io::Result<()>,
    /// Does the work on the data at that path, in one of the [`WAYS`].
    run: fn(&str, &Path) -> Run,
}

const WORKS: [Work; 4] = [
    Work { name: "hash a tree of files", items: 1300, write: write_tree, run: hash_tree },
    Work { name: "parse the lines of a CSV file", items: 3_000_000, write: write_csv, run: parse_csv },
    Work { name: "make images smaller", items: 200, write: write_images, run: shrink_images },
    Work { name: "compress blocks in order", items: 180, write: write_text, run: compress_blocks },
];

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let [_, "child", work, way, data] = arguments[..] {
        let work = WORKS.iter().find(|other| other.name == work).expect("BUG: no such work");
        return println!("{}", (work.run)(way, data.as_ref()).to_line());
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("real");
    _ = fs::remove_dir_all(&folder); // What an interrupted run has left.
    fs::create_dir_all(&folder).expect("the target folder can be written to");
    match Mode::of_arguments() {
        Mode::Criterion => println!("real has ratios only: cargo bench -p pool-map-benches --bench real -- ratios"),
        Mode::Ratios => print_table(&folder),
        Mode::Test => {
            for work in &WORKS {
                work.measure((work.items / 100).max(8), 1, &folder);
            }
            println!("Success: the contestants of real agree");
        }
    }
    fs::remove_dir_all(&folder).expect("the target folder can be written to");
}

fn print_table(folder: &Path) {
    println!("### real\n");
    println!("| work | way | time | speed-up | peak memory | first result |\n|---|---|---|---|---|---|");
    for work in &WORKS {
        if wanted_words().is_none_or(|words| work.name.contains(&words)) {
            work.print_rows(&work.measure(work.items, 5, folder));
        }
    }
    println!();
}

impl Work {
    /// Runs all ways in turns, so many rounds, another one beginning in each. Stops the bench when one of them is wrong.
    fn measure(&self, items: usize, rounds: usize, folder: &Path) -> Vec<[Run; WAYS.len()]> {
        eprintln!("{} …", self.name);
        let data = folder.join(self.name);
        (self.write)(&data, items).expect("the data can be written");
        let run_round = |number: usize| {
            let mut runs = array::from_fn(|_| Run::default());
            for place in (0..WAYS.len()).map(|turn| (turn + number) % WAYS.len()) {
                runs[place] = self.run_child(WAYS[place], &data);
            }
            for (way, run) in iter::zip(WAYS, &runs) {
                assert!(run.digest == runs[0].digest, "{way} has different results in {}", self.name);
            }
            runs
        };
        (0..rounds).map(run_round).collect()
    }

    fn run_child(&self, way: &str, data: &Path) -> Run {
        let bench = env::current_exe().expect("the bench knows its own path");
        let child =
            Command::new(bench).args(["child", self.name, way]).arg(data).output().expect("the bench can start");
        assert!(child.status.success(), "{way} of {}: {}", self.name, String::from_utf8_lossy(&child.stderr));
        Run::from_line(&String::from_utf8_lossy(&child.stdout)).expect("BUG: the child prints a line")
    }

    fn print_rows(&self, rounds: &[[Run; WAYS.len()]]) {
        for (place, way) in WAYS.iter().enumerate() {
            let median = |value: &dyn Fn(&[Run; WAYS.len()]) -> f64| {
                digits(Spread::of(rounds.iter().map(value).collect()).median)
            };
            let seconds = median(&|runs| runs[place].seconds);
            let speed_up = median(&|runs| runs[0].seconds / runs[place].seconds);
            let megabytes = median(&|runs| runs[place].megabytes);
            let first = median(&|runs| runs[place].first_ms);
            println!("| {} | {way} | {seconds} s | {speed_up} | {megabytes} MB | {first} ms |", self.name);
        }
    }
}

// ---- One run ---------------------------------------------------------------------------------------------------------

/// What a child has measured.
#[derive(Default)]
struct Run {
    seconds: f64,
    first_ms: f64,
    /// The peak; 0 where the system does not tell.
    megabytes: f64,
    /// Of all results, in order.
    digest: u64,
}

impl Run {
    fn to_line(&self) -> String {
        format!("{} {} {} {}", self.seconds, self.first_ms, self.megabytes, self.digest)
    }

    fn from_line(line: &str) -> Option<Run> {
        let mut words = line.split_whitespace();
        let mut number = || words.next()?.parse().ok();
        let (seconds, first_ms, megabytes) = (number()?, number()?, number()?);
        Some(Run { seconds, first_ms, megabytes, digest: words.next()?.parse().ok()? })
    }
}

/// Maps the items in one of the [`WAYS`]. The consumer takes the results in order, and keeps none of them.
fn run<I: Send, R: Send + Hash>(
    way: &str,
    items: impl Iterator<Item = I> + Send,
    f: impl Fn(I) -> R + Send + Sync,
) -> Run {
    let lab = Lab::new(workers());
    let start = Instant::now();
    let (mut first, mut hasher) = (None, DefaultHasher::new());
    let consume = |result: R| {
        first.get_or_insert_with(|| start.elapsed());
        result.hash(&mut hasher);
    };
    match way {
        SEQUENTIAL => items.map(f).for_each(consume),
        OURS => items.pool_map(&lab.pool, f).for_each(consume),
        COLLECTED => {
            let items: Vec<I> = items.collect();
            let results: Vec<R> = lab.rayon.install(|| items.into_par_iter().map(f).collect());
            results.into_iter().for_each(consume);
        }
        BRIDGE => {
            let with_index = |(index, item)| (index, f(item));
            let mut results: Vec<(usize, R)> =
                lab.rayon.install(|| items.enumerate().par_bridge().map(with_index).collect());
            results.sort_unstable_by_key(|&(index, _)| index);
            results.into_iter().map(|(_, result)| result).for_each(consume);
        }
        PARITER => {
            let with_workers = |map: pariter::ParallelMapBuilder<_>| map.threads(lab.workers);
            thread::scope(|scope| items.parallel_map_scoped_custom(scope, with_workers, &f).for_each(consume));
        }
        _ => panic!("BUG: no way is called {way}"),
    }
    let seconds = start.elapsed().as_secs_f64();
    let first_ms = first.expect("BUG: there are results").as_secs_f64() * 1e3;
    Run { seconds, first_ms, megabytes: peak_memory().unwrap_or(0.0), digest: hasher.finish() }
}

// ---- Hash a tree of files --------------------------------------------------------------------------------------------

/// Files of 1 KiB to 8 MiB, as many of each power of two, thirty in a folder.
fn write_tree(root: &Path, items: usize) -> io::Result<()> {
    let mut random = Random(1);
    let bytes: Vec<u8> = iter::repeat_with(|| random.next_u64().to_le_bytes()).take(1 << 20).flatten().collect();
    for item in 0..items {
        let folder = root.join(format!("{:03}", item / 30));
        fs::create_dir_all(&folder)?;
        let size = random.below(1 << (11 + item % 13)).max(1);
        fs::write(folder.join(format!("{:02}", item % 30)), &bytes[bytes.len() - size..])?;
    }
    Ok(())
}

/// The files below `root`, in the order of their names.
fn files(root: &Path) -> impl Iterator<Item = PathBuf> + Send + use<> {
    let mut stack = vec![root.to_owned()];
    iter::from_fn(move || {
        loop {
            let path = stack.pop()?;
            if !path.is_dir() {
                return Some(path);
            }
            let entries = fs::read_dir(&path).expect("the folder is there");
            let mut inside: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
            inside.sort_by(|a, b| b.cmp(a));
            stack.append(&mut inside);
        }
    })
}

fn hash_tree(way: &str, root: &Path) -> Run {
    run(way, files(root), |path: PathBuf| {
        let (mut file, mut hasher) = (File::open(&path).expect("the file is there"), Sha512::new());
        io::copy(&mut file, &mut hasher).expect("the file can be read");
        (path, <[u8; 64]>::from(hasher.finalize()))
    })
}

// ---- Parse the lines of a CSV file -----------------------------------------------------------------------------------

fn write_csv(path: &Path, items: usize) -> io::Result<()> {
    let (mut random, mut file) = (Random(2), BufWriter::new(File::create(path)?));
    for item in 0..items {
        write!(file, "{item},station {}", random.below(500))?;
        for _ in 0..8 {
            write!(file, ",{}.{:02}", random.below(1000), random.below(100))?;
        }
        writeln!(file)?;
    }
    file.flush()
}

#[derive(Hash)]
struct Row {
    id: usize,
    station: String,
    /// The bits of the eight numbers.
    values: [u64; 8],
}

fn parse_csv(way: &str, path: &Path) -> Run {
    let lines = BufReader::new(File::open(path).expect("the file is there")).lines();
    run(way, lines.map(|line| line.expect("the file can be read")), |line: String| {
        let mut fields = line.split(',');
        let mut field = || fields.next().expect("there are ten fields");
        let (id, station) = (field().parse().expect("a number"), field().to_owned());
        Row { id, station, values: array::from_fn(|_| field().parse::<f64>().expect("a number").to_bits()) }
    })
}

// ---- Make images smaller ---------------------------------------------------------------------------------------------

const WIDTH: usize = 1200;
const HEIGHT: usize = 800;

/// Images without a header, three bytes a pixel.
fn write_images(folder: &Path, items: usize) -> io::Result<()> {
    let mut random = Random(3);
    fs::create_dir_all(folder)?;
    for item in 0..items {
        let words = iter::repeat_with(|| random.next_u64().to_le_bytes()).take(WIDTH * HEIGHT * 3 / 8);
        fs::write(folder.join(format!("{item:03}.rgb")), words.flatten().collect::<Vec<u8>>())?;
    }
    Ok(())
}

fn shrink_images(way: &str, folder: &Path) -> Run {
    run(way, files(folder), |path: PathBuf| {
        let pixels = fs::read(path).expect("the image is there");
        [2, 3, 4, 5, 8].map(|factor| shrink(&pixels, factor))
    })
}

/// A box filter: each pixel is the mean of `factor` × `factor` pixels. What is left over at the edges is cut off.
fn shrink(pixels: &[u8], factor: usize) -> Vec<u8> {
    let area = factor * factor;
    let width = WIDTH / factor;
    let mut small = Vec::with_capacity(width * (HEIGHT / factor) * 3);
    for rows in pixels.chunks_exact(WIDTH * 3 * factor) {
        let mut sums = vec![[0; 3]; width];
        for row in rows.chunks_exact(WIDTH * 3) {
            for (sum, pixels) in iter::zip(&mut sums, row.chunks_exact(3 * factor)) {
                for pixel in pixels.chunks_exact(3) {
                    (0..3).for_each(|channel| sum[channel] += usize::from(pixel[channel]));
                }
            }
        }
        small.extend(sums.iter().flatten().map(|sum| u8::try_from(sum / area).expect("the mean of bytes is a byte")));
    }
    small
}

// ---- Compress blocks in order ----------------------------------------------------------------------------------------

const BLOCK: usize = 128 * 1024;

/// Words of a small language, as often as in a real one: the n-th most frequent one has the share 1/n.
fn write_text(path: &Path, items: usize) -> io::Result<()> {
    let (mut random, mut file) = (Random(4), BufWriter::new(File::create(path)?));
    // As many of each power of two.
    let mut spread = |powers: usize| {
        let power = random.below(powers);
        random.below(1 << power)
    };
    let words: Vec<String> = (0..4096).map(|_| format!("{:x} ", spread(28))).collect();
    let mut written = 0;
    while written < items * BLOCK {
        let word = &words[spread(13)];
        written += word.len();
        file.write_all(word.as_bytes())?;
    }
    file.flush()
}

/// The compressed blocks one after the other are a file that `gunzip` reads.
fn compress_blocks(way: &str, path: &Path) -> Run {
    let file = File::open(path).expect("the file is there");
    let blocks = iter::from_fn(|| {
        let mut block = Vec::with_capacity(BLOCK);
        (&file).take(BLOCK as u64).read_to_end(&mut block).expect("the file can be read");
        (!block.is_empty()).then_some(block)
    });
    run(way, blocks, |block: Vec<u8>| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&block).and_then(|()| encoder.finish()).expect("memory can be written to")
    })
}
