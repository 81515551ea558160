//! What stands on the command line.

use std::path::PathBuf;
use std::{env, thread};

pub(crate) struct Options {
    /// Threads of each rank.
    pub(crate) workers: usize,
    /// How many items of its share a rank may have begun that rank 0 has not taken.
    pub(crate) window: usize,
    /// The index of an item that panics, for trying out what becomes of the job.
    pub(crate) panic_at: Option<usize>,
    /// The file that has the names, one a line.
    pub(crate) list: PathBuf,
}

impl Options {
    pub(crate) fn from_arguments() -> Result<Options, String> {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let mut options = Options { workers, window: 256, panic_at: None, list: PathBuf::new() };
        let mut arguments = env::args_os().skip(1);
        while let Some(argument) = arguments.next() {
            let Some(option) = argument.to_str().filter(|text| text.starts_with("--")) else {
                options.list = argument.into();
                continue;
            };
            let value = arguments.next().and_then(|value| value.to_str()?.parse().ok());
            let value: usize = value.ok_or_else(|| format!("{option} needs a number"))?;
            match option {
                "--workers" if value > 0 => options.workers = value,
                "--window" if value > 0 => options.window = value,
                "--panic-at" => options.panic_at = Some(value),
                _ => return Err(format!("no such option: {option} {value}")),
            }
        }
        if options.list.as_os_str().is_empty() {
            return Err("usage: mpi-sha256sum [--workers N] [--window N] LIST".to_owned());
        }
        Ok(options)
    }
}
