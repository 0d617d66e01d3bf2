//! redb and fjall behind [`Store`].

use std::path::Path;

use uarr_bench_peers::{Fjall, FjallSession, Redb, RedbSession};

use crate::error::BenchError;
use crate::measure::job::View;
use crate::measure::keys::KeyForm;
use crate::measure::store::{OpenSpec, Store};
use crate::stores::peers::{Peer, failed, options, peer_view};

/// redb.
pub struct RedbStore(Redb, KeyForm);

impl RedbStore {
    /// Opens or creates the database in `dir`.
    pub fn open(dir: &Path, spec: OpenSpec) -> Result<Self, BenchError> {
        Ok(Self(Redb::open(dir, options(spec)).map_err(failed)?, spec.key_form))
    }
}

impl Store for RedbStore {
    type Session<'s> = Peer<RedbSession<'s>>;

    fn with_session<R>(
        &self,
        view: View,
        body: impl FnOnce(&mut Self::Session<'_>) -> R,
    ) -> Result<R, BenchError> {
        let session = self.0.session(peer_view(view)).map_err(failed)?;
        Ok(body(&mut Peer { session, keys: self.1 }))
    }

    fn close(self) -> Result<(), BenchError> {
        drop(self.0);
        Ok(())
    }
}

/// fjall.
pub struct FjallStore(Fjall, KeyForm);

impl FjallStore {
    /// Opens or creates the database in `dir`.
    pub fn open(dir: &Path, spec: OpenSpec) -> Result<Self, BenchError> {
        Ok(Self(Fjall::open(dir, options(spec)).map_err(failed)?, spec.key_form))
    }
}

impl Store for FjallStore {
    type Session<'s> = Peer<FjallSession<'s>>;

    fn with_session<R>(
        &self,
        view: View,
        body: impl FnOnce(&mut Self::Session<'_>) -> R,
    ) -> Result<R, BenchError> {
        let (session, keys) = (self.0.session(peer_view(view)), self.1);
        Ok(body(&mut Peer { session, keys }))
    }

    fn prepare_reads(&self) -> Result<(), BenchError> {
        self.0.compact().map_err(failed)
    }

    fn sync(&self) -> Result<(), BenchError> {
        self.0.sync().map_err(failed)
    }

    fn close(self) -> Result<(), BenchError> {
        drop(self.0);
        Ok(())
    }
}
