//! Changes that depend on the newest version of their key: patches, and changes with a condition.
//!
//! Whether a condition is met is asked under the staging lock, of the newest version, staged ones
//! included. If that is not in the data file yet, the writer waits for its turn
//! ([`crate::commit::turns`]). A change that is refused tells what was found, and what is told
//! survives what the database promises to survive: so it is waited for until it is visible.

use std::collections::BTreeMap;

use uarr_layout::frame::{Frame, FrameKind};
use uarr_uring::{MapPin, Storage};

use crate::commit::committer::Committer;
use crate::commit::patience::{Attempt, NotYet, Patience};
use crate::commit::premise::{Base, Expected, NewestVersion, Premise};
use crate::commit::receipt::Commit;
use crate::commit::turns::LinePlace;
use crate::commit::wakes::{Place, Wakes};
use crate::data::record_view::{HeldRecord, RecordView};
use crate::error::{Error, Result};
use crate::options::WriteOptions;
use crate::sync::lock;
use crate::versions::pins::Keeps;

/// What a change does with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Put,
    Delete,
    Patch,
    /// The value stays, and gets another expiry. Refused if there is no record.
    Touch,
}

impl ChangeKind {
    /// How it is logged as it was given; `None`: that depends on the version before it.
    pub fn given(self) -> Option<FrameKind> {
        match self {
            Self::Put => Some(FrameKind::Put),
            Self::Delete => Some(FrameKind::Delete),
            Self::Patch | Self::Touch => None,
        }
    }
}

/// A change as its caller gave it: `bytes` is the value of a put, the patch of a patch.
#[derive(Clone, Copy)]
pub(crate) struct Change<'a> {
    pub kind: ChangeKind,
    pub key: &'a [u8],
    pub bytes: &'a [u8],
    /// When its record expires, in ms since 1970; 0: never, or, of a patch, when the record does
    /// that it changes.
    pub expires_ms: u64,
    /// What the newest version must be; patches and touches need a record in any case.
    pub condition: Option<Expected>,
}

impl Change<'_> {
    /// Whether it depends on the newest version of its key.
    pub fn has_base(&self) -> bool {
        self.kind.given().is_none() || self.condition.is_some()
    }
}

/// Why changes were not written.
pub(crate) enum Stop<'a> {
    /// The condition of the change with this number is not met, or it has nothing to touch.
    Refused {
        change: usize,
        found: Option<HeldRecord<'a>>,
    },
    Error(Error),
}

/// For puts, deletions and patches without a condition.
impl From<Stop<'_>> for Error {
    fn from(stop: Stop<'_>) -> Self {
        match stop {
            Stop::Refused { .. } => unreachable!("only conditions and touches are refused"),
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
            self.check_conditions(changes).or_else(|stop| self.tell(stop, changes, options))?;
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
            self.show(self.newest_lsn(changes)?, options)?;
        }
    }

    /// Returns with `stop` when what it tells is as durable as `options` ask. That it is visible is
    /// known, which is enough but in memory-first databases.
    fn tell<'s>(
        &self,
        stop: Stop<'s>,
        changes: &[Change<'_>],
        options: WriteOptions,
    ) -> Result<(), Stop<'s>> {
        if self.is_more_than_visible(options) && matches!(stop, Stop::Refused { .. }) {
            self.show(self.newest_lsn(changes)?, options)?;
        }
        Err(stop)
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
        let written = self.commit_as_task(options, |patience, wakes| {
            let attempt = self.stage_changes(changes, options, patience, None, wakes)?;
            if let Err(NotYet::OutOfTurn) = attempt {
                self.check_conditions(changes)?;
            }
            Ok::<_, Stop<'s>>(attempt)
        });
        let written = written.await;
        if self.is_more_than_visible(options) && matches!(written, Err(Stop::Refused { .. })) {
            self.decided(self.newest_lsn(changes)?, options).await?;
        }
        written
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
            Ok::<_, Error>((attempt, replaced))
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
    ) -> Result<Attempt, Stop<'_>> {
        if let [change] = changes
            && let Some(kind) = change.kind.given()
        {
            let frame = Frame::new(kind, 0, change.key, change.bytes).expiring(change.expires_ms);
            let base = change.condition.map(|expected| Base { key: change.key, expected });
            let premise = Premise { place, bases: base.as_slice(), ..Premise::default() };
            return Ok(self.stage(&mut [frame], options, patience, premise, wakes)?);
        }
        let mut bases = Vec::new();
        let stop = match self.logged(changes, &mut bases) {
            Ok(logged) => {
                let pairs = changes.iter().zip(&logged);
                let mut frames: Vec<_> = pairs.map(|(change, to)| to.frame(change)).collect();
                let premise = Premise { place, bases: &bases, ..Premise::default() };
                return Ok(self.stage(&mut frames, options, patience, premise, wakes)?);
            }
            Err(stop) => stop,
        };
        let mut staging = lock(&self.staging);
        self.health.check()?;
        if !self.are_newest(&mut staging, &bases, patience, wakes)? {
            return Ok(Err(NotYet::OutOfTurn));
        }
        drop(staging);
        // What is told must not be lost either.
        match self.is_shown(self.newest_lsn(changes)?, options, patience)? {
            true => Err(stop),
            false => Ok(Err(NotYet::OutOfTurn)),
        }
    }

    /// Refuses `changes` if what is visible, all of it at one moment, does not meet a condition or
    /// has nothing to touch. The first such change is told, as by [`Committer::logged`].
    fn check_conditions(&self, changes: &[Change<'_>]) -> Result<(), Stop<'_>> {
        let pin = self.records.pin(Keeps::Versions, || self.storage.now());
        // Whether the changes before have deleted a key.
        let mut is_deleted = BTreeMap::new();
        for (number, change) in changes.iter().enumerate() {
            let earlier = is_deleted.get(change.key).copied();
            let touches = change.kind == ChangeKind::Touch;
            if touches && earlier == Some(true) {
                return Err(Stop::Refused { change: number, found: None });
            }
            let deletes = change.kind == ChangeKind::Delete;
            is_deleted.insert(change.key, deletes);
            let implied = (touches && earlier.is_none()).then_some(Expected::Present);
            let Some(condition) = change.condition.or(implied) else { continue };
            let found = match self.records.tables.of(change.key) {
                Some(index) => self.records.get_pinned(&index, change.key, &pin)?,
                None => None,
            };
            let version = found.as_ref().map(|found| found.header().lsn.get());
            if !condition.is_met_by(NewestVersion { version, expired: None }) {
                return Err(Stop::Refused { change: number, found });
            }
        }
        Ok(())
    }

    /// The LSN of the latest version that `changes` depend on, deletions included.
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
        Ok(self.lsn_of(version))
    }

    /// The LSN of the newest version of a key. Of a deletion that the index has forgotten it is
    /// only known that it is visible.
    pub fn lsn_of(&self, newest: Option<RecordView<'_>>) -> u64 {
        newest.map_or_else(|| self.records.visible.lsn(), |view| view.header.lsn.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    type Given<'a> = (ChangeKind, &'a str, Option<Expected>);

    fn change<'a>(&(kind, key, condition): &Given<'a>) -> Change<'a> {
        Change { kind, key: key.as_bytes(), bytes: b"", expires_ms: 0, condition }
    }

    /// The number of the change that is refused when `changes` have waited.
    fn refused(db: &Db, changes: &[Given<'_>]) -> Option<usize> {
        let changes: Vec<_> = changes.iter().map(change).collect();
        match db.core().committer.check_conditions(&changes) {
            Ok(()) => None,
            Err(Stop::Refused { change, .. }) => Some(change),
            Err(Stop::Error(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn the_first_change_that_is_refused_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir).unwrap();
        db.put("there", b"1").unwrap();
        let (absent, there) = (Some(Expected::Absent), Some(Expected::Present));
        let (put, delete, touch) = (ChangeKind::Put, ChangeKind::Delete, ChangeKind::Touch);
        assert_eq!(refused(&db, &[(touch, "there", None), (put, "new", absent)]), None);
        assert_eq!(refused(&db, &[(touch, "no", None), (put, "there", absent)]), Some(0));
        assert_eq!(refused(&db, &[(put, "no", None), (touch, "no", None)]), None);
        let gone = [(delete, "there", None), (touch, "there", None), (put, "there", there)];
        assert_eq!(refused(&db, &gone), Some(1));
    }
}
