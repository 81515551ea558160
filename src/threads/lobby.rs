//! Where work waits that no caller waits with: tasks, and the pullers of streams.
//!
//! An *errand* is posted; a *hand*, which is a job on a worker, takes one after the other until there are none. At most
//! one hand works on each worker, and only at the bottom of its stack (see [`seat`](crate::threads::seat)), so that no errand ever
//! runs on top of a half-run one. First posted, first begun: an errand that has much to do steps back from time to time,
//! and posts itself anew behind those that wait.

use crate::panics;
use crate::threads::seat::Seat;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Something to be done by a worker, once.
pub(crate) type Errand<'j> = Box<dyn FnOnce(&Clerk<'_, 'j>) + Send + 'j>;

/// How long a hand without a seat keeps its worker before that may take the same hand up again.
const REFUSED: Duration = Duration::from_millis(1);

/// The errands of one pool, or of one borrowed stream.
pub(crate) struct Lobby<'j> {
    /// How many hands there may be: one for each worker.
    width: usize,
    desk: Mutex<Desk<'j>>,
    /// The length of the queue, for a look without the lock.
    waiting: AtomicUsize,
}

struct Desk<'j> {
    queue: VecDeque<Errand<'j>>,
    /// Hands that were called and have not left; at most `width`. Not 0 while the queue holds anything.
    hands: usize,
    /// Nothing is taken in any more.
    closed: bool,
}

impl<'j> Lobby<'j> {
    pub(crate) fn new(width: usize) -> Self {
        let desk = Desk { queue: VecDeque::new(), hands: 0, closed: false };
        Lobby { width, desk: Mutex::new(desk), waiting: AtomicUsize::new(0) }
    }

    /// Has an errand done. `call_hand` is to spawn a job that does [`work`](Lobby::work).
    pub(crate) fn post(&self, errand: Errand<'j>, call_hand: &dyn Fn()) {
        let mut desk = self.desk.lock();
        if desk.closed {
            drop(desk);
            // What an errand holds says by its destructor that it was not done.
            return panics::contain(errand);
        }
        desk.queue.push_back(errand);
        self.waiting.store(desk.queue.len(), Ordering::Relaxed);
        let one_more = desk.hands < self.width;
        desk.hands += usize::from(one_more);
        drop(desk);
        if one_more {
            call_hand();
        }
    }

    /// The life of a hand.
    pub(crate) fn work(&self, call_hand: &dyn Fn()) {
        let Some(_seat) = Seat::take() else {
            return self.pass_on(call_hand);
        };
        let clerk = Clerk { lobby: self, call_hand };
        while let Some(errand) = self.take() {
            // An errand catches what it runs. This is for the destructors of what it holds.
            if let Err(payload) = panics::catch(|| errand(&clerk)) {
                panics::contain(payload);
            }
        }
    }

    /// The next errand. Without one, the hand is struck off under the lock that showed the queue empty.
    fn take(&self) -> Option<Errand<'j>> {
        let mut desk = self.desk.lock();
        let errand = desk.queue.pop_front();
        self.waiting.store(desk.queue.len(), Ordering::Relaxed);
        if errand.is_none() {
            desk.hands -= 1;
        }
        errand
    }

    /// What a hand does that was taken up by a worker in the middle of something else: it lets another worker have its
    /// place. That worker gets some time to take it, or this one would take it up again and again without a pause.
    fn pass_on(&self, call_hand: &dyn Fn()) {
        let mut desk = self.desk.lock();
        if desk.queue.is_empty() {
            desk.hands -= 1;
            return;
        }
        drop(desk);
        call_hand();
        thread::sleep(REFUSED);
    }

    /// Takes nothing in any more, and gives back what no hand took.
    pub(crate) fn close(&self) -> VecDeque<Errand<'j>> {
        let mut desk = self.desk.lock();
        desk.closed = true;
        self.waiting.store(0, Ordering::Relaxed);
        std::mem::take(&mut desk.queue)
    }
}

/// What an errand may ask for while it is being done.
pub(crate) struct Clerk<'a, 'j> {
    lobby: &'a Lobby<'j>,
    call_hand: &'a dyn Fn(),
}

impl<'j> Clerk<'_, 'j> {
    /// One of a hand that a test only pretends to have.
    #[cfg(test)]
    pub(crate) fn of<'a>(lobby: &'a Lobby<'j>, call_hand: &'a dyn Fn()) -> Clerk<'a, 'j> {
        Clerk { lobby, call_hand }
    }

    /// Has another errand done, by this hand later or by another one.
    pub(crate) fn post(&self, errand: Errand<'j>) {
        self.lobby.post(errand, self.call_hand);
    }

    /// Whether an errand waits for a hand.
    pub(crate) fn others_wait(&self) -> bool {
        self.lobby.waiting.load(Ordering::Relaxed) > 0
    }
}

/// Calls a hand to a lobby of the jobs of a scope.
pub(crate) fn call_hand_in<'s>(crew: crate::threads::pool::Crew<'_, 's>, lobby: Arc<Lobby<'s>>) {
    crew.spawn(move |crew| lobby.work(&|| call_hand_in(crew, Arc::clone(&lobby))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn there_are_no_more_hands_than_workers_and_none_without_need() {
        let called = Cell::new(0);
        let call_hand = || called.set(called.get() + 1);
        let lobby = Lobby::new(2);
        let clerk = Clerk::of(&lobby, &call_hand);
        assert!(!clerk.others_wait());
        for _ in 0..3 {
            clerk.post(Box::new(|_| ()));
        }
        assert_eq!((called.get(), lobby.desk.lock().hands), (2, 2));
        assert!(clerk.others_wait());
        for left in [2, 1, 0] {
            assert!(lobby.take().is_some());
            assert_eq!((lobby.waiting.load(Ordering::Relaxed), clerk.others_wait()), (left, left > 0));
        }
        assert!(lobby.take().is_none());
        assert_eq!(lobby.desk.lock().hands, 1, "one has left");
        lobby.post(Box::new(|_| ()), &call_hand);
        assert_eq!((called.get(), lobby.desk.lock().hands), (3, 2));
    }

    #[test]
    fn a_hand_without_a_seat_passes_its_place_on_where_there_is_a_need() {
        let called = Cell::new(0);
        let call_hand = || called.set(called.get() + 1);
        let lobby = Lobby::new(1);
        lobby.post(Box::new(|_| ()), &call_hand);
        // This thread is no worker, so there is no seat on it.
        lobby.work(&call_hand);
        assert_eq!((called.get(), lobby.desk.lock().hands), (2, 1), "another one has its place");
        assert!(lobby.take().is_some());
        lobby.work(&call_hand);
        assert_eq!((called.get(), lobby.desk.lock().hands), (2, 0));
    }

    #[test]
    fn what_no_hand_took_comes_back_and_nothing_more_is_taken_in() {
        let lobby = Lobby::new(1);
        lobby.post(Box::new(|_| ()), &|| ());
        lobby.post(Box::new(|_| ()), &|| ());
        assert_eq!(lobby.close().len(), 2);
        assert_eq!(lobby.waiting.load(Ordering::Relaxed), 0);
        let token = Arc::new(());
        let held = Arc::clone(&token);
        lobby.post(Box::new(move |_| drop(held)), &|| panic!("nobody is called"));
        assert_eq!(Arc::strong_count(&token), 1, "it was dropped at once");
        assert!(lobby.take().is_none());
    }
}
