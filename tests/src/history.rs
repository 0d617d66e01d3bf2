//! Histories of writes that follow from a seed.
//!
//! Every thread of a writer goes through numbered steps, from 1 on. What step n changes follows
//! from seed, thread and n alone, so the number of steps gives the exact state: a writer reports
//! only that number. Each thread has keys of its own. Values carry their thread and step.

use std::collections::BTreeMap;

use uarr::{AsKey, KeyBytes, KeyKind};

use crate::Random;

/// Keys of each thread.
const KEY_COUNT: u64 = 48;
/// Bytes of a value that name its thread and step.
const LABEL_BYTES: usize = 16;

/// A key of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryKey {
    kind: KeyKind,
    number: u64,
    bytes: Vec<u8>,
}

impl HistoryKey {
    fn new(kind: KeyKind, thread: u64, number: u64) -> Self {
        let number = thread << 32 | number;
        let bytes = match kind {
            KeyKind::Bytes => {
                let filler = "/".repeat((number % 13) as usize);
                format!("{thread:02}{filler}key-{number}").into_bytes()
            }
            KeyKind::U64 | KeyKind::I64 => number.to_be_bytes().to_vec(),
        };
        Self { kind, number, bytes }
    }

    /// The key as a database stores it.
    pub fn stored(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsKey for HistoryKey {
    fn kind(&self) -> KeyKind {
        self.kind
    }

    fn to_key(&self) -> KeyBytes<'_> {
        match self.kind {
            KeyKind::Bytes => KeyBytes::Slice(&self.bytes),
            KeyKind::U64 | KeyKind::I64 => KeyBytes::Int(self.number.to_be_bytes()),
        }
    }
}

/// One changed key: its new value, or `None` if it is deleted.
pub type Change = (HistoryKey, Option<Vec<u8>>);

/// Keys and values, as stored.
pub type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// What all steps follow from.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where randomness starts.
    pub seed: u64,
    /// Kind of the keys, `Bytes` or `U64`.
    pub kind: KeyKind,
    /// Whether a step may consist of one deletion. Without them, no two steps leave the same state.
    pub lone_deletions: bool,
}

impl Plan {
    /// What step `step` of `thread` changes; more than one change is one batch.
    pub fn step(&self, thread: u64, step: u64) -> Vec<Change> {
        let mut random =
            Random::new(self.seed ^ thread << 56 ^ step.wrapping_mul(0x1234_5678_9abd));
        random.next();
        let key = |random: &mut Random| HistoryKey::new(self.kind, thread, random.below(KEY_COUNT));
        let put = |random: &mut Random| {
            let key = key(random);
            (key, Some(value(thread, step, random)))
        };
        match random.below(20) {
            0..3 => {
                let mut changes: Vec<_> =
                    (0..2 + random.below(5)).map(|_| put(&mut random)).collect();
                changes.insert(1, (key(&mut random), None));
                changes.push(put(&mut random));
                changes
            }
            3..6 => vec![(key(&mut random), None), put(&mut random)],
            6..8 if self.lone_deletions => vec![(key(&mut random), None)],
            _ => vec![put(&mut random)],
        }
    }

    /// Applies step `step` of `thread` to `state`.
    pub fn apply(&self, thread: u64, step: u64, state: &mut State) {
        for (key, value) in self.step(thread, step) {
            match value {
                Some(value) => drop(state.insert(key.bytes, value)),
                None => drop(state.remove(&key.bytes)),
            }
        }
    }
}

/// Thread and step that a value names; panics if the value is not one of a history.
pub fn label(value: &[u8]) -> (u64, u64) {
    let part = |at: usize| {
        let bytes = value.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        u64::from_le_bytes(bytes.unwrap_or_else(|| panic!("no value of a history: {value:?}")))
    };
    (part(0), part(8))
}

fn value(thread: u64, step: u64, random: &mut Random) -> Vec<u8> {
    let filler_len = match random.below(40) {
        0 => 5_000 + random.below(9_000),
        1 => 0,
        _ => random.below(400),
    } as usize;
    let mut value = Vec::with_capacity(LABEL_BYTES + filler_len + 8);
    value.extend_from_slice(&thread.to_le_bytes());
    value.extend_from_slice(&step.to_le_bytes());
    while value.len() < LABEL_BYTES + filler_len {
        value.extend_from_slice(&random.next().to_le_bytes());
    }
    value.truncate(LABEL_BYTES + filler_len);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_from_their_numbers_and_leave_different_states() {
        for kind in [KeyKind::Bytes, KeyKind::U64] {
            let plan = Plan { seed: 7, kind, lone_deletions: false };
            let mut state = State::new();
            for step in 1..500 {
                assert_eq!(plan.step(3, step), plan.step(3, step));
                plan.apply(3, step, &mut state);
                let newest = state.values().map(|value| label(value).1).max();
                assert_eq!(newest, Some(step));
            }
        }
    }
}
