//! Pools: named worker threads on top of rayon.

pub(crate) mod lease;
pub(crate) mod lobby;
pub(crate) mod names;
pub(crate) mod pool;
pub(crate) mod seat;
