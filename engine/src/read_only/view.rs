//! [`View`]: a database as of one moment, in its files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use uarr_layout::DatabaseId;
use uarr_layout::superblock::{Checkpoint, Superblock};
use uarr_uring::Storage;

use crate::checkpoint::image_search::ImageSearch;
use crate::checkpoint::root::RawSlots;
use crate::error::{Error, ErrorKind, Result};
use crate::key::KeyKind;
use crate::options::Options;
use crate::read_only::changes::Changes;
use crate::read_only::log_span::LogSpan;
use crate::read_only::watch::Watch;
use crate::recovery::frames::Landing;
use crate::report::RecoveryReport;
use crate::sync::{Rank, Ranked, lock};
use crate::versions::clock::Clock;

/// Images that cannot be used, by number, and why.
pub(crate) type DamagedImages = BTreeMap<u64, Error>;

/// See [`self`].
pub(crate) struct View<S: Storage> {
    pub storage: Arc<S>,
    pub path: PathBuf,
    pub options: Options,
    pub watch: Watch<S>,
    /// The superblock when all began.
    pub seen: RawSlots,
    pub block: Superblock,
    pub kind: KeyKind,
    /// `None`: the empty database has none.
    pub image: Option<ImageSearch<S::File>>,
    /// Where the chunks of the checkpoint lie.
    pub landing: Landing,
    pub data_file: S::File,
    pub log: LogSpan,
    /// What the log changes; read when it is first asked for.
    changes: Ranked<Option<Arc<Changes>>>,
    pub clock: Clock<S>,
    pub report: RecoveryReport,
    pub damaged_images: DamagedImages,
}

/// What a view is made of, beside what it reads later.
pub(crate) struct FoundView<S: Storage> {
    pub seen: RawSlots,
    pub block: Superblock,
    pub kind: KeyKind,
    pub image: Option<ImageSearch<S::File>>,
    pub landing: Landing,
    pub data_file: S::File,
    pub log: LogSpan,
    pub floor_ms: u64,
    pub report: RecoveryReport,
}

impl<S: Storage> FoundView<S> {
    /// What a writer must keep for it: of which database, which checkpoint.
    pub fn kept(&self) -> (DatabaseId, &Checkpoint) {
        (self.block.database, &self.log.checkpoint)
    }
}

impl<S: Storage> View<S> {
    pub fn new(
        (storage, path, options): (Arc<S>, PathBuf, Options),
        watch: Watch<S>,
        found: FoundView<S>,
        damaged_images: DamagedImages,
    ) -> Self {
        let FoundView { seen, block, kind, image, landing, data_file, log, floor_ms, report } =
            found;
        let clock = Clock::new(Arc::clone(&storage), floor_ms);
        let changes = Ranked::new(Rank::Leaf, None);
        Self {
            storage,
            path,
            options,
            watch,
            seen,
            block,
            kind,
            image,
            landing,
            data_file,
            log,
            changes,
            clock,
            report,
            damaged_images,
        }
    }

    pub fn checkpoint(&self) -> &Checkpoint {
        &self.log.checkpoint
    }

    /// What `read` has read, if no writer has overtaken it.
    pub fn confirmed<T>(&self, read: Result<T>) -> Result<T> {
        if self.keeps(self.checkpoint())? { read } else { Err(self.overtaken()) }
    }

    /// Whether all that `checkpoint` needs is still there.
    pub fn keeps(&self, checkpoint: &Checkpoint) -> Result<bool> {
        self.watch.keeps(&self.seen, (self.block.database, checkpoint))
    }

    /// The error of a reader that a writer has overtaken.
    pub fn overtaken(&self) -> Error {
        overtaken(&self.path)
    }

    /// All that the log changes.
    pub fn changes(&self) -> Result<Arc<Changes>> {
        if let Some(changes) = &*lock(&self.changes) {
            return Ok(Arc::clone(changes));
        }
        let mut changes = Changes::default();
        self.note_changes(&mut changes)?;
        let changes = Arc::new(changes);
        *lock(&self.changes) = Some(Arc::clone(&changes));
        Ok(changes)
    }

    /// What the log changes of `keys`, at least.
    pub fn changes_of(&self, keys: impl IntoIterator<Item = Vec<u8>>) -> Result<Arc<Changes>> {
        if let Some(changes) = &*lock(&self.changes) {
            return Ok(Arc::clone(changes));
        }
        let mut changes = Changes::only(keys);
        self.note_changes(&mut changes)?;
        Ok(Arc::new(changes))
    }

    fn note_changes(&self, changes: &mut Changes) -> Result<()> {
        if self.log.is_empty {
            return Ok(());
        }
        let known = (self.kind, &self.landing);
        self.log.each_change(&*self.storage, &self.block, known, |logged, record| {
            changes.note(logged, record);
        })
    }
}

/// The error of a reader that a writer has overtaken.
pub(crate) fn overtaken(path: &std::path::Path) -> Error {
    let message = format!(
        "a process that writes to the database {} has overtaken this reader: what it was about to \
         read is gone; open it again, or read through a handle of that process",
        path.display()
    );
    Error::new(ErrorKind::Overtaken, message)
}
