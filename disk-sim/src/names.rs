//! [`Names`]: directory entries, and which of them a loss of power leaves.
//!
//! Every change of a name is volatile until its directory is made durable. At a crash any subset of
//! the volatile changes survives: more than a journaling file system would mix them, and no less
//! than it is allowed to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use crate::content::Inode;
use crate::random::Random;

/// The entries of all directories, by full path. The database directory is "" and always there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    pub files: BTreeMap<String, Inode>,
    pub directories: BTreeSet<String>,
}

/// A change of names.
#[derive(Clone, Debug)]
enum Change {
    Create { path: String, inode: Inode },
    CreateDirectory { path: String },
    Rename { source: String, target: String, inode: Inode },
    Remove { path: String },
    RemoveDirectory { path: String },
}

impl Change {
    /// The path whose directory must be durable for the change to be so.
    fn path(&self) -> &str {
        match self {
            Self::Create { path, .. }
            | Self::CreateDirectory { path }
            | Self::Remove { path }
            | Self::RemoveDirectory { path } => path,
            Self::Rename { target, .. } => target,
        }
    }
}

impl Entries {
    fn has_directory(&self, path: &str) -> bool {
        path.is_empty() || self.directories.contains(path)
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Create { path, inode } => {
                self.files.insert(path.clone(), Arc::clone(inode));
            }
            Change::CreateDirectory { path } => {
                self.directories.insert(path.clone());
            }
            Change::Rename { source, target, inode } => {
                // The source may be another file by now, or never have become durable.
                if self.files.get(source).is_some_and(|present| Arc::ptr_eq(present, inode)) {
                    self.files.remove(source);
                }
                self.files.insert(target.clone(), Arc::clone(inode));
            }
            Change::Remove { path } => {
                self.files.remove(path);
            }
            Change::RemoveDirectory { path } => {
                // What was in it and did not become durable as removed goes with it.
                self.directories.remove(path);
            }
        }
    }

    /// Drops what lies in directories that are not there.
    fn drop_orphans(&mut self) {
        let all = self.directories.clone();
        let reachable = |path: &str| {
            let mut parent = parent(path);
            while !parent.is_empty() {
                if !all.contains(parent) {
                    return false;
                }
                parent = self::parent(parent);
            }
            true
        };
        self.directories.retain(|path| reachable(path));
        self.files.retain(|path, _| reachable(path));
    }
}

/// Entries as readers see them, as a crash leaves them, and the changes between.
#[derive(Debug, Default)]
pub(crate) struct Names {
    live: Entries,
    durable: Entries,
    volatile: Vec<Change>,
}

impl Names {
    /// All of `entries`, durable.
    pub fn new(entries: Entries) -> Self {
        Self { live: entries.clone(), durable: entries, volatile: Vec::new() }
    }

    /// The same names over copies of the files.
    pub fn copied(&self, mut copy: impl FnMut(&Inode) -> Inode) -> Self {
        let mut copies: Vec<(Inode, Inode)> = Vec::new();
        let mut renewed = |inode: &Inode| {
            if let Some((_, known)) = copies.iter().find(|(of, _)| Arc::ptr_eq(of, inode)) {
                return Arc::clone(known);
            }
            let new = copy(inode);
            copies.push((Arc::clone(inode), Arc::clone(&new)));
            new
        };
        let mut names =
            Self { live: self.live.clone(), durable: self.durable.clone(), volatile: Vec::new() };
        let files = names.live.files.values_mut().chain(names.durable.files.values_mut());
        files.for_each(|inode| *inode = renewed(inode));
        names.volatile = self.volatile.clone();
        for change in &mut names.volatile {
            if let Change::Create { inode, .. } | Change::Rename { inode, .. } = change {
                *inode = renewed(inode);
            }
        }
        names
    }

    pub fn file(&self, path: &str) -> io::Result<Inode> {
        if self.live.has_directory(path) {
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        }
        self.live.files.get(path).cloned().ok_or_else(not_found)
    }

    pub fn files(&self) -> impl Iterator<Item = &Inode> {
        self.live.files.values()
    }

    pub fn list(&self, path: &str) -> io::Result<Vec<String>> {
        if !self.live.has_directory(path) {
            return Err(not_found());
        }
        let inside = |entry: &&String| parent(entry) == path;
        let files = self.live.files.keys().filter(inside);
        let directories = self.live.directories.iter().filter(inside);
        Ok(files.chain(directories).map(|entry| last_part(entry).to_owned()).collect())
    }

    /// The last file, in the order of names, in the directory of `path`.
    pub fn newest_beside(&self, path: &str) -> Option<String> {
        self.live.files.keys().rfind(|file| parent(file) == parent(path)).cloned()
    }

    fn change(&mut self, change: Change) {
        self.live.apply(&change);
        self.volatile.push(change);
    }

    pub fn create(&mut self, path: &str, inode: Inode) -> io::Result<()> {
        if self.live.files.contains_key(path) || self.live.has_directory(path) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        self.check_parent(path)?;
        self.change(Change::Create { path: path.to_owned(), inode });
        Ok(())
    }

    pub fn create_directory(&mut self, path: &str) -> io::Result<()> {
        if self.live.has_directory(path) {
            return Ok(());
        }
        if self.live.files.contains_key(path) {
            return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
        }
        self.check_parent(path)?;
        self.change(Change::CreateDirectory { path: path.to_owned() });
        Ok(())
    }

    pub fn rename(&mut self, source: &str, target: &str) -> io::Result<()> {
        let inode = self.file(source)?;
        if self.live.has_directory(target) {
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        }
        self.check_parent(target)?;
        if source != target {
            let (source, target) = (source.to_owned(), target.to_owned());
            self.change(Change::Rename { source, target, inode });
        }
        Ok(())
    }

    pub fn remove(&mut self, path: &str) -> io::Result<()> {
        self.file(path)?;
        self.change(Change::Remove { path: path.to_owned() });
        Ok(())
    }

    pub fn remove_directory(&mut self, path: &str) -> io::Result<()> {
        if self.live.files.contains_key(path) {
            return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
        }
        if !self.list(path)?.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ENOTEMPTY));
        }
        self.change(Change::RemoveDirectory { path: path.to_owned() });
        Ok(())
    }

    pub fn make_durable(&mut self, directory: &str) -> io::Result<()> {
        if !self.live.has_directory(directory) {
            return Err(not_found());
        }
        for change in std::mem::take(&mut self.volatile) {
            if parent(change.path()) == directory {
                self.durable.apply(&change);
            } else {
                self.volatile.push(change);
            }
        }
        Ok(())
    }

    /// The entries that a loss of power leaves: the durable ones, and with `random` any subset of
    /// the volatile changes.
    pub fn survivors(&self, random: Option<&mut Random>) -> Entries {
        let mut entries = self.durable.clone();
        if let Some(random) = random {
            let bias = random.bias();
            for change in &self.volatile {
                if random.chance(bias) {
                    entries.apply(change);
                }
            }
        }
        entries.drop_orphans();
        entries
    }

    fn check_parent(&self, path: &str) -> io::Result<()> {
        if self.live.has_directory(parent(path)) { Ok(()) } else { Err(not_found()) }
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn last_part(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, last)| last)
}

fn not_found() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::FileState;

    fn inode() -> Inode {
        FileState::empty()
    }

    fn paths(entries: &Entries) -> Vec<&str> {
        entries.files.keys().map(String::as_str).collect()
    }

    #[test]
    fn names_are_volatile_until_their_directory_is_durable() {
        let mut names = Names::default();
        names.create_directory("wal").unwrap();
        names.create("wal/a", inode()).unwrap();
        names.create("b", inode()).unwrap();
        names.make_durable("wal").unwrap();
        assert!(paths(&names.survivors(None)).is_empty(), "the directory itself is not durable");
        names.make_durable("").unwrap();
        assert_eq!(paths(&names.survivors(None)), ["b", "wal/a"]);
        names.rename("wal/a", "wal/c").unwrap();
        names.remove("b").unwrap();
        assert_eq!(names.list("wal").unwrap(), ["c"]);
        assert_eq!(names.list("").unwrap(), ["wal"]);
        assert_eq!(paths(&names.survivors(None)), ["b", "wal/a"]);
        names.make_durable("wal").unwrap();
        assert_eq!(paths(&names.survivors(None)), ["b", "wal/c"]);
    }

    #[test]
    fn a_rename_survives_whole_or_not_at_all() {
        let mut names = Names::default();
        names.create("a", inode()).unwrap();
        names.create("b", inode()).unwrap();
        names.make_durable("").unwrap();
        names.rename("a", "b").unwrap();
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let entries = names.survivors(Some(&mut Random::new(seed)));
            seen.insert(paths(&entries).join(" "));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["a b", "b"]);
    }

    #[test]
    fn mistakes_have_their_kinds() {
        let mut names = Names::default();
        names.create("a", inode()).unwrap();
        names.create_directory("d").unwrap();
        names.create_directory("d").unwrap();
        let kind = |result: io::Result<()>| result.unwrap_err().kind();
        assert_eq!(kind(names.create("a", inode())), io::ErrorKind::AlreadyExists);
        assert_eq!(kind(names.create("x/a", inode())), io::ErrorKind::NotFound);
        assert_eq!(kind(names.create_directory("a")), io::ErrorKind::NotADirectory);
        assert_eq!(kind(names.rename("x", "y")), io::ErrorKind::NotFound);
        assert_eq!(kind(names.rename("a", "d")), io::ErrorKind::IsADirectory);
        assert_eq!(kind(names.remove("x")), io::ErrorKind::NotFound);
        assert_eq!(kind(names.remove("d")), io::ErrorKind::IsADirectory);
        assert_eq!(kind(names.remove_directory("x")), io::ErrorKind::NotFound);
        assert_eq!(kind(names.remove_directory("a")), io::ErrorKind::NotADirectory);
        names.create("d/b", inode()).unwrap();
        assert_eq!(kind(names.remove_directory("d")), io::ErrorKind::DirectoryNotEmpty);
        names.remove("d/b").unwrap();
        names.remove_directory("d").unwrap();
        assert_eq!(names.list("").unwrap(), ["a"]);
        assert_eq!(kind(names.make_durable("x")), io::ErrorKind::NotFound);
        assert_eq!(kind(names.list("x").map(drop)), io::ErrorKind::NotFound);
    }
}
