//! Recovery's part of [`Database`]: frames are applied again.

use std::collections::BTreeMap;
use std::ops::Range;

use super::chunk::{ChunkState, Place, Stream};
use super::database::Database;
use super::log::Write;
use super::mutations::Mutation;
use super::record::{ChunkNumber, Lsn, Patch, patched};
use crate::violation::{Checked, violated};

impl Database {
    /// Replays a change of a key. Nothing is compared: what the index names, older or newer, is
    /// replaced.
    pub fn replay_write(
        &mut self,
        lsn: Lsn,
        write: Write,
        lengths: &BTreeMap<ChunkNumber, usize>,
    ) -> Checked<()> {
        let Write { key, address, .. } = write;
        if !self.chunks.contains_key(&address.chunk) {
            violated!("frame {lsn} names chunk {}, which is gone or unknown", address.chunk);
        }
        let now = self.index.get(&key).copied();
        if self.has(Mutation::AddressesCompared) && now >= Some(address) {
            return Ok(());
        }
        // RULE 9: what is durable where it is, is only indexed, and needs no base.
        let is_durable = address.offset < lengths.get(&address.chunk).copied().unwrap_or(0);
        if let Some(patch) = write.patch.filter(|_| !is_durable) {
            self.check_base(lsn, &write, patch)?;
        }
        if is_durable && !self.has(Mutation::PutAgain) {
            self.index.insert(key, address);
        } else {
            self.put(lsn, write);
        }
        let chunk = self.chunk_mut(address.chunk);
        chunk.stream = Some(Stream::User);
        chunk.tail = chunk.tail.max(address.offset + 1);
        if chunk.state == ChunkState::Ready {
            chunk.state = ChunkState::Full;
        }
        Ok(())
    }

    /// RULE 9: the base of a patch is the state replayed so far, and the frame names it by LSN.
    fn check_base(&self, lsn: Lsn, write: &Write, patch: Patch) -> Checked<()> {
        let now = self.index.get(&write.key).copied();
        let by_address = self.has(Mutation::BaseByAddress);
        let at = if by_address { now.map(|_| patch.base_address) } else { now };
        let base = at.map(|at| self.record(at, write.key)).transpose()?;
        let version = base.and_then(|base| base.version());
        let version = version.filter(|version| version.lsn == patch.base);
        let value = version.map(|version| patched(version.value, patch.delta));
        if value.is_none() || value != write.value {
            violated!("patch {lsn} of version {} finds {base:?}", patch.base);
        }
        Ok(())
    }

    /// Replays a chunk-open frame. A quarantined owner gives its places up; any other owner is
    /// damage (RULE 6). `false`: the chunk table was read later than this frame was written.
    pub fn replay_open(
        &mut self,
        lsn: Lsn,
        number: ChunkNumber,
        places: Range<Place>,
    ) -> Checked<bool> {
        let width = places.len();
        self.next_chunk = self.next_chunk.max(number + width as ChunkNumber);
        if self.chunks.contains_key(&number) {
            return Ok(false);
        }
        let owners = self.chunks.iter().filter(|(_, owner)| owner.overlaps(&places));
        let owners: Vec<_> = owners.map(|(number, owner)| (*number, owner.state)).collect();
        for (owner, state) in owners {
            if state != ChunkState::Quarantined {
                violated!("chunk {number} takes a place of chunk {owner}, which is {state:?}");
            }
            if !self.has(Mutation::OwnerStays) {
                self.chunks.remove(&owner);
            }
        }
        self.add_ready(number, places.start, width, lsn);
        Ok(true)
    }
}
