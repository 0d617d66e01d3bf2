//! Opening to read: from a directory to a [`View`].

use std::path::PathBuf;
use std::sync::Arc;

use uarr_layout::superblock::Checkpoint;
use uarr_uring::{OpenMode, Storage};

use crate::checkpoint::image_search::ImageSearch;
use crate::checkpoint::root::{RawSlots, choose};
use crate::error::{Error, Result};
use crate::files::{image_path, list_segments};
use crate::options::Options;
use crate::read_only::log_span::LogSpan;
use crate::read_only::view::{DamagedImages, FoundView, View, overtaken};
use crate::read_only::watch::Watch;
use crate::recovery::create::check_directory;
use crate::recovery::data_file::open_data_file;
use crate::recovery::frames::Landing;
use crate::recovery::start::{Opening, Question, Start, find_start, key_kind};
use crate::recovery::tail::LogSource;
use crate::report::RecoveryReport;

/// So often a reader begins again that writers overtake.
const ATTEMPT_COUNT_MAX: u32 = 50;

/// Looks at the database in `storage` as it is now; images that are `damaged` are not used.
pub(crate) fn look<S: Storage>(
    (storage, path, options): (Arc<S>, PathBuf, Options),
    damaged: DamagedImages,
) -> Result<View<S>> {
    let begun = storage.now();
    let watch = Watch::new(Arc::clone(&storage));
    for _ in 0..ATTEMPT_COUNT_MAX {
        check_directory(&*storage, &options, &path)?;
        // The process that made the database may remove it at any time.
        let Some(seen) = watch.look()? else { continue };
        match attempt(&*storage, seen.clone(), &options, &damaged) {
            Ok(mut found) if watch.keeps(&seen, found.kept())? => {
                found.report.duration = storage.now().saturating_sub(begun);
                return Ok(View::new((storage, path, options), watch, found, damaged));
            }
            // What was read while a writer went on says nothing.
            Err(error) if watch.is_unchanged(&seen)? => return Err(error),
            _ => {}
        }
    }
    Err(overtaken(&path))
}

fn attempt<S: Storage>(
    storage: &S,
    seen: RawSlots,
    options: &Options,
    damaged: &DamagedImages,
) -> Result<FoundView<S>> {
    let mut report = RecoveryReport::default();
    let slots = choose(seen.decode(), &mut report.notes)?;
    let block = slots.block.clone();
    let kind = key_kind(&block, options)?;
    let chunk_bytes = block.chunk_bytes.get();
    // Blocks of a database that was made on another device may be too small for this one.
    let fits = block.block_bytes.get().is_multiple_of(storage.facts().block_bytes);
    let log_mode = if fits { OpenMode::ReadDirect } else { OpenMode::Read };
    let present = list_segments(storage)?;
    let question = Question {
        storage,
        named: slots.named(),
        present: &present,
        mode: options.recovery,
        log_mode,
    };
    let open_image = |checkpoint: &Checkpoint| {
        if let Some(error) = damaged.get(&checkpoint.number.get()) {
            return Err(error.clone());
        }
        let image = ImageSearch::open(storage, block.database, checkpoint, kind)?;
        let chunks = image.chunks(chunk_bytes)?;
        Ok((image, chunks))
    };
    let Start { step, checkpoint, image } = find_start(&question, open_image, &mut report)?;
    let (image, chunks) = image.unzip();
    let chunks = chunks.unwrap_or_default();
    let data_file = open_data_file(storage, OpenMode::Read, &chunks, chunk_bytes)?;
    report.checkpoint = checkpoint.number.get();
    report.indexed_record_count = checkpoint.entry_count.get();
    let landing = || Landing::new(chunk_bytes, checkpoint.next_chunk.get(), &chunks);
    let (log, floor_ms) = match step {
        Opening::Clean => {
            report.clean = true;
            (LogSpan::empty(checkpoint, log_mode), block.expiry_floor_ms.get())
        }
        Opening::Replayed(_) => {
            let source = LogSource { storage, present: &present, checkpoint, mode: log_mode };
            let how = (options.recovery, kind);
            LogSpan::read(&source, slots.named(), how, landing(), &mut report)?
        }
    };
    let landing = landing();
    Ok(FoundView { seen, block, kind, image, landing, data_file, log, floor_ms, report })
}

impl<S: Storage> View<S> {
    /// The database as it is now without the image of this view, if `error` is that the image is
    /// damaged: recovery would use the one before it.
    pub fn without_image(&self, error: &Error) -> Option<Result<Self>> {
        let number = self.checkpoint().number.get();
        let is_its_own = |file: &String| number > 0 && *file == image_path(number);
        error.corruption().filter(|damage| is_its_own(&damage.file))?;
        let mut damaged = self.damaged_images.clone();
        damaged.insert(number, error.clone());
        let (storage, path) = (Arc::clone(&self.storage), self.path.clone());
        Some(look((storage, path, self.options.clone()), damaged))
    }
}
