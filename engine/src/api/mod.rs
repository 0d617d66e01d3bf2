//! The verbs.

pub(crate) mod batch;
pub(crate) mod builder;
pub(crate) mod compare;
pub(crate) mod db;
pub(crate) mod delete_range;
pub(crate) mod handle;
pub(crate) mod ingest;
pub(crate) mod key_range;
pub(crate) mod own_thread;
pub(crate) mod owned_record;
pub(crate) mod range;
pub(crate) mod read;
pub(crate) mod record;
#[cfg(feature = "serde")]
pub(crate) mod typed;
pub(crate) mod writer;
