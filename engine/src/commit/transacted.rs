//! Transactions as the committer sees them: where they begin and end, and how they are staged.

use std::task::Poll;

use uarr_layout::frame::Frame;
use uarr_uring::Storage;

use crate::commit::committer::Committer;
use crate::commit::patience::Patience;
use crate::commit::receipt::Commit;
use crate::commit::recent::ReadSet;
use crate::commit::staging::Staging;
use crate::commit::wakes::{OwnWaker, Polls, Wakes};
use crate::error::Result;
use crate::options::WriteOptions;
use crate::sync::lock;
use crate::versions::pins::{Keeps, LsnPin};

/// A transaction that has begun.
pub(crate) struct Begun {
    /// It reads as of this.
    pub pin: LsnPin,
    /// That is all that was staged up to here and not refused.
    pub lsn: u64,
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
        let begun = staging.recent.begin(lsn, staged_lsn).map(|()| Begun { pin, lsn });
        if begun.is_err() && waits.is_none() {
            staging.recent.begin_wait();
            *waits = Some(Waits { committer: self });
        }
        begun
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
        let polls = Polls::default();
        std::future::poll_fn(move |context| {
            if let Err(error) = self.health.check() {
                return Poll::Ready(Err(error));
            }
            let own = OwnWaker::of(context.waker(), &polls);
            let mut staging = lock(&self.staging);
            if lsn <= self.decided_lsn(&staging, options) {
                return Poll::Ready(self.check_decided(options));
            }
            // Who settles a group wakes under the same lock.
            self.wake_later(&mut staging, Patience::Task(&own));
            self.hurry(&mut staging, Patience::Task(&own));
            Poll::Pending
        })
        .await
    }
}
