//! Changes that build upon the newest version of their key: how they are staged, and wait for a
//! turn where that is not in the data file yet.

use uarr_layout::frame::FrameKind;
use uarr_uring::Storage;

use crate::commit::committer::Committer;
use crate::commit::patience::{Attempt, NotYet, Patience};
use crate::commit::receipt::Commit;
use crate::commit::turns::{LinePlace, Premise};
use crate::commit::wakes::{Place, Wakes};
use crate::error::Result;
use crate::options::WriteOptions;
use crate::sync::lock;

/// A change as its caller gave it: `bytes` is the value of a put, the patch of a patch.
#[derive(Clone, Copy)]
pub(crate) struct Change<'a> {
    pub kind: FrameKind,
    pub key: &'a [u8],
    pub bytes: &'a [u8],
}

impl<S: Storage> Committer<S> {
    /// Commits `changes`, patches among them, as one batch; see [`Committer::write`] for the
    /// others.
    pub fn write_patched(&self, changes: &[Change<'_>], options: WriteOptions) -> Result<Commit> {
        let begun_ns = self.commit_clock(options);
        let patience = Patience::Thread;
        let mut wakes = Wakes::new(Place::LogThread);
        if let Ok(staged) = self.stage_patched(changes, options, patience, None, &mut wakes)? {
            return self.finish(begun_ns, staged, wakes);
        }
        wakes.run();
        let patched = changes.iter().filter(|change| change.kind == FrameKind::Patch);
        let keys = changes.iter().map(|change| change.key);
        let turn = self.take_turn(keys, patched.map(|change| change.key))?;
        let mut held = Wakes::new(Place::LogThread);
        let place = Some(turn.place());
        let staged = self.stage_patched(changes, options, patience, place, &mut held);
        self.hand_on(&mut held);
        let staged = staged?.expect("with a turn the newest versions stay the newest");
        turn.end();
        self.finish(begun_ns, staged, wakes)
    }

    /// As `write_patched`, without blocking; see [`Committer::write_async`].
    pub async fn write_patched_async(
        &self,
        changes: &[Change<'_>],
        options: WriteOptions,
    ) -> Result<Commit> {
        if !self.options.background {
            return self.write_patched(changes, options);
        }
        self.commit_as_task(options, |patience, wakes| {
            self.stage_patched(changes, options, patience, None, wakes)
        })
        .await
    }

    /// Stages `changes`, or says what is wrong with them, if they were seen against the newest
    /// versions.
    fn stage_patched(
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
                let premise = Premise { place, bases: &bases };
                return self.stage(&mut frames, options, patience, premise, wakes);
            }
            Err(error) => error,
        };
        let mut staging = lock(&self.staging);
        self.health.check()?;
        match self.are_newest(&mut staging, &bases, patience, wakes)? {
            true => Err(error),
            false => Ok(Err(NotYet::OutOfTurn)),
        }
    }
}
