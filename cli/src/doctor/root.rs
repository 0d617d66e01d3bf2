//! [`Root`]: where /proc and /sys are read, on this machine or in a copy of another one's.
//!
//! Nothing is ever opened for writing. What cannot be read is said with its reason, and never
//! replaced by a guess.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// Longest file that is read; a longer one is cut.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The directory below which `proc` and `sys` lie, and the process that is looked at.
#[derive(Clone, Debug)]
pub struct Root {
    path: PathBuf,
    /// Its folder in /proc; none is this one.
    pid: Option<u32>,
}

/// A file as it was read: where, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Path from the root.
    pub source: String,
    /// Its text without white space around it.
    pub text: Result<String, Absence>,
}

/// Why a file says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absence {
    /// There is no such file: another kernel, another kind of device, or hidden from containers.
    Missing,
    /// This user may not read it.
    Forbidden,
    /// Reading fails.
    Failed(String),
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no such file"),
            Self::Forbidden => f.write_str("no permission"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl From<io::Error> for Absence {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::Forbidden,
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl Reading {
    /// The text, if there is one.
    pub fn known(&self) -> Option<&str> {
        self.text.as_deref().ok().filter(|text| !text.is_empty())
    }

    /// The text as a number.
    pub fn number(&self) -> Option<u64> {
        self.known()?.parse().ok()
    }

    /// The word in brackets: the choice of a file such as `none [mq-deadline] kyber`. A file
    /// without brackets holds nothing but its choice.
    pub fn choice(&self) -> Option<&str> {
        let text = self.known()?;
        let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
        Some(chosen.map_or(text, |(word, _)| word))
    }

    /// The value of a line `NAME: VALUE` or `NAME VALUE`.
    pub fn field(&self, name: &str) -> Option<&str> {
        let line = self.known()?.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([':', ' ', '\t']).then_some(rest)
        })?;
        Some(line.trim_start_matches([':', ' ', '\t']).trim_end())
    }

    /// The same file, with one part of it as its text.
    pub fn part(&self, text: Option<&str>) -> Self {
        let text = match (text, &self.text) {
            (Some(text), _) => Ok(text.to_owned()),
            (None, Ok(_)) => Err(Absence::Missing),
            (None, Err(absence)) => Err(absence.clone()),
        };
        Self { source: self.source.clone(), text }
    }
}

impl Root {
    /// A root, and a process, if it is not this one; `/` is this machine.
    pub fn new(path: impl Into<PathBuf>, pid: Option<u32>) -> Self {
        Self { path: path.into(), pid }
    }

    /// Whether the process that is looked at is another than this one.
    pub fn is_of_other(&self) -> bool {
        self.pid.is_some()
    }

    /// The process, as a shell that is to be changed itself names it, or by its number.
    pub fn shown_pid(&self) -> String {
        self.pid.map_or("$$".to_owned(), |pid| pid.to_string())
    }

    /// Reads a file of the process: `limits`.
    pub fn own(&self, name: &str) -> Reading {
        match self.pid {
            Some(pid) => self.read(&format!("/proc/{pid}/{name}")),
            None => self.read(&format!("/proc/self/{name}")),
        }
    }

    /// Reads a file by its absolute path.
    pub fn read(&self, path: &str) -> Reading {
        Reading { source: path.to_owned(), text: self.text(path).map_err(Absence::from) }
    }

    fn text(&self, path: &str) -> io::Result<String> {
        let place = self.place(path);
        // A copy may hold anything: opening a pipe would wait for a writer.
        if !fs::metadata(&place)?.is_file() {
            return Err(io::Error::other("no regular file"));
        }
        let mut bytes = Vec::new();
        File::open(place)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Names in a directory, in order; none if it cannot be read.
    pub fn list(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.place(path)) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// The path without links, if it exists below the root.
    pub fn resolve(&self, path: &str) -> Option<String> {
        let base = fs::canonicalize(&self.path).ok()?;
        let real = fs::canonicalize(self.place(path)).ok()?;
        let inside = real.strip_prefix(base).ok()?.to_str()?;
        Some(format!("/{inside}"))
    }

    fn place(&self, path: &str) -> PathBuf {
        let inside =
            Path::new(path).components().filter(|part| matches!(part, Component::Normal(_)));
        self.path.join(inside.collect::<PathBuf>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(text: &str) -> Reading {
        Reading { source: "/f".to_owned(), text: Ok(text.to_owned()) }
    }

    #[test]
    fn files_are_read_below_the_root_only() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("sys/a")).unwrap();
        fs::write(dir.path().join("sys/a/b"), " 12\n").unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("sys/link")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("sys/out")).unwrap();
        let root = Root::new(dir.path(), None);
        assert_eq!(root.read("/sys/a/b").number(), Some(12));
        assert_eq!(root.read("/../../sys/a/b").number(), Some(12));
        assert_eq!(root.read("/sys/a/c").text, Err(Absence::Missing));
        assert_eq!(root.read("/sys/a/b/c").text, Err(Absence::Missing));
        assert!(matches!(root.read("/sys/a").text, Err(Absence::Failed(_))));
        assert_eq!(root.list("/sys"), ["a", "link", "out"]);
        assert_eq!(root.resolve("/sys/link/b").as_deref(), Some("/sys/a/b"));
        assert_eq!(root.resolve("/sys/out"), None);
    }

    #[test]
    fn texts_are_taken_apart() {
        assert_eq!(reading("none [mq-deadline] kyber").choice(), Some("mq-deadline"));
        assert_eq!(reading("none").choice(), Some("none"));
        assert_eq!(reading("a [b").choice(), Some("a [b"));
        let status = reading("Seccomp:\t2\nSeccomp_filters:\t1\nSwapTotal:    8 kB");
        assert_eq!(status.field("Seccomp"), Some("2"));
        assert_eq!(status.field("Seccomp_filters"), Some("1"));
        assert_eq!(status.field("SwapTotal"), Some("8 kB"));
        assert_eq!(status.field("Swap"), None);
        assert_eq!(reading("").known(), None);
        assert_eq!(status.part(None).text, Err(Absence::Missing));
    }
}
