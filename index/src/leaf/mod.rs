//! Leaves: sorted arrays with gaps, and where entries go in them.

mod fit;
mod leaf;
mod model;
mod scan;
mod write;

pub(crate) use fit::{Density, Fit, LEAF_SLOTS_MIN};
pub(crate) use leaf::{Growth, Leaf, bump};
pub(crate) use model::Model;
pub(crate) use write::Inserted;
