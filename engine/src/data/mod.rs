//! The data file and its index: where records are, and the one writer of both. Knows no log.

pub(crate) mod accounts;
pub(crate) mod appender;
pub(crate) mod applier;
pub(crate) mod chunk_scan;
pub(crate) mod copies;
pub(crate) mod entries;
mod evacuation;
pub(crate) mod expiring;
pub(crate) mod free_places;
pub(crate) mod key_index;
pub(crate) mod live;
pub(crate) mod place_table;
pub(crate) mod places;
pub(crate) mod quarantine;
pub(crate) mod record_view;
pub(crate) mod redo;
pub(crate) mod removal;
pub(crate) mod scan;
pub(crate) mod space;
pub(crate) mod store;
pub(crate) mod stream;
pub(crate) mod sweeping;
pub(crate) mod tables;
pub(crate) mod tombstones;
pub(crate) mod verified;
