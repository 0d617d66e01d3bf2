//! File systems on the disk and on what power cuts leave of it.

use std::fmt;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use fuser::{BackgroundSession, MountOption, Session};
use tempfile::TempDir;

use super::faults::{Counts, Rule};
use super::medium::Medium;
use super::served::{IMAGE, Kept, Later, Served};
use crate::{Random, scratch};

/// Ext4 with a small journal, and as small as XFS gets. What is not written takes no memory.
const DISK_BYTES: usize = 320 << 20;
/// Set in the process that runs in a mount namespace of its own.
const NAMESPACE: &str = "UARR_DISK_NAMESPACE";

/// Runs a program to its end. What it printed, or what went wrong.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("there is no {program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().into());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {arguments:?}: {}", said.trim()))
}

/// In the process of a test: runs `test` of this program again in a mount namespace of its own and
/// returns how it ended. `None` in that second process, which runs the test itself.
pub fn in_a_namespace(test: &str) -> Option<ExitStatus> {
    if std::env::var_os(NAMESPACE).is_some() {
        return None;
    }
    let program = std::env::current_exe().unwrap_or_else(|error| panic!("no own path: {error}"));
    let status = Command::new("unshare")
        .args(["--mount", "--"])
        .arg(program)
        .args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(NAMESPACE, "yes")
        .status();
    Some(status.unwrap_or_else(|error| panic!("cannot run unshare: {error}")))
}

/// The file systems that are tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// With a journal, ordered data.
    Ext4,
    /// With its log.
    Xfs,
}

impl fmt::Display for FileSystem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        })
    }
}

impl FileSystem {
    fn make(self, device: &str) -> Result<(), String> {
        // mkfs leaves no work for later, which would add requests to those that a test counts.
        let lazy = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        match self {
            Self::Ext4 => {
                run("mkfs.ext4", &["-q", "-F", "-b", "4096", "-E", lazy, "-J", "size=8", device])
            }
            Self::Xfs => run("mkfs.xfs", &["-q", "-f", "-K", device]),
        }
        .map(drop)
    }

    fn mount(self, device: &str, place: &Path) -> Result<Mounted, String> {
        // A power cut leaves a second file system of the same name.
        let options = if self == Self::Xfs { "nouuid" } else { "defaults" };
        Mounted::new(device, place, &["-t", &self.to_string(), "-o", options])
    }
}

/// A mounted file system, unmounted when dropped.
#[derive(Debug)]
pub struct Mounted(PathBuf);

impl Mounted {
    /// Mounts the file system on `device` in `place`, which is made where it is missing.
    pub fn new(device: &str, place: &Path, options: &[&str]) -> Result<Self, String> {
        fs::create_dir_all(place).map_err(|error| format!("{}: {error}", place.display()))?;
        let shown = place.display().to_string();
        run("mount", &[options, &[device, &shown]].concat())?;
        Ok(Self(place.into()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let place = self.0.display().to_string();
        // A killed process may end a little later.
        for _ in 0..100 {
            if run("umount", &[&place]).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = run("umount", &["-l", &place]);
        eprintln!("{place} was still in use when it was unmounted");
    }
}

/// A disk that can be made to fail, with a file system. Fields are dropped in this order.
pub struct Disk {
    mounted: Option<Mounted>,
    served: Option<BackgroundSession>,
    later: Later,
    kind: FileSystem,
    base: TempDir,
}

impl Disk {
    /// A new file system on a new disk, mounted; or what is missing for it.
    pub fn new(kind: FileSystem, seed: u64) -> Result<Self, String> {
        let base = scratch();
        let later = Later::new(Medium::new(DISK_BYTES), seed);
        let served = base.path().join("served");
        fs::create_dir(&served).map_err(|error| error.to_string())?;
        let mut config = fuser::Config::default();
        config.mount_options = vec![MountOption::FSName("uarr-disk".into())];
        let session = Session::new(Served(later.shared().clone()), &served, &config)
            .and_then(Session::spawn)
            .map_err(|error| format!("FUSE is not to be had: {error}"))?;
        let mut disk = Self { mounted: None, served: Some(session), later, kind, base };
        disk.on_loop(|disk, device| disk.kind.make(device))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Runs `action` with a loop device over the image, which goes when its last user does.
    fn on_loop<T>(
        &mut self,
        action: impl FnOnce(&mut Self, &str) -> Result<T, String>,
    ) -> Result<T, String> {
        let image = self.base.path().join("served").join(IMAGE).display().to_string();
        let device = run("losetup", &["--find", "--show", "--direct-io=on", &image])?;
        let done = action(self, &device);
        run("losetup", &["--detach", &device])?;
        done
    }

    /// Mounts the file system, which the kernel may have given up; its journal is replayed.
    pub fn mount(&mut self) -> Result<(), String> {
        self.mounted = None;
        let place = self.path();
        self.mounted = Some(self.on_loop(|disk, device| disk.kind.mount(device, &place))?);
        Ok(())
    }

    /// Where the file system is. For child processes alone.
    pub fn path(&self) -> PathBuf {
        self.base.path().join("disk")
    }

    /// Which one it is.
    pub fn kind(&self) -> FileSystem {
        self.kind
    }

    /// From now on this rule counts, after those that are there.
    pub fn rule(&self, rule: Rule) {
        self.later.shared().state().faults.rules.push(rule);
    }

    /// No rule counts any more; what was held happens now.
    pub fn clear(&self) {
        self.later.shared().clear();
    }

    /// Requests so far.
    pub fn counts(&self) -> Counts {
        self.later.shared().state().faults.counts
    }

    /// Requests that wait for their time, or to be released.
    pub fn waiting_count(&self) -> usize {
        self.later.shared().state().waiting.len()
    }

    /// Where on the disk the files named `pattern` lie, as their file system knows it now.
    pub fn ranges(&self, pattern: &str) -> Result<Vec<Range<u64>>, String> {
        let command = format!("filefrag -e -v {}/{pattern}", self.path().display());
        let printed = run("sh", &["-c", &command])?;
        let block_bytes = 4096;
        assert!(printed.contains(&format!("of {block_bytes} bytes)")), "block size: {printed}");
        let mut ranges = Vec::new();
        for line in printed.lines() {
            // EXTENT: LOGICAL..LOGICAL: PHYSICAL..PHYSICAL: LENGTH: ...
            let parts: Vec<_> = line.split(':').map(str::trim).collect();
            if parts.len() < 4 || parts[0].parse::<u64>().is_err() {
                continue;
            }
            let (first, last) = parts[2].split_once("..").ok_or("no extent")?;
            let number =
                |text: &str| text.trim().parse::<u64>().map_err(|e| format!("{e}: {line}"));
            ranges.push(number(first)? * block_bytes..(number(last)? + 1) * block_bytes);
        }
        if ranges.is_empty() { Err(format!("no extents: {printed}")) } else { Ok(ranges) }
    }

    /// What a loss of power would leave now, while the machine goes on.
    pub fn cut_power(&self, random: &mut Random) -> PowerCut {
        let left = {
            let state = self.later.shared().state();
            let under_way = state.waiting.iter().filter_map(|waiting| match &waiting.what {
                Kept::Write(offset, bytes, _) => Some((*offset, &bytes[..])),
                Kept::Flush(..) => None,
            });
            state.medium.cut(&under_way.collect::<Vec<_>>(), random)
        };
        let base = scratch();
        let written = File::create_new(base.path().join(IMAGE)).and_then(|file| {
            file.set_len(DISK_BYTES as u64)?;
            left.iter().try_for_each(|(offset, bytes)| file.write_all_at(bytes, *offset as u64))
        });
        written.unwrap_or_else(|error| panic!("cannot write an image: {error}"));
        PowerCut { mounted: None, kind: self.kind, base }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.clear();
        self.mounted = None;
        let Some(session) = self.served.take() else { return };
        // The loop device lets go of the image a little after the file system was unmounted.
        let _ = run("umount", &["-l", &self.base.path().join("served").display().to_string()]);
        drop(session);
    }
}

/// What a power cut left of a disk. Fields are dropped in this order.
pub struct PowerCut {
    mounted: Option<Mounted>,
    kind: FileSystem,
    base: TempDir,
}

impl PowerCut {
    /// The next boot: the file system replays its journal. Where it is.
    pub fn mount(&mut self) -> Result<PathBuf, String> {
        let image = self.base.path().join(IMAGE).display().to_string();
        let device = run("losetup", &["--find", "--show", &image])?;
        let mounted = self.kind.mount(&device, &self.base.path().join("disk"));
        run("losetup", &["--detach", &device])?;
        let mounted = self.mounted.insert(mounted?);
        Ok(mounted.path().into())
    }

    /// Keeps the image, and names it.
    pub fn keep(mut self) -> PathBuf {
        self.mounted = None;
        self.base.disable_cleanup(true);
        self.base.path().join(IMAGE)
    }
}
