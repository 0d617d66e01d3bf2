//! Inner nodes, and the words that lead to nodes of either kind.

mod inner;
mod link;

pub(crate) use inner::{Child, FANOUT_MAX, FANOUT_MIN, Inner, Node, Side};
pub(crate) use link::{Link, Unlinked};
