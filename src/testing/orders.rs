//! For tests: all orders in which things can happen, one after the other.

use std::collections::HashSet;

/// Which way a run goes where it may go several ways.
pub(crate) trait Way {
    /// One of so many ways.
    fn choose(&mut self, ways: usize) -> usize;

    /// Whether the run may end here: it was in this very state before, and all that can come of it is gone through.
    fn was_here(&mut self, state: String) -> bool;
}

/// Every way, one run after the other.
#[derive(Default)]
struct Every {
    /// At each fork of this run the way to take, and how many there are.
    forks: Vec<(usize, usize)>,
    /// How many forks of this run are behind it.
    at: usize,
    states: HashSet<String>,
}

impl Every {
    /// Turns to the next way that was not gone yet; false if there is none.
    fn turn(&mut self) -> bool {
        self.at = 0;
        while let Some((way, ways)) = self.forks.pop() {
            if way + 1 < ways {
                self.forks.push((way + 1, ways));
                return true;
            }
        }
        false
    }
}

impl Way for Every {
    fn choose(&mut self, ways: usize) -> usize {
        if self.at == self.forks.len() {
            self.forks.push((0, ways));
        }
        let (way, known) = self.forks[self.at];
        assert_eq!(known, ways, "the run is another one with the same choices");
        self.at += 1;
        way
    }

    fn was_here(&mut self, state: String) -> bool {
        // Up to the last turn the run only repeats another one.
        self.at == self.forks.len() && !self.states.insert(state)
    }
}

/// Runs `run` in every order there is, and gives how many states it was seen in.
pub(crate) fn all(mut run: impl FnMut(&mut dyn Way)) -> usize {
    let mut every = Every::default();
    loop {
        run(&mut every);
        if !every.turn() {
            return every.states.len();
        }
    }
}

/// These choices, and the first way where they are at their end.
pub(crate) struct Given(pub(crate) std::vec::IntoIter<usize>);

impl Way for Given {
    fn choose(&mut self, ways: usize) -> usize {
        self.0.next().unwrap_or(0) % ways
    }

    fn was_here(&mut self, _: String) -> bool {
        false
    }
}

mod tests {
    use super::*;

    #[test]
    fn every_way_is_gone_once() {
        let mut gone = Vec::new();
        let states = all(|way| {
            let first = way.choose(2);
            assert!(!way.was_here(first.to_string()));
            let second = if first == 0 { way.choose(3) } else { 7 };
            gone.push((first, second));
        });
        assert_eq!((states, gone), (2, vec![(0, 0), (0, 1), (0, 2), (1, 7)]));
    }

    #[test]
    fn what_comes_of_a_state_is_gone_through_once() {
        let mut gone = Vec::new();
        all(|way| {
            let sum = way.choose(3) + way.choose(3);
            if !way.was_here(sum.to_string()) {
                gone.push((sum, way.choose(2)));
            }
        });
        assert!(gone.into_iter().eq((0..5).flat_map(|sum| [(sum, 0), (sum, 1)])));
    }
}
