//! The numbers in the names of the workers: unique among the living, and the lowest that are free.

use crate::base::fork::is_forked;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers::new());

/// The numbers that one pool's workers have in their names, taken until this is dropped.
pub(crate) struct NumberBlock {
    /// The pool's name.
    name: Arc<str>,
    /// The number of the worker with index 0; at least 1.
    first: usize,
}

impl NumberBlock {
    pub(crate) fn take(name: &Arc<str>, len: usize) -> NumberBlock {
        let first = NUMBERS.lock().take(name, len);
        NumberBlock { name: Arc::clone(name), first }
    }

    pub(crate) fn worker_name(&self, index: usize) -> String {
        format!("{}-{}", self.name, self.first + index)
    }
}

impl Drop for NumberBlock {
    fn drop(&mut self) {
        if !is_forked() {
            NUMBERS.lock().free(&self.name, self.first);
        }
    }
}

/// Which numbers are in use, by name.
struct Numbers {
    /// For each name the blocks in use as `(first, len)`: none empty, none overlapping. No entry without a block.
    taken: BTreeMap<Arc<str>, BTreeMap<usize, usize>>,
}

impl Numbers {
    const fn new() -> Numbers {
        Numbers { taken: BTreeMap::new() }
    }

    /// Takes the lowest free block of `len` numbers, counted from 1, and returns its first.
    fn take(&mut self, name: &Arc<str>, len: usize) -> usize {
        let blocks = self.taken.entry(Arc::clone(name)).or_default();
        let mut first = 1;
        for (&next, &next_len) in &*blocks {
            if next - first >= len {
                break;
            }
            first = next + next_len;
        }
        blocks.insert(first, len);
        first
    }

    fn free(&mut self, name: &Arc<str>, first: usize) {
        let blocks = self.taken.get_mut(name).expect("BUG: a name in use has blocks");
        blocks.remove(&first).expect("BUG: a block is freed once");
        if blocks.is_empty() {
            self.taken.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_free_block() {
        let mut numbers = Numbers::new();
        let (a, b) = (Arc::from("a"), Arc::from("b"));
        assert_eq!([4, 4, 2].map(|len| numbers.take(&a, len)), [1, 5, 9]);
        assert_eq!(numbers.take(&b, 3), 1);
        numbers.free(&a, 5);
        assert_eq!(numbers.take(&a, 5), 11, "a hole of four is too small");
        assert_eq!(numbers.take(&a, 3), 5);
        assert_eq!(numbers.take(&a, 1), 8);
        numbers.free(&a, 1);
        assert_eq!(numbers.take(&a, 4), 1);
    }

    #[test]
    fn nothing_is_kept_of_a_free_name() {
        let mut numbers = Numbers::new();
        let name = Arc::from("a");
        let first = numbers.take(&name, 2);
        numbers.free(&name, first);
        assert!(numbers.taken.is_empty());
    }

    #[test]
    fn blocks_never_overlap() {
        let mut numbers = Numbers::new();
        let name = Arc::from("a");
        let mut held: Vec<(usize, usize)> = Vec::new();
        // A fixed walk that takes and frees blocks of 1 to 7 numbers.
        for step in 0..2000_usize {
            let dice = step.wrapping_mul(2_654_435_761) >> 7;
            if dice % 3 == 0 && !held.is_empty() {
                numbers.free(&name, held.swap_remove(dice % held.len()).0);
                continue;
            }
            let len = dice % 7 + 1;
            let first = numbers.take(&name, len);
            assert!(first >= 1);
            assert!(held.iter().all(|&(other, other_len)| first + len <= other || other + other_len <= first));
            let is_free =
                |from: usize| held.iter().all(|&(other, other_len)| from + len <= other || other + other_len <= from);
            assert!(!(1..first).any(is_free), "the lowest one");
            held.push((first, len));
        }
    }
}
