//! Inner nodes, and the words that lead to nodes of either kind.

mod child;
mod inner;
mod link;
mod unlink;

pub(crate) use child::Child;
pub(crate) use inner::{FANOUT_MAX, FANOUT_MIN, Inner, Node, Side};
pub(crate) use link::Link;
pub(crate) use unlink::Unlinked;
