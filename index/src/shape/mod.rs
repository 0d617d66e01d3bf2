//! Shapes: how the tree is built, how it changes, and what it must look like.

mod bulk;
mod edge;
mod grow;
mod limits;
mod place;
mod rebalance;
mod reshape;
mod survey;
mod verify;
mod widen;

pub(crate) use bulk::build;
pub(crate) use place::Writer;
