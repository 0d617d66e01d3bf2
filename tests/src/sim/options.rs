//! What the table is like whose options change, and what was put there.

use std::collections::BTreeMap;
use std::time::Duration;

use uarr::TableOptions;

/// What a table is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Like {
    /// 0: its records stay.
    pub expires_in_ms: u64,
    pub is_durable: bool,
}

impl Like {
    /// What makes a table like this.
    pub fn asked(self) -> TableOptions {
        let asked = match self.expires_in_ms {
            0 => TableOptions::new().expires_never(),
            ms => TableOptions::new().expires_in(Duration::from_millis(ms)),
        };
        if self.is_durable { asked.durable() } else { asked.durable_as_database() }
    }
}

/// A record, by the number that is its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Put {
    pub key: u64,
    /// When it expires, at the earliest and at the latest; 0: never.
    pub expires_ms: (u64, u64),
}

/// What the table should be like, and what was put there.
#[derive(Clone, Debug, Default)]
pub(super) struct Altered {
    /// `None`: nobody was told that it was made.
    pub like: Option<Like>,
    /// What a change that failed, or that a death came into, may have made of it.
    pub perhaps: Option<Like>,
    pub puts: BTreeMap<u64, Put>,
    /// The last durable ones, by key.
    pub durable: BTreeMap<u64, u64>,
}
