//! The read-modify-writes of each store that is built in lose no update; of a store whose are not
//! atomic, that shows.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use uarr_bench::measure::drive::Driven;
use uarr_bench::measure::job::{ENDLESS, Job, Timing, View, Work};
use uarr_bench::measure::mix::{Keys, Mix, Parts};
use uarr_bench::measure::store::{Contender, OpenSpec, Writes};
use uarr_bench::stores;
use uarr_bench::stores::faulty::Fault;

const RECORDS: u64 = 8;
const THREADS: u32 = 16;
const MODIFIED: u64 = 100 * THREADS as u64;

fn spec() -> OpenSpec {
    OpenSpec { modifies: true, ..OpenSpec::new(Writes::Durable, RECORDS) }
}

/// How many of [`MODIFIED`] updates of few records, durable, are there afterwards.
fn updates_in(store: Box<dyn Driven>) -> u64 {
    let parts = Parts { read_modify_write: 100, ..Parts::default() };
    let (keys, record_count, scan_records_max) = (Keys::Zipf, RECORDS, 1);
    let mix = Mix { parts, keys, record_count, scan_records_max, first: RECORDS, version: 1 };
    store.load(RECORDS).unwrap();
    let sample = store
        .run(&Job {
            work: Work::Mix(mix),
            view: View::PerRead,
            threads: THREADS,
            readers: 0,
            duration: ENDLESS,
            op_count_min: 0,
            op_count_max: MODIFIED,
            timing: Timing::Each,
            checkpoint_at: None,
            seed: 1,
        })
        .unwrap();
    assert_eq!((sample.op_count, sample.modified.unwrap().count), (MODIFIED, MODIFIED));
    let updates = store.version_sum(RECORDS).unwrap();
    store.close().unwrap();
    updates
}

#[test]
fn no_store_loses_an_update() {
    for contender in Contender::READ_STORES.into_iter().filter(|store| store.is_built_in()) {
        let dir = tempfile::tempdir().unwrap();
        let store = stores::open(contender, &dir.path().join("store"), spec()).unwrap();
        assert_eq!(updates_in(store), MODIFIED, "{contender}");
    }
}

#[test]
fn a_store_that_reads_and_writes_apart_loses_updates_and_that_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = stores::open_faulty(&path, spec(), Fault::LostUpdate).unwrap();
    let updates = updates_in(store);
    assert!(updates < MODIFIED, "{updates}");
}
