//! Changes that depend on the newest version of their key: patches, and changes with a condition.
//!
//! Whether a condition is met is asked under the staging lock, of the newest version, staged ones
//! included. If that is not in the data file yet, the writer waits for its turn
//! ([`crate::commit::turns`]). A change that is refused tells what was found, and what is told
//! survives what the database promises to survive: so it is waited for until it is visible.

use uarr_layout::frame::FrameKind;
use uarr_uring::{MapPin, Storage};

use crate::commit::committer::Committer;
use crate::commit::patience::{Attempt, NotYet, Patience};
use crate::commit::premise::{Base, Expected, NewestVersion, Premise};
use crate::commit::receipt::Commit;
use crate::commit::turns::LinePlace;
use crate::commit::wakes::{Place, Wakes};
use crate::data::record_view::HeldRecord;
use crate::error::{Error, Result};
use crate::options::WriteOptions;
use crate::sync::lock;
use crate::versions::pins::Keeps;

/// A change as its caller gave it: `bytes` is the value of a put, the patch of a patch.
#[derive(Clone, Copy)]
pub(crate) struct Change<'a> {
    pub kind: FrameKind,
    pub key: &'a [u8],
    pub bytes: &'a [u8],
    /// When its record expires, in ms since 1970; 0: never, or, of a patch, when the record does
    /// that it changes.
    pub expires_ms: u64,
    /// What the newest version must be; patches need a record in any case.
    pub condition: Option<Expected>,
}

impl Change<'_> {
    /// Whether it depends on the newest version of its key.
    pub fn has_base(&self) -> bool {
        self.kind == FrameKind::Patch || self.condition.is_some()
    }
}

/// Why changes were not written.
pub(crate) enum Stop<'a> {
    /// The condition of the change with this number is not met.
    Refused {
        change: usize,
        found: Option<HeldRecord<'a>>,
    },
    Error(Error),
}

/// For changes without a condition.
impl From<Stop<'_>> for Error {
    fn from(stop: Stop<'_>) -> Self {
        match stop {
            Stop::Refused { .. } => unreachable!("what has no condition is not refused"),
            Stop::Error(error) => error,
        }
    }
}

impl From<Error> for Stop<'_> {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl<S: Storage> Committer<S> {
    /// Commits `changes`, of which some have a base, as one batch; see [`Committer::write`] for the
    /// others.
    pub fn write_changes(
        &self,
        changes: &[Change<'_>],
        options: WriteOptions,
    ) -> Result<Commit, Stop<'_>> {
        let begun_ns = self.commit_clock(options);
        let patience = Patience::Thread;
        let mut wakes = Wakes::new(Place::LogThread);
        if let Ok(staged) = self.stage_changes(changes, options, patience, None, &mut wakes)? {
            return Ok(self.finish(begun_ns, staged, wakes)?);
        }
        wakes.run();
        loop {
            self.check_conditions(changes)?;
            let keys = changes.iter().map(|change| change.key);
            let bases = changes.iter().filter(|change| change.has_base());
            let bases = bases.map(|change| change.key);
            let attempt = |place: &LinePlace, wakes: &mut Wakes| {
                self.stage_changes(changes, options, patience, Some(place), wakes)
            };
            if let Ok(staged) = self.in_turn(keys, bases, attempt, Attempt::is_ok)? {
                return Ok(self.finish(begun_ns, staged, Wakes::new(Place::LogThread))?);
            }
            // What was found refuses the change, and may be on its way to the device.
            self.show(self.newest_lsn(changes)?)?;
        }
    }

    /// As `write_changes`, without blocking; see [`Committer::write_async`].
    pub async fn write_changes_async<'s>(
        &'s self,
        changes: &[Change<'_>],
        options: WriteOptions,
    ) -> Result<Commit, Stop<'s>> {
        if !self.options.background {
            return self.write_changes(changes, options);
        }
        self.commit_as_task(options, |patience, wakes| {
            let attempt = self.stage_changes(changes, options, patience, None, wakes)?;
            if let Err(NotYet::OutOfTurn) = attempt {
                self.check_conditions(changes)?;
            }
            Ok::<_, Stop<'s>>(attempt)
        })
        .await
    }

    /// Commits a put or deletion, and returns the record that it replaced.
    pub fn replace(
        &self,
        change: Change<'_>,
        options: WriteOptions,
    ) -> Result<(Commit, Option<HeldRecord<'_>>)> {
        let begun_ns = self.commit_clock(options);
        let mut wakes = Wakes::new(Place::LogThread);
        let stage = |place: Option<&LinePlace>, wakes: &mut Wakes| {
            let (condition, replaced) = self.hold_newest(change.key)?;
            let change = Change { condition: Some(condition), ..change };
            let attempt = self.stage_changes(&[change], options, Patience::Thread, place, wakes)?;
            Ok((attempt, replaced))
        };
        let (attempt, replaced) = stage(None, &mut wakes)?;
        if let Ok(staged) = attempt {
            return Ok((self.finish(begun_ns, staged, wakes)?, replaced));
        }
        wakes.run();
        let keys = || [change.key].into_iter();
        let attempt = |place: &LinePlace, wakes: &mut Wakes| stage(Some(place), wakes);
        let (attempt, replaced) =
            self.in_turn(keys(), keys(), attempt, |(attempt, _)| attempt.is_ok())?;
        let staged = attempt.expect("with a turn the newest version stays the newest");
        Ok((self.finish(begun_ns, staged, Wakes::new(Place::LogThread))?, replaced))
    }

    /// As `replace`, without blocking; see [`Committer::write_async`].
    pub async fn replace_async<'s>(
        &'s self,
        change: Change<'_>,
        options: WriteOptions,
    ) -> Result<(Commit, Option<HeldRecord<'s>>)> {
        if !self.options.background {
            return self.replace(change, options);
        }
        let mut replaced = None;
        let committed = self.commit_as_task(options, |patience, wakes| {
            let (condition, newest) = self.hold_newest(change.key)?;
            let change = Change { condition: Some(condition), ..change };
            replaced = newest;
            self.stage_changes(&[change], options, patience, None, wakes)
        });
        let commit = committed.await?;
        Ok((commit, replaced))
    }

    /// Writes the record of `key` again, with another expiry. `None`: there is none.
    pub fn renew(
        &self,
        key: &[u8],
        expires_ms: u64,
        options: WriteOptions,
    ) -> Result<Option<Commit>> {
        let begun_ns = self.commit_clock(options);
        let mut wakes = Wakes::new(Place::LogThread);
        let stage = |place: Option<&LinePlace>, wakes: &mut Wakes| {
            self.stage_renewal(key, expires_ms, options, Patience::Thread, place, wakes)
        };
        let attempt = stage(None, &mut wakes)?;
        if let Some(Ok(staged)) = attempt {
            return self.finish(begun_ns, staged, wakes).map(Some);
        }
        wakes.run();
        let keys = || [key].into_iter();
        let is_staged = |attempt: &Option<Attempt>| attempt.as_ref().is_some_and(Attempt::is_ok);
        match self.in_turn(keys(), keys(), |place, wakes| stage(Some(place), wakes), is_staged)? {
            Some(Ok(staged)) => {
                self.finish(begun_ns, staged, Wakes::new(Place::LogThread)).map(Some)
            }
            Some(Err(_)) => unreachable!("with a turn the newest version stays the newest"),
            None => {
                self.show(self.newest_lsn_of(key)?)?;
                Ok(None)
            }
        }
    }

    /// As `renew`, without blocking; see [`Committer::write_async`].
    pub async fn renew_async(
        &self,
        key: &[u8],
        expires_ms: u64,
        options: WriteOptions,
    ) -> Result<Option<Commit>> {
        if !self.options.background {
            return self.renew(key, expires_ms, options);
        }
        let committed = self.commit_as_task(options, |patience, wakes| {
            match self.stage_renewal(key, expires_ms, options, patience, None, wakes)? {
                Some(attempt) => Ok(attempt),
                None if self.is_shown(self.newest_lsn_of(key)?, patience) => {
                    Err(NotRenewed::Absent)
                }
                None => Ok(Err(NotYet::OutOfTurn)),
            }
        });
        match committed.await {
            Ok(commit) => Ok(Some(commit)),
            Err(NotRenewed::Absent) => Ok(None),
            Err(NotRenewed::Error(error)) => Err(error),
        }
    }

    /// Stages the newest record of `key` with another expiry; `None`: there is none.
    fn stage_renewal(
        &self,
        key: &[u8],
        expires_ms: u64,
        options: WriteOptions,
        patience: Patience<'_>,
        place: Option<&LinePlace>,
        wakes: &mut Wakes,
    ) -> Result<Option<Attempt>> {
        let (condition, newest) = self.hold_newest(key)?;
        let Some(newest) = newest else {
            let base = [Base { key, expected: Expected::Absent }];
            let mut staging = lock(&self.staging);
            self.health.check()?;
            return Ok(match self.are_newest(&mut staging, &base, patience, wakes)? {
                true => None,
                false => Some(Err(NotYet::OutOfTurn)),
            });
        };
        let (kind, bytes) = (FrameKind::Put, newest.value());
        let change = Change { kind, key, bytes, expires_ms, condition: Some(condition) };
        self.stage_changes(&[change], options, patience, place, wakes).map(Some)
    }

    /// The newest record of `key` that is applied, visible or not, and how it is asked for.
    fn hold_newest(&self, key: &[u8]) -> Result<(Expected, Option<HeldRecord<'_>>)> {
        let pin = MapPin::enter();
        let reader = self.records.reader(&pin);
        let newest = self.records.newest_version(key, reader)?;
        let record = newest.filter(|newest| self.records.is_live(*newest));
        let expected = Expected::of(record.map(|record| record.header.lsn.get()));
        Ok((expected, record.map(|record| self.records.store.hold(record, &pin))))
    }

    /// Stages `changes` if their conditions are met, or says what is wrong with them, if they were
    /// seen against the newest versions.
    fn stage_changes(
        &self,
        changes: &[Change<'_>],
        options: WriteOptions,
        patience: Patience<'_>,
        place: Option<&LinePlace>,
        wakes: &mut Wakes,
    ) -> Result<Attempt> {
        let mut bases = Vec::new();
        let error = match self.logged(changes, &mut bases) {
            Ok(logged) => {
                let pairs = changes.iter().zip(&logged);
                let mut frames: Vec<_> = pairs.map(|(change, to)| to.frame(change)).collect();
                let premise = Premise { place, bases: &bases, ..Premise::default() };
                return self.stage(&mut frames, options, patience, premise, wakes);
            }
            Err(error) => error,
        };
        let mut staging = lock(&self.staging);
        self.health.check()?;
        if !self.are_newest(&mut staging, &bases, patience, wakes)? {
            return Ok(Err(NotYet::OutOfTurn));
        }
        drop(staging);
        // What the error tells of must not be lost either.
        match self.is_shown(self.newest_lsn(changes)?, patience) {
            true => Err(error),
            false => Ok(Err(NotYet::OutOfTurn)),
        }
    }

    /// Refuses `changes` if what is visible, all of it at one moment, does not meet a condition.
    fn check_conditions(&self, changes: &[Change<'_>]) -> Result<(), Stop<'_>> {
        let pin = self.records.pin(Keeps::Versions, || self.storage.now());
        for (change, Change { key, condition, .. }) in changes.iter().enumerate() {
            let Some(condition) = condition else { continue };
            let found = match self.records.tables.of(key) {
                Some(index) => self.records.get_pinned(&index, key, &pin)?,
                None => None,
            };
            let version = found.as_ref().map(|found| found.header().lsn.get());
            if !condition.is_met_by(NewestVersion { version, expired: None }) {
                return Err(Stop::Refused { change, found });
            }
        }
        Ok(())
    }

    /// The LSN of the latest version that `changes` depend on, deletions included; 0 if there is
    /// none.
    fn newest_lsn(&self, changes: &[Change<'_>]) -> Result<u64> {
        let mut newest = 0;
        for change in changes.iter().filter(|change| change.has_base()) {
            newest = newest.max(self.newest_lsn_of(change.key)?);
        }
        Ok(newest)
    }

    fn newest_lsn_of(&self, key: &[u8]) -> Result<u64> {
        let pin = MapPin::enter();
        let version = self.records.newest_version(key, self.records.reader(&pin))?;
        Ok(version.map_or(0, |view| view.header.lsn.get()))
    }
}

/// Why a task has not written a record again.
enum NotRenewed {
    Absent,
    Error(Error),
}

impl From<Error> for NotRenewed {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}
