//! [`Lie`]: ways in which a disk breaks its promises.
//!
//! The engine's safety rests on mechanisms, each of which answers one hazard. A lie takes the
//! effect of one mechanism away from outside: the engine does all it should, and the disk makes it
//! worthless. A test that still passes would also pass without the mechanism. The production code
//! is the same in both worlds and knows of neither.

use std::sync::Arc;

/// What readers get instead of the bytes of a file: path, all of its bytes.
pub type ReadFilter = Arc<dyn Fn(&str, &mut [u8]) + Send + Sync>;

/// A broken promise, from the call of [`crate::Memory::lie`] on and over all crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// `make_dir_durable` reports success and does nothing.
    DirectoryFlushSkipped,
    /// `make_durable` of files whose path starts so reports success and does nothing.
    FlushSkipped {
        /// Start of the paths.
        prefix: &'static str,
    },
    /// The flush of a durable log write runs before the write, as if they were not linked.
    FlushBeforeWrite,
    /// The disk reports log writes as done when it gets them; it does them later.
    EarlyCompletion,
    /// The disk repeats a flush that failed and reports the second answer, success.
    FlushRetried,
    /// The same, but only if the reason was a lack of room: ENOSPC, EDQUOT or EFBIG.
    FullFlushRetried,
    /// `renew` reports success and does nothing.
    NothingRenewed,
    /// The lock of a directory ends with its process, even if the kernel still writes for it.
    LockEndsWithProcess,
    /// What any caller but the log writer writes to these files, zeros aside, is lost although
    /// readers see it and its flush reports success.
    CopiesLost {
        /// Start of the paths.
        prefix: &'static str,
    },
    /// A new file in this directory takes the place of the one that was made before.
    NewestReplaced {
        /// The directory.
        directory: &'static str,
    },
    /// Only the file `lock` is locked, not the directory: a new file of that name is another lock.
    LockByName,
    /// A log write also rewrites the block before it, and may destroy it when it is interrupted.
    NeighbourRewritten,
    /// Writes to one offset of a file go to another; reads from there find zeros.
    Redirected {
        /// The file.
        path: &'static str,
        /// Where writes are meant to go.
        source: u64,
        /// Where they go.
        target: u64,
    },
    /// One block that was made durable never reached the medium.
    WriteLost {
        /// How many blocks before it do, from now on.
        after: u64,
    },
    /// One block that was made durable reached the medium in the place of another one of its file.
    WriteMisdirected {
        /// How many blocks before it do as they should, from now on.
        after: u64,
        /// Chooses the other block.
        salt: u64,
    },
}

/// The lies of a disk.
#[derive(Clone, Default)]
pub(crate) struct Lies {
    told: Vec<Lie>,
    pub filter: Option<ReadFilter>,
}

/// Where a page that becomes durable goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landing {
    InPlace,
    Nowhere,
    Elsewhere { salt: u64 },
}

impl Lies {
    pub fn tell(&mut self, lie: Lie) {
        self.told.push(lie);
    }

    pub fn has(&self, lie: Lie) -> bool {
        self.told.contains(&lie)
    }

    pub fn skips_flush(&self, path: &str) -> bool {
        self.told
            .iter()
            .any(|lie| matches!(lie, Lie::FlushSkipped { prefix } if path.starts_with(prefix)))
    }

    /// Whether `bytes` written to `path` never reach the medium.
    pub fn loses_copy(&self, path: &str, bytes: &[u8]) -> bool {
        let is_meant =
            |lie: &Lie| matches!(lie, Lie::CopiesLost { prefix } if path.starts_with(prefix));
        self.told.iter().any(is_meant) && bytes.iter().any(|byte| *byte != 0)
    }

    /// Whether a new file at `path` takes the place of another one in its directory.
    pub fn replaces_newest(&self, path: &str) -> bool {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        self.told
            .iter()
            .any(|lie| matches!(lie, Lie::NewestReplaced { directory } if *directory == parent))
    }

    /// Where a write to `offset` of `path` goes.
    pub fn redirect(&self, path: &str, offset: u64) -> u64 {
        let redirected = self.told.iter().find_map(|lie| match lie {
            Lie::Redirected { path: of, source, target } if *of == path && *source == offset => {
                Some(*target)
            }
            _ => None,
        });
        redirected.unwrap_or(offset)
    }

    /// How many pages will land elsewhere; if none does, there is no need to ask for each.
    pub fn misplaced_ahead(&self) -> usize {
        let misplaces =
            |lie: &&Lie| matches!(lie, Lie::WriteLost { .. } | Lie::WriteMisdirected { .. });
        self.told.iter().filter(misplaces).count()
    }

    /// Where the next page lands; each such lie holds for one page.
    pub fn landing(&mut self) -> Landing {
        let mut landing = Landing::InPlace;
        self.told.retain_mut(|lie| match lie {
            Lie::WriteLost { after: 0 } => {
                landing = Landing::Nowhere;
                false
            }
            Lie::WriteMisdirected { after: 0, salt } => {
                landing = Landing::Elsewhere { salt: *salt };
                false
            }
            Lie::WriteLost { after } | Lie::WriteMisdirected { after, .. } => {
                *after -= 1;
                true
            }
            _ => true,
        });
        landing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_misplaced_once() {
        let mut lies = Lies::default();
        lies.tell(Lie::WriteLost { after: 1 });
        lies.tell(Lie::WriteMisdirected { after: 2, salt: 7 });
        let landings: Vec<_> = (0..4).map(|_| lies.landing()).collect();
        let elsewhere = Landing::Elsewhere { salt: 7 };
        assert_eq!(landings, [Landing::InPlace, Landing::Nowhere, elsewhere, Landing::InPlace]);
        assert_eq!(lies.misplaced_ahead(), 0);
    }

    #[test]
    fn lies_are_told_of_the_named_files_only() {
        let mut lies = Lies::default();
        lies.tell(Lie::CopiesLost { prefix: "wal/" });
        lies.tell(Lie::NewestReplaced { directory: "index" });
        assert!(lies.loses_copy("wal/1", &[0, 1]));
        assert!(!lies.loses_copy("wal/1", &[0, 0]) && !lies.loses_copy("superblock", &[1]));
        assert!(lies.replaces_newest("index/1"));
        assert!(!lies.replaces_newest("index") && !lies.replaces_newest("wal/1"));
    }

    #[test]
    fn only_the_named_place_is_redirected() {
        let mut lies = Lies::default();
        lies.tell(Lie::Redirected { path: "a", source: 8, target: 0 });
        lies.tell(Lie::FlushSkipped { prefix: "data/" });
        assert_eq!(["a", "b"].map(|path| lies.redirect(path, 8)), [0, 8]);
        assert_eq!(lies.redirect("a", 4), 4);
        assert!(lies.skips_flush("data/x") && !lies.skips_flush("wal/x"));
    }
}
