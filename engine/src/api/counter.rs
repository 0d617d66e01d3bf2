//! Counters: integers that any number of writers change at once.

use uarr_uring::Storage;

use crate::api::db::Db;
use crate::api::writer::Writer;
use crate::commit::counter_premise::CounterStep;
use crate::commit::counters::Counted;
use crate::commit::receipt::Commit;
use crate::error::Result;
use crate::expiry::Expiry;
use crate::key::AsKey;
use crate::options::WriteOptions;
use crate::versions::open_table::OpenTable;

/// By how much a counter is changed, and within which bounds. Any integer is one without bounds.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let db = uarr::Db::open(&dir)?;
/// use uarr::Increment;
///
/// let sell = Increment::by(-2).initial(5).min(0);
/// assert_eq!(db.increment("stock", sell)?.value, 3);
/// assert_eq!(db.increment("stock", sell)?.value, 1);
/// let third = db.increment("stock", sell)?;
/// assert!(third.commit.is_none(), "only {} is left", third.value);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Increment {
    by: i64,
    initial: i64,
    expiry: Option<Expiry>,
    min: i64,
    max: i64,
}

impl Increment {
    /// By `by`, which may be negative; a counter that is not there begins at 0.
    pub const fn by(by: i64) -> Self {
        Self { by, initial: 0, expiry: None, min: i64::MIN, max: i64::MAX }
    }

    /// A counter that is not there begins at `initial`, to which the change is applied.
    #[must_use]
    pub const fn initial(self, initial: i64) -> Self {
        Self { initial, ..self }
    }

    /// A counter that is not there, or has expired, begins anew and expires so. One that is there
    /// keeps its time, whatever is said here: so many in each minute, say.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// use std::time::Duration;
    /// use uarr::{Expiry, Increment};
    ///
    /// let request = Increment::by(1).max(2).expiring(Expiry::In(Duration::from_secs(60)));
    /// for is_served in [true, true, false] {
    ///     assert_eq!(db.increment("requests:ada", request)?.commit.is_some(), is_served);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn expiring(self, expiry: Expiry) -> Self {
        Self { expiry: Some(expiry), ..self }
    }

    /// The change is refused if it leads below `min`.
    #[must_use]
    pub const fn min(self, min: i64) -> Self {
        Self { min, ..self }
    }

    /// The change is refused if it leads above `max`.
    #[must_use]
    pub const fn max(self, max: i64) -> Self {
        Self { max, ..self }
    }

    fn step<S: Storage>(self, sign: i128, writer: &Writer<'_, S>) -> CounterStep {
        let Self { by, initial, expiry, min, max } = self;
        let of_table = || writer.table.map_or(Expiry::Never, OpenTable::expiry);
        let initial_expires_ms = writer.core.expires_ms(expiry.unwrap_or_else(of_table));
        CounterStep { by: sign * i128::from(by), initial, initial_expires_ms, min, max }
    }
}

impl From<i64> for Increment {
    fn from(by: i64) -> Self {
        Self::by(by)
    }
}

/// What a change of a counter led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// The counter: behind the change, or as it is if that was refused.
    pub value: i64,
    /// `None`: the change would have led out of the bounds, or of the 64 bits that a counter has;
    /// nothing was written.
    pub commit: Option<Commit>,
}

impl From<Counted> for Count {
    fn from(counted: Counted) -> Self {
        let Counted { value, commit } = counted;
        Self { value, commit }
    }
}

impl<S: Storage> Db<S> {
    /// Adds to the counter of `key`. No change is lost, and none waits for another: those of any
    /// number of threads and tasks go into one group. The record is a UArr integer, which
    /// [`Db::put`] can set and [`Db::get`] reads; the log holds results, so that recovery adds
    /// nothing up twice.
    ///
    /// Durability as for [`Db::put`]; the value is the result of this very change.
    /// What a refused change tells is visible to readers; through [`Db::durable`] it is durable.
    ///
    /// Errors: also `WrongValue` if there is a record that is no integer of 64 bits with a sign.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// assert_eq!(db.increment("visits", 1)?.value, 1);
    /// assert_eq!(db.increment("visits", 10)?.value, 11);
    /// let visits = db.get("visits")?.ok_or("not found")?;
    /// assert_eq!(visits.uarr()?.as_i64(), Some(11));
    /// # Ok(())
    /// # }
    /// ```
    pub fn increment(&self, key: impl AsKey, by: impl Into<Increment>) -> Result<Count> {
        self.with(WriteOptions::new()).increment(key, by)
    }

    /// As [`Db::increment`], for tasks; see [`Db::put_async`].
    pub async fn increment_async(
        &self,
        key: impl AsKey,
        by: impl Into<Increment>,
    ) -> Result<Count> {
        self.with(WriteOptions::new()).increment_async(key, by).await
    }

    /// Takes from the counter of `key`: as [`Db::increment`] with the sign of `by` turned.
    pub fn decrement(&self, key: impl AsKey, by: impl Into<Increment>) -> Result<Count> {
        self.with(WriteOptions::new()).decrement(key, by)
    }

    /// As [`Db::decrement`], for tasks; see [`Db::put_async`].
    pub async fn decrement_async(
        &self,
        key: impl AsKey,
        by: impl Into<Increment>,
    ) -> Result<Count> {
        self.with(WriteOptions::new()).decrement_async(key, by).await
    }
}

impl<S: Storage> Writer<'_, S> {
    /// As [`Db::increment`].
    pub fn increment(self, key: impl AsKey, by: impl Into<Increment>) -> Result<Count> {
        self.count(key, by.into().step(1, &self))
    }

    /// As [`Db::increment_async`].
    pub async fn increment_async(self, key: impl AsKey, by: impl Into<Increment>) -> Result<Count> {
        let step = by.into().step(1, &self);
        self.count_async(key, step).await
    }

    /// As [`Db::decrement`].
    pub fn decrement(self, key: impl AsKey, by: impl Into<Increment>) -> Result<Count> {
        self.count(key, by.into().step(-1, &self))
    }

    /// As [`Db::decrement_async`].
    pub async fn decrement_async(self, key: impl AsKey, by: impl Into<Increment>) -> Result<Count> {
        let step = by.into().step(-1, &self);
        self.count_async(key, step).await
    }

    fn count(self, key: impl AsKey, step: CounterStep) -> Result<Count> {
        let key = self.space()?.encode(&key)?;
        Ok(self.core.committer.count(key.as_ref(), step, self.promise())?.into())
    }

    async fn count_async(self, key: impl AsKey, step: CounterStep) -> Result<Count> {
        let key = self.space()?.encode(&key)?;
        Ok(self.core.committer.count_async(key.as_ref(), step, self.promise()).await?.into())
    }
}
