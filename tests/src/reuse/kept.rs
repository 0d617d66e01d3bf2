//! [`Kept`]: an old version that pins need.

use super::record::{Address, Lsn};

/// What readers at LSNs from `from` on find, and before `until`.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    pub from: Lsn,
    pub until: Lsn,
    /// `None`: the key was not there.
    pub address: Option<Address>,
}

impl Kept {
    pub fn covers(&self, lsn: Lsn) -> bool {
        (self.from..self.until).contains(&lsn)
    }
}
