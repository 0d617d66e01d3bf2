//! `uarr export`: records as lines that `uarr import` reads back exactly.
//!
//! A file gets its name when it is whole and durable: an export that fails leaves the file that was
//! there before.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{HumanBytes, ProgressBar};
use serde_json::json;
use uarr::TableInfo;

use crate::args::{Export, Global, Keys};
use crate::compression::Packed;
use crate::exit::Exit;
use crate::exported::{Writer, end, start};
use crate::failure::{Failure, Result, Stop, output};
use crate::output::{Form, Output, counted, one_line};
use crate::reader::Reader;
use crate::scan::records;
use crate::signals::{self, BeforeEnd};

/// Records between two messages.
const SHOWN_EVERY: u64 = 1000;
/// Bytes collected before a file is written.
const WRITE_BUFFER_BYTES: usize = 1 << 20;
/// What the name of a file that is being written ends in.
const UNFINISHED: &str = ".partial";

/// Runs the command.
pub fn run(global: &Global, args: &Export, out: &mut Output) -> Result<Exit> {
    let db = global.read_records()?;
    let table = global.table.as_ref().and_then(|name| info(&db, name));
    let start = start(db.key_kind(), table.as_ref());
    let count = out.shows_progress().then(|| db.count_keys()).transpose()?;
    let bar = out.progress(count);
    if args.file == Path::new("-") {
        write_all((&db, &start), &args.keys, &bar, &mut out.stdout, &output)?;
        bar.finish_and_clear();
        return Ok(Exit::Done);
    }
    let name = args.file.to_string_lossy();
    let failed = |error: &io::Error| Failure::unwritable(&name, error).into();
    let target = Target::create(&args.file, out.form).map_err(|error| failed(&error))?;
    let mut packed =
        Packed::for_name(&args.file, BufWriter::with_capacity(WRITE_BUFFER_BYTES, &target.file))
            .map_err(|error| failed(&error))?;
    let count = write_all((&db, &start), &args.keys, &bar, &mut packed, &failed)?;
    packed.finish().and_then(|mut file| file.flush()).map_err(|error| failed(&error))?;
    let bytes = target.finish().map_err(|error| failed(&error))?;
    bar.finish_and_clear();
    let text = format!(
        "exported {} to {} ({})\n",
        counted(count, "record"),
        one_line(&name),
        HumanBytes(bytes)
    );
    out.result(&json!({ "records": count, "file": name, "bytes": bytes }), text)?;
    Ok(Exit::Done)
}

/// What is told of table `name`.
fn info(db: &Reader, name: &str) -> Option<TableInfo> {
    db.tables().into_iter().flatten().find(|table| table.name == name)
}

/// Writes the lines of the records with these keys behind `start`, and says how many they are.
fn write_all(
    (db, start): (&Reader, &str),
    keys: &Keys,
    bar: &ProgressBar,
    target: &mut impl Write,
    failed: &dyn Fn(&io::Error) -> Stop,
) -> Result<u64> {
    let kind = db.key_kind();
    let mut write = |line: &[u8]| target.write_all(line).map_err(|error| failed(&error));
    write(start.as_bytes())?;
    let mut writer = Writer::default();
    let mut count = 0;
    for record in records(db, keys)? {
        signals::check()?;
        write(writer.line(&record?, kind))?;
        count += 1;
        bar.set_position(count);
        if count % SHOWN_EVERY == 0 {
            bar.set_message(counted(count, "record"));
        }
    }
    write(end(count).as_bytes())?;
    Ok(count)
}

/// The file that is written.
struct Target {
    file: File,
    /// Where it lies until it is whole, and its name then; `None`: a device or pipe has no such
    /// time.
    names: Option<(PathBuf, PathBuf)>,
    /// A signal leaves nothing of it either.
    _before_end: Option<BeforeEnd>,
}

impl Target {
    fn create(path: &Path, form: Form) -> io::Result<Self> {
        let found = path.metadata().ok();
        if found.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if found.is_some_and(|found| !found.is_file()) {
            let file = File::options().write(true).open(path)?;
            return Ok(Self { file, names: None, _before_end: None });
        }
        let left = Arc::new(Mutex::new(None));
        let before_end = signals::before_end(form, {
            let left = Arc::clone(&left);
            move || remove_for_good(&left)
        });
        // A signal that comes now waits until the name is known.
        let mut name = hold(&left);
        let (file, unfinished) = create_unfinished(path)?;
        *name = Some(unfinished.clone());
        drop(name);
        let names = Some((unfinished, path.to_owned()));
        Ok(Self { file, names, _before_end: Some(before_end) })
    }

    /// Makes it durable under its name, and says how many bytes it has.
    fn finish(mut self) -> io::Result<u64> {
        let bytes = self.file.metadata()?.len();
        if let Some((unfinished, name)) = &self.names {
            self.file.sync_all()?;
            fs::rename(unfinished, name)?;
        }
        if let Some((_, name)) = self.names.take() {
            let parent = name.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(bytes)
    }
}

/// The name of an unfinished file, once it has one.
type Left = Mutex<Option<PathBuf>>;

fn hold(left: &Left) -> MutexGuard<'_, Option<PathBuf>> {
    left.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For the end of the process: removes the file, and lets none be made any more.
fn remove_for_good(left: &Left) {
    let name = hold(left);
    if let Some(unfinished) = &*name {
        let _ = fs::remove_file(unfinished);
    }
    // Who is about to make one waits for ever.
    std::mem::forget(name);
}

/// A new file beside `path` that no other process writes to, and its name.
fn create_unfinished(path: &Path) -> io::Result<(File, PathBuf)> {
    let mut number = 0;
    loop {
        let mut name = OsString::from(path);
        name.push(format!(".{}-{number}{UNFINISHED}", std::process::id()));
        match File::options().write(true).create_new(true).open(&name) {
            // A killed process that had this one's number has left it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            created => return Ok((created?, name.into())),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some((unfinished, _)) = &self.names {
            // What is left of it is no export.
            let _ = fs::remove_file(unfinished);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two exports to one file wrote into one another's.
    #[test]
    fn unfinished_exports_are_files_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out.ndjson");
        let (first, second) = (create_unfinished(&target), create_unfinished(&target));
        let (first, second) = (first.unwrap().1, second.unwrap().1);
        assert_ne!(first, second);
        assert!(first.exists() && second.exists() && !target.exists());
    }
}
