//! Which pools have workers that wait for other pools, so that none waits in a circle.
//!
//! A call on a pool that is made on a worker of another one waits: the pool that was named runs it. If workers of `a` wait for
//! `b`, then a worker of `b` must not wait for `a`, since no worker might be left to go on. Such a call runs in place instead.
//! The rule looks at whole pools, so it also runs some calls in place that could have waited.

use crate::base::current_worker;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// A pool, by a number that no other pool of this process has.
pub(crate) type PoolId = u64;

/// For each pair of pools, how many workers of the first wait for the second.
static WAITS: Mutex<Waits> = Mutex::new(Waits { edges: BTreeMap::new() });

struct Waits {
    /// No entry is 0.
    edges: BTreeMap<(PoolId, PoolId), usize>,
}

/// A thread may wait for a pool while this lives.
#[derive(Debug)]
pub(crate) struct WaitPermit(Option<(PoolId, PoolId)>);

impl WaitPermit {
    /// Asks on behalf of this thread; `None` if it is a worker of `pool` itself, or of one that `pool` waits for.
    pub(crate) fn for_pool(pool: PoolId) -> Option<WaitPermit> {
        match current_worker::pool_id() {
            None => Some(WaitPermit(None)),
            Some(own) => {
                let may_wait = WAITS.lock().permit(own, pool);
                may_wait.then(|| WaitPermit(Some((own, pool))))
            }
        }
    }
}

/// The same from now on for something that this thread may wait for later: by then `pool` might wait for this thread's pool.
/// `None` where nothing is to be noted.
pub(crate) fn permit_for_later(pool: PoolId) -> Option<WaitPermit> {
    let is_elsewhere = current_worker::pool_id().is_some_and(|own| own != pool);
    if is_elsewhere { WaitPermit::for_pool(pool) } else { None }
}

impl Drop for WaitPermit {
    fn drop(&mut self) {
        if let Some(edge) = self.0 {
            WAITS.lock().end(edge);
        }
    }
}

impl Waits {
    fn permit(&mut self, from: PoolId, to: PoolId) -> bool {
        let may_wait = !self.reaches(to, from);
        if may_wait {
            *self.edges.entry((from, to)).or_default() += 1;
        }
        may_wait
    }

    /// Whether `from` is `to`, or waits for it by any number of steps.
    fn reaches(&self, from: PoolId, to: PoolId) -> bool {
        let mut found = vec![from];
        let mut next = 0;
        while let Some(&pool) = found.get(next) {
            if pool == to {
                return true;
            }
            let steps = self.edges.range((pool, 0)..=(pool, PoolId::MAX)).map(|(&(_, other), _)| other);
            let new: Vec<_> = steps.filter(|other| !found.contains(other)).collect();
            found.extend(new);
            next += 1;
        }
        false
    }

    fn end(&mut self, edge: (PoolId, PoolId)) {
        let count = self.edges.get_mut(&edge).expect("BUG: a wait ends once");
        *count -= 1;
        if *count == 0 {
            self.edges.remove(&edge);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_circle_is_closed_however_long() {
        let mut waits = Waits { edges: BTreeMap::new() };
        assert!(!waits.permit(1, 1), "a pool does not wait for itself");
        assert!(waits.permit(1, 2) && waits.permit(2, 3) && waits.permit(1, 2));
        assert!(!waits.permit(2, 1) && !waits.permit(3, 1) && !waits.permit(3, 2));
        assert!(waits.permit(1, 3) && waits.permit(4, 1));
        waits.end((1, 2));
        assert!(!waits.permit(2, 1), "another worker still waits");
        waits.end((1, 2));
        assert!(waits.permit(2, 1));
    }

    #[test]
    fn nothing_is_kept_of_waits_that_have_ended() {
        let mut waits = Waits { edges: BTreeMap::new() };
        assert!(waits.permit(1, 2));
        waits.end((1, 2));
        assert!(waits.edges.is_empty());
    }
}
