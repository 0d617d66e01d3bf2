//! Tables without order: all that a table does but what needs order, and that this is refused.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use uarr::inspect::Inspector;
use uarr::repair::{RepairMode, repair};
use uarr::{
    Builder, Db, Durability, ErrorKind, Expires, KeyKind, ReadOnly, Record, Result, Snapshot,
    Table, TableOptions,
};
use uarr_disk_sim::Memory;
use uarr_layout::image::PieceKind;
use uarr_uring::{OpenMode, Storage, StorageFile};

type State = BTreeMap<Vec<u8>, Vec<u8>>;

const CHUNK: u64 = 1 << 16;

/// A small random number generator: the numbers of each run are the same.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

fn builder() -> Builder {
    let sizes = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(CHUNK);
    sizes.address_space_bytes(1 << 28).durability(Durability::Manual).background(false)
}

fn open(disk: &Memory) -> Db<Memory> {
    builder().open_on(disk.clone()).unwrap()
}

fn unordered() -> TableOptions {
    TableOptions::new().unordered()
}

fn table(db: &Db<Memory>, name: &str) -> Table<Memory> {
    db.table_with(name, unordered()).unwrap()
}

/// What a walk shows; each key once.
fn collected<'a>(records: impl Iterator<Item = Result<Record<'a>>>) -> State {
    let mut state = State::new();
    for record in records {
        let record = record.unwrap();
        let before = state.insert(record.key().to_vec(), record.bytes().to_vec());
        assert!(before.is_none(), "{:?} twice", record.key());
    }
    state
}

fn read(reader: &ReadOnly<Memory>) -> State {
    let mut state = State::new();
    for record in reader.iter() {
        let record = record.unwrap();
        let before = state.insert(record.key().to_vec(), record.bytes().to_vec());
        assert!(before.is_none(), "{:?} twice", record.key());
    }
    state
}

fn key(number: u64) -> Vec<u8> {
    format!("session:{number:05}").into_bytes()
}

/// The table is what `expected` says: by walk, by key, by count.
fn check(table: &Table<Memory>, expected: &State) {
    assert_eq!(collected(table.iter()), *expected);
    assert_eq!(table.len(), expected.len() as u64);
    for (key, value) in expected {
        assert_eq!(table.get(key).unwrap().unwrap().bytes(), value);
    }
}

/// As [`check`], through a read-only handle, which other processes may have.
fn check_read_only(disk: &Memory, name: &str, expected: &State) {
    let reader = builder().open_read_only_on(disk.clone()).unwrap();
    let table = reader.find_table(name).unwrap().unwrap();
    assert_eq!(read(&table), *expected);
    assert_eq!(table.count_keys().unwrap(), expected.len() as u64);
    for (key, value) in expected.iter().step_by(17) {
        assert_eq!(table.get(key).unwrap().unwrap().bytes(), value);
    }
    assert!(table.get("no such key").unwrap().is_none());
    let report = reader.verify(|_| {}).unwrap();
    assert!(report.is_clean(), "{:?}", report.damages);
    assert!(report.record_count >= expected.len() as u64);
}

struct World {
    disk: Memory,
    db: Db<Memory>,
    tables: Vec<(Table<Memory>, State)>,
    held: Vec<(Snapshot<Memory>, State)>,
    random: Random,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = Memory::new();
        let db = open(&disk);
        let tables = ["a", "b"].map(|name| (table(&db, name), State::new())).into();
        Self { disk, db, tables, held: Vec::new(), random: Random(seed) }
    }

    fn step(&mut self) {
        let Self { random, tables, db, held, .. } = self;
        let at = random.below(2) as usize;
        let (table, state) = &mut tables[at];
        match random.below(100) {
            0..60 => {
                let (key, byte) = (key(random.below(400)), random.below(256) as u8);
                let value = vec![byte; random.below(600) as usize];
                table.put(&key, &value).unwrap();
                state.insert(key, value);
            }
            60..80 => {
                let key = key(random.below(400));
                table.delete(&key).unwrap();
                state.remove(&key);
            }
            80..84 => db.checkpoint().unwrap(),
            84..88 => drop(db.step().unwrap()),
            88 => drop(db.compact().unwrap()),
            89..92 if held.len() < 4 => held.push((table.snapshot(), state.clone())),
            92..95 if !held.is_empty() => {
                let (snapshot, state) = held.swap_remove(random.below(held.len() as u64) as usize);
                assert_eq!(collected(snapshot.iter()), state);
            }
            95 => {
                let name = table.name().to_owned();
                *table = db.clear_table(&name).unwrap().unwrap();
                state.clear();
                // Their tables are gone with the handles from before.
                held.retain(|(snapshot, _)| snapshot.iter().next().is_none_or(|r| r.is_ok()));
            }
            96 => self.reopen(),
            _ => check(table, state),
        }
    }

    /// After a loss of power that took nothing, or an end in order.
    fn reopen(&mut self) {
        self.held.clear();
        for (table, state) in &self.tables {
            check(table, state);
        }
        let states: Vec<_> = self.tables.drain(..).map(|(_, state)| state).collect();
        let is_closed = self.random.below(2) == 0;
        match is_closed {
            true => self.db.clone().close().unwrap(),
            false => self.db.sync().unwrap(),
        }
        self.disk = self.disk.crash();
        for (name, state) in ["a", "b"].iter().zip(&states) {
            check_read_only(&self.disk, name, state);
        }
        self.db = open(&self.disk);
        for (name, state) in ["a", "b"].into_iter().zip(states) {
            // Found as it is, whether that is asked for or not.
            let table = self.db.table(name).unwrap();
            check(&table, &state);
            self.tables.push((table, state));
        }
        let report = self.db.verify(|_| {}).unwrap();
        assert!(report.is_clean(), "{:?}", report.damages);
    }
}

#[test]
fn whatever_is_done_a_table_is_what_the_model_says() {
    for seed in 0..12 {
        let mut world = World::new(seed);
        for _ in 0..600 {
            world.step();
        }
        world.reopen();
    }
}

/// Walks beside writers, the mover and checkpoints: what stays is shown once, and a snapshot shows
/// its moment.
#[test]
fn snapshots_show_their_moment_beside_writers() {
    let disk = Memory::new();
    let db = builder().background(true).space_amplification_max(1.2).open_on(disk).unwrap();
    let table = table(&db, "t");
    for number in 0..2000 {
        table.put(key(number), [0; 300]).unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut random, mut version) = (Random(1), 0u64);
            while !stop.load(Ordering::Relaxed) {
                version += 1;
                let number = random.below(2000);
                // Every fourth one stays.
                if number.is_multiple_of(4) || random.below(3) > 0 {
                    table.put(key(number), [version as u8; 300]).unwrap();
                } else {
                    table.delete(key(number)).unwrap();
                }
            }
        });
        for round in 0..12 {
            let snapshot = table.snapshot();
            let first = collected(snapshot.iter());
            assert!((0..2000).step_by(4).all(|number| first.contains_key(&key(number))));
            if round % 4 == 0 {
                db.compact().unwrap();
            }
            assert_eq!(collected(snapshot.iter()), first, "the moment stays");
            for (key, value) in first.iter().step_by(50) {
                assert_eq!(snapshot.get(key).unwrap().unwrap().bytes(), value);
            }
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
    assert!(db.verify(|_| {}).unwrap().is_clean());
}

/// What an iterator is about to show is moved, and its places are given away, again and again.
#[test]
fn an_iterator_goes_on_where_records_were_moved() {
    let db = open(&Memory::new());
    let table = table(&db, "t");
    let value = |round: u8| vec![round; 700];
    for number in 0..600 {
        table.put(key(number), value(0)).unwrap();
    }
    let expected = collected(table.iter());
    let (mut walk, mut shown) = (table.iter(), State::new());
    let mut freed_bytes = 0;
    for round in 1..=20 {
        for record in walk.by_ref().take(25) {
            let record = record.unwrap();
            let before = shown.insert(record.key().to_vec(), record.bytes().to_vec());
            assert!(before.is_none(), "{:?} twice", record.key());
        }
        for number in (0..600).filter(|number| number % 9 != u64::from(round) % 9) {
            table.put(key(number), value(round)).unwrap();
        }
        for number in (0..600).step_by(50) {
            table.delete(key(number)).unwrap();
        }
        db.checkpoint().unwrap();
        freed_bytes += db.compact().unwrap().freed_bytes;
    }
    shown.extend(collected(walk));
    assert_eq!(shown, expected);
    assert!(freed_bytes > 0);
}

fn refused<T>(result: Result<T>) {
    let error = result.err().expect("it needs order");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let message = error.to_string();
    assert!(message.contains("need keys in order") && message.contains("iter()"), "{message}");
}

#[test]
fn what_needs_order_is_refused_and_changes_nothing() {
    let disk = Memory::new();
    let db = open(&disk);
    let table = table(&db, "t");
    table.put("a", b"1").unwrap();
    table.put("b", b"2").unwrap();
    refused(table.range("a"..));
    refused(table.range(..="b"));
    refused(table.range(""..));
    refused(table.range_owned("a".."b"));
    refused(table.prefix("a"));
    refused(table.prefix(""));
    refused(table.prefix_owned("a"));
    refused(table.first());
    refused(table.last());
    refused(table.delete_range("a"..));
    refused(table.delete_range(..));
    refused(table.delete_prefix("a"));
    refused(table.iter().seek("a"));
    refused(table.iter().seek_back("a"));
    let snapshot = table.snapshot();
    refused(snapshot.range("a"..));
    refused(snapshot.prefix("a"));
    refused(snapshot.first());
    refused(snapshot.last());
    refused(snapshot.clone().into_range("a"..));
    refused(snapshot.clone().into_prefix("a"));
    let tx = table.begin().unwrap();
    refused(tx.range("a"..));
    refused(tx.prefix("a"));
    let mut walk = table.iter();
    refused(walk.next_back().unwrap());
    assert!(walk.next_back().is_none() && walk.next().is_none(), "and nothing more");
    let mut walk = tx.iter();
    refused(walk.next_back().unwrap());
    assert!(walk.next_back().is_none() && walk.next().is_none(), "and nothing more");
    db.sync().unwrap();
    let reader = builder().open_read_only_on(disk.clone()).unwrap();
    let reader = reader.find_table("t").unwrap().unwrap();
    refused(reader.range("a"..));
    refused(reader.prefix("a"));
    let mut walk = reader.iter();
    refused(walk.next_back().unwrap());
    assert!(walk.next_back().is_none() && walk.next().is_none(), "and nothing more");
    // All keys are no range.
    assert_eq!(table.range(..).unwrap().count(), 2);
    assert_eq!(table.range_owned(..).unwrap().count(), 2);
    assert_eq!(tx.range(..).unwrap().count(), 2);
    assert_eq!(reader.range(..).unwrap().count(), 2);
    assert_eq!(table.len(), 2);
}

#[test]
fn a_table_is_made_without_order_and_keeps_that() {
    let disk = Memory::new();
    let db = open(&disk);
    for kind in [KeyKind::U64, KeyKind::I64] {
        let error = db.table_with("ints", unordered().keys(kind)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("costs nothing"), "{error}");
        assert!(db.find_table("ints").unwrap().is_none());
    }
    table(&db, "t").put("a", b"1").unwrap();
    db.table("ordered").unwrap().put("a", b"1").unwrap();
    for refused in [
        db.table_with("ordered", unordered()).err(),
        db.alter_table("ordered", unordered()).err(),
        db.alter_table("ordered", unordered().keys(KeyKind::U64)).err(),
        db.alter_table("t", TableOptions::new().keys(KeyKind::U64)).err(),
    ] {
        assert_eq!(refused.unwrap().kind(), ErrorKind::InvalidArgument);
    }
    let ordered = |db: &Db<Memory>| -> Vec<(String, bool)> {
        db.tables().into_iter().map(|t| t.map(|t| (t.name, t.ordered)).unwrap()).collect()
    };
    let expected = [("ordered".to_owned(), true), ("t".to_owned(), false)];
    assert_eq!(ordered(&db), expected);
    let stats = db.table("t").unwrap().table_stats().unwrap();
    assert!(stats.ordered_index.is_none() && stats.index.entries == 1);
    // Other options change, and it stays.
    db.alter_table("t", unordered().expires_in(Duration::from_secs(60))).unwrap().unwrap();
    db.clear_table("t").unwrap().unwrap().put("b", b"2").unwrap();
    db.sync().unwrap();
    drop(db);
    let disk = disk.crash();
    let reader = builder().open_read_only_on(disk.clone()).unwrap();
    assert!(reader.tables().iter().flatten().any(|t| t.name == "t" && !t.ordered));
    let db = open(&disk);
    assert_eq!(ordered(&db), expected);
    refused(db.table("t").unwrap().first());
    assert!(db.drop_table("t").unwrap());
    db.compact().unwrap();
    assert!(db.table("t").unwrap().first().unwrap().is_none(), "a new one has order again");
}

#[test]
fn transactions_see_their_writes_and_a_walk_reads_all() {
    let db = open(&Memory::new());
    let table = table(&db, "t");
    for number in 0..200 {
        table.put(key(number), b"old").unwrap();
    }
    let mut tx = table.begin().unwrap();
    tx.put(key(7), b"own").unwrap();
    tx.put(key(900), b"own").unwrap();
    tx.delete(key(8)).unwrap();
    tx.delete(key(901)).unwrap();
    let mut seen = State::new();
    for record in tx.iter() {
        let record = record.unwrap();
        assert!(seen.insert(record.key().to_vec(), record.bytes().to_vec()).is_none(), "twice");
    }
    assert_eq!(seen.len(), 200);
    assert_eq!((&seen[&key(7)][..], &seen[&key(900)][..]), (&b"own"[..], &b"own"[..]));
    assert!(!seen.contains_key(&key(8)));
    // Any write to the table conflicts, of a key that was not there, too.
    table.put("another", b"").unwrap();
    assert_eq!(tx.commit().unwrap_err().kind(), ErrorKind::Conflict);
    let mut tx = table.begin().unwrap();
    assert_eq!(tx.iter().count(), 201);
    tx.put(key(7), b"own").unwrap();
    db.table("other").unwrap().put("a", b"").unwrap();
    tx.commit().unwrap().unwrap();
    assert_eq!(table.get(key(7)).unwrap().unwrap().bytes(), b"own");
    // Without a walk only its keys were read.
    let mut tx = table.begin().unwrap();
    assert!(tx.get(key(1)).unwrap().is_some());
    tx.put(key(1), b"own").unwrap();
    table.put(key(2), b"theirs").unwrap();
    tx.commit().unwrap().unwrap();
}

#[test]
fn records_expire_and_are_swept() {
    let disk = Memory::new();
    let db = open(&disk);
    let table = table(&db, "t");
    for number in 0..300 {
        let value = b"gone soon".expires_in(Duration::from_millis(50));
        table.put(key(number), value).unwrap();
    }
    table.put("stays", b"1").unwrap();
    disk.advance(Duration::from_secs(100));
    assert_eq!(table.iter().count(), 1);
    db.checkpoint().unwrap();
    while db.step().unwrap() {}
    db.checkpoint().unwrap();
    while db.step().unwrap() {}
    assert_eq!(table.len(), 1, "they were deleted");
}

/// All of them: some pieces of the image, of tables side by side.
#[test]
fn large_images_are_read_piece_by_piece() {
    let disk = Memory::new();
    let db = builder().segment_bytes(1 << 20).open_on(disk.clone()).unwrap();
    let mut states = Vec::new();
    db.put("default", b"1").unwrap();
    db.table("ordered").unwrap().put("ordered", b"1").unwrap();
    for (at, count) in [26_000u64, 1, 0, 15_000, 300].into_iter().enumerate() {
        let name = format!("t{at}");
        let table = table(&db, &name);
        let pairs = (0..count).map(|number| (key(number), number.to_le_bytes()));
        table.ingest(pairs).unwrap();
        let state = (0..count).map(|number| (key(number), number.to_le_bytes().to_vec()));
        states.push((name, state.collect::<State>()));
    }
    db.checkpoint().unwrap();
    // What the log says comes on top.
    for (name, state) in &mut states {
        let table = db.table(name).unwrap();
        for number in [1, 5000, 70_000] {
            table.put(key(number), b"changed").unwrap();
            state.insert(key(number), b"changed".to_vec());
        }
        table.delete(key(2)).unwrap();
        state.remove(&key(2));
    }
    db.sync().unwrap();
    drop(db);
    let disk = disk.crash();
    let image = Inspector::open_on(disk.clone(), "memory").unwrap().image().unwrap().unwrap();
    assert!(image.damage.is_none());
    let kinds: Vec<_> = image.pieces.iter().map(|piece| piece.kind).collect();
    let count = kinds.iter().filter(|kind| **kind == PieceKind::UnorderedEntries).count();
    assert!(count > 5, "some tables have several pieces: {kinds:?}");
    let first = kinds.iter().position(|kind| *kind == PieceKind::UnorderedEntries).unwrap();
    assert!(!kinds[first..].contains(&PieceKind::TableEntries), "they come last: {kinds:?}");
    for (name, state) in &states {
        check_read_only(&disk, name, state);
    }
    let db = open(&disk);
    for (name, state) in &states {
        check(&db.table(name).unwrap(), state);
    }
}

#[test]
fn a_repaired_database_has_its_tables_without_order() {
    let disk = Memory::new();
    let db = open(&disk);
    let mut state = State::new();
    let t = table(&db, "t");
    for number in 0..500 {
        t.put(key(number), [7; 100]).unwrap();
        state.insert(key(number), vec![7; 100]);
    }
    db.checkpoint().unwrap();
    t.delete(key(3)).unwrap();
    state.remove(&key(3));
    t.put(key(600), [8; 100]).unwrap();
    state.insert(key(600), vec![8; 100]);
    db.sync().unwrap();
    drop((t, db));
    let disk = disk.crash();
    let source = Inspector::open_on(disk, "memory").unwrap();
    let db = open(&Memory::new());
    let report = repair(&source, &db, RepairMode::Tolerate).unwrap();
    assert!(report.damages.is_empty(), "{:?}", report.damages);
    let repaired = db.table("t").unwrap();
    refused(repaired.first());
    check(&repaired, &state);
}

fn flip(disk: &Memory, needle: &[u8]) {
    let file = disk.open("data/records.uarr", OpenMode::Mapped).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    file.write_at(&[!needle[0]], at as u64).unwrap();
    file.make_durable().unwrap();
}

/// Value or key of the record is damaged: its key alone suffers, checkpoints keep it, and a write
/// replaces it.
#[test]
fn a_damaged_record_costs_its_key_alone() {
    for hits_key in [false, true] {
        let disk = Memory::new();
        let db = open(&disk);
        let t = table(&db, "t");
        let mut state = State::new();
        for number in 0..300 {
            let value = format!("the value of {number:05}").into_bytes();
            t.put(key(number), &value).unwrap();
            state.insert(key(number), value);
        }
        drop(t);
        db.close().unwrap();
        let disk = disk.crash();
        let needle = if hits_key { key(137) } else { b"the value of 00137".to_vec() };
        flip(&disk, &needle);
        state.remove(&key(137));
        let db = open(&disk);
        let t = table(&db, "t");
        let walked = |t: &Table<Memory>| -> (State, usize) {
            let (whole, damaged): (Vec<_>, Vec<_>) = t.iter().partition(|record| record.is_ok());
            (collected(whole.into_iter()), damaged.len())
        };
        assert_eq!(walked(&t), (state.clone(), 1));
        assert_eq!(t.get(key(137)).unwrap_err().kind(), ErrorKind::Corruption);
        assert_eq!(db.verify(|_| {}).unwrap().damages.len(), 1);
        // Others are written and deleted, and a checkpoint keeps the key of the damaged one.
        t.put(key(1), b"new").unwrap();
        state.insert(key(1), b"new".to_vec());
        t.delete(key(2)).unwrap();
        state.remove(&key(2));
        db.checkpoint().unwrap();
        drop(t);
        db.close().unwrap();
        let disk = disk.crash();
        let db = open(&disk);
        let t = table(&db, "t");
        assert_eq!(walked(&t), (state.clone(), 1));
        assert_eq!(t.get(key(137)).unwrap_err().kind(), ErrorKind::Corruption);
        t.put(key(137), b"again").unwrap();
        state.insert(key(137), b"again".to_vec());
        check(&t, &state);
        assert!(db.verify(|_| {}).unwrap().is_clean());
        t.delete(key(137)).unwrap();
        state.remove(&key(137));
        db.checkpoint().unwrap();
        check(&t, &state);
    }
}
