//! When records expire: what a caller says with a value.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uarr_layout::limits::EXPIRES_MS_MAX;

/// When a record expires. From that moment on no reader finds it, conditions do not see it, and it
/// is deleted some time later; until then [`crate::Db::len`] counts it.
///
/// The time is that of the wall clock, in milliseconds, as far as it can be: the database's clock
/// never goes back, over restarts neither, and follows a step ahead of more than a minute only when
/// it has lasted for ten. Where the wall clock is wrong while a database is opened, it is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// It stays until it is deleted.
    #[default]
    Never,
    /// So long after the call that says it: of a batch or a transaction, the one that adds it. The
    /// clock counts whole milliseconds: it may be up to one earlier.
    In(Duration),
    /// At this time. A time that is over is allowed: it is as if the record had been deleted.
    At(SystemTime),
}

impl Expiry {
    /// What `expires_ms` says, in ms since 1970; 0: never, as is what the system has no time for.
    pub(crate) fn of_ms(expires_ms: u64) -> Self {
        let time = (expires_ms != 0).then(|| Duration::from_millis(expires_ms));
        let time = time.and_then(|time| UNIX_EPOCH.checked_add(time));
        time.map_or(Self::Never, Self::At)
    }

    /// The moment that it says, in ms since 1970, when it is `now_ms`; 0: never.
    pub(crate) fn ms(self, now_ms: impl FnOnce() -> u64) -> u64 {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        // What is left of the present millisecond is all that it may be early.
        let ms_up = |time: Duration| u64::try_from(time.as_nanos().div_ceil(1_000_000));
        let expires_ms = match self {
            Self::Never => return 0,
            Self::In(time) => now_ms().saturating_add(ms_up(time).unwrap_or(u64::MAX)),
            Self::At(time) => time.duration_since(UNIX_EPOCH).map_or(0, ms),
        };
        expires_ms.clamp(1, EXPIRES_MS_MAX)
    }
}

/// What can be written as a value: bytes, in any form, and with [`Expires`] when they expire.
pub trait AsValue {
    /// The bytes of the value.
    fn value_bytes(&self) -> &[u8];

    /// When its record expires; `None`: as its table says, which as a rule is never.
    fn value_expiry(&self) -> Option<Expiry> {
        None
    }
}

impl<T: AsRef<[u8]> + ?Sized> AsValue for T {
    fn value_bytes(&self) -> &[u8] {
        self.as_ref()
    }
}

/// A value whose record expires; made by [`Expires`].
#[derive(Clone, Copy, Debug)]
pub struct Expiring<V> {
    value: V,
    expiry: Expiry,
}

impl<V: AsRef<[u8]>> AsValue for Expiring<V> {
    fn value_bytes(&self) -> &[u8] {
        self.value.as_ref()
    }

    fn value_expiry(&self) -> Option<Expiry> {
        Some(self.expiry)
    }
}

/// Says of any value when its record expires, for every verb that takes a value.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let db = uarr::Db::open(&dir)?;
/// use std::time::Duration;
/// use uarr::{Expires, uarr};
///
/// let half_an_hour = Duration::from_secs(1800);
/// db.put("session:1", uarr!({ "user": "ada" }).expires_in(half_an_hour))?;
/// assert!(db.insert("lock:1", b"mine".expires_in(half_an_hour))?.is_written());
/// db.put("code:1", b"1234".expires_in(Duration::ZERO))?;
/// assert!(db.get("session:1")?.is_some() && db.get("code:1")?.is_none());
/// # Ok(())
/// # }
/// ```
pub trait Expires: AsRef<[u8]> + Sized {
    /// The record expires so long after this call.
    fn expires_in(self, time: Duration) -> Expiring<Self> {
        Expiring { value: self, expiry: Expiry::In(time) }
    }

    /// The record expires at `time`.
    fn expires_at(self, time: SystemTime) -> Expiring<Self> {
        Expiring { value: self, expiry: Expiry::At(time) }
    }

    /// The record expires as `expiry` says.
    fn expiring(self, expiry: Expiry) -> Expiring<Self> {
        Expiring { value: self, expiry }
    }
}

impl<T: AsRef<[u8]>> Expires for T {}
