//! Creating a database: which directories may become one, and how.
//!
//! Invariant: the engine removes and replaces only files of its own. It knows what an interrupted
//! creation left behind by its exact name, and that it has no content yet. Anything else in the
//! directory, or in a folder with a name of ours, makes it a directory of others.

use std::io;
use std::path::Path;

use uarr_layout::DatabaseId;
use uarr_layout::superblock::{Geometry, Superblock};
use uarr_uring::{AlignedBuffer, OpenMode, Storage, StorageFile};

use crate::checkpoint::root::{self, Root};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{
    DATA_DIR, DATA_FILE, IMAGE_DIR, LOCK_FILE, PROBE_FILE, ROOT_FILE, ROOT_UNFINISHED,
    SEGMENT_UNFINISHED, WAL_DIR, image_number, list_names, remove_if_present, segment_number,
    segment_path,
};
use crate::log::{strategy, zeros};
use crate::options::{CommitPath, Options};
use crate::structure::Structure;

/// Files that are looked through are read in steps of this size, a multiple of all blocks.
const READ_STEP_BYTES: usize = 256 << 10;

/// The folders of a database.
const FOLDERS: [&str; 3] = [DATA_DIR, WAL_DIR, IMAGE_DIR];
/// What file systems put into the directory that they are mounted on.
const MOUNT_POINT_ENTRY: &str = "lost+found";

/// Checks, before the first write to the directory, that it holds a database or may become one with
/// these options.
pub(crate) fn check_directory<S: Storage>(
    storage: &S,
    options: &Options,
    path: &Path,
) -> Result<()> {
    let shown = path.display();
    let list =
        || storage.list("").map_err(|error| Error::io(format!("cannot list {shown}"), error));
    let has_root = |names: &[String]| names.iter().any(|name| name == ROOT_FILE);
    let names = list()?;
    if has_root(&names) {
        return Ok(());
    }
    let failed = |error| Error::io(format!("cannot look into {shown}"), error);
    if has_records(storage).map_err(failed)? {
        if has_root(&list()?) {
            // It was made meanwhile: a reader holds no lock.
            return Ok(());
        }
        let detail = "the file is missing, but the log, the data or the index beside it is \
                      a database's";
        return Err(Structure::superblock().damage(detail));
    }
    if !options.create {
        return Err(Error::new(ErrorKind::NotFound, format!("there is no database in {shown}")));
    }
    if let Some(foreign) = foreign_entry(storage, names).map_err(failed)? {
        let message = format!(
            "{shown} holds no uarr database but other files ('{foreign}'); choose an empty \
             directory"
        );
        return Err(Error::new(ErrorKind::NotADatabase, message));
    }
    options.check_chunks(options.chunk_bytes)
}

/// True if the directory has more in it than an interrupted creation can have left behind.
//= SUP-7
fn has_records<S: Storage>(storage: &S) -> io::Result<bool> {
    let images = list_names(storage, IMAGE_DIR)?;
    let logs = list_names(storage, WAL_DIR)?;
    let mut segments = logs.iter().filter_map(|name| segment_number(name));
    if images.iter().any(|name| image_number(name).is_some()) || segments.any(|number| number != 1)
    {
        return Ok(true);
    }
    // An interrupted creation has written only zeros to both.
    begins_anywhere(storage)
}

/// True if log or data file have more than zeros.
fn begins_anywhere<S: Storage>(storage: &S) -> io::Result<bool> {
    let first_segment = segment_path(1);
    Ok(begins(storage, &first_segment, OpenMode::ReadDirect)?
        || begins(storage, DATA_FILE, OpenMode::Read)?)
}

/// True if the file has a byte that is not zero, wherever: what was there first may be a hole now.
/// False if there is no file.
fn begins<S: Storage>(storage: &S, path: &str, mode: OpenMode) -> io::Result<bool> {
    let file = match storage.open(path, mode) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    let step_bytes = READ_STEP_BYTES as u64;
    let mut buffer = AlignedBuffer::new(READ_STEP_BYTES);
    let mut offset = 0;
    while let Some(data) = file.next_data(offset)? {
        offset = data / step_bytes * step_bytes;
        let read = file.read_at(&mut buffer[..READ_STEP_BYTES], offset)?;
        if buffer[..read].iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
        if read < READ_STEP_BYTES {
            break;
        }
        offset += step_bytes;
    }
    Ok(false)
}

/// An entry that no creation has made. `names` are the entries of the directory.
fn foreign_entry<S: Storage>(storage: &S, names: Vec<String>) -> io::Result<Option<String>> {
    for name in names {
        if FOLDERS.contains(&name.as_str()) {
            let mut entries = list_names(storage, &name)?.into_iter();
            let is_foreign = |entry: &String| entry != MOUNT_POINT_ENTRY && !is_own(&name, entry);
            if let Some(foreign) = entries.find(is_foreign) {
                return Ok(Some(format!("{name}/{foreign}")));
            }
            continue;
        }
        let is_own = match name.as_str() {
            LOCK_FILE | MOUNT_POINT_ENTRY => true,
            // Another opener may have finished it since.
            ROOT_UNFINISHED => match root::is_unfinished(storage) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                is_unfinished => is_unfinished?,
            },
            _ => false,
        };
        if !is_own {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Whether creation makes a file of this name in this folder.
fn is_own(folder: &str, name: &str) -> bool {
    let path = format!("{folder}/{name}");
    match folder {
        WAL_DIR => {
            segment_number(name).is_some() || path == SEGMENT_UNFINISHED || path == PROBE_FILE
        }
        _ => path == DATA_FILE,
    }
}

/// Makes the folders of log and images if they are not there: programs that copy files alone leave
/// out those that are empty.
pub(crate) fn make_missing_folders<S: Storage>(storage: &S) -> Result<()> {
    let made = storage.list("").and_then(|names| {
        let is_missing = |folder: &&str| !names.iter().any(|name| name == folder);
        let missing: Vec<_> = [WAL_DIR, IMAGE_DIR].into_iter().filter(is_missing).collect();
        missing.iter().try_for_each(|folder| storage.create_dir(folder))?;
        if missing.is_empty() { Ok(()) } else { storage.make_dir_durable("") }
    });
    made.map_err(|error| Error::io("cannot make a folder of the database", error))
}

/// Creates an empty database in a directory that the caller has checked and locked. The superblock
/// comes last: without it there is no database.
pub(crate) fn create<S: Storage>(storage: &S, options: &Options, path: &Path) -> Result<Root<S>> {
    create_files(storage, options).map_err(|error| {
        let failed = |what: &str| format!("cannot create a database in {}{what}", path.display());
        let is_full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        if !is_full.contains(&error.kind()) {
            return Error::io(failed(""), error);
        }
        let needed = (options.segment_bytes + options.chunk_bytes).div_ceil(1 << 20);
        let what = format!(", which takes {needed} MiB (segment_bytes and chunk_bytes)");
        Error::io(failed(&what), error)
    })
}

/// Whether no write has ever reached the log, the data file or an image: all is as it was created.
pub(crate) fn is_unused<S: Storage>(storage: &S) -> io::Result<bool> {
    // A segment that is ready for later says nothing.
    let images = list_names(storage, IMAGE_DIR)?;
    Ok(images.iter().all(|name| image_number(name).is_none()) && !begins_anywhere(storage)?)
}

/// Takes a database away in which [`is_unused`] holds, under its lock:
///
/// 1. The segments that are ready for later go. What is left is a whole and empty database.
/// 2. The superblock goes, durably. What is left is what an interrupted creation leaves behind,
///    from which another creation can go on.
/// 3. All else goes.
pub(crate) fn undo<S: Storage>(storage: &S) -> io::Result<()> {
    let logs = list_names(storage, WAL_DIR)?;
    for name in logs.iter().filter(|name| segment_number(name).is_some_and(|number| number != 1)) {
        storage.remove(&format!("{WAL_DIR}/{name}"))?;
    }
    remove_if_present(storage, ROOT_FILE)?;
    remove_if_present(storage, ROOT_UNFINISHED)?;
    storage.make_dir_durable("")?;
    for dir in FOLDERS {
        for name in list_names(storage, dir)?.iter().filter(|name| is_own(dir, name)) {
            storage.remove(&format!("{dir}/{name}"))?;
        }
        match storage.remove_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    remove_if_present(storage, LOCK_FILE)?;
    storage.make_dir_durable("")
}

fn create_files<S: Storage>(storage: &S, options: &Options) -> io::Result<Root<S>> {
    for dir in FOLDERS {
        storage.create_dir(dir)?;
        // What an interrupted creation left behind.
        for name in storage.list(dir)?.iter().filter(|name| is_own(dir, name)) {
            storage.remove(&format!("{dir}/{name}"))?;
        }
    }
    let random = [storage.random(), storage.random()];
    let mut id = [0; 16];
    id[..8].copy_from_slice(&random[0].to_le_bytes());
    id[8..].copy_from_slice(&random[1].to_le_bytes());
    let geometry = Geometry {
        block_bytes: storage.facts().block_bytes,
        segment_bytes: options.segment_bytes,
        chunk_bytes: options.chunk_bytes,
    };
    let mut block = Superblock::new(DatabaseId(id), geometry);
    block.created_ns = storage.wall_ns().cast_unsigned().into();
    block.key_kind = options.keys.unwrap_or_default().to_number().into();
    block.hash_seed = storage.random().into();
    block.checkpoints[0].segment = 1.into();
    block.closed = 1.into();
    block.next_lsn = 1.into();

    let data_file = storage.open(DATA_FILE, OpenMode::CreateMapped)?;
    data_file.allocate(0, options.chunk_bytes)?;
    data_file.make_durable()?;
    storage.make_dir_durable(DATA_DIR)?;
    zeros::create(storage, 1, options.segment_bytes)?;
    if options.commit_path == CommitPath::Auto {
        strategy::measure(storage, strategy::ROUNDS_AT_CREATION)?.store(&mut block);
    }
    storage.make_dir_durable("")?;
    Root::create(storage, block)
}
