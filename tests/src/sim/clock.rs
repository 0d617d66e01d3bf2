//! What the clock of the database may show, and what has expired by it for sure.
//!
//! Records that expire have keys of their own. In the model their values begin with the moment, as
//! the record in the database says it beside its value. The model keeps them until they are
//! replaced: whether readers find them is asked here.

use std::time::UNIX_EPOCH;

use uarr::{Expiry, Record};
use uarr_uring::Storage;

/// Later than the database's clock is when a call ends that began before it was looked at.
pub const SLACK_MS: u64 = 10;
const NS_PER_MS: i64 = 1_000_000;

/// Keys of records that may expire.
pub(super) const EXPIRING_COUNT: u64 = 8;

/// Whether readers find a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// They do.
    There,
    /// It has expired.
    Gone,
    /// The clock may be on either side.
    Either,
}

/// Bounds of the database's clock, in ms since 1970.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
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
    /// Of a database that knows to have been at `durable` at least, and was never later than
    /// `latest`, while it was closed.
    pub fn closed(durable: u64, latest: u64) -> Self {
        Self { durable, latest, is_used: durable > 0, ..Self::default() }
    }

    /// Looks at the clocks of `storage`.
    pub fn look(&mut self, storage: &impl Storage) {
        let now = wall_ms(storage);
        self.latest = self.latest.max(now + SLACK_MS);
        if !self.has_jumped {
            self.earliest = self.earliest.max(now);
        }
    }

    /// The wall clock jumps. The database may have followed it to where it is now, and may go on
    /// from there however slowly.
    pub fn jump<S: Storage>(&mut self, storage: &S, jump: impl FnOnce(&S)) {
        self.look(storage);
        jump(storage);
        self.has_jumped = true;
        self.earliest = self.seen;
        self.look(storage);
    }

    /// Time goes on by both clocks.
    pub fn advance<S: Storage>(&mut self, storage: &S, ms: u64, advance: impl FnOnce(&S)) {
        self.look(storage);
        advance(storage);
        self.pass(ms);
        self.look(storage);
    }

    /// A clock that is ahead of the wall has gone on, too, so much at most.
    pub fn pass(&mut self, ms: u64) {
        self.latest += ms;
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

    /// So late it is at least after a death.
    pub fn durable(&self) -> u64 {
        self.durable
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
    pub fn open(&mut self, storage: &impl Storage) {
        (self.earliest, self.seen, self.has_jumped) = (self.durable, self.durable, false);
        self.look(storage);
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
    pub(super) fn judge(&self, key: &[u8], value: &[u8]) -> Presence {
        let at = expires_ms(key, value);
        self.judge_between(at, at)
    }

    /// Whether readers find a record that expires between two moments; 0: never.
    pub fn judge_between(&self, least: u64, most: u64) -> Presence {
        match () {
            () if most == 0 || least > self.latest => Presence::There,
            () if most <= self.earliest => Presence::Gone,
            () => Presence::Either,
        }
    }
}

/// The wall clock, in ms since 1970.
pub fn wall_ms(storage: &impl Storage) -> u64 {
    u64::try_from(storage.wall_ns() / NS_PER_MS).unwrap_or(0)
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

/// The value of the model of a record of `key` that has `bytes` and expires at `expires_ms`.
pub(super) fn timed(key: &[u8], expires_ms: u64, bytes: &[u8]) -> Vec<u8> {
    match may_expire(key) {
        true => [&expires_ms.to_le_bytes()[..], bytes].concat(),
        false => bytes.to_vec(),
    }
}

/// The bytes that the record of `key` has in the database, which in the model has `value`.
pub(super) fn bytes_of<'a>(key: &[u8], value: &'a [u8]) -> &'a [u8] {
    if may_expire(key) { value.get(8..).unwrap_or_default() } else { value }
}

/// What the model has for `record`.
pub(super) fn seen(record: &Record<'_>) -> Vec<u8> {
    seen_by(record.key(), record.expiry(), record.bytes())
}

/// What the model has for a record of `key`.
pub(super) fn seen_by(key: &[u8], expiry: Expiry, bytes: &[u8]) -> Vec<u8> {
    let expires_ms = match expiry {
        Expiry::At(time) => time.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64),
        _ => 0,
    };
    timed(key, expires_ms, bytes)
}
