//! What only the tests use.

#[cfg(doctest)]
mod compile_fail;

#[cfg(test)]
pub(crate) mod child;
#[cfg(test)]
pub(crate) mod orders;
#[cfg(test)]
pub(crate) mod watch;
#[cfg(all(test, shuttle))]
mod schedules;
