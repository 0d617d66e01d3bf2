//! `uarr export`: records as lines that `uarr import` reads back exactly.
//!
//! A file gets its name when it is whole and durable: an export that fails leaves the file that was
//! there before.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use indicatif::{HumanBytes, ProgressBar};
use serde_json::json;
use uarr::Db;

use crate::args::{Export, Global, Keys};
use crate::compression::Packed;
use crate::exit::Exit;
use crate::exported::{Writer, end, start};
use crate::failure::{Failure, Result, Stop, output};
use crate::open::Absent;
use crate::output::{Output, counted, one_line};
use crate::scan::records;

/// Records between two messages.
const SHOWN_EVERY: u64 = 1000;
/// Bytes collected before a file is written.
const WRITE_BUFFER_BYTES: usize = 1 << 20;
/// What the name of a file that is being written ends in.
const UNFINISHED: &str = ".partial";

/// Runs the command.
pub fn run(global: &Global, args: &Export, out: &mut Output) -> Result<Exit> {
    let db = global.open_records(Absent::Refuse)?;
    let bar = out.progress(Some(db.len()));
    if args.file == Path::new("-") {
        write_all(&db, &args.keys, &bar, &mut out.stdout, &output)?;
        bar.finish_and_clear();
        return Ok(Exit::Done);
    }
    let name = args.file.to_string_lossy();
    let failed = |error: &io::Error| Failure::unwritable(&name, error).into();
    let target = Target::create(&args.file).map_err(|error| failed(&error))?;
    let mut packed =
        Packed::for_name(&args.file, BufWriter::with_capacity(WRITE_BUFFER_BYTES, &target.file))
            .map_err(|error| failed(&error))?;
    let count = write_all(&db, &args.keys, &bar, &mut packed, &failed)?;
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

/// Writes the lines of the records with these keys, and says how many they are.
fn write_all(
    db: &Db,
    keys: &Keys,
    bar: &ProgressBar,
    target: &mut impl Write,
    failed: &dyn Fn(&io::Error) -> Stop,
) -> Result<u64> {
    let kind = db.key_kind();
    let mut write = |line: &[u8]| target.write_all(line).map_err(|error| failed(&error));
    write(start(kind).as_bytes())?;
    let mut writer = Writer::default();
    let mut count = 0;
    for record in records(db, keys)? {
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
}

impl Target {
    fn create(path: &Path) -> io::Result<Self> {
        let found = path.metadata().ok();
        if found.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if found.is_some_and(|found| !found.is_file()) {
            return Ok(Self { file: File::options().write(true).open(path)?, names: None });
        }
        let mut unfinished = OsString::from(path);
        unfinished.push(UNFINISHED);
        let file = File::create(&unfinished)?;
        Ok(Self { file, names: Some((unfinished.into(), path.to_owned())) })
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

impl Drop for Target {
    fn drop(&mut self) {
        if let Some((unfinished, _)) = &self.names {
            // What is left of it is no export.
            let _ = fs::remove_file(unfinished);
        }
    }
}
