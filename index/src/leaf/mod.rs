//! Leaves: sorted arrays with gaps, and where entries go in them.

mod fit;
mod leaf;
mod model;
mod scan;
mod slot;
mod tally;
mod write;

pub(crate) use fit::{Density, Fit, Growth, LEAF_SLOTS_MAX, LEAF_SLOTS_MIN};
pub(crate) use leaf::Leaf;
pub(crate) use model::Model;
pub(crate) use write::Inserted;
