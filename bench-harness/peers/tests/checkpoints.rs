//! A checkpoint of SQLite waits for one that a writer takes by itself; SQLite does not, whatever
//! its `busy_timeout`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use uarr_bench_peers::{Durability, PeerOptions, PeerSession, Sqlite, View};

/// Between two checkpoints, while the log becomes longer.
const PAUSE: Duration = Duration::from_millis(3);
/// Of the writer: so many that several checkpoints of its own are under way meanwhile.
const PUTS: u64 = 10_000;

#[test]
fn a_checkpoint_waits_for_that_of_a_writer() {
    let dir = tempfile::tempdir().unwrap();
    let options = PeerOptions {
        durability: Durability::OsCache,
        data_bytes: 1 << 20,
        cache_bytes: 2 << 20,
        modifies: false,
        text_record_bytes: None,
    };
    let sqlite = Sqlite::open(dir.path(), options).unwrap();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let connection = sqlite.connect().unwrap();
            let mut session = connection.session(View::PerRead).unwrap();
            // SQLite checkpoints by itself after a thousand pages; a value that stays is none.
            (0..PUTS).for_each(|put| session.put(put % 100, &[put as u8; 64 << 10]).unwrap());
            is_done.store(true, Ordering::Relaxed);
        });
        while !is_done.load(Ordering::Relaxed) {
            sqlite.checkpoint().unwrap();
            thread::sleep(PAUSE);
        }
    });
}
