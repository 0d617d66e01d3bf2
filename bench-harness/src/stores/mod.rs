//! The stores under test, each behind [`crate::measure::store::Store`].

mod engine;
#[cfg(feature = "sqlite")]
mod peers;

use std::path::Path;

use crate::error::BenchError;
use crate::measure::drive::{Driven, Driver};
use crate::measure::store::{Class, Contender, OpenSpec, StoreFacts, Writes};

/// Opens or creates a store in directory `dir`, whose parent exists.
///
/// Asking for a store that is not built in is an error of the caller: see
/// [`Contender::is_built_in`].
pub fn open(
    contender: Contender,
    dir: &Path,
    spec: OpenSpec,
) -> Result<Box<dyn Driven>, BenchError> {
    assert!(contender.is_built_in(), "{contender} is not built in");
    match contender {
        Contender::Floor => unreachable!("the floor is no store"),
        Contender::Uarr => open_engine(dir, spec, |builder| builder),
        #[cfg(feature = "peers")]
        Contender::Rocksdb => {
            Ok(Box::new(Driver { contender, store: peers::RocksStore::open(dir, spec)? }))
        }
        #[cfg(feature = "sqlite")]
        Contender::Sqlite => {
            Ok(Box::new(Driver { contender, store: peers::SqliteStore::open(dir, spec)? }))
        }
        #[cfg(feature = "sqlite")]
        Contender::Lmdb => {
            Ok(Box::new(Driver { contender, store: peers::LmdbStore::open(dir, spec)? }))
        }
        #[cfg(not(feature = "peers"))]
        Contender::Rocksdb => unreachable!("not built in, as asserted above"),
        #[cfg(not(feature = "sqlite"))]
        Contender::Sqlite | Contender::Lmdb => unreachable!("not built in, as asserted above"),
    }
}

/// Opens or creates the engine's database in `dir`, with the options that `configure` sets.
pub fn open_engine(
    dir: &Path,
    spec: OpenSpec,
    configure: impl FnOnce(uarr::Builder) -> uarr::Builder,
) -> Result<Box<dyn Driven>, BenchError> {
    let store = engine::Engine::open(dir, spec, configure)?;
    Ok(Box::new(Driver { contender: Contender::Uarr, store }))
}

/// The durability class of a contender's writes.
pub const fn class(contender: Contender, writes: Writes) -> Class {
    match (contender, writes) {
        (_, Writes::Durable) => Class::Sync,
        (Contender::Uarr, Writes::Unsynced) => Class::Interval,
        (_, Writes::Unsynced) => Class::OsCache,
    }
}

/// Versions and settings of those of `stores` that are built in.
pub fn facts(stores: &[Contender]) -> Vec<StoreFacts> {
    let mut all = vec![
        StoreFacts {
            contender: Contender::Uarr,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: engine::SETTINGS.to_owned(),
        },
        #[cfg(feature = "peers")]
        StoreFacts {
            contender: Contender::Rocksdb,
            version: uarr_bench_peers::Rocks::VERSION.to_owned(),
            settings: uarr_bench_peers::Rocks::SETTINGS.to_owned(),
        },
        #[cfg(feature = "sqlite")]
        StoreFacts {
            contender: Contender::Sqlite,
            version: uarr_bench_peers::Sqlite::version(),
            settings: uarr_bench_peers::Sqlite::SETTINGS.to_owned(),
        },
        #[cfg(feature = "sqlite")]
        StoreFacts {
            contender: Contender::Lmdb,
            version: uarr_bench_peers::Lmdb::version(),
            settings: uarr_bench_peers::Lmdb::SETTINGS.to_owned(),
        },
    ];
    all.retain(|facts| stores.contains(&facts.contender));
    all
}
