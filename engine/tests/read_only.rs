//! Reading without writing: what a read-only opening shows is what opening finds, and no file
//! changes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use uarr::value::Patch;
use uarr::{
    Builder, Db, Durability, ErrorKind, Expires, Expiry, Increment, KeyKind, OwnedRecord, ReadOnly,
    RecoveryMode, TableOptions, uarr,
};
use uarr_disk_sim::Memory;
use uarr_uring::{OpenMode, Storage, StorageFile};

const CHUNK: u64 = 1 << 16;
const TABLES: [&str; 2] = ["numbers", "texts"];

/// A small random number generator: the numbers of each run are the same.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

fn options(kind: KeyKind) -> Builder {
    let sizes = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(CHUNK);
    sizes.address_space_bytes(1 << 26).checkpoint_log_bytes(1 << 18).keys(kind).background(false)
}

/// A record as it was found: value, version, expiry.
type Shown = (Vec<u8>, u64, Expiry);
/// What there is, by table and key.
type State = BTreeMap<(String, Vec<u8>), Shown>;

fn shown(record: &OwnedRecord) -> (Vec<u8>, Shown) {
    let key = record.key().to_vec();
    (key, (record.bytes().to_vec(), record.version(), record.expiry()))
}

/// All that an open database has.
fn opened(db: &Db<Memory>) -> State {
    let mut state = State::new();
    let mut add = |name: &str, db: &Db<Memory>| {
        for record in db.iter() {
            let (key, found) = shown(&record.unwrap().to_owned());
            state.insert((name.to_owned(), key), found);
        }
    };
    add("", db);
    for info in db.tables() {
        let info = info.unwrap();
        add(&info.name, &db.find_table(&info.name).unwrap().unwrap());
    }
    state
}

/// The same without opening it, read in each way, which must agree.
fn looked(reader: &ReadOnly<Memory>) -> State {
    let mut state = State::new();
    let mut add = |name: &str, reader: &ReadOnly<Memory>| {
        let forward: Vec<_> = reader.iter().map(|record| shown(&record.unwrap())).collect();
        let mut back: Vec<_> = reader.iter().rev().map(|record| shown(&record.unwrap())).collect();
        back.reverse();
        assert_eq!(forward, back);
        assert!(reader.count_keys().unwrap() >= forward.len() as u64);
        state.extend(forward.into_iter().map(|(key, found)| ((name.to_owned(), key), found)));
    };
    add("", reader);
    for info in reader.tables() {
        let info = info.unwrap();
        add(&info.name, &reader.find_table(&info.name).unwrap().unwrap());
    }
    state
}

/// Some key, and how the kind of a table gives it.
fn with_key<T>(kind: KeyKind, number: u64, use_key: impl FnOnce(&dyn uarr::AsKey) -> T) -> T {
    match kind {
        KeyKind::Bytes => use_key(&format!("key {number:04}")),
        KeyKind::U64 => use_key(&number),
        KeyKind::I64 => use_key(&(number.cast_signed() - 20)),
    }
}

/// Some operation.
fn act(db: &Db<Memory>, random: &mut Random) {
    let name = TABLES[random.below(2) as usize];
    let kind = [KeyKind::U64, KeyKind::Bytes][usize::from(name == TABLES[1])];
    let table = match random.below(3) {
        0 => Some(db.table_with(name, TableOptions::new().keys(kind)).unwrap()),
        _ => None,
    };
    let target: &Db<Memory> = table.as_deref().unwrap_or(db);
    let kind = target.key_kind();
    let number = random.below(60);
    let len = [0, 20, 300, 5000, 40_000][random.below(5) as usize] as usize;
    let value = vec![random.below(256) as u8; len];
    let record = uarr!({ "count": number, "text": "a longer text, so that patches are shorter",
        "more": "and some more of it, which stays as it is" });
    with_key(kind, number, |key| match random.below(12) {
        0..3 => drop(target.put(key, value).unwrap()),
        3 | 4 => drop(target.put(key, record).unwrap()),
        5 => drop(target.delete(key).unwrap()),
        6 | 7 => {
            let patch = Patch::builder().set("count", random.below(1000)).build().unwrap();
            if let Err(error) = target.patch(key, &patch) {
                let kinds = [ErrorKind::KeyNotFound, ErrorKind::InvalidArgument];
                assert!(kinds.contains(&error.kind()), "{error:?}");
            }
        }
        8 => {
            let _ = target.increment(key, Increment::by(3));
        }
        9 => {
            let expiry = Expiry::In(Duration::from_secs(1 + random.below(100)));
            let _ = target.put(key, value.expiring(expiry)).unwrap();
        }
        10 => {
            let mut batch = db.batch();
            with_key(db.key_kind(), random.below(60), |other| {
                batch.put(other, b"of a batch");
            });
            batch.commit().unwrap();
        }
        _ => match random.below(8) {
            0 => drop(db.drop_table(name).unwrap()),
            1 => drop(db.clear_table(name).unwrap()),
            2 => db.checkpoint().unwrap(),
            3 => drop(db.compact().unwrap()),
            _ => while db.step().unwrap() {},
        },
    });
}

fn db_has(state: &State, key: &[u8]) -> bool {
    state.contains_key(&(String::new(), key.to_vec()))
}

/// The range behind one key of the default table and up to another one.
macro_rules! part_of {
    ($db:expr, $kind:ty, $low:expr, $high:expr) => {{
        let range = (Bound::Excluded(<$kind>::from($low)), Bound::Included(<$kind>::from($high)));
        $db.range(range).unwrap()
    }};
}

macro_rules! keys_in {
    ($db:expr, $low:expr, $high:expr) => {
        keys_of!($db, $low, $high, into_iter)
    };
}

macro_rules! keys_in_reversed {
    ($db:expr, $low:expr, $high:expr) => {
        keys_of!($db, $low, $high, rev)
    };
}

macro_rules! keys_of {
    ($db:expr, $low:expr, $high:expr, $way:ident) => {{
        let text = |number: u64| format!("key {number:04}");
        let signed = |number: u64| number.cast_signed() - 20;
        let (low, high) = ($low, $high);
        let keys: Vec<Vec<u8>> = match $db.key_kind() {
            KeyKind::Bytes => part_of!($db, String, text(low), text(high))
                .$way()
                .map(|record| record.unwrap().key().to_vec())
                .collect(),
            KeyKind::U64 => part_of!($db, u64, low, high)
                .$way()
                .map(|record| record.unwrap().key().to_vec())
                .collect(),
            KeyKind::I64 => part_of!($db, i64, signed(low), signed(high))
                .$way()
                .map(|record| record.unwrap().key().to_vec())
                .collect(),
        };
        keys
    }};
}

/// What a reader finds in `disk` is what opening finds, and reading changes nothing.
fn compare(disk: &Memory, options: &Builder, random: &mut Random) -> State {
    let reader = options.clone().open_read_only_on(disk.clone()).unwrap();
    let mut found = looked(&reader);
    let mut singles = Vec::new();
    for number in [0, 7, 13, 59, 99] {
        let key = with_key(reader.key_kind(), number, |key| reader.get(key).unwrap());
        singles.push((number, key.map(|record| shown(&record))));
    }
    let fresh = options.clone().open_read_only_on(disk.clone()).unwrap();
    let many = with_key(fresh.key_kind(), 13, |key| fresh.get_many(&[key, key]).unwrap());
    assert_eq!(many[0].as_ref().map(shown), singles[2].1);
    assert_eq!(many[1].as_ref().map(shown), singles[2].1);
    let report = reader.verify(|_| {}).unwrap();
    assert!(report.is_clean(), "{:?}", report.damages);
    let (low, high) = (random.below(70), random.below(70));
    let part = keys_in!(reader, low, high);
    let mut back = keys_in_reversed!(reader, low, high);
    back.reverse();
    assert_eq!(part, back);
    let db = options.clone().open_on(disk.clone()).unwrap();
    let expected = opened(&db);
    let is_gone = |found: &Shown| found.2 != Expiry::Never;
    // The clock has gone on between the two.
    found.retain(|key, found| expected.contains_key(key) || !is_gone(found));
    assert_eq!(found, expected);
    for (number, single) in singles {
        let now = with_key(db.key_kind(), number, |key| db.get(key).unwrap());
        let now = now.map(|record| shown(&record.to_owned()));
        assert!(now == single || now.is_none() && single.is_some_and(|(_, f)| is_gone(&f)));
    }
    let rest = keys_in!(db, low, high);
    assert!(rest.iter().all(|key| part.contains(key)), "{low} {high}");
    assert!(part.iter().all(|key| rest.contains(key) || !db_has(&expected, key)), "{low} {high}");
    expected
}

#[test]
fn a_reader_finds_what_opening_finds() {
    let mut compared = 0;
    for seed in 0..24 {
        let mut random = Random(seed);
        let kind = [KeyKind::Bytes, KeyKind::U64, KeyKind::I64][seed as usize % 3];
        let durability = [Durability::Sync, Durability::Manual][seed as usize % 2];
        let options = options(kind).durability(durability);
        let mut disk = Memory::new();
        for life in 0..6 {
            let db = options.clone().open_on(disk.clone()).unwrap();
            for _ in 0..random.below(120) {
                act(&db, &mut random);
                disk.advance(Duration::from_millis(random.below(2000)));
            }
            // While it is open, killed, without power, closed.
            if durability == Durability::Sync {
                let reader = options.clone().open_read_only_on(disk.clone()).unwrap();
                let (mut found, expected) = (looked(&reader), opened(&db));
                found.retain(|key, found| expected.contains_key(key) || found.2 == Expiry::Never);
                assert_eq!(found, expected, "seed {seed}, life {life}");
            }
            compare(&disk.kill_with(random.below(1 << 20)), &options, &mut random);
            compare(&disk.crash_with(random.below(1 << 20)), &options, &mut random);
            if random.below(2) == 0 {
                db.close().unwrap();
                compare(&disk.crash(), &options, &mut random);
                compared += 1;
            }
            disk = disk.crash_with(random.below(1 << 20));
            compared += 2;
        }
    }
    assert!(compared > 250, "{compared}");
}

/// Without the second look at the superblock a reader takes the places of other records for its
/// own.
#[test]
fn a_reader_whose_moment_is_gone_says_so() {
    for looks_again in [true, false] {
        let disk = Memory::new();
        let db = options(KeyKind::U64).open_on(disk.clone()).unwrap();
        let value = |round: u8| vec![round; 3000];
        let put = |round: u8| (0..40u64).for_each(|key| drop(db.put(key, value(round))));
        put(1);
        db.checkpoint().unwrap();
        let reader = options(KeyKind::U64).open_read_only_on(disk.clone()).unwrap();
        if !looks_again {
            let file = disk.open("superblock", OpenMode::Read).unwrap();
            let mut frozen = vec![0; file.len().unwrap() as usize];
            file.read_at(&mut frozen, 0).unwrap();
            disk.filter_reads(Arc::new(move |path, bytes| {
                if path == "superblock" {
                    bytes.copy_from_slice(&frozen);
                }
            }));
        }
        let (mut overtaken, mut wrong) = (false, false);
        for round in 2..20 {
            put(round);
            db.compact().unwrap();
            for key in 0..40u64 {
                match reader.get(key) {
                    Ok(Some(record)) if record.bytes() == value(1) => assert!(!overtaken),
                    Err(error) if error.kind() == ErrorKind::Overtaken => overtaken = true,
                    Ok(_) => wrong = true,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Corruption);
                        wrong = true;
                    }
                }
            }
        }
        assert_eq!((overtaken, wrong), (looks_again, !looks_again));
    }
}

/// Where the newer image is damaged the older one serves, as it does when the database is opened.
#[test]
fn damage_of_an_image_is_got_around() {
    let disk = Memory::new();
    let db = options(KeyKind::Bytes).open_on(disk.clone()).unwrap();
    for round in 0..3u8 {
        for number in 0..300 {
            db.put(format!("key {number:04}"), vec![round; 50]).unwrap();
        }
        if round < 2 {
            db.checkpoint().unwrap();
        }
    }
    let disk = disk.crash();
    let mut images = disk.list("index").unwrap();
    images.sort();
    let newest = format!("index/{}", images.last().unwrap());
    let file = disk.open(&newest, OpenMode::Mapped).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, 200).unwrap();
    file.write_at(&[byte[0] ^ 1], 200).unwrap();
    let reader = options(KeyKind::Bytes).open_read_only_on(disk.clone()).unwrap();
    assert_eq!(reader.get("key 0007").unwrap().unwrap().bytes(), [2; 50]);
    assert_eq!(reader.iter().filter(|record| record.is_ok()).count(), 300);
    assert!(reader.recovery_report().notes[0].to_string().contains(&newest));
    assert!(reader.verify(|_| {}).unwrap().is_clean(), "it is in the report of the opening");
    let strict = options(KeyKind::Bytes).recovery(RecoveryMode::Strict);
    let refused = strict.open_read_only_on(disk).and_then(|reader| reader.get("key 0007"));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corruption);
}

/// Beside a writer the older image and its log lead to a later state: it will do for a handle that
/// has shown nothing yet, and for no other.
#[test]
fn damage_of_an_image_is_got_around_beside_a_writer() {
    let disk = Memory::new();
    let db = options(KeyKind::Bytes).open_on(disk.clone()).unwrap();
    for round in 0..2u8 {
        for number in 0..300 {
            db.put(format!("key {number:04}"), [round; 50]).unwrap();
        }
        db.checkpoint().unwrap();
    }
    let open = || options(KeyKind::Bytes).open_read_only_on(disk.clone()).unwrap();
    let (fresh, used) = (open(), open());
    assert_eq!(used.get("key 0007").unwrap().unwrap().bytes(), [1; 50]);
    db.put("key 0007", [2; 50]).unwrap();
    let newest = disk.list("index").unwrap().into_iter().max().unwrap();
    let file = disk.open(&format!("index/{newest}"), OpenMode::Mapped).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize - 200];
    file.read_at(&mut bytes, 200).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 1);
    file.write_at(&bytes, 200).unwrap();
    assert_eq!(fresh.get("key 0007").unwrap().unwrap().bytes(), [2; 50]);
    // It may have kept what it has read.
    match used.get("key 0007") {
        Ok(found) => assert_eq!(found.unwrap().bytes(), [1; 50]),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Overtaken),
    }
    assert_eq!(open().iter().filter(|record| record.is_ok()).count(), 300);
}

/// Another database in the place of the one that was opened is not taken for it.
#[test]
fn a_database_that_was_made_anew_is_another() {
    for is_closed in [false, true] {
        let disk = Memory::new();
        let fill = |value: u8| {
            let db = options(KeyKind::U64).open_on(disk.clone()).unwrap();
            for key in 0..40u64 {
                db.put(key, [value; 300]).unwrap();
            }
            if is_closed {
                db.close().unwrap();
            }
        };
        fill(1);
        let open = || options(KeyKind::U64).open_read_only_on(disk.clone()).unwrap();
        let (reader, used) = (open(), open());
        assert_eq!(used.get(7u64).unwrap().unwrap().bytes(), [1; 300]);
        for dir in ["wal", "index", "data", ""] {
            for name in disk.list(dir).unwrap() {
                let _ = disk.remove(format!("{dir}/{name}").trim_start_matches('/'));
            }
        }
        for handle in [&reader, &used] {
            assert_eq!(handle.get(7u64).unwrap_err().kind(), ErrorKind::Overtaken);
        }
        fill(2);
        for handle in [&reader, &used] {
            assert_eq!(handle.get(7u64).unwrap_err().kind(), ErrorKind::Overtaken);
            assert!(handle.iter().next().unwrap().is_err());
        }
        assert_eq!(open().get(7u64).unwrap().unwrap().bytes(), [2; 300]);
    }
}

#[test]
fn what_is_no_database_is_refused() {
    let open = |disk: &Memory| options(KeyKind::U64).open_read_only_on(disk.clone());
    let disk = Memory::new();
    assert_eq!(open(&disk).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(disk.list("").unwrap().is_empty(), "nothing is made");
    drop(options(KeyKind::Bytes).open_on(disk.clone()).unwrap());
    assert_eq!(open(&disk).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let home = tempfile::tempdir().unwrap();
    let missing = Db::open_read_only(home.path().join("none")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert_eq!(Db::open_read_only(home.path()).unwrap_err().kind(), ErrorKind::NotFound);
    let is_made = |name: &&str| home.path().join(name).exists();
    assert_eq!(["lock", "superblock", "wal", "none"].iter().find(|name| is_made(name)), None);
}

/// Most pieces of an image are as long as pieces may be; long keys make others, and each part of
/// the image ends in one.
#[test]
fn images_of_many_pieces_are_searched() {
    const COUNT: u64 = 40_000;
    for kind in [KeyKind::Bytes, KeyKind::U64] {
        let disk = Memory::new();
        let options = options(kind).durability(Durability::Manual).address_space_bytes(1 << 30);
        let db = options.clone().open_on(disk.clone()).unwrap();
        let text = |number: u64| format!("key {:016x}", number * 0x1234_5678_9abc);
        let long = |number: u64| format!("key 0{number:02}{}", "long ".repeat(6000));
        let value = |number: u64| number.to_le_bytes();
        let numbers = TableOptions::new().keys(KeyKind::I64);
        let numbers = db.table_with("numbers", numbers).unwrap();
        let texts = db.table("texts").unwrap();
        match kind {
            KeyKind::Bytes => {
                db.ingest((0..COUNT).map(|number| (text(number), value(number)))).unwrap();
                db.ingest((0..60).map(|number| (long(number), value(number)))).unwrap();
            }
            _ => {
                db.ingest((0..4 * COUNT).map(|n| (n * n, value(n)))).unwrap();
            }
        }
        numbers.ingest((0..COUNT).map(|n| (n.cast_signed() - 500, value(n)))).unwrap();
        texts.ingest((0..COUNT).map(|number| (text(number), value(number)))).unwrap();
        db.close().unwrap();
        let reader = options.open_read_only_on(disk).unwrap();
        assert!(reader.stats().unwrap().image_bytes > 5 << 18);
        let numbers = reader.find_table("numbers").unwrap().unwrap();
        let texts = reader.find_table("texts").unwrap().unwrap();
        let bytes = |found: Option<OwnedRecord>| found.map(|record| record.bytes().to_vec());
        for number in (0..COUNT).step_by(397).chain([COUNT - 1]) {
            let expected = Some(value(number).to_vec());
            match kind {
                KeyKind::Bytes => {
                    assert_eq!(bytes(reader.get(text(number)).unwrap()), expected);
                    assert_eq!(bytes(reader.get(text(number) + "x").unwrap()), None);
                }
                _ => {
                    assert_eq!(bytes(reader.get(number * number).unwrap()), expected);
                    assert_eq!(bytes(reader.get(number * number + 2).unwrap()), None, "no square");
                }
            }
            let signed = number.cast_signed() - 500;
            assert_eq!(bytes(numbers.get(signed).unwrap()), expected);
            assert_eq!(bytes(texts.get(text(number)).unwrap()), expected);
            let next = numbers.range(signed..).unwrap().next().unwrap().unwrap();
            assert_eq!(next.key_i64(), Some(signed));
            let last = texts.range(..text(number)).unwrap().next_back().transpose().unwrap();
            assert_eq!(
                last.map(|last| last.bytes().to_vec()),
                match number {
                    0 => None,
                    number => Some(value(number - 1).to_vec()),
                }
            );
        }
        if kind == KeyKind::Bytes {
            for number in 0..60 {
                assert_eq!(bytes(reader.get(long(number)).unwrap()), Some(value(number).to_vec()));
            }
        }
        for table in [&reader, &numbers, &texts] {
            let forward = table.iter().map(|record| record.unwrap().key().to_vec());
            let forward: Vec<_> = forward.collect();
            assert!(forward.is_sorted());
            assert_eq!(table.count_keys().unwrap(), forward.len() as u64);
            let back = table.iter().rev().map(|record| record.unwrap().key().to_vec());
            assert!(back.eq(forward.into_iter().rev()));
        }
    }
}

/// What only the older checkpoint needed may go as soon as a writer gives that one up: no damage.
#[test]
fn verify_finds_no_damage_in_what_a_writer_has_given_up() {
    let disk = Memory::new();
    let db = options(KeyKind::Bytes).open_on(disk.clone()).unwrap();
    for round in 0..3 {
        db.put(format!("key {round}"), b"value").unwrap();
        db.checkpoint().unwrap();
    }
    let reader = options(KeyKind::Bytes).open_read_only_on(disk.clone()).unwrap();
    assert_eq!(reader.verify(|_| ()).unwrap().image_count, 2);
    db.put("later", vec![7; 9000]).unwrap();
    db.checkpoint().unwrap();
    let report = reader.verify(|_| ()).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.record_count, report.image_count), (3, 1));
    assert!(reader.get("key 1").unwrap().is_some());
}
