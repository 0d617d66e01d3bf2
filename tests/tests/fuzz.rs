//! Bytes that pass every checksum and mean nonsense.
//!
//! Promise proved: with any bytes in the files of a database, opening, reading, verifying and
//! writing end with an answer or an error, never with a panic. Each mutant changes a few bytes of
//! one structure (superblock slot, group, index image, record) and gives it right checksums, so
//! that the change gets past them and into the code behind. `UARR_FUZZ` sets the number of mutants,
//! `UARR_SEED` the first.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use uarr::{Builder, CommitPath, CommitStrategy, KeyKind, RecoveryMode, uarr};
use uarr_disk_sim::{Memory, MemoryOptions};
use uarr_layout::DatabaseId;
use uarr_layout::checksum::Seed;
use uarr_layout::superblock::{SLOT_BYTES, SLOT_STRIDE_BYTES, Superblock};
use uarr_tests::seal::{seal_group, seal_piece, seal_record, seal_slot};
use uarr_tests::{Random, from_environment, seed, tiny};
use uarr_uring::{AlignedBuffer, OpenMode, Storage, StorageFile};

const BLOCK: usize = 512;
/// Bytes that are often at the edge of something.
const EDGES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];

fn options(kind: KeyKind) -> Builder {
    tiny().keys(kind).commit_path(CommitPath::Fixed(CommitStrategy::Dsync))
}

/// Two checkpoints, and records behind them that were not closed.
fn original(kind: KeyKind) -> Memory {
    let options_of_disk = MemoryOptions { block_bytes: BLOCK as u32, ..Default::default() };
    let disk = Memory::with_options(options_of_disk);
    let db = options(kind).open_on(disk.clone()).unwrap();
    for round in 0..3u64 {
        for number in 0..8u64 {
            let value = uarr!({ "count": number, "text": "some text that is not too short" });
            match kind {
                KeyKind::Bytes => db.put(format!("key-{number}"), value).unwrap(),
                _ => db.put(number, value).unwrap(),
            };
        }
        match kind {
            KeyKind::Bytes => db.delete("key-3").unwrap(),
            _ => db.delete(3u64).unwrap(),
        };
        if round < 2 {
            db.checkpoint().unwrap();
        }
    }
    let disk = disk.crash();
    drop(db);
    disk
}

type Files = BTreeMap<String, Vec<u8>>;

fn files_of(disk: &Memory) -> Files {
    let mut files = Files::new();
    let mut read = |path: String| {
        let file = disk.open(&path, OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        files.insert(path, bytes);
    };
    read("superblock".into());
    for directory in ["data", "index", "wal"] {
        for name in disk.list(directory).unwrap() {
            read(format!("{directory}/{name}"));
        }
    }
    files
}

/// Where structures begin, by file.
fn structures(files: &Files) -> Vec<(String, usize)> {
    let mut found = vec![("superblock".to_owned(), 0)];
    found.push(("superblock".to_owned(), SLOT_STRIDE_BYTES as usize));
    for (path, bytes) in files {
        let is_log = path.starts_with("wal/");
        let is_data = path.starts_with("data/");
        for offset in (0..bytes.len()).step_by(if is_data { 16 } else { BLOCK }) {
            let here = &bytes[offset..];
            let is_start = match is_data {
                true => seal_record(&mut bytes.clone(), offset, seed_of(bytes)).is_some(),
                false => here.starts_with(b"UGRP") || here.starts_with(b"UIMG"),
            };
            if is_start && (is_log || is_data || path.starts_with("index/")) {
                found.push((path.clone(), offset));
            }
        }
    }
    found
}

fn seed_of(data: &[u8]) -> Seed {
    Seed::new(&DatabaseId(data[16..32].try_into().unwrap()))
}

/// Changes some bytes of the structure at `offset`, and seals it.
fn mutate(path: &str, bytes: &mut [u8], offset: usize, random: &mut Random) {
    let len = [16, 64, 128, 400][random.below(4) as usize].min(bytes.len() - offset);
    for _ in 0..1 + random.below(3) {
        let at = offset + 8 + random.below(len as u64 - 8) as usize;
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes[at] = EDGES[random.below(6) as usize],
            _ => {
                let edge = EDGES[random.below(6) as usize];
                let end = (at + 1 + random.below(8) as usize).min(bytes.len());
                bytes[at..end].fill(edge);
            }
        }
    }
    match path.split('/').next() {
        Some("superblock") => seal_slot(&mut bytes[offset..]),
        Some("wal") => drop(seal_group(&mut bytes[offset..])),
        Some("index") => drop(seal_piece(&mut bytes[offset..])),
        _ => drop(seal_record(bytes, offset, seed_of(bytes))),
    }
}

/// Opens and uses the database in every way. Errors are right answers.
fn use_it(disk: &Memory, kind: KeyKind, mode: RecoveryMode) -> uarr::Result<()> {
    let db = options(kind).recovery(mode).create(false).open_on(disk.clone())?;
    let walked = db.iter().map(|record| record.map(drop)).collect::<uarr::Result<Vec<()>>>();
    let _ = db.iter().rev().map(|record| record.map(drop)).collect::<uarr::Result<Vec<()>>>();
    db.verify(|_| {})?;
    for number in 0..9u64 {
        match kind {
            KeyKind::Bytes => db.get(format!("key-{number}"))?,
            _ => db.get(number)?,
        };
    }
    match kind {
        KeyKind::Bytes => db.put("new", "value")?,
        _ => db.put(77u64, "value")?,
    };
    db.checkpoint()?;
    db.close()?;
    walked.map(drop)
}

fn fuzz(kind: KeyKind) {
    let disk = original(kind);
    let files = files_of(&disk);
    let structures = structures(&files);
    let count = from_environment("UARR_FUZZ").unwrap_or(4000);
    let first = seed(1);
    let (mut accepted, mut panics) = (0, Vec::new());
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    for number in first..first + count {
        let mut random = Random::new(number);
        let (path, offset) = &structures[random.below(structures.len() as u64) as usize];
        let mut bytes = files[path].clone();
        mutate(path, &mut bytes, *offset, &mut random);
        let mutant = disk.crash();
        let file = mutant.open(path, OpenMode::Mapped).unwrap();
        file.write_at(&bytes, 0).unwrap();
        file.make_durable().unwrap();
        drop(file);
        let mode = [RecoveryMode::TolerateTornTail, RecoveryMode::Strict][number as usize % 2];
        match catch_unwind(AssertUnwindSafe(|| use_it(&mutant, kind, mode))) {
            Ok(used) => accepted += u64::from(used.is_ok()),
            Err(_) => panics.push(format!("{path} at {offset}: UARR_SEED={number} UARR_FUZZ=1")),
        }
    }
    println!("{kind:?}: {count} mutants of {} structures, {accepted} accepted", structures.len());
    assert!(structures.len() > 20, "structures were not found");
    assert!(panics.is_empty(), "{} mutants: {:#?}", panics.len(), &panics[..panics.len().min(20)]);
}

#[test]
fn sealed_nonsense_in_a_database_with_byte_keys_ends_in_no_panic() {
    fuzz(KeyKind::Bytes);
}

#[test]
fn sealed_nonsense_in_a_database_with_integer_keys_ends_in_no_panic() {
    fuzz(KeyKind::U64);
}

/// The search for proof behind a torn tail added its length to the offset where replay starts, and
/// a slot can name the last offset there is. Found by mutant 10018472.
#[test]
fn a_replay_that_starts_at_the_last_offset_ends_in_no_panic() {
    for kind in [KeyKind::Bytes, KeyKind::U64] {
        let disk = original(kind).crash();
        let file = disk.open("superblock", OpenMode::Direct).unwrap();
        for slot in [0, SLOT_STRIDE_BYTES] {
            let mut bytes = AlignedBuffer::new(SLOT_BYTES);
            file.read_at(&mut bytes, slot).unwrap();
            let mut block = Superblock::from_slot(&bytes).unwrap().unwrap();
            block.checkpoints.iter_mut().for_each(|checkpoint| checkpoint.offset = u64::MAX.into());
            bytes.copy_from_slice(&block.to_slot());
            file.write_at(&bytes, slot).unwrap();
        }
        file.make_durable().unwrap();
        drop(file);
        for mode in [RecoveryMode::TolerateTornTail, RecoveryMode::Strict] {
            // Nothing is there to be read. Whether that is an error depends on the mode.
            let _ = use_it(&disk.crash(), kind, mode);
        }
    }
}
