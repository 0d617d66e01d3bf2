//! Leases: a key that one owner has for a time, and a token that tells later owners from earlier
//! ones.
//!
//! A lease is a record that expires, changed by transactions: it needs nothing of its own in the
//! log, in recovery or in compaction.

use std::time::Duration;

use uarr_layout::uarr::{Bytes, UArrBuf, uarr};
use uarr_uring::Storage;

use crate::api::db::Db;
use crate::api::owned_record::OwnedRecord;
use crate::api::transaction::Transaction;
use crate::error::{Error, ErrorKind, Result};
use crate::expiry::{Expires, Expiry};
use crate::key::AsKey;

/// Who has a key, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// The fencing token. No other acquisition of a lease of the database gets the same one, over
    /// crashes neither, and each acquisition of this key a higher one. So a service that owners
    /// write to keeps the highest that it has seen, and refuses lower ones: they come from owners
    /// who do not know yet that their time is over. Renewals keep it.
    pub token: u64,
    /// What the owner gave as its name.
    pub owner: Vec<u8>,
    /// When it ends.
    pub expiry: Expiry,
}

/// What became of an attempt to get a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "somebody else may have the lease"]
pub enum Acquisition {
    /// The caller has it.
    Granted(Lease),
    /// Somebody else has it, so long.
    Held(Lease),
}

impl Acquisition {
    /// The lease, if the caller has it.
    pub fn granted(self) -> Option<Lease> {
        match self {
            Self::Granted(lease) => Some(lease),
            Self::Held(_) => None,
        }
    }
}

impl Lease {
    /// What the record of a lease says, as [`crate::ReadOnly`] and snapshots give it.
    ///
    /// Errors: `WrongValue` if it is none of a lease.
    pub fn of(record: &OwnedRecord) -> Result<Self> {
        let fields = record.uarr().ok().and_then(|value| {
            let owner = value.get("owner")?;
            let owner = owner.as_str().map(str::as_bytes).or_else(|| owner.as_bytes())?;
            Some((value.get("token")?.as_u64()?, owner.to_vec()))
        });
        let (token, owner) = fields.ok_or_else(|| {
            let message = "the record of this key is no lease; leases need keys of their own";
            Error::new(ErrorKind::WrongValue, message.to_owned())
        })?;
        Ok(Self { token, owner, expiry: record.expiry() })
    }

    fn record(&self) -> UArrBuf {
        let Self { token, owner, .. } = self;
        match std::str::from_utf8(owner) {
            Ok(text) => uarr!({ "owner": text, "token": *token }),
            Err(_) => uarr!({ "owner": Bytes(owner), "token": *token }),
        }
    }
}

impl<S: Storage> Db<S> {
    /// Takes the lease of `key` for `time` in the name of `owner`, unless somebody else has it. Who
    /// has it already gets it anew from now on, with the same token. It ends by itself, however its
    /// owner ends; after a crash it lives on to its time. The time is that of the database's clock,
    /// see [`Expiry`].
    ///
    /// A lease that is granted is durable, with every [`crate::Durability`], and so is one that
    /// somebody else has when this tells of it.
    ///
    /// Errors: as for [`Db::put`]; also `WrongValue` if the record of `key` is none of a lease.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// use std::time::Duration;
    /// use uarr::Acquisition;
    ///
    /// let minute = Duration::from_secs(60);
    /// let lease = db.acquire("report", "worker 1", minute)?.granted().ok_or("it is free")?;
    /// assert!(matches!(db.acquire("report", "worker 2", minute)?, Acquisition::Held(_)));
    /// let lease = db.renew("report", lease.token, minute)?.ok_or("it has not ended")?;
    /// // work, and show lease.token to whoever is written to
    /// assert!(db.release("report", lease.token)?);
    /// let next = db.acquire("report", "worker 2", minute)?.granted().ok_or("it is free")?;
    /// assert!(next.token > lease.token);
    /// # Ok(())
    /// # }
    /// ```
    pub fn acquire(
        &self,
        key: impl AsKey,
        owner: impl AsRef<[u8]>,
        time: Duration,
    ) -> Result<Acquisition> {
        let owner = owner.as_ref();
        self.transaction(|tx| self.acquire_in(tx, &key, owner, time))
    }

    /// As [`Db::acquire`], for tasks; see [`Db::put_async`].
    pub async fn acquire_async(
        &self,
        key: impl AsKey,
        owner: impl AsRef<[u8]>,
        time: Duration,
    ) -> Result<Acquisition> {
        let owner = owner.as_ref();
        self.transaction_in_task(|tx| self.acquire_in(tx, &key, owner, time)).await
    }

    /// Has the lease of `key` with `token` last for `time` from now on. `None`: it has ended, or
    /// somebody else has it.
    ///
    /// Durability and errors as for [`Db::acquire`].
    pub fn renew(&self, key: impl AsKey, token: u64, time: Duration) -> Result<Option<Lease>> {
        self.transaction(|tx| self.renew_in(tx, &key, token, time))
    }

    /// As [`Db::renew`], for tasks; see [`Db::put_async`].
    pub async fn renew_async(
        &self,
        key: impl AsKey,
        token: u64,
        time: Duration,
    ) -> Result<Option<Lease>> {
        self.transaction_in_task(|tx| self.renew_in(tx, &key, token, time)).await
    }

    /// Ends the lease of `key` with `token`, so that others need not wait for its time. `false`: it
    /// has ended, or somebody else has it.
    ///
    /// Durability and errors as for [`Db::acquire`].
    pub fn release(&self, key: impl AsKey, token: u64) -> Result<bool> {
        self.transaction(|tx| release_in(tx, &key, token))
    }

    /// As [`Db::release`], for tasks; see [`Db::put_async`].
    pub async fn release_async(&self, key: impl AsKey, token: u64) -> Result<bool> {
        self.transaction_in_task(|tx| release_in(tx, &key, token)).await
    }

    /// Who has the lease of `key` now; `None`: nobody.
    ///
    /// Errors: as for [`Db::get`]; also `WrongValue`.
    pub fn lease(&self, key: impl AsKey) -> Result<Option<Lease>> {
        self.get(key)?.map(|record| Lease::of(&record.to_owned())).transpose()
    }

    fn acquire_in(
        &self,
        tx: &mut Transaction<S>,
        key: &impl AsKey,
        owner: &[u8],
        time: Duration,
    ) -> Result<Acquisition> {
        let lease = match tx.get(key)?.as_ref().map(Lease::of).transpose()? {
            Some(lease) if lease.owner == owner => lease,
            Some(lease) => {
                // Its token is another one's for ever only when it is durable.
                tx.durable();
                return Ok(Acquisition::Held(lease));
            }
            None => {
                // Behind the beginning: above the token of each owner that it sees, or has seen the
                // end of. Any that comes later conflicts.
                let token = self.core().records().clock.next_token();
                Lease { token, owner: owner.to_vec(), expiry: Expiry::Never }
            }
        };
        self.grant_in(tx, key, lease, time).map(Acquisition::Granted)
    }

    fn renew_in(
        &self,
        tx: &mut Transaction<S>,
        key: &impl AsKey,
        token: u64,
        time: Duration,
    ) -> Result<Option<Lease>> {
        let lease = lease_with(tx.durable(), key, token)?;
        lease.map(|lease| self.grant_in(tx, key, lease, time)).transpose()
    }

    /// Writes `lease`, from now on for `time`.
    fn grant_in(
        &self,
        tx: &mut Transaction<S>,
        key: &impl AsKey,
        lease: Lease,
        time: Duration,
    ) -> Result<Lease> {
        let expiry = Expiry::of_ms(self.core().expires_ms(Expiry::In(time)));
        let lease = Lease { expiry, ..lease };
        tx.durable().put(key, lease.record().expiring(expiry))?;
        Ok(lease)
    }
}

fn release_in<S: Storage>(tx: &mut Transaction<S>, key: &impl AsKey, token: u64) -> Result<bool> {
    // That it has ended is told durably, too.
    let is_held = lease_with(tx.durable(), key, token)?.is_some();
    if is_held {
        tx.delete(key)?;
    }
    Ok(is_held)
}

/// The lease of `key`, if it has `token`.
fn lease_with<S: Storage>(
    tx: &Transaction<S>,
    key: &impl AsKey,
    token: u64,
) -> Result<Option<Lease>> {
    let lease = tx.get(key)?.as_ref().map(Lease::of).transpose()?;
    Ok(lease.filter(|lease| lease.token == token))
}
