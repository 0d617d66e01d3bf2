//! [`Place`]: where a directory lies: its mount, and the devices below.

use std::path::Path;

use super::folder::Folder;
use super::mount::{Mount, Mounts};
use super::root::{Absence, Reading, Root};
use super::stack::Stack;

/// Where a directory lies.
pub struct Place {
    /// The table of mounts, for what it does not say.
    pub table: Reading,
    /// The mount that holds it.
    pub mount: Option<Mount>,
    /// The devices below.
    pub stack: Stack,
}

impl Place {
    /// Finds it: by the number of its mount, where the kernel can be asked, else by its path.
    pub fn find(root: &Root, dir: &Path, folder: Option<&Folder>) -> Self {
        // A directory of this machine is named as this process sees it.
        let table = match folder {
            Some(_) => root.read("/proc/self/mountinfo"),
            None => root.own("mountinfo"),
        };
        let mounts = Mounts::parse(&table);
        let by_id = folder.and_then(|folder| mounts.by_id(folder.mount_id?));
        let mount = by_id.or_else(|| mounts.holding(dir)).cloned();
        let stack = mount.as_ref().map(|mount| Stack::below(root, &mounts, mount));
        Self { table, mount, stack: stack.unwrap_or_default() }
    }

    /// The table that does not list the mount, and says so if it can be read.
    pub fn table_without_mount(&self) -> Reading {
        let why = "it is not in the list of mounts, as in a chroot";
        let text = self.table.text.clone().and(Err(Absence::Failed(why.to_owned())));
        Reading { source: self.table.source.clone(), text }
    }
}
