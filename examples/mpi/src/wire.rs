//! What goes from rank to rank: the only file that sends and receives.

use mpi::request;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Destination, MatchedReceiveVec, Source};
use std::thread;
use std::time::{Duration, Instant};

/// What becomes of one item, or that there are no more.
#[derive(Debug)]
pub(crate) enum Message {
    /// For the output.
    Line(Vec<u8>),
    /// Of a file that cannot be read.
    Complaint(String),
    /// The trace of a panic.
    Panic(String),
    /// After the last item of a share.
    End,
}

/// Sends it to rank 0, and returns when it has been taken there: so nobody runs away from rank 0.
pub(crate) fn send(world: &SimpleCommunicator, message: &Message) {
    let (tag, bytes) = match message {
        Message::Line(line) => (0, &line[..]),
        Message::Complaint(complaint) => (1, complaint.as_bytes()),
        Message::Panic(trace) => (2, trace.as_bytes()),
        Message::End => (3, &b"."[..]),
    };
    request::scope(|scope| {
        let mut sending = Some(world.process_at_rank(0).immediate_synchronous_send_with_tag(scope, bytes, tag));
        patiently(|| {
            sending = sending.take().and_then(|request| request.test().err());
            sending.is_none().then_some(())
        });
    });
}

/// The next message of that rank.
pub(crate) fn receive(world: &SimpleCommunicator, rank: i32) -> Message {
    let process = world.process_at_rank(rank);
    let (bytes, status) = patiently(|| process.immediate_matched_probe()).matched_receive_vec();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    match status.tag() {
        0 => Message::Line(bytes),
        1 => Message::Complaint(text(bytes)),
        2 => Message::Panic(text(bytes)),
        _ => Message::End,
    }
}

/// Returns when every rank is here.
pub(crate) fn meet(world: &SimpleCommunicator) {
    let mut meeting = Some(world.immediate_barrier());
    patiently(|| {
        meeting = meeting.take().and_then(|request| request.test().err());
        meeting.is_none().then_some(())
    });
}

/// Asks until there is an answer. MPI's own waiting would keep a core busy, which here is wanted for a worker.
fn patiently<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        if start.elapsed() < Duration::from_micros(100) {
            thread::yield_now();
        } else {
            thread::sleep(Duration::from_micros(100));
        }
    }
}
