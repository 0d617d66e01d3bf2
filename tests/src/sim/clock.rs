//! What the clock of the database may show, and what has expired by it for sure.
//!
//! Records that expire have keys of their own, and say when in the first bytes of their values. The
//! model keeps them until they are replaced: whether readers find them is asked here.

use uarr_disk_sim::Memory;
use uarr_uring::Storage;

/// Later than the database's clock is when a call ends that began before it was looked at.
const SLACK_MS: u64 = 10;
const NS_PER_MS: i64 = 1_000_000;

/// Keys of records that may expire.
pub(super) const EXPIRING_COUNT: u64 = 8;

/// Whether readers find a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    There,
    Gone,
    /// The clock may be on either side.
    Either,
}

/// Bounds of the database's clock, in ms since 1970.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds {
    /// It is not earlier. What has expired by then never comes back in this life.
    earliest: u64,
    /// So late the database has seen it be: what nobody has asked for before the wall clock jumps
    /// back has not been.
    seen: u64,
    /// It was never later.
    latest: u64,
    /// It is not earlier after a death either: something durable says so.
    durable: u64,
    /// The wall clock has jumped since the database was opened: it may go its own way.
    has_jumped: bool,
    is_used: bool,
}

impl Bounds {
    /// Looks at the clocks of `disk`.
    pub fn look(&mut self, disk: &Memory) {
        let now = wall_ms(disk);
        self.latest = self.latest.max(now + SLACK_MS);
        if !self.has_jumped {
            self.earliest = self.earliest.max(now);
        }
    }

    /// The wall clock jumps. The database may have followed it to where it is now, and may go on
    /// from there however slowly.
    pub fn jump(&mut self, disk: &Memory, by_ns: i64) {
        self.look(disk);
        disk.shift_wall_ns(by_ns);
        self.has_jumped = true;
        self.earliest = self.seen;
        self.look(disk);
    }

    /// Time goes on by both clocks.
    pub fn advance(&mut self, disk: &Memory, ms: u64) {
        self.look(disk);
        disk.advance(std::time::Duration::from_millis(ms));
        // A clock that is ahead of the wall goes on, too.
        self.latest += ms;
        self.look(disk);
    }

    /// A call is durable that began when the clock was not earlier than `earliest`.
    pub fn note_durable(&mut self, earliest: u64) {
        if self.is_used {
            self.durable = self.durable.max(earliest);
            self.seen = self.seen.max(earliest);
        }
    }

    /// There is a record that expires, or none any more: only databases with such records write
    /// down how late it is.
    pub fn note_used(&mut self, is_used: bool) {
        self.is_used = is_used;
    }

    /// What a call that begins now proves when it is durable.
    pub fn earliest(&self) -> u64 {
        self.earliest
    }

    /// No record that is put now has expired before this.
    pub fn latest(&self) -> u64 {
        self.latest
    }

    /// The database is opened, after any death.
    pub fn open(&mut self, disk: &Memory) {
        (self.earliest, self.seen, self.has_jumped) = (self.durable, self.durable, false);
        self.look(disk);
    }

    /// What a call may have found that began with these bounds and ended with `end`.
    pub fn until(&self, end: &Self) -> Self {
        Self { latest: end.latest, ..*self }
    }

    /// A reader did not find a record that expires at `expires_ms`, and no other has replaced it.
    pub fn note_gone(&mut self, expires_ms: u64) {
        self.seen = self.seen.max(expires_ms);
        self.earliest = self.earliest.max(expires_ms);
    }

    /// Whether readers find the record of `key` with `value`.
    pub fn judge(&self, key: &[u8], value: &[u8]) -> Presence {
        match expires_ms(key, value) {
            0 => Presence::There,
            at if at <= self.earliest => Presence::Gone,
            at if at > self.latest => Presence::There,
            _ => Presence::Either,
        }
    }
}

fn wall_ms(disk: &Memory) -> u64 {
    u64::try_from(disk.wall_ns() / NS_PER_MS).unwrap_or(0)
}

/// The key with this number, of a record that may expire: as bytes behind all others, as a number
/// among the highest.
pub(super) fn key_of(number: u64, is_int: bool) -> Vec<u8> {
    assert!(number < EXPIRING_COUNT);
    match is_int {
        true => (u64::MAX - number).to_be_bytes().to_vec(),
        false => format!("late-{number}").into_bytes(),
    }
}

fn may_expire(key: &[u8]) -> bool {
    let int = <[u8; 8]>::try_from(key).map(u64::from_be_bytes);
    key.starts_with(b"late-") || int.is_ok_and(|int| int > u64::MAX - EXPIRING_COUNT)
}

/// When the record of `key` with `value` expires; 0: never.
pub(super) fn expires_ms(key: &[u8], value: &[u8]) -> u64 {
    let at = value.first_chunk().filter(|_| may_expire(key));
    at.map_or(0, |at| u64::from_le_bytes(*at))
}
