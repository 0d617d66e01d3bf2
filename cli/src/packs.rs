//! Records on their way from the thread that reads them to the one that commits them.
//!
//! The reader fills one pack while the committer writes the one before. The committer takes a pack
//! when it is full, when the input has ended, or when its first record has waited for [`LINGER`]:
//! it stores an input that comes slowly, such as a log that is followed, as it comes.
//!
//! Invariant: the committer takes packs in the order of the input, each record in one of them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uarr::Expiry;

use crate::exported::Shape;
use crate::failure::Failure;
use crate::key::Key;

/// How long a record waits for others to share its commit.
const LINGER: Duration = Duration::from_millis(20);
/// A pack is full when its records have this many bytes, however few they are.
const PACK_BYTES_MAX: usize = 16 << 20;

/// Records of one commit.
#[derive(Default)]
pub struct Pack {
    /// The values, one behind the other.
    pub bytes: Vec<u8>,
    /// Which records they are.
    pub rows: Vec<Row>,
    /// Lines among them that cannot be imported.
    pub bad_lines: u64,
    /// Bad lines to report one by one.
    pub reported: Vec<Failure>,
    /// Bytes of the input read when the last of them was added.
    pub input_end: u64,
    /// What the table is like that the records are for; `None`: there are no records.
    pub shape: Option<Shape>,
}

/// A record of a pack: its key, and where its bytes are.
pub struct Row {
    /// The key.
    pub key: Key,
    /// Where the value starts in [`Pack::bytes`].
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// When the record expires; `None`: as its table says.
    pub expiry: Option<Expiry>,
}

impl Pack {
    /// Adds a record.
    pub fn push(&mut self, key: Key, value: &[u8], expiry: Option<Expiry>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.rows.push(Row { key, start, end: self.bytes.len(), expiry });
    }

    fn is_full(&self, records_max: usize) -> bool {
        self.rows.len() >= records_max
            || self.bytes.len() >= PACK_BYTES_MAX
            || self.bad_lines >= records_max as u64
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.bad_lines == 0
    }
}

struct Shared {
    records_max: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pack: Pack,
    /// When the first record was added.
    begun: Option<Instant>,
    /// The reader adds no more.
    has_ended: bool,
    /// The committer takes no more.
    is_abandoned: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change of the state is complete before a panic is possible.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that fills packs. Dropping it ends the input.
pub struct Filling(Arc<Shared>);

/// The end that takes packs. Dropping it abandons the input.
pub struct Taking(Arc<Shared>);

/// Both ends; packs have at most `records_max` records.
pub fn packs(records_max: usize) -> (Filling, Taking) {
    assert!(records_max > 0, "a pack has room for a record");
    let shared = Shared { records_max, state: Mutex::default(), changed: Condvar::new() };
    let shared = Arc::new(shared);
    (Filling(shared.clone()), Taking(shared))
}

impl Filling {
    /// Has `add` change the pack once there is room in it. `false`: the input was abandoned.
    pub fn add(&self, add: impl FnOnce(&mut Pack)) -> bool {
        let mut state = self.0.lock();
        while state.pack.is_full(self.0.records_max) && !state.is_abandoned {
            state = self.0.wait(state);
        }
        if state.is_abandoned {
            return false;
        }
        add(&mut state.pack);
        if state.pack.is_empty() {
            return true;
        }
        let is_first = state.begun.is_none();
        state.begun.get_or_insert_with(Instant::now);
        if is_first || state.pack.is_full(self.0.records_max) {
            self.0.changed.notify_one();
        }
        true
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.0.lock().has_ended = true;
        self.0.changed.notify_one();
    }
}

impl Taking {
    /// The next pack, which is not empty; `None` when the input has ended.
    pub fn take(&self) -> Option<Pack> {
        let mut state = self.0.lock();
        loop {
            let waited = state.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
            let is_due =
                state.has_ended || state.pack.is_full(self.0.records_max) || waited >= LINGER;
            if is_due && !state.pack.is_empty() {
                state.begun = None;
                let pack = std::mem::take(&mut state.pack);
                self.0.changed.notify_one();
                return Some(pack);
            }
            if state.has_ended {
                return None;
            }
            state = match state.begun {
                None => self.0.wait(state),
                Some(_) => {
                    let patience = LINGER.saturating_sub(waited);
                    let woken = self.0.changed.wait_timeout(state, patience);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.0.lock().is_abandoned = true;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(filling: &Filling, number: u64) -> bool {
        filling.add(|pack| pack.push(Key::U64(number), b"value", None))
    }

    fn keys(pack: &Pack) -> Vec<Key> {
        pack.rows.iter().map(|row| row.key.clone()).collect()
    }

    #[test]
    fn all_records_come_in_order_in_full_packs_while_the_input_is_quick() {
        let (filling, taking) = packs(10);
        let reader = std::thread::spawn(move || (0..95).all(|number| add(&filling, number)));
        let mut taken = Vec::new();
        while let Some(pack) = taking.take() {
            assert!((1..=10).contains(&pack.rows.len()));
            taken.extend(keys(&pack));
        }
        assert!(reader.join().unwrap());
        assert_eq!(taken, (0..95).map(Key::U64).collect::<Vec<_>>());
    }

    #[test]
    fn a_record_does_not_wait_for_others_that_may_never_come() {
        let (filling, taking) = packs(1000);
        for number in 0..3 {
            assert!(add(&filling, number));
            // The input goes on: only time can end this pack.
            assert_eq!(keys(&taking.take().unwrap()), [Key::U64(number)]);
        }
        drop(filling);
        assert!(taking.take().is_none());
    }

    #[test]
    fn each_end_hears_that_the_other_is_gone() {
        let (filling, taking) = packs(1);
        assert!(add(&filling, 1));
        let reader = std::thread::spawn(move || add(&filling, 2));
        drop(taking);
        assert!(!reader.join().unwrap(), "it waited for room in a pack that no thread takes");
    }
}
