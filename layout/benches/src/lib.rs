//! Workloads of the value format beside its peers.
//!
//! Every row is one operation of one contender on one workload; each also checks its result once
//! before it is timed, so a row that is fast because it is wrong does not exist. Buffers are
//! reused by everyone whose interface allows it. Peers in their documented fast configuration:
//! MessagePack with named fields (self-describing as UArr is), rkyv with checked access,
//! FlexBuffers with a reused builder, SQLite with prepared statements on an in-memory database.

mod decode;
mod encode;
mod fields;
mod node;
mod sqlite;
mod vector;

pub use node::{Node, node};

/// One timed operation, done as often as the caller asks.
pub type Run = Box<dyn FnMut(u64)>;

/// One contender on one workload.
pub struct Row {
    /// Workload.
    pub group: &'static str,
    /// Contender.
    pub name: &'static str,
    /// The loop to be timed.
    pub run: Run,
}

/// A row whose operation is `once`.
pub(crate) fn row<T>(
    group: &'static str,
    name: &'static str,
    mut once: impl FnMut() -> T + 'static,
) -> Row {
    let run = move |iterations: u64| {
        for _ in 0..iterations {
            std::hint::black_box(once());
        }
    };
    Row { group, name, run: Box::new(run) }
}

/// All rows.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    encode::add(&mut rows);
    decode::add(&mut rows);
    fields::add(&mut rows);
    vector::add(&mut rows);
    rows
}

/// Sizes in bytes of the same value in every format.
pub fn sizes() -> Vec<(&'static str, &'static str, usize)> {
    let mut sizes = node::sizes();
    sizes.extend(vector::sizes());
    sizes
}
