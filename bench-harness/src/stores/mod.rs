//! The stores under test, each behind [`crate::measure::store::Store`].

mod engine;
pub mod faulty;
#[cfg(feature = "sqlite")]
mod peers;
#[cfg(feature = "rust-peers")]
mod rust_peers;

use std::path::Path;

use crate::error::BenchError;
use crate::measure::drive::{Driven, Driver};
use crate::measure::store::{Contender, OpenSpec, StoreFacts};
use crate::stores::faulty::{Fault, FaultyEngine};

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
            Ok(Box::new(Driver::new(contender, spec, peers::RocksStore::open(dir, spec)?)))
        }
        #[cfg(feature = "sqlite")]
        Contender::Sqlite => {
            Ok(Box::new(Driver::new(contender, spec, peers::SqliteStore::open(dir, spec)?)))
        }
        #[cfg(feature = "sqlite")]
        Contender::Lmdb => {
            Ok(Box::new(Driver::new(contender, spec, peers::LmdbStore::open(dir, spec)?)))
        }
        #[cfg(feature = "rust-peers")]
        Contender::Redb => {
            Ok(Box::new(Driver::new(contender, spec, rust_peers::RedbStore::open(dir, spec)?)))
        }
        #[cfg(feature = "rust-peers")]
        Contender::Fjall => {
            Ok(Box::new(Driver::new(contender, spec, rust_peers::FjallStore::open(dir, spec)?)))
        }
        #[cfg(not(feature = "rust-peers"))]
        Contender::Redb | Contender::Fjall => unreachable!("not built in, as asserted above"),
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
    Ok(Box::new(Driver::new(Contender::Uarr, spec, store)))
}

/// The same of an engine that misbehaves.
pub fn open_faulty(
    dir: &Path,
    spec: OpenSpec,
    fault: Fault,
) -> Result<Box<dyn Driven>, BenchError> {
    Ok(Box::new(Driver::new(Contender::Uarr, spec, FaultyEngine::open(dir, spec, fault)?)))
}

/// Versions and settings of those of `stores` that are built in. A store that has to be open to
/// name its version is opened in `folder`, and nothing of it stays.
pub fn facts(stores: &[Contender], folder: &Path) -> Result<Vec<StoreFacts>, BenchError> {
    let built_in = stores.iter().filter(|store| store.is_built_in());
    built_in.map(|&contender| facts_of(contender, folder)).collect()
}

fn facts_of(contender: Contender, folder: &Path) -> Result<StoreFacts, BenchError> {
    let (version, settings) = match contender {
        Contender::Uarr => (env!("CARGO_PKG_VERSION").to_owned(), engine::SETTINGS.to_owned()),
        #[cfg(feature = "sqlite")]
        peer => peers::facts(peer, folder)?,
        #[cfg(not(feature = "sqlite"))]
        _ => unreachable!("not built in, nothing is known of it in {}", folder.display()),
    };
    Ok(StoreFacts { contender, version, settings })
}
