//! [`Mount`]: a line of /proc/PID/mountinfo, and which of them holds a directory.

use std::path::{Path, PathBuf};

use super::root::Reading;

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The file that lists it.
    pub table: String,
    /// Number of the mount.
    pub id: u64,
    /// Major and minor number of the device; major 0 where there is none.
    pub device: (u32, u32),
    /// Where it is mounted.
    pub point: PathBuf,
    /// Options of the mount and of the file system, without doubles.
    pub options: Vec<String>,
    /// Type of the file system.
    pub kind: String,
    /// The device by name, or what stands for it.
    pub source: String,
}

impl Mount {
    /// Whether an option is set, alone (`ro`) or with its value (`data=journal`).
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|set| set == option)
    }

    /// Its place, for commands.
    pub fn shown_point(&self) -> String {
        quoted(&self.point.to_string_lossy())
    }

    /// The name of its block device as in /sys/class/block: `sda1`, but no name that leads to it.
    pub fn device_name(&self) -> Option<&str> {
        self.source.strip_prefix("/dev/").filter(|name| !name.contains('/'))
    }
}

/// A word for a shell: in quotes where it needs them.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// All mounts that a process sees.
#[derive(Clone, Debug, Default)]
pub struct Mounts(Vec<Mount>);

impl Mounts {
    /// Takes a file mountinfo apart; lines of another form are left out.
    pub fn parse(table: &Reading) -> Self {
        let lines = table.known().unwrap_or_default().lines();
        Self(lines.filter_map(|line| parse_line(&table.source, line)).collect())
    }

    /// The mount with this number.
    pub fn by_id(&self, id: u64) -> Option<&Mount> {
        self.0.iter().find(|mount| mount.id == id)
    }

    /// The mount that holds a path: of the longest mount points that lead to it, the last one.
    pub fn holding(&self, path: &Path) -> Option<&Mount> {
        let above = self.0.iter().filter(|mount| path.starts_with(&mount.point));
        above.max_by_key(|mount| mount.point.components().count())
    }
}

fn parse_line(table: &str, line: &str) -> Option<Mount> {
    let (head, tail) = line.split_once(" - ")?;
    let head: Vec<&str> = head.split(' ').collect();
    let [id, _parent, device, _root, point, own_options, ..] = head[..] else { return None };
    let mut tail = tail.split(' ');
    let (kind, source) = (tail.next()?, tail.next()?);
    let (major, minor) = device.split_once(':')?;
    let mut options: Vec<String> = Vec::new();
    for option in own_options.split(',').chain(tail.next().unwrap_or_default().split(',')) {
        if !option.is_empty() && !options.iter().any(|set| set == option) {
            options.push(unescaped(option));
        }
    }
    Some(Mount {
        table: table.to_owned(),
        id: id.parse().ok()?,
        device: (major.parse().ok()?, minor.parse().ok()?),
        point: unescaped(point).into(),
        options,
        kind: kind.to_owned(),
        source: unescaped(source),
    })
}

/// The kernel writes white space and backslashes as three octal digits.
fn unescaped(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(u8::is_ascii) {
            Some(code) => {
                text.push(char::from(code));
                rest = &after[3..];
            }
            None => {
                text.push('\\');
                rest = after;
            }
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n\
        22 21 0:5 / /data rw,noatime - tmpfs tmpfs rw,size=1g\n\
        23 21 7:0 / /data/a\\040b rw - xfs /dev/loop0 rw,attr2\n\
        24 21 7:1 / /data rw - ext4 /dev/loop1 rw,data=journal\n\
        nonsense\n1 2 3 - 4\nx 1 1:1 / / rw - ext4 /dev/a rw\n";

    #[test]
    fn the_innermost_and_last_mount_counts() {
        let table = Reading { source: "/proc/1/mountinfo".to_owned(), text: Ok(MOUNTS.to_owned()) };
        let mounts = Mounts::parse(&table);
        let id = |path: &str| mounts.holding(Path::new(path)).map(|mount| mount.id);
        assert_eq!(id("/work"), Some(21));
        assert_eq!(id("/database"), Some(21));
        assert_eq!(id("/data/a b/c"), Some(23));
        assert_eq!(id("/data"), Some(24));
        assert_eq!(id("relative"), None);
        let mount = mounts.by_id(24).unwrap();
        assert_eq!((mount.device, &*mount.table), ((7, 1), "/proc/1/mountinfo"));
        assert!(mount.has("data=journal") && !mount.has("data"));
        assert_eq!(mount.device_name(), Some("loop1"));
        assert_eq!(mounts.by_id(21).unwrap().options, ["rw", "relatime", "discard"]);
        assert_eq!(mounts.by_id(23).unwrap().shown_point(), "'/data/a b'");
        assert!(mounts.by_id(1).is_none());
    }

    #[test]
    fn escapes_are_undone_and_nonsense_stays() {
        for (word, expected) in [
            ("a\\040b", "a b"),
            ("a\\134", "a\\"),
            ("\\", "\\"),
            ("\\9", "\\9"),
            ("\\777", "\\777"),
        ] {
            assert_eq!(unescaped(word), expected);
        }
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
