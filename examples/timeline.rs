//! `timeline DIR [FOLDER]`: hashes every file under DIR and prints who did what. Writes `timeline.svg`, `timeline.json` (for the
//! Perfetto UI) and `timeline.tsv` (a joblog like GNU parallel's) to FOLDER, or to `target`.

mod hash;

use hash::sha256;
use pool_map::{PoolIterator, Timeline};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::{env, io, process, thread};

fn main() -> io::Result<()> {
    let Some(directory) = env::args_os().nth(1) else {
        eprintln!("usage: timeline DIR [FOLDER]");
        process::exit(2);
    };
    let folder = env::args_os().nth(2).map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let mut files = Vec::new();
    list(Path::new(&directory), &mut files)?;
    let workers = thread::available_parallelism().map_or(1, usize::from);

    let timeline = Timeline::new();
    let hashes = files.iter().pool_map(workers, |path| File::open(path).and_then(sha256)).named("sha256");
    let unreadable = hashes.observe(&timeline).filter(Result::is_err).count();

    println!("{} files, {unreadable} of them unreadable", files.len());
    print!("{timeline}");
    fs::create_dir_all(&folder)?;
    timeline.write_svg(File::create(folder.join("timeline.svg"))?)?;
    timeline.write_chrome_trace(File::create(folder.join("timeline.json"))?)?;
    timeline.write_joblog(File::create(folder.join("timeline.tsv"))?)
}

/// Adds every file under `directory`, in the order of their names.
fn list(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    for path in paths {
        // What a link points to is left alone, or a circle of them would have no end.
        let kind = fs::symlink_metadata(&path)?.file_type();
        if kind.is_dir() {
            list(&path, files)?;
        } else if kind.is_file() {
            files.push(path);
        }
    }
    Ok(())
}
