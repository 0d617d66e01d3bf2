//! Checkpoints: they let the engine recycle the log and open the database quickly.
//!
//! 1. List the chunks that the index names nothing in any more, and only then note the end of the
//!    settled log: replay will start there (LSN s). No frame behind it names one of these chunks.
//! 2. Write the index image while writers go on; it may hold later records too. Leave out deleted
//!    keys: a deletion after s is in the log that replay will read.
//! 3. Move the open chunk of the data file on to its next page, and note where the others end: from
//!    now on no thread writes a byte before. Settle everything staged by then: applied, and in the
//!    log durably (up to LSN e, which replay must reach).
//! 4. Add the chunk table to the image: the chunks there were in step 3 whose places are in the
//!    settled log, each with what no thread touches any more, and which of them step 1 listed. The
//!    entries name nothing else, and in those nothing. Make the image durable.
//! 5. Make the data file durable.
//! 6. Write the superblock: this checkpoint and the one before it.
//! 7. Release segments, images and places of the data file that only older checkpoints needed.
//!
//! A crash before 6 leaves the old checkpoints in force. If a flush or the write of the superblock
//! fails, the checkpoint does not know what the device holds, and poisons the database, with every
//! error number. After a failure before the first flush (no room for the image, say) the next
//! checkpoint tries again, with an image of another number.

use std::sync::atomic::Ordering;

use uarr_layout::superblock::{Checkpoint, Superblock};
use uarr_uring::Storage;

use crate::checkpoint::image::read_image;
use crate::checkpoint::image_write::ImageSource;
use crate::checkpoint::root::Root;
use crate::commit::poison::Fuse;
use crate::commit::wakes::{Place, Wakes};
use crate::core::Core;
use crate::data::places::Places;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{image_path, list_images, remove_old_images};
use crate::log::position::start_of;
use crate::sync::lock;

/// What follows a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Writes go on.
    GoOn,
    /// The database is closed: the checkpoint covers all that was written, the superblock says that
    /// nothing needs replay, and no write may follow.
    Close,
}

impl<S: Storage> Core<S> {
    /// Takes a checkpoint.
    pub fn checkpoint(&self, then: Then) -> Result<()> {
        let fuse = Fuse::new(&self.committer, "a checkpoint");
        // A task that a commit wakes meanwhile may want the lock that a checkpoint holds.
        let mut wakes = Wakes::new(Place::LogThread);
        let taken = self.checkpoint_with(then, &mut wakes);
        self.committer.counters.has_checkpoint.store(false, Ordering::Release);
        fuse.defuse();
        self.committer.hand_on(&mut wakes);
        self.committer.wake_for_room();
        self.committer.run_due_wakes();
        #[cfg(feature = "tracing")]
        {
            let durable_lsn = self.records().visible.durable_lsn();
            crate::trace::checkpointed(&self.path, &taken, durable_lsn);
        }
        taken
    }

    fn checkpoint_with(&self, then: Then, wakes: &mut Wakes) -> Result<()> {
        let mut root = lock(&self.root);
        self.committer.health.check_root()?;
        if then == Then::Close {
            self.committer.sync_with(wakes)?;
        }
        let log_bytes = self.committer.log_taken_bytes();
        let counters = &self.committer.counters;
        counters.has_checkpoint.store(true, Ordering::Release);
        let has_moved = counters.has_moved.swap(false, Ordering::AcqRel);
        counters.wants_checkpoint.store(false, Ordering::Release);
        let mut attempt = |root: &mut Root<S>, kept_count| {
            let take = || self.newer_than(root, has_moved, then, wakes);
            self.committer.with_places_given(kept_count, take)
        };
        // One place is for a chunk of moved records, if that is enough.
        let mut checkpoint = attempt(&mut root, 1);
        let lacks_room = |checkpoint: &Result<Checkpoint>| {
            checkpoint.as_ref().is_err_and(|error| error.kind() == ErrorKind::NoSpace)
        };
        if lacks_room(&checkpoint) && self.give_up_older(&mut root)? {
            checkpoint = attempt(&mut root, 1);
        }
        if lacks_room(&checkpoint) && self.committer.give_last_places() {
            checkpoint = attempt(&mut root, 0);
        }
        let written = checkpoint.and_then(|checkpoint| {
            self.write_root(&mut root, checkpoint, then)?;
            Ok(checkpoint)
        });
        let checkpoint = written.inspect_err(|_| {
            counters.has_moved.fetch_or(has_moved, Ordering::AcqRel);
        })?;
        if then == Then::Close {
            self.committer.health.note_closed();
        }
        self.committer.counters.note_checkpoint(log_bytes);
        let older = root.block.checkpoints[1];
        self.committer.segments.release_before(older.segment.get().max(1));
        self.older_checkpoint.store(older.number.get(), Ordering::Release);
        self.committer.note_room();
        self.committer.ask_mover();
        if then == Then::Close {
            let needed = [older, checkpoint].into_iter().find(|kept| kept.segment.get() > 0);
            self.committer.give_back_space(start_of(&needed.unwrap_or(checkpoint)));
        }
        remove_old_images(self.storage(), &[checkpoint.number.get(), older.number.get()])
    }

    /// Makes a checkpoint of all that is applied now; the newest if it is one already. Only the
    /// superblock is missing.
    fn newer_than(
        &self,
        root: &mut Root<S>,
        has_moved: bool,
        then: Then,
        wakes: &mut Wakes,
    ) -> Result<Checkpoint> {
        let newest = root.block.checkpoints[0];
        if !has_moved && self.covers_all(&root.block, then) {
            return Ok(newest);
        }
        let number = self.give_image_number(root)?;
        self.committer.with_places(|places, _| places.quarantine.list(number));
        //= IMG-3
        let start = self.committer.log_end();
        assert!(start.lsn >= newest.lsn.get(), "the log ends behind what is in a checkpoint");
        let (storage, records) = (self.storage(), self.records());
        let source = ImageSource { storage, records, root: &root.block };
        let image = source.write(number).map_err(|error| self.committer.judge(error))?;
        let sealed = self.committer.seal_data_pages(number, wakes);
        let (table, next_chunk) = sealed.inspect_err(|_| self.remove_image(number))?;
        // Everything staged before the pages were sealed is durable in the log now.
        let end_lsn = self.records().visible.durable_lsn();
        assert!(end_lsn >= start.lsn, "replay begins in front of what it has to reach");
        assert!(next_chunk >= newest.next_chunk.get(), "numbers of chunks rise");
        let image = image.finish(self.storage(), table).map_err(|error| {
            self.remove_image(number);
            self.committer.judge(Error::io("cannot write an index image", error))
        })?;
        self.records().space.make_durable().map_err(|error| self.committer.judge(error))?;
        Ok(Checkpoint {
            number: number.into(),
            lsn: start.lsn.into(),
            segment: start.segment.into(),
            offset: start.offset.into(),
            next_chunk: next_chunk.into(),
            end_lsn: end_lsn.into(),
            image_bytes: image.bytes.into(),
            entry_count: image.entry_count.into(),
        })
    }

    /// Where there is no room for a third image: gives up the older of the two checkpoints, with
    /// its image and its part of the log. False: there is none, or the newer one is not sure to be
    /// readable alone.
    fn give_up_older(&self, root: &mut Root<S>) -> Result<bool> {
        self.committer.health.check_root()?;
        let [newest, older] = root.block.checkpoints;
        if older.number.get() == 0 {
            return Ok(false);
        }
        let (database, chunk_bytes) = (root.block.database, root.block.chunk_bytes.get());
        let kind = self.records().key_kind();
        let image = read_image(self.storage(), &database, &newest, kind, chunk_bytes);
        if image.is_err() {
            return Ok(false);
        }
        root.write_both(|block| block.checkpoints = [newest, Checkpoint::default()]).map_err(
            |error| self.committer.judge(Error::io("cannot write the superblock", error)),
        )?;
        // Nothing is given away by what this checkpoint alone says.
        self.older_checkpoint.store(0, Ordering::Release);
        self.committer.segments.release_before(newest.segment.get().max(1));
        remove_old_images(self.storage(), &[newest.number.get()])?;
        Ok(true)
    }

    /// Whether the newest checkpoint has all that there is, and no place nor segment waits for
    /// another one. A database that is closed has no use for places.
    fn covers_all(&self, root: &Superblock, then: Then) -> bool {
        let [newest, older] = &root.checkpoints;
        let newest_lsn = newest.lsn.get();
        let is_unchanged = self.committer.log_end().lsn == newest_lsn
            && self.committer.next_lsn() == newest_lsn + 1;
        let older = older.number.get();
        let waits = |places: &mut Places| places.quarantine.needs_checkpoint(older);
        is_unchanged
            && newest.number.get() > 0
            && !self.committer.lacks_segments()
            && !self.committer.counters.wants_log_back.load(Ordering::Acquire)
            && (then == Then::Close || !self.committer.with_places(|places, _| waits(places)))
    }

    /// Best effort: the next checkpoint removes it in any case.
    fn remove_image(&self, number: u64) {
        let _ = self.storage().remove(&image_path(number));
    }

    /// Writes the superblock, with `checkpoint` in front of the others if it is not there yet.
    fn write_root(&self, root: &mut Root<S>, checkpoint: Checkpoint, then: Then) -> Result<()> {
        let next_lsn = self.committer.next_lsn();
        assert!(next_lsn > checkpoint.end_lsn.get(), "LSNs in use are not given out again");
        let newest = root.block.checkpoints[0];
        let expiry_floor_ms = self.records().clock.floor_ms();
        let written = root.write(|block| {
            if checkpoint.number != newest.number {
                assert!(checkpoint.number.get() > newest.number.get(), "numbers of images rise");
                block.checkpoints = [checkpoint, newest];
            }
            //= SUP-6
            block.closed = u32::from(then == Then::Close).into();
            block.next_lsn = next_lsn.into();
            block.expiry_floor_ms = expiry_floor_ms.into();
        });
        written
            .map_err(|error| self.committer.judge(Error::io("cannot write the superblock", error)))
    }

    /// At open: takes a checkpoint if the last lives, each too short for one, have left twice the
    /// log at which one is due. Otherwise a program that dies and starts again without end would
    /// fill the disk.
    pub fn checkpoint_if_overdue(&self) -> Result<()> {
        if !self.committer.checkpoint_overdue() {
            return Ok(());
        }
        match self.checkpoint(Then::GoOn) {
            // The database has room enough without one.
            Err(error)
                if error.kind() == ErrorKind::NoSpace
                    && self.committer.health.poison().is_none() =>
            {
                Ok(())
            }
            // No caller has the database yet, so none needs it poisoned.
            Err(error) if self.committer.health.poison().is_some() => {
                let what = format!("opening has to take a checkpoint, which failed: {error}");
                Err(Error::new(ErrorKind::Io, what))
            }
            taken => taken,
        }
    }

    /// A number for an image, above all earlier ones, those of failed checkpoints included.
    fn give_image_number(&self, root: &mut Root<S>) -> Result<u64> {
        let present = list_images(self.storage())?.last().copied().unwrap_or(0);
        let named = root.checkpoints().map(|named| named.number.get()).max().unwrap_or(0);
        let number = present.max(root.image_number_tried).max(named) + 1;
        root.image_number_tried = number;
        Ok(number)
    }
}
