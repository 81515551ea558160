//! Guides: pages of documentation, without code.

pub mod coming_from_python;
pub mod coming_from_rayon;
pub mod guarantees;
pub mod more_machines;
pub mod recipes;
pub mod seeing;
