//! `mpirun -n 3 --bind-to none mpi-sha256sum LIST`: `sha256sum` of the files named in LIST, over several machines.
//!
//! Every rank reads the list and takes its share of it; its pool runs ahead of what rank 0 has taken, up to the window.
//! Rank 0 takes one result of each rank in turn, which is the order of the list. See README.md.
#![forbid(unsafe_code)]

#[path = "../../hash/mod.rs"]
mod hash;
#[path = "../../hash/lines.rs"]
mod lines;
mod options;
mod wire;

use mpi::Threading;
use mpi::topology::SimpleCommunicator;
use mpi::traits::Communicator;
use options::Options;
use pool_map::{Pool, TaskPanic};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process::ExitCode;
use wire::Message;

fn main() -> ExitCode {
    let options = match Options::from_arguments() {
        Ok(options) => options,
        Err(why) => {
            say(&format!("mpi-sha256sum: {why}"));
            return ExitCode::from(2);
        }
    };
    // There are more threads, and this one alone calls MPI.
    let (universe, _) = mpi::initialize_with_threading(Threading::Funneled).expect("MPI starts once");
    let world = universe.world();
    // A rank that just ended, by a panic or an error, would leave the others waiting for it.
    let (why, status) = match panic::catch_unwind(AssertUnwindSafe(|| run(&world, &options))) {
        Ok(Ok(status)) => return status,
        Ok(Err(why)) => (why, 2),
        Err(_) => ("panicked".to_owned(), 101),
    };
    say(&format!("mpi-sha256sum: rank {}: {why}; the job ends", world.rank()));
    world.abort(status)
}

fn run(world: &SimpleCommunicator, options: &Options) -> Result<ExitCode, String> {
    let (rank, ranks) = (number(world.rank()), number(world.size()));
    let name = format!("Rank{rank}Worker");
    let pool = Pool::builder().threads(options.workers).name(name).build().map_err(|why| why.to_string())?;

    let list = File::open(&options.list).map_err(|why| format!("{}: {why}", options.list.display()))?;
    let names = BufReader::new(list).split(b'\n').map(|name| name.expect("the list can be read"));
    let share = names.enumerate().skip(rank).step_by(ranks);
    let panic_at = options.panic_at;
    let hash = move |(index, name): (usize, Vec<u8>)| {
        assert!(panic_at != Some(index), "told to panic at item {index} of the list");
        line(&name)
    };
    let status = pool_map::scope(&pool, |scope| {
        let results = scope.imap(share, hash).max_in_flight(options.window).catch_panics().map(message);
        if rank == 0 {
            print(world, results)
        } else {
            results.chain([Message::End]).for_each(|message| wire::send(world, &message));
            ExitCode::SUCCESS
        }
    });
    // Until here rank 0 may end the job, and an `mpirun` that is told so while some rank is in `MPI_Finalize` may hang.
    wire::meet(world);
    Ok(status)
}

/// What `sha256sum` prints of one file, or says of it.
fn line(name: &[u8]) -> Result<Vec<u8>, String> {
    let path: &Path = OsStr::from_bytes(name).as_ref();
    match File::open(path).and_then(hash::sha256) {
        Ok(hash) => Ok(lines::line(&hash, name)),
        Err(why) => Err(lines::complaint(name, &why)),
    }
}

fn message(result: Result<Result<Vec<u8>, String>, TaskPanic>) -> Message {
    match result {
        Ok(Ok(line)) => Message::Line(line),
        Ok(Err(complaint)) => Message::Complaint(complaint),
        Err(panic) => Message::Panic(panic.to_string()),
    }
}

/// Rank 0: prints all results in order, as they arrive. A panic takes its place in that order, and ends the job.
fn print(world: &SimpleCommunicator, mut own: impl Iterator<Item = Message>) -> ExitCode {
    let mut next = |rank| match rank {
        0 => own.next().unwrap_or(Message::End),
        _ => wire::receive(world, rank),
    };
    let mut status = ExitCode::SUCCESS;
    let mut ranks = (0..world.size()).cycle();
    for rank in ranks.by_ref() {
        match next(rank) {
            Message::Line(line) => io::stdout().write_all(&line).expect("the output takes it"),
            Message::Complaint(complaint) => {
                say(&complaint);
                status = ExitCode::FAILURE;
            }
            Message::Panic(trace) => {
                say(&format!("{trace}\nmpi-sha256sum: rank {rank}: panicked; the job ends"));
                world.abort(101);
            }
            Message::End => break,
        }
    }
    // Where one share ends, so do the others, or the ranks have not read the same list.
    for rank in ranks.take(number(world.size()) - 1) {
        assert!(matches!(next(rank), Message::End), "the list of rank {rank} is longer than that of another rank");
    }
    status
}

/// Writes it at once: all ranks share what `mpirun` has for standard error.
fn say(text: &str) {
    _ = io::stderr().write_all(format!("{text}\n").as_bytes()); // If it cannot, there is nowhere to say so.
}

/// A rank or a number of ranks, for counting with.
fn number(rank: i32) -> usize {
    usize::try_from(rank).expect("MPI counts ranks from 0")
}
