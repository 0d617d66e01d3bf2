//! What a child process that is killed and its parent both know of records that expire.
//!
//! A child says what a call may lead to before it makes it, and which of it came true afterwards.
//! The parent reads that, and what is in the database once the child is dead.

pub mod skewed;

use std::collections::BTreeMap;

use crate::sim::clock::{Bounds, Presence};

/// A record: its value, and between which moments it expires, in ms since 1970; 0: never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Its value.
    pub value: Vec<u8>,
    /// It does not expire before this.
    pub least_ms: u64,
    /// It has expired by this.
    pub most_ms: u64,
}

impl Cell {
    /// A record that expires at `expires_ms`.
    pub fn new(value: Vec<u8>, expires_ms: u64) -> Self {
        Self { value, least_ms: expires_ms, most_ms: expires_ms }
    }

    /// Whether readers find it.
    pub fn judge(&self, clock: &Bounds) -> Presence {
        clock.judge_between(self.least_ms, self.most_ms)
    }

    /// Whether a record with this value and expiry is the one.
    pub fn is(&self, value: &[u8], expires_ms: u64) -> bool {
        self.value == value && (self.least_ms..=self.most_ms).contains(&expires_ms)
    }
}

/// Records by key. A key says its thread, and whether it is of the table: see [`key_of`].
pub type State = BTreeMap<String, Cell>;

/// What a call does to some keys; `None`: there is no record then.
pub type Effects = BTreeMap<String, Option<Cell>>;

/// The key with `number` of `thread`, in the table of the thread or in the default one.
pub fn key_of(thread: u64, number: u64, in_table: bool) -> String {
    let place = if in_table { "b" } else { "a" };
    format!("{place}{thread}-{number}")
}

/// Name of the table of `thread`, whose records expire by themselves.
pub fn table_of(thread: u64) -> String {
    format!("brief-{thread}")
}

/// Whether `key` is of a table.
pub fn is_in_table(key: &str) -> bool {
    key.starts_with('b')
}

/// Does to `state` what `effects` say.
pub fn apply(state: &mut State, effects: &Effects) {
    for (key, cell) in effects {
        match cell {
            Some(cell) => drop(state.insert(key.clone(), cell.clone())),
            None => drop(state.remove(key)),
        }
    }
}

/// `effects` as a word.
pub fn to_word(effects: &Effects) -> String {
    let part = |(key, cell): (&String, &Option<Cell>)| match cell {
        None => format!("{key}:gone"),
        Some(Cell { value, least_ms, most_ms }) => {
            let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{key}:{least_ms}:{most_ms}:{hex}")
        }
    };
    let parts: Vec<_> = effects.iter().map(part).collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(",") }
}

/// What [`to_word`] has made a word; panics if that is none.
pub fn from_word(word: &str) -> Effects {
    let part = |part: &str| {
        let mut fields = part.split(':');
        let mut field = || fields.next().unwrap_or_else(|| panic!("no effect: {part}"));
        let (key, first) = (field().to_owned(), field());
        if first == "gone" {
            return (key, None);
        }
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("no number: {text}"));
        let (least_ms, most_ms, hex) = (number(first), number(field()), field());
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16);
        let value: Result<_, _> = (0..hex.len()).step_by(2).map(byte).collect();
        let value = value.unwrap_or_else(|_| panic!("no bytes: {hex}"));
        (key, Some(Cell { value, least_ms, most_ms }))
    };
    if word == "nothing" { Effects::new() } else { word.split(',').map(part).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_read_back() {
        let cell = Cell { value: vec![0, 255, 17], least_ms: 5, most_ms: 70 };
        let effects = Effects::from([
            (key_of(1, 2, false), Some(cell)),
            (key_of(1, 3, true), None),
            (key_of(3, 3, true), Some(Cell::new(Vec::new(), 0))),
        ]);
        assert_eq!(from_word(&to_word(&effects)), effects);
        assert_eq!(from_word(&to_word(&Effects::new())), Effects::new());
    }
}
