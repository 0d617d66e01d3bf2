//! Machines that are not this one: files of /proc and /sys, as `suite/machines` holds them.
//!
//! A line `== /PATH` begins a file, `== /PATH -> TARGET` is a link; lines before the first say what
//! the machine is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

/// Makes the files of a machine; the directory is the machine's root.
pub fn machine(name: &str) -> TempDir {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/machines");
    let text = fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap();
    let root = tempfile::tempdir().unwrap();
    let mut files = text.split("\n== ");
    assert!(files.next().is_some_and(|text| text.starts_with("# ")), "{name} says what it is");
    for file in files {
        let (head, content) = file.split_once('\n').unwrap_or((file, ""));
        let (path, target) = head.split_once(" -> ").map_or((head, None), |(p, t)| (p, Some(t)));
        let path = root.path().join(path.strip_prefix('/').expect("an absolute path"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match target {
            Some(target) => symlink(target, &path).unwrap(),
            None => fs::write(&path, format!("{content}\n")).unwrap(),
        }
    }
    root
}
