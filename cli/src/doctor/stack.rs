//! [`Stack`]: the block devices below a file system, from the one it lies on down to the disks.

use std::path::Path;

use super::mount::{Mount, Mounts};
use super::root::{Reading, Root};

/// Deeper stacks are cut.
const DEPTH_MAX: usize = 8;
/// Devices that are looked at, at most.
const LAYER_COUNT_MAX: usize = 64;

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The kernel's name of the whole device: `vda`, `dm-0`.
    pub name: String,
    /// Its folder in sysfs.
    pub path: String,
    /// What it is.
    pub kind: Kind,
}

/// What a block device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Hardware, or what a hypervisor shows as such.
    Disk,
    /// Device mapper, with the beginning of its UUID that says by whom it was made.
    Mapper(String),
    /// Software RAID, with its level.
    Raid(String),
    /// A file as a device.
    Loop(String),
    /// Memory.
    Memory,
}

/// The devices below a file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// The kernel's name of the device or partition that the file system lies on.
    pub node: Option<String>,
    /// From the one the file system lies on down to the disks.
    pub layers: Vec<Layer>,
    /// Why there are none, or not all, if so.
    pub unknown: Option<String>,
}

impl Layer {
    /// An attribute: `queue/scheduler`.
    pub fn read(&self, root: &Root, name: &str) -> Reading {
        let reading = root.read(&format!("{}/{name}", self.path));
        Reading { source: self.attribute(name), ..reading }
    }

    /// Where an attribute is, as people name it.
    pub fn attribute(&self, name: &str) -> String {
        format!("/sys/block/{}/{name}", self.name)
    }
}

impl Stack {
    /// Follows the devices below a mount.
    pub fn below(root: &Root, mounts: &Mounts, mount: &Mount) -> Self {
        let mut stack = Self::default();
        let nodes = nodes_of(root, mount);
        if nodes.is_empty() {
            stack.unknown = Some(match mount.device.0 {
                0 => format!("{} names no block device", mount.kind),
                _ => format!("/sys shows no device {}:{}", mount.device.0, mount.device.1),
            });
        }
        stack.node = nodes.first().and_then(|node| Some(node.rsplit_once('/')?.1.to_owned()));
        for node in nodes {
            stack.descend(root, mounts, &node, 0);
        }
        stack
    }

    /// The devices at the bottom.
    pub fn disks(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(|layer| layer.kind == Kind::Disk)
    }

    /// Bytes that the disks have written since boot, for everybody; none without disks, or if one
    /// does not count.
    pub fn written_bytes(&self, root: &Root) -> Option<u64> {
        /// Statistics count in these, whatever the device has.
        const SECTOR_BYTES: u64 = 512;
        let written = |disk: &Layer| {
            let stat = disk.read(root, "stat");
            stat.known()?.split_ascii_whitespace().nth(6)?.parse::<u64>().ok()
        };
        let sectors = self.disks().map(written).collect::<Option<Vec<u64>>>()?;
        (!sectors.is_empty()).then(|| sectors.iter().sum::<u64>().saturating_mul(SECTOR_BYTES))
    }

    fn descend(&mut self, root: &Root, mounts: &Mounts, node: &str, depth: usize) {
        // A partition is part of the disk above it in sysfs.
        let is_part = root.read(&format!("{node}/partition")).known().is_some();
        let parent = node.rsplit_once('/').map(|(parent, _)| parent);
        let path = parent.filter(|_| is_part).unwrap_or(node).to_owned();
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        if self.layers.iter().any(|layer| layer.path == path) {
            return;
        }
        if depth >= DEPTH_MAX || self.layers.len() >= LAYER_COUNT_MAX {
            self.unknown = Some("there are more devices than were followed".to_owned());
            return;
        }
        let kind = kind_of(root, &name, &path);
        self.layers.push(Layer { name, path: path.clone(), kind: kind.clone() });
        match kind {
            Kind::Loop(file) => {
                let holder = mounts.holding(Path::new(&file));
                let nodes = holder.map(|mount| nodes_of(root, mount)).unwrap_or_default();
                if nodes.is_empty() {
                    self.unknown = Some(format!("the device that holds {file} is not found"));
                }
                for node in nodes {
                    self.descend(root, mounts, &node, depth + 1);
                }
            }
            Kind::Mapper(_) | Kind::Raid(_) => {
                for slave in root.list(&format!("{path}/slaves")) {
                    match root.resolve(&format!("{path}/slaves/{slave}")) {
                        Some(node) => self.descend(root, mounts, &node, depth + 1),
                        None => self.unknown = Some(format!("/sys does not show {slave}")),
                    }
                }
            }
            Kind::Disk | Kind::Memory => {}
        }
    }
}

fn kind_of(root: &Root, name: &str, path: &str) -> Kind {
    let read = |attribute: &str| {
        let text = root.read(&format!("{path}/{attribute}"));
        text.known().unwrap_or_default().to_owned()
    };
    if name.starts_with("dm-") {
        let uuid = read("dm/uuid");
        return Kind::Mapper(uuid);
    }
    if name.starts_with("md") {
        return Kind::Raid(read("md/level"));
    }
    if name.starts_with("loop") {
        return Kind::Loop(read("loop/backing_file"));
    }
    match name.starts_with("zram") || name.starts_with("ram") {
        true => Kind::Memory,
        false => Kind::Disk,
    }
}

/// Folders in sysfs of the devices a file system lies on: one, as a rule.
fn nodes_of(root: &Root, mount: &Mount) -> Vec<String> {
    let (major, minor) = mount.device;
    if major != 0 {
        return root.resolve(&format!("/sys/dev/block/{major}:{minor}")).into_iter().collect();
    }
    // File systems over several devices have no number of their own; the mount names one.
    let Some(name) = name_of(root, mount) else { return Vec::new() };
    let sets =
        root.list("/sys/fs/btrfs").into_iter().map(|id| format!("/sys/fs/btrfs/{id}/devices"));
    let members = sets.map(|set| root.list(&set)).find(|members| members.contains(&name));
    let members = members.unwrap_or_else(|| vec![name]).into_iter();
    members.filter_map(|name| root.resolve(&format!("/sys/class/block/{name}"))).collect()
}

/// The kernel's name of the device that a mount names by path.
fn name_of(root: &Root, mount: &Mount) -> Option<String> {
    if let Some(name) = mount.device_name() {
        return Some(name.to_owned());
    }
    let mapped = mount.source.strip_prefix("/dev/mapper/")?;
    let names = root.list("/sys/class/block").into_iter();
    let mut mappers = names.filter(|name| name.starts_with("dm-"));
    mappers
        .find(|name| root.read(&format!("/sys/class/block/{name}/dm/name")).known() == Some(mapped))
}
