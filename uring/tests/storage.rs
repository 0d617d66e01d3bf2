//! One suite over all backends: what the engine may rely on holds on io_uring, on plain system
//! calls, and in memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use uarr_disk_sim::{Memory, MemoryOptions};
use uarr_uring::{
    AlignedBuffer, Append, BackendChoice, CommitStrategy, DataMap, DataMapWriter, GroupDone,
    GroupWrite, Holder, LockError, LogWriter, LogWriterOptions, MapPin, MappedChunk, OpenMode,
    Pinned, Storage, StorageFile, System, SystemOptions,
};

const CHUNK: u64 = 64 << 10;
const STRATEGIES: [CommitStrategy; 3] =
    [CommitStrategy::LinkedFdatasync, CommitStrategy::Dsync, CommitStrategy::Syscall];

/// A storage, and what must outlive it.
struct World<S> {
    storage: S,
    _directory: Option<tempfile::TempDir>,
}

fn system(backend: BackendChoice) -> World<System> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let storage = System::open(directory.path(), SystemOptions { backend }).unwrap();
    World { storage, _directory: Some(directory) }
}

fn memory() -> World<Memory> {
    let options = MemoryOptions { reorder_completions: true, ..MemoryOptions::default() };
    World { storage: Memory::with_options(options), _directory: None }
}

macro_rules! suite {
    ($($test:ident),* $(,)?) => {
        mod on_ring {
            $(#[test] fn $test() {
                let world = super::system(super::BackendChoice::Ring);
                let backend = super::Storage::facts(&world.storage).backend;
                assert_eq!(backend, uarr_uring::Backend::Ring);
                super::$test(&world.storage);
            })*
        }
        mod on_syscalls {
            $(#[test] fn $test() {
                super::$test(&super::system(super::BackendChoice::Syscalls).storage);
            })*
        }
        mod in_memory {
            $(#[test] fn $test() { super::$test(&super::memory().storage); })*
        }
    };
}

suite!(
    names_come_and_go,
    mistakes_with_names_have_their_kinds,
    files_keep_what_is_written,
    direct_files_take_blocks,
    a_file_opened_for_reading_cannot_be_written,
    one_holder_at_a_time,
    a_map_grows_with_its_file,
    places_lose_their_space_and_get_it_again,
    a_chunk_gives_its_rest_back_and_gets_it_again,
    a_log_gives_space_back_and_knows_where_it_is_whole,
    a_mapped_file_is_protected,
    a_map_comes_back_with_its_watermarks,
    groups_reach_their_file,
    large_groups_and_empty_pools,
    the_queue_has_a_limit,
    malformed_writes_are_refused,
    a_log_may_be_dropped_with_writes_in_flight,
    any_thread_may_complete,
    clocks_and_randomness_move,
);

fn kind<T>(result: io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.kind(),
    }
}

fn listed<S: Storage>(storage: &S, path: &str) -> BTreeSet<String> {
    storage.list(path).unwrap().into_iter().collect()
}

fn names_come_and_go<S: Storage>(storage: &S) {
    storage.create_dir("wal").unwrap();
    storage.create_dir("wal").unwrap();
    storage.create_dir("wal/old").unwrap();
    storage.open("wal/a", OpenMode::CreateMapped).unwrap().write_at(b"a", 0).unwrap();
    storage.open("b", OpenMode::CreateMapped).unwrap().write_at(b"b", 0).unwrap();
    assert_eq!(listed(storage, ""), BTreeSet::from(["wal".into(), "b".into()]));
    storage.rename("b", "wal/b").unwrap();
    storage.rename("wal/a", "wal/b").unwrap();
    assert_eq!(listed(storage, "wal"), BTreeSet::from(["b".into(), "old".into()]));
    let mut byte = [0];
    storage.open("wal/b", OpenMode::Read).unwrap().read_at(&mut byte, 0).unwrap();
    assert_eq!(&byte, b"a");
    storage.remove("wal/b").unwrap();
    assert_eq!(listed(storage, "wal"), BTreeSet::from(["old".into()]));
    storage.make_dir_durable("wal").unwrap();
    storage.make_dir_durable("").unwrap();
}

fn mistakes_with_names_have_their_kinds<S: Storage>(storage: &S) {
    drop(storage.open("a", OpenMode::CreateDirect).unwrap());
    assert_eq!(kind(storage.open("a", OpenMode::CreateDirect)), ErrorKind::AlreadyExists);
    assert_eq!(kind(storage.open("a", OpenMode::CreateMapped)), ErrorKind::AlreadyExists);
    for mode in [OpenMode::Read, OpenMode::Mapped, OpenMode::Direct] {
        assert_eq!(kind(storage.open("x", mode)), ErrorKind::NotFound);
    }
    assert_eq!(kind(storage.open("x/a", OpenMode::CreateDirect)), ErrorKind::NotFound);
    // A foreign file stands where a folder belongs.
    let refused = kind(storage.create_dir("a"));
    assert!(matches!(refused, ErrorKind::InvalidData | ErrorKind::NotADirectory), "{refused}");
    assert_eq!(kind(storage.rename("x", "y")), ErrorKind::NotFound);
    assert_eq!(kind(storage.remove("x")), ErrorKind::NotFound);
    assert_eq!(kind(storage.list("x")), ErrorKind::NotFound);
    assert_eq!(kind(storage.make_dir_durable("x")), ErrorKind::NotFound);
    let error = storage.open("some/where", OpenMode::Read).map(drop).unwrap_err().to_string();
    assert!(error.starts_with("open ") && error.contains("some/where: "), "{error}");
}

fn files_keep_what_is_written<S: Storage>(storage: &S) {
    let file = storage.open("f", OpenMode::CreateMapped).unwrap();
    assert!(file.is_empty().unwrap());
    file.allocate(0, 10_000).unwrap();
    assert_eq!(file.len().unwrap(), 10_000);
    file.allocate(100, 100).unwrap();
    assert_eq!(file.len().unwrap(), 10_000);
    file.write_at(b"hello", 4094).unwrap();
    file.write_at(b"end", 10_000).unwrap();
    let mut bytes = vec![9; 20_000];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 10_003);
    assert!(bytes[..4094].iter().all(|&byte| byte == 0));
    assert_eq!(&bytes[4094..4099], b"hello");
    assert_eq!(&bytes[9999..10_004], b"\0end\x09");
    assert_eq!(file.read_at(&mut bytes, 30_000).unwrap(), 0);
    file.start_write_back(0, 5000).unwrap();
    file.start_write_back(0, 0).unwrap();
    file.write_back(0, 5000).unwrap();
    file.write_back(0, 0).unwrap();
    file.make_durable().unwrap();
}

fn direct_files_take_blocks<S: Storage>(storage: &S) {
    let block = storage.facts().block_bytes as usize;
    assert!(block.is_power_of_two() && block >= 512);
    let file = storage.open("f", OpenMode::CreateDirect).unwrap();
    let mut buffer = AlignedBuffer::new(8 * block);
    // The end of the file within a block: the read ends there.
    file.allocate(0, block as u64 + 100).unwrap();
    assert_eq!(file.read_at(&mut buffer[..8 * block], 0).unwrap(), block + 100);
    file.allocate(0, 4 * block as u64).unwrap();
    buffer[..2 * block].fill(7);
    file.write_at(&buffer[..2 * block], block as u64).unwrap();
    buffer.clear();
    assert_eq!(file.read_at(&mut buffer[..8 * block], 0).unwrap(), 4 * block);
    for (index, expected) in [(0, 0), (1, 7), (2, 7), (3, 0), (4, 0)] {
        assert!(buffer[index * block..(index + 1) * block].iter().all(|&byte| byte == expected));
    }
    if storage.facts().direct {
        assert_eq!(kind(file.write_at(&buffer[..100], 0)), ErrorKind::InvalidInput);
        assert_eq!(kind(file.write_at(&buffer[1..=block], 0)), ErrorKind::InvalidInput);
        assert_eq!(kind(file.write_at(&buffer[..block], 1)), ErrorKind::InvalidInput);
    }
}

fn a_file_opened_for_reading_cannot_be_written<S: Storage>(storage: &S) {
    storage.open("f", OpenMode::CreateMapped).unwrap().allocate(0, CHUNK).unwrap();
    let file = storage.open("f", OpenMode::Read).unwrap();
    assert!(file.write_at(b"x", 0).is_err());
    assert!(file.allocate(CHUNK, 1).is_err());
    let (map, mut writer) = storage.map(&file, 2 * CHUNK, CHUNK, &[chunk(0, 10)]).unwrap();
    assert_eq!(read(&map, 0, 10, &MapPin::enter()), Some([0; 10].as_slice()));
    assert!(writer.allocate(0..2).is_err());
    map.prefault(0, CHUNK, Append::Stored);
}

fn one_holder_at_a_time<S: Storage>(storage: &S) {
    let lock = storage.lock("LOCK", Duration::ZERO).unwrap();
    match storage.lock("LOCK", Duration::from_millis(1)) {
        Err(LockError::Held(holder)) => assert_eq!(holder, Holder::ThisProcess),
        other => panic!("the lock was held, but: {:?}", other.map(drop)),
    }
    assert!(listed(storage, "").contains("LOCK"));
    drop(lock);
    drop(storage.lock("LOCK", Duration::ZERO).unwrap());
}

fn a_map_grows_with_its_file<S: Storage>(storage: &S) {
    let file = storage.open("data", OpenMode::CreateMapped).unwrap();
    let (map, mut writer) = storage.map(&file, 4 * CHUNK, CHUNK, &[]).unwrap();
    assert_eq!(map.allocated_bytes(), 0);
    writer.allocate(0..1).unwrap();
    writer.allocate(0..1).unwrap();
    assert_eq!(map.allocated_bytes(), CHUNK);
    assert!(file.len().unwrap() >= CHUNK, "neighbours may have space, too");
    map.prefault(0, CHUNK, Append::Stored);
    (0..4).for_each(|number| assert!(writer.open_chunks(number, number, 1)));
    writer.append(0, &[b"first", b" ", b"words"]);
    assert_eq!(read(&map, 0, 11, &MapPin::enter()), Some(b"first words".as_slice()));
    writer.allocate(1..4).unwrap();
    writer.append(CHUNK + 8, &[&vec![3; 2 * CHUNK as usize]]);
    let mut seen = vec![0; 16];
    assert_eq!(file.read_at(&mut seen, CHUNK).unwrap(), 16);
    assert_eq!(seen, [[0; 8], [3; 8]].concat());
    assert_eq!(read(&map, 3 * CHUNK, 8, &MapPin::enter()), Some([3; 8].as_slice()));
    assert_eq!(read(&map, 3 * CHUNK, 9, &MapPin::enter()), None);
    assert_eq!(kind(writer.allocate(4..5)), ErrorKind::InvalidInput);
    file.make_durable().unwrap();
    // Readers outlive the writer and the file.
    drop((writer, file));
    assert_eq!(read(&map, 6, 5, &MapPin::enter()), Some(b"words".as_slice()));
}

/// 2 MiB at once: a page of the kernel's cache may be as large, and is allocated as a whole.
fn places_lose_their_space_and_get_it_again<S: Storage>(storage: &S) {
    const UNIT: u64 = (2 << 20) / CHUNK;
    let file = storage.open("data", OpenMode::CreateMapped).unwrap();
    let (map, mut writer) = storage.map(&file, 4 * UNIT * CHUNK, CHUNK, &[]).unwrap();
    writer.allocate(0..2 * UNIT).unwrap();
    let is_allocated = |place: u64| file.missing_bytes(place * CHUNK, CHUNK).unwrap() == 0;
    if !is_allocated(0) {
        return; // The file system does not say.
    }
    writer.open_chunks(7, UNIT, 1);
    writer.append(7 * CHUNK, &[b"words"]);
    writer.deallocate(0..3).unwrap();
    writer.deallocate(3..UNIT).unwrap();
    assert_eq!(map.allocated_bytes(), UNIT * CHUNK);
    assert!(!is_allocated(0) && !is_allocated(UNIT - 1) && is_allocated(UNIT));
    writer.deallocate(UNIT + 1..2 * UNIT).unwrap();
    assert_eq!(read(&map, 7 * CHUNK, 5, &MapPin::enter()), Some(b"words".as_slice()));
    writer.append(7 * CHUNK + 5, &[&[7; 1000]]);
    assert_eq!(read(&map, 7 * CHUNK, 5, &MapPin::enter()), Some(b"words".as_slice()));
    writer.allocate(3..4).unwrap();
    assert!(is_allocated(3) && map.allocated_bytes() == 2 * CHUNK);
    writer.open_chunks(8, 3, 1);
    writer.append(8 * CHUNK, &[b"more"]);
    assert_eq!(read(&map, 8 * CHUNK, 4, &MapPin::enter()), Some(b"more".as_slice()));
    assert_eq!(file.len().unwrap(), 2 * UNIT * CHUNK, "the file keeps its length");
}

/// What a chunk holds is never dug out with the rest of its place.
fn a_chunk_gives_its_rest_back_and_gets_it_again<S: Storage>(storage: &S) {
    const LARGE: u64 = 4 << 20;
    let file = storage.open("data", OpenMode::CreateMapped).unwrap();
    let (map, mut writer) = storage.map(&file, 4 * LARGE, LARGE, &[]).unwrap();
    writer.allocate(0..2).unwrap();
    if file.missing_bytes(0, LARGE).unwrap() > 0 {
        return; // The file system does not say.
    }
    writer.open_chunks(7, 1, 1);
    writer.append(7 * LARGE, &[&[7; 5000]]);
    writer.give_back_rest(7).unwrap();
    assert_eq!(map.allocated_bytes(), LARGE);
    let missing = file.missing_bytes(LARGE, LARGE).unwrap();
    assert!((LARGE / 2..LARGE).contains(&missing), "{missing}");
    assert_eq!(file.missing_bytes(0, LARGE).unwrap(), 0);
    assert_eq!(file.len().unwrap(), 2 * LARGE, "the file keeps its length");
    assert_eq!(read(&map, 7 * LARGE, 5000, &MapPin::enter()), Some([7; 5000].as_slice()));
    writer.allocate(1..2).unwrap();
    assert_eq!(file.missing_bytes(LARGE, LARGE).unwrap(), 0);
    writer.append(7 * LARGE + 5000, &[&[8; 3 << 20]]);
    assert_eq!(read(&map, 7 * LARGE + 4999, 2, &MapPin::enter()), Some([7, 8].as_slice()));
}

fn a_log_gives_space_back_and_knows_where_it_is_whole<S: Storage>(storage: &S) {
    const BYTES: u64 = 64 << 10;
    let file = storage.open("segment", OpenMode::CreateDirect).unwrap();
    let mut ones = AlignedBuffer::new(BYTES as usize);
    ones.fill(1);
    file.write_at(&ones, 0).unwrap();
    assert_eq!(file.whole_end(0).unwrap(), BYTES);
    file.give_back(16 << 10, 16 << 10).unwrap();
    let mut seen = AlignedBuffer::new(BYTES as usize);
    assert_eq!(file.read_at(&mut seen, 0).unwrap(), BYTES as usize, "it keeps its length");
    if file.missing_bytes(0, BYTES).unwrap() == 0 {
        return; // The file system cannot.
    }
    assert_eq!([0, 8 << 10, 32 << 10].map(|from| file.whole_end(from).unwrap()), {
        [16 << 10, 16 << 10, BYTES]
    });
    assert!(seen[16 << 10..32 << 10].iter().all(|byte| *byte == 0));
    assert!(seen[..16 << 10].iter().chain(&seen[32 << 10..]).all(|byte| *byte == 1));
}

fn a_mapped_file_is_protected<S: Storage>(storage: &S) {
    let file = storage.open("data", OpenMode::CreateMapped).unwrap();
    let (map, mut writer) = storage.map(&file, 2 * CHUNK, CHUNK, &[]).unwrap();
    writer.allocate(0..1).unwrap();
    writer.open_chunks(0, 0, 1);
    writer.append(0, &[b"published"]);
    assert_eq!(kind(storage.map(&file, CHUNK, CHUNK, &[])), ErrorKind::ResourceBusy);
    assert_eq!(kind(file.write_at(b"x", 8)), ErrorKind::InvalidInput);
    assert_eq!(kind(file.renew(0, CHUNK)), ErrorKind::InvalidInput);
    assert_eq!(kind(file.give_back(0, CHUNK)), ErrorKind::InvalidInput);
    file.write_at(b"x", 9).unwrap();
    drop(writer);
    assert_eq!(kind(file.write_at(b"x", 8)), ErrorKind::InvalidInput);
    assert_eq!(kind(file.renew(0, CHUNK)), ErrorKind::InvalidInput);
    assert_eq!(read(&map, 0, 9, &MapPin::enter()), Some(b"published".as_slice()));
    drop(map);
    file.write_at(b"x", 8).unwrap();
    file.renew(0, CHUNK).unwrap();
}

fn a_map_comes_back_with_its_watermarks<S: Storage>(storage: &S) {
    let file = storage.open("data", OpenMode::CreateMapped).unwrap();
    let (map, mut writer) = storage.map(&file, 2 * CHUNK, CHUNK, &[]).unwrap();
    writer.allocate(0..2).unwrap();
    writer.open_chunks(5, 0, 1);
    writer.open_chunks(9, 1, 1);
    writer.append(5 * CHUNK, &[b"zero"]);
    writer.append(9 * CHUNK, &[b"one"]);
    file.make_durable().unwrap();
    drop((map, writer, file));
    let file = storage.open("data", OpenMode::Mapped).unwrap();
    let beyond = storage.map(&file, 2 * CHUNK, CHUNK, &[chunk(2, 1)]);
    assert_eq!(kind(beyond), ErrorKind::InvalidInput);
    let chunks = [
        MappedChunk { number: 9, place: 1, published_bytes: 3, continues: false },
        MappedChunk { number: 5, place: 0, published_bytes: 4, continues: false },
    ];
    let (map, mut writer) = storage.map(&file, 4 * CHUNK, CHUNK, &chunks).unwrap();
    assert_eq!(read(&map, 5 * CHUNK, 4, &MapPin::enter()), Some(b"zero".as_slice()));
    assert_eq!(read(&map, 9 * CHUNK, 3, &MapPin::enter()), Some(b"one".as_slice()));
    assert_eq!(map.allocated_bytes(), 0, "any place may be a hole");
    writer.allocate(0..2).unwrap();
    writer.append(9 * CHUNK + 3, &[b"!"]);
    assert_eq!(read(&map, 9 * CHUNK, 4, &MapPin::enter()), Some(b"one!".as_slice()));
}

/// A chunk in the place of its number.
/// The bytes at `address`, if they are published.
fn read<'p>(map: &'p impl DataMap, address: u64, len: usize, pin: &'p MapPin) -> Option<&'p [u8]> {
    map.bytes(address, len, pin).map(Pinned::bytes)
}

fn chunk(number: u64, published_bytes: u64) -> MappedChunk {
    MappedChunk { number, place: number, published_bytes, continues: false }
}

/// A log of small buffers with this strategy; `None` if the backend does not have it.
fn log<S: Storage>(storage: &S, strategy: CommitStrategy) -> Option<S::Log> {
    let buffer_bytes = 16 << 10;
    let options = LogWriterOptions { strategy, buffer_count: 3, buffer_bytes };
    let log = storage.log_writer(options).unwrap();
    (log.strategy() == strategy).then_some(log)
}

/// A segment of `block_count` blocks, all written.
fn segment<S: Storage>(storage: &S, path: &str, block_count: usize) -> Arc<S::File> {
    let block = storage.facts().block_bytes as usize;
    let file = storage.open(path, OpenMode::CreateDirect).unwrap();
    let zeroes = AlignedBuffer::new(block_count * block);
    file.allocate(0, (block_count * block) as u64).unwrap();
    file.write_at(&zeroes[..block_count * block], 0).unwrap();
    file.make_durable().unwrap();
    Arc::new(file)
}

/// Blocks `first .. first + count` of `file`, each byte of which is `value`.
struct Blocks<F> {
    file: Arc<F>,
    first: usize,
    count: usize,
    value: u8,
}

fn group<S: Storage>(
    storage: &S,
    log: &mut S::Log,
    blocks: Blocks<S::File>,
) -> GroupWrite<S::File> {
    let block = storage.facts().block_bytes as usize;
    let Blocks { file, first, count, value } = blocks;
    let mut buffer = log.buffer(count * block);
    let bytes = Arc::get_mut(&mut buffer).expect("a new buffer has one owner");
    assert!(bytes.iter().all(|&byte| byte == 0));
    bytes[..count * block].fill(value);
    let len = count * block;
    GroupWrite { file, offset: (first * block) as u64, buffer, start: 0, len }
}

fn complete_all<L: LogWriter>(log: &mut L) -> Vec<GroupDone> {
    std::iter::from_fn(|| log.complete()).collect()
}

/// The value of each block; all bytes of a block must be equal.
fn block_values<S: Storage>(storage: &S, file: &S::File) -> Vec<u8> {
    let block = storage.facts().block_bytes as usize;
    let len = file.len().unwrap() as usize;
    let mut buffer = AlignedBuffer::new(len);
    assert_eq!(file.read_at(&mut buffer[..len], 0).unwrap(), len);
    buffer[..len]
        .chunks(block)
        .map(|bytes| {
            assert!(bytes.iter().all(|&byte| byte == bytes[0]), "a block is written whole");
            bytes[0]
        })
        .collect()
}

fn groups_reach_their_file<S: Storage>(storage: &S) {
    let mut strategy_count = 0;
    for strategy in STRATEGIES {
        let Some(mut log) = log(storage, strategy) else { continue };
        strategy_count += 1;
        let block = u64::from(storage.facts().block_bytes);
        let file = segment(storage, &format!("{strategy:?}"), 8);
        assert!(log.complete().is_none());
        let mut tickets = Vec::new();
        for (first, count, value) in [(0, 1, 1), (1, 2, 2), (4, 3, 3)] {
            let file = Arc::clone(&file);
            let blocks = Blocks { file, first, count, value };
            let write = group(storage, &mut log, blocks);
            tickets.push(log.submit(write).unwrap());
        }
        let done = complete_all(&mut log);
        let mut completed: Vec<_> = done.iter().map(|done| done.ticket).collect();
        completed.sort_unstable();
        assert_eq!(completed, tickets);
        for mut done in done {
            done.result.unwrap();
            assert!(Arc::get_mut(&mut done.buffer).is_some(), "the buffer is the caller's again");
        }
        assert_eq!(block_values(storage, &file), [1, 2, 2, 0, 3, 3, 3, 0]);
        let counters = log.counters();
        assert_eq!((counters.write_count, counters.flush_count), (3, 3));
        assert_eq!(counters.written_bytes, 6 * block);
    }
    assert!(strategy_count > 0);
}

fn large_groups_and_empty_pools<S: Storage>(storage: &S) {
    for strategy in STRATEGIES {
        let Some(mut log) = log(storage, strategy) else { continue };
        let file = segment(storage, &format!("{strategy:?}"), 64);
        // Larger than a pooled buffer, and more buffers than the pool has; from the middle of a
        // buffer.
        let large = Blocks { file: Arc::clone(&file), first: 0, count: 40, value: 1 };
        let large = group(storage, &mut log, large);
        log.submit(large).unwrap();
        for first in 40..50 {
            let file = Arc::clone(&file);
            let blocks = Blocks { file, first, count: 2, value: first as u8 };
            let mut write = group(storage, &mut log, blocks);
            write.start = write.len / 2;
            write.len /= 2;
            log.submit(write).unwrap();
        }
        assert_eq!(
            complete_all(&mut log).into_iter().filter(|done| done.result.is_ok()).count(),
            11
        );
        let mut expected = vec![1; 40];
        expected.extend(40..50);
        expected.extend([0; 14]);
        assert_eq!(block_values(storage, &file), expected);
    }
}

fn the_queue_has_a_limit<S: Storage>(storage: &S) {
    for strategy in STRATEGIES {
        let Some(mut log) = log(storage, strategy) else { continue };
        let file = segment(storage, &format!("{strategy:?}"), 32);
        let submit = |log: &mut S::Log, first| {
            let file = Arc::clone(&file);
            let blocks = Blocks { file, first, count: 1, value: 1 };
            let write = group(storage, log, blocks);
            log.submit(write)
        };
        let taken = (0..32).take_while(|&first| submit(&mut log, first).is_ok()).count();
        assert!((2..32).contains(&taken));
        assert_eq!(kind(submit(&mut log, taken)), ErrorKind::WouldBlock);
        log.complete().unwrap().result.unwrap();
        submit(&mut log, taken).unwrap();
        assert!(complete_all(&mut log).iter().all(|done| done.result.is_ok()));
        assert_eq!(
            block_values(storage, &file).iter().filter(|&&value| value == 1).count(),
            taken + 1
        );
    }
}

fn malformed_writes_are_refused<S: Storage>(storage: &S) {
    let mut log = storage
        .log_writer(LogWriterOptions {
            strategy: CommitStrategy::Syscall,
            buffer_count: 1,
            buffer_bytes: 16 << 10,
        })
        .unwrap();
    let file = segment(storage, "a", 2);
    let whole = Blocks { file: Arc::clone(&file), first: 0, count: 1, value: 1 };
    let whole = group(storage, &mut log, whole);
    let block = whole.len;
    for (offset, start, len) in [(1, 0, block), (0, 1, block), (0, 0, 0), (0, 0, 1 << 20)] {
        let (file, buffer) = (Arc::clone(&file), Arc::clone(&whole.buffer));
        let write = GroupWrite { file, offset, buffer, start, len };
        assert_eq!(kind(log.submit(write)), ErrorKind::InvalidInput);
    }
    assert!(log.complete().is_none());
    assert_eq!(block_values(storage, &file), [0, 0]);
    let options = |buffer_count, buffer_bytes| LogWriterOptions {
        strategy: CommitStrategy::Dsync,
        buffer_count,
        buffer_bytes,
    };
    assert_eq!(kind(storage.log_writer(options(0, 4096))), ErrorKind::InvalidInput);
    assert_eq!(kind(storage.log_writer(options(1, 100))), ErrorKind::InvalidInput);
    assert_eq!(kind(storage.log_writer(options(16, 1 << 20))), ErrorKind::InvalidInput);
}

fn a_log_may_be_dropped_with_writes_in_flight<S: Storage>(storage: &S) {
    for strategy in STRATEGIES {
        for round in 0..20 {
            let Some(mut log) = log(storage, strategy) else { continue };
            let file = segment(storage, &format!("{strategy:?}{round}"), 16);
            for first in 0..4 {
                let file = Arc::clone(&file);
                let blocks = Blocks { file, first, count: 4, value: 5 };
                let write = group(storage, &mut log, blocks);
                log.submit(write).unwrap();
            }
            drop(log);
            assert_eq!(Arc::strong_count(&file), 1, "no operation is left behind");
            // Unacknowledged, so either is fine, but each block is whole.
            assert!(block_values(storage, &file).iter().all(|&value| value == 0 || value == 5));
        }
    }
}

fn any_thread_may_complete<S: Storage>(storage: &S) {
    for strategy in STRATEGIES {
        let Some(mut log) = log(storage, strategy) else { continue };
        let file = segment(storage, &format!("{strategy:?}"), 32);
        for first in 0..32 {
            let file = Arc::clone(&file);
            let blocks = Blocks { file, first, count: 1, value: 6 };
            let write = group(storage, &mut log, blocks);
            // The thread that submits is gone when another one waits.
            log = std::thread::scope(|scope| {
                let submit = scope.spawn(move || log.submit(write).map(|_| log));
                submit.join().unwrap().unwrap()
            });
            log.complete().unwrap().result.unwrap();
        }
        assert_eq!(block_values(storage, &file), [6; 32]);
    }
}

fn clocks_and_randomness_move<S: Storage>(storage: &S) {
    let start = storage.now();
    while storage.now() <= start {}
    assert!(storage.wall_ns() > 1_600_000_000_000_000_000);
    let numbers: BTreeSet<_> = (0..100).map(|_| storage.random()).collect();
    assert_eq!(numbers.len(), 100);
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("nowhere");
    let error = System::open(&missing, SystemOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("nowhere does not exist"), "{error}");
    std::fs::write(&missing, b"").unwrap();
    let error = System::open(&missing, SystemOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotADirectory);
}

#[test]
fn a_ring_can_change_its_strategy_and_plain_calls_cannot() {
    let ring = system(BackendChoice::Ring);
    let mut log = log(&ring.storage, CommitStrategy::Dsync).unwrap();
    let file = segment(&ring.storage, "a", 3);
    for (first, strategy) in STRATEGIES.into_iter().enumerate() {
        log.set_strategy(strategy).unwrap();
        assert_eq!(log.strategy(), strategy);
        let file = Arc::clone(&file);
        let blocks = Blocks { file, first, count: 1, value: 4 };
        let write = group(&ring.storage, &mut log, blocks);
        log.submit(write).unwrap();
        log.complete().unwrap().result.unwrap();
    }
    assert_eq!(block_values(&ring.storage, &file), [4, 4, 4]);
    let plain = system(BackendChoice::Syscalls);
    let options =
        LogWriterOptions { strategy: CommitStrategy::Dsync, buffer_count: 1, buffer_bytes: 8192 };
    let mut log = plain.storage.log_writer(options).unwrap();
    assert_eq!(log.strategy(), CommitStrategy::Syscall);
    assert_eq!(kind(log.set_strategy(CommitStrategy::Dsync)), ErrorKind::Unsupported);
    log.set_strategy(CommitStrategy::Syscall).unwrap();
}

#[test]
fn a_memory_file_system_works_without_direct_io() {
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else { return };
    let storage = System::open(directory.path(), SystemOptions::default()).unwrap();
    if storage.facts().direct {
        return; // Not a memory file system here.
    }
    groups_reach_their_file(&storage);
    a_map_grows_with_its_file(&storage);
}
