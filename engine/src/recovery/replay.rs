//! Replaying the log: from a checkpoint to the state at its end.

use std::io;

use uarr_layout::chunk::{ChunkEntry, ChunkState};
use uarr_layout::frame::Frames;
use uarr_layout::geometry::CHUNK_HEADER_BYTES;
use uarr_layout::limits::VALUE_BYTES_MAX;
use uarr_layout::record::Locator;
use uarr_layout::superblock::{Checkpoint, Superblock};
use uarr_uring::{DataMapWriter, MapPin, MappedChunk, Storage, StorageFile};

use crate::checkpoint::image::LoadedImage;
use crate::data::accounts::Accounts;
use crate::data::appender::Appender;
use crate::data::applier::Applier;
use crate::data::entries::Entries;
use crate::data::expiring::ExpiringChunks;
use crate::data::live::Live;
use crate::data::places::{OpenChunk, Places};
use crate::data::store::RecordStore;
use crate::data::tables::Tables;
use crate::data::tombstones::Tombstones;
use crate::error::{Error, Result, lacks_room};
use crate::key::KeyKind;
use crate::limits::ADDRESS_SPACE_BYTES_MIN;
use crate::log::reader::LoggedGroup;
use crate::options::Options;
use crate::recovery::enterer::Enterer;
use crate::recovery::found::{FoundLog, Recovered};
use crate::recovery::frames::{Landing, each_frame};
use crate::recovery::gathered::Gathered;
use crate::recovery::lander::{Landed, Lander, cannot_extend};
use crate::report::RecoveryReport;

/// So many frames before it is replayed, what a record changes in the index is fetched: the cache
/// misses of some overlap.
const AHEAD_COUNT: usize = 8;

/// More than any record has.
const RECORD_BYTES_MAX: u64 = VALUE_BYTES_MAX as u64 + (1 << 17);

/// The state that replay changes.
pub(crate) struct Replay<S: Storage> {
    store: RecordStore<S::Map>,
    lander: Lander<S::MapWriter>,
    pub enterer: Enterer,
    data_file: S::File,
}

impl<S: Storage> Replay<S> {
    pub fn new(
        storage: &S,
        root: &Superblock,
        options: &Options,
        checkpoint: &Checkpoint,
        data_file: S::File,
        (kind, image): (KeyKind, LoadedImage),
    ) -> Result<Self> {
        let chunk_bytes = root.chunk_bytes.get();
        let chunks = &image.chunks;
        let named = chunks.iter().filter(|chunk| chunk.state() != ChunkState::Quarantined);
        let mapped: Vec<_> = named.map(mapped_chunk).collect();
        let (reserve, map, writer) = map_data(storage, &data_file, options, chunk_bytes, &mapped)?;
        let appender = Appender::new(writer, root.database, chunk_bytes);
        let landing = Landing::new(chunk_bytes, checkpoint.next_chunk.get(), chunks);
        let mut expiring = ExpiringChunks::default();
        chunks.iter().for_each(|chunk| expiring.load(chunk.number.get(), chunk.sweep_ms()));
        let first = landing.chunks.first_key_value().map_or(0, |(number, _)| number * chunk_bytes);
        let earlier = first..landing.places.session_start();
        let store = RecordStore::new(map, &root.database, options.verify, earlier);
        // Half of the seed is nowhere on disk: a copy of the database does not help an attacker to
        // find keys whose hashes collide.
        let pin = MapPin::enter();
        let bytes_of = |locator| store.reader(&pin).record_len(locator, RECORD_BYTES_MAX);
        let locators = image.locators().filter_map(Locator::from_bits);
        let live = Live::new(chunk_bytes, locators, bytes_of)?;
        drop(pin);
        let others = [&image.others, &image.unordered];
        let hash_seed = u128::from(root.hash_seed.get()) << 64 | u128::from(storage.random());
        let (entries, gathered) = match image.entries {
            Entries::Int(entries) => (Entries::empty(kind), Some(Gathered::new(entries))),
            entries => (entries, None),
        };
        let enterer = Enterer {
            tables: Tables::from_entries(kind, hash_seed, entries, others),
            gathered,
            accounts: Accounts { tombstones: Tombstones::default(), live, expiring },
            expiry_floor_ms: root.expiry_floor_ms.get(),
            record_count: 0,
            mode: options.recovery,
        };
        Ok(Self { store, lander: Lander::new(landing, appender, reserve), enterer, data_file })
    }

    pub fn into_recovered(
        self,
        log: FoundLog,
        next_lsn: u64,
        life: u64,
        report: RecoveryReport,
    ) -> Result<Recovered<S>> {
        assert!(log.position.lsn < next_lsn, "LSNs in use are not given out again");
        let Self { store, lander, mut enterer, data_file } = self;
        enterer.build();
        let Enterer { tables, accounts, expiry_floor_ms, .. } = enterer;
        let Lander { landing, appender, newest, address_space_bytes: reserved_bytes } = lander;
        let mut applier = Applier { appender, accounts };
        let Landing { mut places, chunk_bytes, .. } = landing;
        // Otherwise the first write would take all that was deleted out of the index at once.
        applier.accounts.tombstones.leave_as_backlog();
        let file_bytes = data_file.len().map_err(cannot_extend)?;
        let newest = match newest {
            Some(open) => with_space(open, &places, &mut applier.appender)?,
            None => None,
        };
        places.resume(newest, file_bytes / chunk_bytes);
        // On a full disk there may be no place for another chunk of moved records.
        let published = |number: &u64| store.published_bytes(number * chunk_bytes);
        let found = places.resumable().map(|number| (published(&number), number));
        let worth = CHUNK_HEADER_BYTES..=chunk_bytes / 2;
        if let Some((end, number)) = found.filter(|(end, _)| worth.contains(end)).min()
            && with_space(OpenChunk { number, end }, &places, &mut applier.appender)?.is_some()
        {
            places.resume_cold(number);
        }
        assert!(places.free.end() * chunk_bytes <= reserved_bytes, "all records can be mapped");
        Ok(Recovered {
            store,
            tables,
            applier,
            data_file,
            log,
            next_lsn,
            life,
            places,
            reserved_bytes,
            report,
            expiry_floor_ms,
        })
    }

    /// Applies the next group.
    pub fn apply_group(&mut self, group: &LoggedGroup<'_>) -> Result<()> {
        let Self { store, lander, enterer, .. } = self;
        let kind = enterer.tables.default.space.kind;
        let pin = MapPin::enter();
        let mut ahead = Frames::new(group.body);
        (0..AHEAD_COUNT).for_each(|_| enterer.fetch_next(&mut ahead));
        enterer.expiry_floor_ms = each_frame(group, kind, enterer.expiry_floor_ms, |logged| {
            enterer.fetch_next(&mut ahead);
            if lander.land(store, logged, None)? == Landed::LacksResult {
                enterer.build();
                let result = enterer.result_of(logged, store.reader(&pin))?;
                // The key goes on leading to the damaged record, until it is written again.
                let Some(result) = result else {
                    enterer.record_count += 1;
                    return Ok(());
                };
                let landed = lander.land(store, logged, Some(&result))?;
                assert_eq!(landed, Landed::Done, "a patch that knows its result lands");
            }
            if !logged.frame.opens_chunk() {
                enterer.enter(&logged.frame, store.reader(&pin));
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// The open chunk, if there is room for what it lacks of space of its own: the file may be a copy
/// with holes. Without room readers go on, and writers get the error.
fn with_space<W: DataMapWriter>(
    open: OpenChunk,
    places: &Places,
    appender: &mut Appender<W>,
) -> Result<Option<OpenChunk>> {
    match appender.allocate(places.places_of(open.number)) {
        Ok(()) => Ok(Some(open)),
        Err(error) if lacks_room(&error) => Ok(None),
        Err(error) => Err(cannot_extend(error)),
    }
}

fn mapped_chunk(chunk: &ChunkEntry) -> MappedChunk {
    MappedChunk {
        number: chunk.number.get(),
        place: chunk.place.get().into(),
        published_bytes: chunk.durable_bytes.get().into(),
        continues: chunk.state() == ChunkState::Continued,
    }
}

/// Maps the data file over the address space that the options ask for, or over less if the process
/// has less: then half of what it has stays free for others. Returns how much it is.
fn map_data<S: Storage>(
    storage: &S,
    data_file: &S::File,
    options: &Options,
    chunk_bytes: u64,
    chunks: &[MappedChunk],
) -> Result<(u64, S::Map, S::MapWriter)> {
    let failed = |error| Error::io("cannot map the data file", error);
    let asked = options.address_space_bytes;
    let bytes = data_file.len().map_err(failed)?;
    if bytes > asked {
        return Err(Error::invalid(format!(
            "the data file has {bytes} bytes, but address_space_bytes is {asked}; open the \
             database with a larger value"
        )));
    }
    let least = ADDRESS_SPACE_BYTES_MIN.max(bytes.next_multiple_of(chunk_bytes)).min(asked);
    let map = |reserve| storage.map(data_file, reserve, chunk_bytes, chunks);
    let mut reserve = asked;
    loop {
        match map(reserve) {
            Ok(mapped) if reserve == asked => return Ok((reserve, mapped.0, mapped.1)),
            Ok(mapped) => {
                drop(mapped);
                reserve = (reserve / 2).max(least);
                assert!(reserve >= bytes, "all of the file is mapped");
                let (map, writer) = map(reserve).map_err(failed)?;
                return Ok((reserve, map, writer));
            }
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory && reserve > least => {
                reserve = (reserve / 2).max(least);
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use uarr_disk_sim::Memory;

    use crate::{Db, Durability, KeyKind};

    /// The first write after an opening took all keys out of the index that the log deletes: 0.6 s
    /// for 150,000 of them, while all other writers waited.
    #[test]
    fn deletions_that_were_replayed_are_forgotten_piece_by_piece() {
        const COUNT: u64 = 2000;
        const FORGOTTEN_MAX: usize = 100;
        for kind in [KeyKind::Bytes, KeyKind::U64] {
            let sizes = Db::builder("memory").segment_bytes(1 << 20).chunk_bytes(1 << 20);
            let options = sizes.address_space_bytes(1 << 26).keys(kind).background(false);
            let options = options.durability(Durability::Manual);
            let put = |db: &Db<Memory>, number: u64| match kind {
                KeyKind::Bytes => db.put(number.to_be_bytes(), b"a value").unwrap(),
                _ => db.put(number, b"a value").unwrap(),
            };
            let delete = |db: &Db<Memory>, number: u64| match kind {
                KeyKind::Bytes => db.delete(number.to_be_bytes()).unwrap(),
                _ => db.delete(number).unwrap(),
            };
            let disk = Memory::new();
            let db = options.clone().open_on(disk.clone()).unwrap();
            for number in 1..=COUNT {
                put(&db, number);
                delete(&db, number);
            }
            db.sync().unwrap();
            let db = options.open_on(disk.crash()).unwrap();
            let mut left = db.core().records().tables.len();
            assert_eq!(left as u64, COUNT, "{kind:?}: opening leaves them to writers");
            let mut write_count = 0;
            while left > 1 {
                assert_eq!(db.stats().key_count, u64::from(write_count > 0));
                put(&db, 0);
                write_count += 1;
                let before = std::mem::replace(&mut left, db.core().records().tables.len());
                assert!(left < before, "{kind:?}: each write forgets some");
                assert!(before - left <= FORGOTTEN_MAX, "{kind:?}: {before} became {left}");
            }
        }
    }
}
