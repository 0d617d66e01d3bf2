//! Transactions as the committer sees them: where they begin and end, and how they are staged.

use std::task::Poll;

use uarr_layout::frame::Frame;
use uarr_uring::Storage;

use crate::commit::committer::Committer;
use crate::commit::in_turn::Awaits;
use crate::commit::patience::Patience;
use crate::commit::receipt::Commit;
use crate::commit::recent::ReadSet;
use crate::commit::staging::Staging;
use crate::commit::wakes::{OwnWaker, Polls, Wakes};
use crate::commit::written::{WrittenKeys, written_by};
use crate::error::Result;
use crate::options::WriteOptions;
use crate::sync::lock;
use crate::versions::pins::{Keeps, LsnPin};

/// So much of staged groups is copied under the lock at most, with what their patches lead to.
const COPIED_BYTES_MAX: u64 = 128 << 10;

/// A transaction that has begun.
pub(crate) struct Begun {
    /// It reads as of this.
    pub pin: LsnPin,
    /// That is all that was staged up to here and not refused.
    pub lsn: u64,
    /// Not all of it may be visible yet. The caller of the transaction gets nothing before it is.
    is_ahead: bool,
    /// From here on it was only staged, if anything was.
    pub staged_from: Option<u64>,
    /// What was staged from there on.
    pub staged: WrittenKeys,
}

impl Begun {
    /// All that it reads has this LSN, or a lower one.
    pub fn version(&self) -> u64 {
        if self.is_ahead { self.lsn } else { self.pin.lsn }
    }
}

/// A transaction that waits to begin.
struct Waits<'a, S: Storage> {
    committer: &'a Committer<S>,
}

impl<S: Storage> Drop for Waits<'_, S> {
    fn drop(&mut self) {
        // In a forked process a thread of the parent may have held the lock.
        if !self.committer.storage.is_forked() {
            lock(&self.committer.staging).recent.end_wait();
        }
    }
}

impl<S: Storage> Committer<S> {
    /// Begins a transaction. What is on its way may have to be waited for, if none was open for a
    /// while.
    pub fn begin_transaction(&self) -> Result<Begun> {
        let mut waits = None;
        loop {
            match self.try_begin(&mut waits) {
                Ok(begun) => return Ok(begun),
                Err(lsn) => self.decide(lsn, WriteOptions::new())?,
            }
        }
    }

    /// As `begin_transaction`, without blocking.
    pub async fn begin_transaction_async(&self) -> Result<Begun> {
        if !self.options.background {
            return self.begin_transaction();
        }
        let mut waits = None;
        loop {
            match self.try_begin(&mut waits) {
                Ok(begun) => return Ok(begun),
                Err(lsn) => self.decided(lsn, WriteOptions::new()).await?,
            }
        }
    }

    /// An LSN: it has to be decided first; `waits` is kept until then.
    fn try_begin<'s>(
        &'s self,
        waits: &mut Option<Waits<'s, S>>,
    ) -> std::result::Result<Begun, u64> {
        let mut staging = lock(&self.staging);
        let pin = self.records.pin(Keeps::Versions, || self.storage.now());
        // Not what is visible by now: the pin was there before. What is settled was visible then.
        let (lsn, staged_lsn) = (pin.lsn.max(staging.settled_lsn), staging.next_lsn - 1);
        let begun = staging.recent.begin(lsn, staged_lsn);
        let begun = begun.map(|()| Begun {
            pin,
            lsn,
            is_ahead: false,
            staged_from: None,
            staged: WrittenKeys::new(),
        });
        if begun.is_err() && waits.is_none() {
            staging.recent.begin_wait();
            *waits = Some(Waits { committer: self });
        }
        begun
    }

    /// Begins a transaction again that conflicted with the write that has `lsn`: it reads that, and
    /// what was staged since, before it is visible.
    pub fn begin_transaction_behind(&self, lsn: u64) -> Result<Begun> {
        if !self.options.durability.memory_first() {
            self.wait_while(|staging| (!self.may_read(staging, lsn)).then_some(Awaits::Applied))?;
            if let Some(begun) = self.try_begin_ahead(lsn) {
                return Ok(begun);
            }
        }
        self.decide(lsn, WriteOptions::new())?;
        self.begin_transaction()
    }

    /// As `begin_transaction_behind`, without blocking.
    pub async fn begin_transaction_behind_async(&self, lsn: u64) -> Result<Begun> {
        if !self.options.background {
            return self.begin_transaction_behind(lsn);
        }
        if !self.options.durability.memory_first() {
            self.until(|staging| self.may_read(staging, lsn)).await?;
            if let Some(begun) = self.try_begin_ahead(lsn) {
                return Ok(begun);
            }
        }
        self.decided(lsn, WriteOptions::new()).await?;
        self.begin_transaction_async().await
    }

    /// Whether the record with `lsn` can be read: in the data file, or where it is staged.
    fn may_read(&self, staging: &Staging, lsn: u64) -> bool {
        lsn <= self.applied_lsn(staging) || self.may_copy(staging)
    }

    /// Whether all that is not applied is staged, and little enough to be copied under the lock.
    fn may_copy(&self, staging: &Staging) -> bool {
        let is_all_staged = staging.first_staged_lsn() == self.applied_lsn(staging) + 1;
        is_all_staged && staging.copied_bytes() <= COPIED_BYTES_MAX
    }

    /// Begins a transaction that reads what is applied, and what is staged as far as that can be
    /// copied: the record with `lsn`, too. `None`: it must not now.
    fn try_begin_ahead(&self, lsn: u64) -> Option<Begun> {
        let mut staging = lock(&self.staging);
        // Readers are told of a drop when it is visible; until then none may be ahead of it.
        if staging.refused.is_under_way() || !self.may_read(&staging, lsn) {
            return None;
        }
        // Asked first: if so, nothing is applied or shown before the lock is released.
        let staged = if self.may_copy(&staging) { staging.copy_staged() } else { <_>::default() };
        let applied_lsn = || self.applied_lsn(&staging).max(self.records.visible.lsn());
        let pin = self.records.pin_at(Keeps::Versions, applied_lsn, || self.storage.now());
        let (lsn, staged_lsn) = (pin.lsn.max(staged.last_lsn), staging.next_lsn - 1);
        staging.recent.begin(lsn, staged_lsn).ok()?;
        drop(staging);
        let staged_from = (staged.last_lsn > 0).then_some(staged.first_lsn);
        assert!(staged_from.is_none_or(|from| from == pin.lsn + 1), "nothing lies in between");
        Some(Begun { pin, lsn, is_ahead: true, staged_from, staged: written_by(&staged) })
    }

    /// What was staged up to here is visible, and what `options` ask besides, or was refused.
    /// (After a failure it may be on its way; then nothing is staged any more.)
    fn decided_lsn(&self, staging: &Staging, options: WriteOptions) -> u64 {
        match self.is_more_than_visible(options) {
            true => staging.settled_lsn,
            false => self.records.visible.lsn().max(staging.settled_lsn),
        }
    }

    /// Returns when what was staged up to `lsn` is visible, and durable if `options` ask for that,
    /// or was refused.
    pub fn decide(&self, lsn: u64, options: WriteOptions) -> Result<()> {
        let is_decided = lsn <= self.decided_lsn(&lock(&self.staging), options);
        match is_decided {
            true => self.check_decided(options),
            false => self.settle(lsn, &mut Wakes::default()),
        }
    }

    /// Whether what was found decided is what `options` ask for. A group that failed is settled,
    /// too, after the failure is noted: so this is asked behind that.
    fn check_decided(&self, options: WriteOptions) -> Result<()> {
        if self.is_more_than_visible(options) { self.health.check() } else { Ok(()) }
    }

    /// A transaction that has begun with `lsn` has ended.
    pub fn end_transaction(&self, lsn: u64) {
        lock(&self.staging).recent.end(lsn);
    }

    /// Commits what a transaction writes, if nobody else has written what it has read.
    pub fn write_transaction(
        &self,
        frames: &mut [Frame<'_>],
        reads: &ReadSet,
        options: WriteOptions,
    ) -> Result<Commit> {
        self.compare(reads)?;
        self.write_unread(frames, options, Some(reads))
    }

    /// As `write_transaction`, without blocking; see [`Committer::write_async`].
    pub async fn write_transaction_async(
        &self,
        frames: &mut [Frame<'_>],
        reads: &ReadSet,
        options: WriteOptions,
    ) -> Result<Commit> {
        if !self.options.background {
            return self.write_transaction(frames, reads, options);
        }
        // It compares before each attempt.
        self.write_unread_async(frames, options, Some(reads)).await
    }

    /// Returns when a caller who asked for `options` may be told what was visible up to `lsn`, and
    /// writes nothing.
    pub fn tell_read(&self, lsn: u64, options: WriteOptions) -> Result<()> {
        match self.is_more_than_visible(options) {
            true => self.decide(lsn, options),
            false => Ok(()),
        }
    }

    /// As `tell_read`, without blocking.
    pub async fn tell_read_async(&self, lsn: u64, options: WriteOptions) -> Result<()> {
        match self.is_more_than_visible(options) {
            true => self.decided(lsn, options).await,
            false => Ok(()),
        }
    }

    /// As `tell_read`, of what a transaction has read.
    pub fn tell_begun(&self, begun: &Begun, options: WriteOptions) -> Result<()> {
        if begun.is_ahead {
            self.decide(begun.lsn, options)?;
            return self.check_ahead(begun);
        }
        self.tell_read(begun.pin.lsn, options)
    }

    /// As `tell_begun`, without blocking.
    pub async fn tell_begun_async(&self, begun: &Begun, options: WriteOptions) -> Result<()> {
        if begun.is_ahead {
            self.decided(begun.lsn, options).await?;
            return self.check_ahead(begun);
        }
        self.tell_read_async(begun.pin.lsn, options).await
    }

    /// Errors: what `begun` has read ahead, which is decided, was lost.
    fn check_ahead(&self, begun: &Begun) -> Result<()> {
        lock(&self.staging).check_staged(begun.staged_from)?;
        match begun.lsn <= self.records.visible.lsn() {
            true => Ok(()),
            // What was refused for lack of room was not applied; all else that fails poisons.
            false => self.health.poison().map_or(Ok(()), Err),
        }
    }

    /// Compares `reads` with most of what was written since; the rest is for the moment in which
    /// the transaction is staged.
    pub fn compare(&self, reads: &ReadSet) -> Result<()> {
        while lock(&self.staging).recent.check_some(reads)? {}
        Ok(())
    }

    /// As `decide`, without blocking.
    pub async fn decided(&self, lsn: u64, options: WriteOptions) -> Result<()> {
        if !self.options.background {
            return self.decide(lsn, options);
        }
        self.until(|staging| lsn <= self.decided_lsn(staging, options)).await?;
        self.check_decided(options)
    }

    /// Returns when `is_so`, which holds at the latest when all is settled that is staged now.
    async fn until(&self, is_so: impl Fn(&Staging) -> bool) -> Result<()> {
        let polls = Polls::default();
        std::future::poll_fn(move |context| {
            let own = OwnWaker::of(context.waker(), &polls);
            let mut staging = lock(&self.staging);
            // As threads do: what is decided stays so when the database is closed.
            if is_so(&staging) {
                return Poll::Ready(Ok(()));
            }
            if let Err(error) = self.health.check() {
                return Poll::Ready(Err(error));
            }
            // Who settles a group wakes under the same lock.
            self.wake_later(&mut staging, Patience::Task(&own));
            self.hurry(&mut staging, Patience::Task(&own));
            Poll::Pending
        })
        .await
    }
}
