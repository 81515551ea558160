//! Sightings on our workers that no job has claimed yet, for the whole process.
//!
//! A worker that waits inside rayon, in the middle of one item, may run a part of another item's `par_iter`. If that part
//! panics, the hook sees it on this worker, in the job of the first item; rayon takes the payload to the other worker and
//! raises it there, without any hook. So that job has to find the sighting here.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::fork::is_forked;

use super::sighting::{Fingerprint, Sighting};

/// How many are kept. Most are claimed a moment later.
const MOST: usize = 64;

/// Oldest first. Locked only for moments, and no code of the user's runs meanwhile.
static UNCLAIMED: Mutex<Vec<Arc<Sighting>>> = Mutex::new(Vec::new());

/// Keeps a sighting for whoever will raise the panic, if another job than that of this thread may do so.
pub(super) fn keep(sighting: &Arc<Sighting>) {
    // In a forked child, a thread that is not there may hold the lock.
    if !sighting.is_shared || is_forked() {
        return;
    }
    let mut kept = UNCLAIMED.lock();
    kept.retain(|kept| kept.is_open() && !Arc::ptr_eq(kept, sighting));
    if kept.len() == MOST {
        kept.remove(0);
    }
    kept.push(Arc::clone(sighting));
}

/// The unclaimed sightings from the given number on that `is_it` holds for.
pub(super) fn find(since: u64, is_it: impl Fn(&Fingerprint) -> bool) -> Vec<Arc<Sighting>> {
    if is_forked() {
        return Vec::new();
    }
    let kept = UNCLAIMED.lock();
    let found = kept.iter().filter(|kept| kept.number >= since && kept.is_open() && is_it(&kept.payload));
    found.cloned().collect()
}
