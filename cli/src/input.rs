//! A file or pipe that an import reads.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::compression::unpacked;
use crate::failure::Failure;

const READ_BUFFER_BYTES: usize = 1 << 20;

/// An input that is there.
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// For messages.
    pub name: String,
    /// Its length, if it has one.
    pub bytes: Option<u64>,
}

impl Source {
    /// The input at `path`, which `-` says is standard input. It is not opened: that would end what
    /// another program writes to a pipe, and there may be more files than can be open at once.
    pub fn find(path: &Path) -> Result<Self, Failure> {
        let mut source = Self { path: path.to_owned(), name: String::new(), bytes: None };
        if source.is_stdin() {
            source.name = "standard input".to_owned();
            return Ok(source);
        }
        source.name = path.to_string_lossy().into_owned();
        let metadata = path.metadata().map_err(|error| source.unreadable(&error))?;
        if metadata.is_dir() {
            return Err(source.unreadable(&io::ErrorKind::IsADirectory.into()));
        }
        if metadata.is_file() {
            File::open(path).map_err(|error| source.unreadable(&error))?;
            source.bytes = Some(metadata.len());
        }
        Ok(source)
    }

    /// Opens it, and unpacks it if it is compressed. What is read of the file or pipe is added to
    /// `read_bytes`.
    pub fn open(&self, read_bytes: &Arc<AtomicU64>) -> Result<Box<dyn BufRead + Send>, Failure> {
        let input: Box<dyn Read + Send> = match self.is_stdin() {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(&self.path).map_err(|error| self.unreadable(&error))?),
        };
        let counted = Counted { input, read_bytes: read_bytes.clone() };
        let input = unpacked(counted).map_err(|error| self.failed(&error))?;
        Ok(Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, input)))
    }

    /// The failure of reading on.
    pub fn failed(&self, error: &io::Error) -> Failure {
        let what = format!("cannot read {}", self.name);
        // Errors of the system have a number; the others come from what unpacks.
        let failure = match error.raw_os_error() {
            Some(_) => Failure::io(&what, error),
            None => Failure::input(format!(
                "{what}: the compressed data are damaged or cut off ({error}); make the file again"
            )),
        };
        Failure { file: Some(self.name.clone()), ..failure }
    }

    fn is_stdin(&self) -> bool {
        self.path == Path::new("-")
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        let message = format!("cannot read {}: {error}; give a file of JSON or -", self.name);
        Failure { file: Some(self.name.clone()), ..Failure::input(message) }
    }
}

/// Counts what is read.
struct Counted {
    input: Box<dyn Read + Send>,
    read_bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read_bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
