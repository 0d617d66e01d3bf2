//! What repair promises, on many damaged databases: every record whose own bytes are as written is
//! in the new database, and nothing is there that was never written.
//!
//! Where each version of each record stands is read from the files before they are damaged and
//! compared with the history that was written. What survives is judged by comparing bytes, without
//! any checksum. `UARR_SEED` repeats a run, `UARR_REPAIRS` sets how many databases are damaged.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use uarr::inspect::{ChunkEntry, ChunkState, Inspector, Next};
use uarr::repair::{RepairMode, RepairReport, repair};
use uarr::value::Patch;
use uarr::{AsKey, Db, Durability, ErrorKind, KeyBytes, KeyKind, uarr};
use uarr_disk_sim::{Memory, MemoryOptions};
use uarr_layout::DatabaseId;
use uarr_layout::frame::Frames;
use uarr_layout::geometry::{
    FRAME_HEADER_BYTES, GROUP_HEADER_BYTES, RECORD_HEADER_BYTES, align_up,
};
use uarr_layout::group::{GroupHeader, SegmentHeader, verify_group};
use uarr_layout::superblock::{SLOT_STRIDE_BYTES, Superblock};
use uarr_tests::files::{Files, disk_of, files_of};
use uarr_tests::history::State;
use uarr_tests::on_disk::{
    PlacedHeader, durable_ranges, image_locators, newest_table, record_headers,
};
use uarr_tests::{Random, from_environment, seed, tiny};

const REPAIR_COUNT: u64 = 200;
const BLOCK_BYTES: u32 = 512;
const DATA_FILE: &str = "data/records.uarr";

/// Bytes that must be as written for something to survive: pieces of a file.
#[derive(Clone, Default)]
struct Extent {
    path: String,
    pieces: Vec<Range<usize>>,
}

impl Extent {
    fn is_intact(&self, before: &Files, after: &Files) -> bool {
        let (before, after) = (&before[&self.path], after.get(&self.path));
        let same = |piece: &Range<usize>| {
            after.is_some_and(|after| after.get(piece.clone()) == before.get(piece.clone()))
        };
        self.pieces.iter().all(same)
    }
}

fn one(piece: Range<usize>) -> Vec<Range<usize>> {
    std::iter::once(piece).collect()
}

/// What was written under an LSN, and the value; `None`: a deletion.
type History = BTreeMap<u64, (Vec<u8>, Option<Vec<u8>>)>;

/// A frame in the log.
struct InLog {
    extent: Extent,
    /// Of a patch: the version it builds upon.
    base: Option<u64>,
}

/// A database to damage, and where everything stands in it.
struct Case {
    files: Files,
    kind: KeyKind,
    history: History,
    state: State,
    /// Records in the data file, by LSN: address and bytes.
    data: BTreeMap<u64, Extent>,
    log: BTreeMap<u64, InLog>,
    /// Whole groups, and what each calls durable.
    groups: Vec<(Extent, u64)>,
    /// Headers of begun segments.
    segments: Vec<Extent>,
}

fn options(kind: KeyKind) -> uarr::Builder {
    tiny().keys(kind)
}

fn disk_options(seed: u64) -> MemoryOptions {
    MemoryOptions { seed, block_bytes: BLOCK_BYTES, ..Default::default() }
}

fn new_disk(seed: u64) -> Memory {
    Memory::with_options(disk_options(seed))
}

/// Some lives of a database: puts, patches, deletions, batches, checkpoints; each ends in order or
/// in a loss of power.
fn write_case(seed: u64) -> Case {
    let mut random = Random::new(seed);
    let kind = [KeyKind::Bytes, KeyKind::U64][random.below(2) as usize];
    let mut disk = new_disk(seed);
    let (mut state, mut history) = (State::new(), History::new());
    for _ in 0..1 + random.below(3) {
        let db = options(kind).open_on(disk.clone()).unwrap();
        for _ in 0..5 + random.below(30) {
            write_group(&db, &mut random, &mut state, &mut history);
            if random.below(25) == 0 {
                db.checkpoint().unwrap();
            }
        }
        if random.below(2) == 0 {
            db.close().unwrap();
        } else {
            let after = disk.crash_with(random.next());
            drop(db);
            disk = after;
        }
    }
    let mut case = Case {
        files: files_of(&disk),
        kind,
        history,
        state,
        data: BTreeMap::new(),
        log: BTreeMap::new(),
        groups: Vec::new(),
        segments: Vec::new(),
    };
    case.find_all();
    case
}

/// A put, patch or deletion, or a batch of some.
fn write_group(db: &Db<Memory>, random: &mut Random, state: &mut State, history: &mut History) {
    let mut batch = db.batch();
    let mut changes = Vec::new();
    for _ in 0..[1, 1, 4][random.below(3) as usize] {
        let number = random.below(20);
        let key = Key::new(db.key_kind(), number);
        let old = state.get(&key.stored).filter(|value| value.len() > 100);
        let value = match (random.below(5), old) {
            (0, _) => {
                batch.delete(&key);
                None
            }
            (1 | 2, Some(old)) => {
                let patch = Patch::from_record(uarr!([[0, ["n"], random.next()]])).unwrap();
                batch.patch(&key, &patch);
                Some(patch.apply(old).unwrap().to_vec())
            }
            _ => {
                let len = random.below(3) * 150 + random.below(50);
                let value = uarr!({ "n": random.next(), "filler": "x".repeat(len as usize) });
                batch.put(&key, &value);
                Some(value.to_vec())
            }
        };
        match value.clone() {
            Some(value) => drop(state.insert(key.stored.clone(), value)),
            None => drop(state.remove(&key.stored)),
        }
        changes.push((key.stored, value));
    }
    let last_lsn = batch.commit().unwrap().unwrap().lsn;
    let first_lsn = last_lsn + 1 - changes.len() as u64;
    history.extend((first_lsn..).zip(changes));
}

/// A key of either kind of table.
struct Key {
    kind: KeyKind,
    stored: Vec<u8>,
}

impl Key {
    fn new(kind: KeyKind, number: u64) -> Self {
        let stored = match kind {
            KeyKind::Bytes => format!("{}key-{number}", "/".repeat(number as usize)).into_bytes(),
            _ => number.to_be_bytes().to_vec(),
        };
        Self { kind, stored }
    }
}

impl AsKey for Key {
    fn kind(&self) -> KeyKind {
        self.kind
    }

    fn to_key(&self) -> KeyBytes<'_> {
        match self.kind {
            KeyKind::Bytes => KeyBytes::Slice(&self.stored),
            _ => KeyBytes::Int(self.stored.as_slice().try_into().unwrap()),
        }
    }
}

/// The slot that counts.
fn superblock(files: &Files) -> Option<Superblock> {
    let bytes = files.get("superblock")?;
    let slots = [0, SLOT_STRIDE_BYTES as usize].into_iter();
    let whole = slots.filter_map(|start| Superblock::from_slot(bytes.get(start..)?).ok()?);
    whole.max_by_key(|block| block.generation.get())
}

impl Case {
    fn find_all(&mut self) {
        let database = superblock(&self.files).unwrap().database;
        let bytes = &self.files[DATA_FILE];
        for PlacedHeader { offset, header, .. } in record_headers(&self.files) {
            let lsn = header.lsn.get();
            let pieces = one(offset..offset + header.record_bytes());
            let key = &bytes[offset + RECORD_HEADER_BYTES..][..header.key_bytes.get().into()];
            let value = &bytes[offset + header.value_offset()..pieces[0].end];
            let (expected_key, expected) = &self.history[&lsn];
            // A page that was lost with the power may hold the other half.
            if (key, value) != (&expected_key[..], expected.as_deref().unwrap_or_default()) {
                continue;
            }
            let path = DATA_FILE.to_owned();
            self.data.insert(lsn, Extent { path, pieces });
        }
        let paths: Vec<_> = self.files.keys().filter(|path| path.starts_with("wal/")).collect();
        for path in paths.into_iter().cloned().collect::<Vec<_>>() {
            self.find_groups(&database, &path);
        }
    }

    fn find_groups(&mut self, database: &DatabaseId, path: &str) {
        let bytes = &self.files[path];
        let number = path["wal/".len()..].strip_suffix(".wal");
        // One that is being prepared has no number yet.
        let Some(number) = number.map(|number| u64::from_str_radix(number, 16).unwrap()) else {
            return;
        };
        let extent = |pieces| Extent { path: path.to_owned(), pieces };
        if SegmentHeader::load(bytes, database, number).is_ok() {
            self.segments.push(extent(one(0..80)));
        }
        for start in (0..bytes.len()).step_by(BLOCK_BYTES as usize) {
            let Ok(header) = GroupHeader::load(&bytes[start..], database, number, start as u64)
            else {
                continue;
            };
            let end = start + header.group_bytes.get() as usize;
            let body = start + GROUP_HEADER_BYTES;
            // Remains of one of which the last life has overwritten a part.
            if verify_group(&header, &bytes[body..end]).is_err() {
                continue;
            }
            self.groups.push((extent(one(start..end)), header.durable_lsn.get()));
            let mut headers = one(start..body);
            let mut payloads = Vec::new();
            let mut at = body;
            for frame in Frames::new(&bytes[body..end]).map(Result::unwrap) {
                headers.push(at..at + FRAME_HEADER_BYTES);
                payloads.push((at + FRAME_HEADER_BYTES..at + frame.len_in_log(), frame));
                at += frame.len_in_log();
            }
            for (payload, frame) in payloads {
                let lsn = frame.header.lsn.get();
                // Padding does not count.
                let key = payload.start..payload.start + frame.key.len();
                let value = payload.start + align_up(frame.key.len(), 8);
                let mut pieces = headers.clone();
                pieces.extend([key, value..value + frame.value.len()]);
                // But the file must reach to its end: the log is read by whole blocks.
                pieces.push(
                    align_up(end, BLOCK_BYTES as usize) - 1..align_up(end, BLOCK_BYTES as usize),
                );
                let base = frame.patch().map(|(header, _)| header.base.get());
                self.log.insert(lsn, InLog { extent: extent(pieces), base });
            }
        }
    }

    /// LSNs of the versions of which all bytes that matter are as written.
    fn intact(&self, after: &Files) -> BTreeSet<u64> {
        let groups = self.groups.iter();
        let whole = groups.filter(|(extent, _)| extent.is_intact(&self.files, after));
        let durable_lsn = whole.map(|(_, lsn)| *lsn).max().unwrap_or(0);
        let named = superblock(after).map_or(0, |root| root.checkpoints[0].end_lsn.get());
        let durable_lsn = durable_lsn.max(named);
        let mut intact = BTreeSet::new();
        for lsn in self.history.keys() {
            if let Some(extent) = self.data.get(lsn)
                && *lsn <= durable_lsn
                && extent.is_intact(&self.files, after)
            {
                intact.insert(*lsn);
            }
            if let Some(in_log) = self.log.get(lsn)
                && in_log.extent.is_intact(&self.files, after)
                && in_log.base.is_none_or(|base| intact.contains(&base))
            {
                intact.insert(*lsn);
            }
        }
        intact
    }

    /// True if any structure names the database of these files.
    fn has_identity(&self, after: &Files) -> bool {
        superblock(after).is_some()
            || self.segments.iter().any(|header| header.is_intact(&self.files, after))
    }

    /// Every key has its newest intact version, or a newer one that was written.
    fn check(&self, after: &Files, found: &State) -> usize {
        let intact = self.intact(after);
        let mut versions = BTreeMap::<&Vec<u8>, Vec<(u64, &Option<Vec<u8>>)>>::new();
        for (lsn, (key, value)) in &self.history {
            versions.entry(key).or_default().push((*lsn, value));
        }
        assert!(found.keys().all(|key| versions.contains_key(key)), "an invented key");
        for (key, versions) in versions {
            let newest = versions.iter().map(|(lsn, _)| *lsn).rfind(|lsn| intact.contains(lsn));
            let value = found.get(key).cloned();
            let from = newest.unwrap_or(0);
            let is_allowed = (newest.is_none() && value.is_none())
                || versions.iter().any(|(lsn, written)| *lsn >= from && **written == value);
            assert!(is_allowed, "key {}: lost LSN {newest:?} or later", key.escape_ascii());
        }
        intact.len()
    }
}

/// Damages some places of what is used of the files.
fn damage(files: &mut Files, random: &mut Random) {
    let paths: Vec<_> = files.keys().filter(|path| *path != "lock").cloned().collect();
    for _ in 0..1 + random.below(12) {
        let path = &paths[random.below(paths.len() as u64) as usize];
        let Some(bytes) = files.get_mut(path) else { continue };
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        let start = random.below(used as u64) as usize;
        let end = (start + 1 + random.below(700) as usize).min(bytes.len());
        if bytes.is_empty() {
            continue;
        }
        match random.below(12) {
            0..6 => bytes[start] ^= 1 << random.below(8),
            6 | 7 => bytes[start..end].fill(0),
            8 | 9 => bytes[start..end].iter_mut().for_each(|byte| *byte = random.next() as u8),
            10 => bytes.truncate(start),
            _ if random.below(4) == 0 => drop(files.remove(path)),
            _ => {}
        }
    }
}

/// Damage is an answer there, never a panic.
fn look_at_everything(source: &Inspector<Memory>) {
    if let Ok(mut log) = source.log() {
        while let Next::Group(group) = log.next().unwrap() {
            assert_eq!(group.frames().count(), group.header.frame_count.get() as usize);
        }
    }
    for number in source.segments() {
        source.segment(*number).unwrap();
    }
    for answer in [source.chunk(0).err(), source.image().err()].into_iter().flatten() {
        assert!(matches!(answer.kind(), ErrorKind::Corruption | ErrorKind::InvalidArgument));
    }
}

/// Repairs into a new database and reads that.
fn repaired(files: &Files, kind: KeyKind, mode: RepairMode) -> uarr::Result<(State, RepairReport)> {
    let disk = disk_of(files, disk_options(0));
    let source = Inspector::open_on(disk.clone(), "damaged")?;
    look_at_everything(&source);
    let target = options(kind).open_on(new_disk(1)).unwrap();
    let report = repair(&source, &target, mode)?;
    assert!(target.verify(|_| {}).unwrap().is_clean());
    let state = state_of(&target);
    assert_eq!(state.len() as u64, report.kept_count);
    drop(source);
    let mut after = files_of(&disk);
    after.remove("lock");
    let mut before = files.clone();
    before.remove("lock");
    assert!(before == after, "the damaged database was changed");
    Ok((state, report))
}

#[test]
fn what_is_intact_is_recovered_and_nothing_invented() {
    let first = seed(1);
    let count = from_environment("UARR_REPAIRS").unwrap_or(REPAIR_COUNT);
    let (mut kept, mut written, mut lost_identity) = (0, 0, 0);
    for seed in first..first + count {
        println!("UARR_SEED={seed} UARR_REPAIRS=1 cargo test -p uarr-tests --test repair");
        let case = write_case(seed);
        for mode in [RepairMode::Tolerate, RepairMode::Salvage] {
            let (state, report) = repaired(&case.files, case.kind, mode).unwrap();
            assert_eq!(state, case.state, "nothing is damaged: {report:?}");
            assert_eq!(report.lost_count, 0, "{report:?}");
        }
        let mut random = Random::new(seed ^ 0xda_3a6e);
        let mut files = case.files.clone();
        damage(&mut files, &mut random);
        let salvaged = match repaired(&files, case.kind, RepairMode::Salvage) {
            Ok((state, _)) => state,
            Err(error) if !case.has_identity(&files) => {
                assert!(matches!(error.kind(), ErrorKind::Corruption | ErrorKind::NotFound));
                lost_identity += 1;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        kept += case.check(&files, &salvaged);
        written += case.history.len();
        let (state, report) = repaired(&files, case.kind, RepairMode::Tolerate).unwrap();
        for (key, value) in &state {
            let mut versions = case.history.values();
            let is_written = versions.any(|(k, v)| k == key && v.as_ref() == Some(value));
            assert!(is_written, "invented: {report:?}");
        }
    }
    println!("{kept} of {written} versions intact; {lost_identity} of {count} without identity");
    assert!(count < REPAIR_COUNT || kept < written, "nothing was damaged");
    assert!(lost_identity * 10 < count, "most runs must have something to recover");
}

/// What a loss of power may leave of a batch that was never acknowledged: its records in the data
/// file, which reached the device, and nothing in the log.
fn batch_in_data_only() -> (Files, Files) {
    let disk = new_disk(7);
    let db = options(KeyKind::Bytes).open_on(disk.clone()).unwrap();
    db.put("a", b"old").unwrap();
    db.checkpoint().unwrap();
    db.put("b", b"durable").unwrap();
    let mut files = files_of(&disk);
    db.batch().put("a", [1; 9000]).put("c", b"new").commit().unwrap();
    let after = files_of(&disk);
    files.insert(DATA_FILE.to_owned(), after[DATA_FILE].clone());
    (files, after)
}

fn state(records: &[(&str, &[u8])]) -> State {
    records.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.to_vec())).collect()
}

#[test]
fn half_a_batch_that_nothing_proves_durable_does_not_count() {
    let (files, after) = batch_in_data_only();
    let (found, report) = repaired(&files, KeyKind::Bytes, RepairMode::Salvage).unwrap();
    assert_eq!(found, state(&[("a", b"old"), ("b", b"durable")]), "{report:?}");
    assert_eq!((report.left_out_count, report.lost_count), (2, 0), "{report:?}");
    // With its group in the log it counts.
    let (found, report) = repaired(&after, KeyKind::Bytes, RepairMode::Salvage).unwrap();
    assert_eq!(found, state(&[("a", &[1; 9000]), ("b", b"durable"), ("c", b"new")]), "{report:?}");
    assert_eq!(report.left_out_count, 0, "{report:?}");
}

#[test]
fn what_an_earlier_recovery_cut_does_not_come_back() {
    let (files, after) = batch_in_data_only();
    let disk = disk_of(&files, disk_options(0));
    let db = options(KeyKind::Bytes).open_on(disk.clone()).unwrap();
    db.put("d", b"next life").unwrap();
    db.close().unwrap();
    let mut files = files_of(&disk);
    // The first record of the batch was overwritten; the other one, which no checkpoint calls
    // durable, may still be there.
    let value = after[DATA_FILE].windows(3).rposition(|bytes| bytes == b"new").unwrap();
    let record = value - align_up(RECORD_HEADER_BYTES + 1, 8)..value + 3;
    assert!(durable_ranges(&files).iter().all(|range| range.end <= record.start));
    files.get_mut(DATA_FILE).unwrap()[record.clone()].copy_from_slice(&after[DATA_FILE][record]);
    let (found, report) = repaired(&files, KeyKind::Bytes, RepairMode::Salvage).unwrap();
    let expected: [(&str, &[u8]); 3] = [("a", b"old"), ("b", b"durable"), ("d", b"next life")];
    assert_eq!(found, state(&expected), "{report:?}");
    assert_eq!(report.left_out_count, 1, "{report:?}");
}

/// Of groups that were at the device together the first one was lost, the others arrived whole, and
/// opening cut them all. Nothing was written since, so no later group names what was cut: salvage
/// took the whole ones for part of the log.
#[test]
fn groups_that_are_whole_behind_a_cut_do_not_come_back() {
    let disk = new_disk(9);
    let builder = || options(KeyKind::Bytes).group_bytes(1 << 14);
    let db = builder().durability(Durability::Manual).open_on(disk.clone()).unwrap();
    let durable_lsn = db.put("a", b"old").unwrap().lsn;
    db.sync().unwrap();
    // Four full groups, and one that is still open.
    for value in 0..5u8 {
        db.put("a", vec![value; 12_000]).unwrap();
    }
    while db.step().unwrap() {}
    let mut files = files_of(&disk);
    drop(db);
    let database = superblock(&files).unwrap().database;
    let path = files.keys().find(|path| path.starts_with("wal/")).unwrap().clone();
    let segment = files.get_mut(&path).unwrap();
    let first = (0..segment.len()).step_by(BLOCK_BYTES as usize).find(|start| {
        GroupHeader::load(&segment[*start..], &database, 1, *start as u64)
            .is_ok_and(|group| group.previous_lsn.get() == durable_lsn)
    });
    segment[first.unwrap()..][..12_288].fill(0);
    let expected = state(&[("a", b"old")]);
    let reopened = disk_of(&files, disk_options(9));
    let db = builder().open_on(reopened.clone()).unwrap();
    assert_eq!(db.iter().count(), 1);
    for files in [files, files_of(&reopened)] {
        for mode in [RepairMode::Salvage, RepairMode::Tolerate] {
            let (found, report) = repaired(&files, KeyKind::Bytes, mode).unwrap();
            assert_eq!(found, expected, "{mode:?} {report:?}");
            assert_eq!(report.damage_count, 0, "{mode:?} {report:?}");
        }
    }
}

/// How a database that has used places again ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Closed,
    PowerLost,
}

/// A database that has moved records and given places to other chunks, and what it holds.
fn write_reused(
    kind: KeyKind,
    durability: Durability,
    ending: Ending,
    seed: u64,
) -> (Files, State) {
    let mut random = Random::new(seed);
    let sizes = options(kind).durability(durability).checkpoint_log_bytes(1 << 18);
    let (mut disk, mut state) = (new_disk(seed), State::new());
    let mut db = sizes.clone().open_on(disk.clone()).unwrap();
    for step in 0..900 + random.below(300) {
        // Some keys are written once and deleted late, or never.
        let number = random.below(if step < 400 { 100 } else { 40 });
        let key = Key::new(kind, number);
        if random.below(4) == 0 {
            db.delete(&key).unwrap();
            state.remove(&key.stored);
        } else {
            // Now and then one that is longer than a chunk.
            let len =
                if random.below(40) == 0 { 90_000 } else { 200 + random.below(3000) as usize };
            let value = vec![step as u8; len];
            db.put(&key, &value).unwrap();
            state.insert(key.stored, value);
        }
        if random.below(9) == 0 {
            while db.step().unwrap() {}
        }
        if random.below(150) == 0 {
            db.compact().unwrap();
        }
        if random.below(200) == 0 {
            disk = disk.crash_with(random.next());
            db = sizes.clone().open_on(disk.clone()).unwrap();
            state = state_of(&db);
        }
    }
    if ending == Ending::Closed {
        db.close().unwrap();
        return (files_of(&disk), state);
    }
    let files = files_of(&disk.crash_with(random.next()));
    let db = sizes.open_on(disk_of(&files, disk_options(seed))).unwrap();
    (files, state_of(&db))
}

fn state_of(db: &Db<Memory>) -> State {
    let records = db.iter().map(|record| record.unwrap());
    records.map(|record| (record.key().to_vec(), record.bytes().to_vec())).collect()
}

/// How many keys are deleted of which the data file has a value and no later deletion.
fn ghost_count(files: &Files, state: &State) -> usize {
    let bytes = &files[DATA_FILE];
    let mut newest = BTreeMap::<&[u8], (u64, bool)>::new();
    for PlacedHeader { offset, header, .. } in record_headers(files) {
        let key = &bytes[offset + RECORD_HEADER_BYTES..][..header.key_bytes.get().into()];
        let found = (header.lsn.get(), header.is_tombstone());
        let known = newest.entry(key).or_insert(found);
        *known = (*known).max(found);
    }
    let is_ghost =
        |(key, (_, is_deleted)): &(&&[u8], &(u64, bool))| !is_deleted && !state.contains_key(**key);
    newest.iter().filter(is_ghost).count()
}

fn each_reused(mut test: impl FnMut(&str, &Files, KeyKind, &State)) {
    let first = seed(1);
    let count = from_environment("UARR_REPAIRS").unwrap_or(5);
    for seed in first..first + count {
        for kind in [KeyKind::U64, KeyKind::Bytes] {
            for durability in [Durability::Sync, Durability::Manual] {
                for ending in [Ending::Closed, Ending::PowerLost] {
                    let (files, state) = write_reused(kind, durability, ending, seed);
                    let what = format!("UARR_SEED={seed} {kind:?} {durability:?} {ending:?}");
                    test(&what, &files, kind, &state);
                }
            }
        }
    }
}

const MODES: [RepairMode; 2] = [RepairMode::Tolerate, RepairMode::Salvage];

/// The index forgets a deletion, its chunk is given back, and an old value of the key stands in a
/// chunk that is still in use: repair brought it back, of a database in which nothing is damaged.
#[test]
fn what_was_deleted_stays_so_when_places_are_used_again() {
    let (mut ghosts, mut quarantined) = (0, 0);
    each_reused(|what, files, kind, state| {
        ghosts += ghost_count(files, state);
        let is_quarantined = |chunk: &&ChunkEntry| chunk.state() == ChunkState::Quarantined;
        quarantined += newest_table(files).iter().filter(is_quarantined).count();
        look_at_all_places(what, files);
        for mode in MODES {
            let (found, report) = repaired(files, kind, mode).unwrap();
            assert_same(&found, state, what);
            assert_eq!(report.damage_count, 0, "{what}: {report:?}");
            assert_eq!(report.lost_count, 0, "{what}: {report:?}");
            assert!(!report.may_revive_deleted, "{what}: {report:?}");
        }
    });
    assert!(ghosts > 0 && quarantined > 0, "{ghosts} {quarantined}");
}

/// What is left of earlier chunks is no damage.
fn look_at_all_places(what: &str, files: &Files) {
    let source = Inspector::open_on(disk_of(files, disk_options(0)), "used again").unwrap();
    let chunk_bytes = superblock(files).unwrap().chunk_bytes.get();
    let table = newest_table(files);
    let image = source.image().unwrap().unwrap();
    assert!(image.damage.is_none() && image.chunks == table, "{what}: {image:?}");
    for place in 0..files[DATA_FILE].len() as u64 / chunk_bytes {
        let chunk = source.chunk(place).unwrap();
        assert!(chunk.header.is_ok() && chunk.damages.is_empty(), "{what} {place}: {chunk:?}");
        let is_here = |entry: &&ChunkEntry| {
            u64::from(entry.place.get()) == place && entry.state() != ChunkState::Quarantined
        };
        if let Some(entry) = table.iter().find(is_here) {
            let address = entry.number.get() * chunk_bytes;
            assert_eq!(chunk.address, Some(address), "{what} {place}: {chunk:?}");
        }
    }
}

/// One damaged record costs its own value alone. If it was moved, what it was copied from may be
/// whole still, in a chunk that is not needed any more.
#[test]
fn a_damaged_record_is_found_where_it_was_moved_from() {
    let (mut copied, mut random) = (0, Random::new(3));
    each_reused(|what, files, kind, state| {
        let root = superblock(files).unwrap();
        let number = root.checkpoints[0].number.get();
        let headers = record_headers(files);
        // Key and value; an older copy may be there in part.
        let payload = |placed: &PlacedHeader| {
            let end = placed.offset + placed.header.record_bytes();
            files[DATA_FILE].get(placed.offset + RECORD_HEADER_BYTES..end)
        };
        let named = image_locators(files, &root.database, number).unwrap();
        for locator in named.into_iter().skip(random.below(9) as usize).step_by(9) {
            let is_named = |placed: &&PlacedHeader| placed.address == locator.address();
            // A chunk number that was given out twice may seem to lie in two places.
            let Some(placed) = headers.iter().rfind(is_named) else { continue };
            let start = placed.offset + RECORD_HEADER_BYTES;
            let key = &files[DATA_FILE][start..][..placed.header.key_bytes.get().into()];
            let mut damaged = files.clone();
            let bytes = damaged.get_mut(DATA_FILE).unwrap();
            bytes[placed.offset + placed.header.record_bytes() - 1] ^= 1;
            let (mut found, report) = repaired(&damaged, kind, RepairMode::Salvage).unwrap();
            let value = found.insert(key.to_vec(), state.get(key).cloned().unwrap_or_default());
            let is_copy = |other: &&PlacedHeader| {
                other.header.lsn == placed.header.lsn && payload(other) == payload(placed)
            };
            // After a loss of power a place may have an earlier chunk's header still, although the
            // log has given it to another.
            if headers.iter().filter(is_copy).count() > 1 && what.ends_with("Closed") {
                assert!(value.as_ref() == state.get(key), "{what} {report:?}");
                copied += 1;
            }
            if !state.contains_key(key) {
                found.remove(key);
            }
            assert_same(&found, state, what);
        }
    });
    assert!(copied > 0);
}

fn assert_same(found: &State, expected: &State, what: &str) {
    for (key, value) in expected {
        assert!(found.get(key) == Some(value), "{what}: lost {}", key.escape_ascii());
    }
    for key in found.keys() {
        assert!(expected.contains_key(key), "{what}: revived {}", key.escape_ascii());
    }
}

#[test]
fn the_older_image_and_the_other_slot_say_as_well_what_was_deleted() {
    each_reused(|what, files, kind, state| {
        let number = superblock(files).unwrap().checkpoints[0].number.get();
        let mut without_image = files.clone();
        without_image.get_mut(&format!("index/{number:016x}.img")).unwrap()[100] ^= 1;
        let slots = [0, SLOT_STRIDE_BYTES as usize].map(|start| {
            let mut without_slot = files.clone();
            without_slot.get_mut("superblock").unwrap()[start + 100] ^= 1;
            without_slot
        });
        for files in slots.iter().chain([&without_image]) {
            for mode in MODES {
                let (found, report) = repaired(files, kind, mode).unwrap();
                assert_same(&found, state, what);
                assert_eq!(report.damage_count, 1, "{what}: {report:?}");
                assert!(!report.may_revive_deleted, "{what}: {report:?}");
            }
        }
    });
}

#[test]
fn no_deleted_key_comes_back_from_the_log_alone() {
    let mut kept = 0;
    each_reused(|what, files, kind, state| {
        let mut files = files.clone();
        files.remove(DATA_FILE);
        let (found, report) = repaired(&files, kind, RepairMode::Salvage).unwrap();
        assert!(found.keys().all(|key| state.contains_key(key)), "{what}: {report:?}");
        kept += found.len();
    });
    assert!(kept > 0);
}

#[test]
fn without_any_image_nothing_that_lives_is_missing() {
    each_reused(|what, files, kind, state| {
        let mut files = files.clone();
        for (_, bytes) in files.iter_mut().filter(|(path, _)| path.starts_with("index/")) {
            bytes[100] ^= 1;
        }
        for mode in MODES {
            let (found, report) = repaired(&files, kind, mode).unwrap();
            for (key, value) in state {
                assert!(found.get(key) == Some(value), "{what}: lost {}", key.escape_ascii());
            }
            assert!(report.may_revive_deleted, "{what}: {report:?}");
        }
    });
}
