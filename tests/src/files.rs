//! The files of a database on a disk in memory, as bytes that can be damaged, and a disk made of
//! such bytes.

use std::collections::BTreeMap;

use uarr_disk_sim::{Memory, MemoryOptions};
use uarr_uring::{OpenMode, Storage, StorageFile};

/// Directories of a database.
pub const DIRECTORIES: [&str; 3] = ["data", "index", "wal"];

const READABLE: &str = "what a disk in memory lists can be opened and read";
const WRITABLE: &str = "an empty disk in memory refuses nothing";

/// Content of all files, by path.
pub type Files = BTreeMap<String, Vec<u8>>;

/// All files of the database on `disk`, as readers see them.
pub fn files_of(disk: &Memory) -> Files {
    let mut files = Files::new();
    for directory in ["", "data", "index", "wal"] {
        for name in disk.list(directory).expect(READABLE) {
            if DIRECTORIES.contains(&name.as_str()) {
                continue;
            }
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            let file = disk.open(&path, OpenMode::Read).expect(READABLE);
            let mut bytes = vec![0; file.len().expect(READABLE) as usize];
            assert_eq!(file.read_at(&mut bytes, 0).expect(READABLE), bytes.len());
            files.insert(path, bytes);
        }
    }
    files
}

/// A new disk that holds `files`, durably.
pub fn disk_of(files: &Files, options: MemoryOptions) -> Memory {
    let disk = Memory::with_options(options);
    DIRECTORIES.iter().for_each(|directory| disk.create_dir(directory).expect(WRITABLE));
    for (path, bytes) in files {
        let file = disk.open(path, OpenMode::CreateMapped).expect(WRITABLE);
        file.allocate(0, bytes.len() as u64).expect(WRITABLE);
        file.write_at(&bytes[..used_bytes(bytes)], 0).expect(WRITABLE);
        file.make_durable().expect(WRITABLE);
    }
    for directory in ["", "data", "index", "wal"] {
        disk.make_dir_durable(directory).expect(WRITABLE);
    }
    disk
}

/// Up to the last byte that is not zero.
pub fn used_bytes(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}
