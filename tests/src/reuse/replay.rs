//! Recovery's part of [`Database`]: frames are applied again.

use std::collections::BTreeMap;

use super::chunk::{Chunk, ChunkState, Stream};
use super::database::Database;
use super::log::{Opening, Write};
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
        chunk.tail = chunk.tail.max(address.offset + 1);
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

    /// Replays a chunk-open frame. A chunk that has this very place stays as it is: another frame
    /// before opened it, or the chunk table was read later than this one was written. A quarantined
    /// owner gives its places up; any other owner is damage (RULE 6). Returns whether the chunk is
    /// new.
    pub fn replay_open(&mut self, opening: Opening) -> Checked<bool> {
        let Opening { chunk: number, place, width, stream } = opening;
        self.next_chunk = self.next_chunk.max(number + width as ChunkNumber);
        if self.chunks.contains_key(&number) {
            return self.replay_open_again(opening);
        }
        let places = place..place + width;
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
        let state = match stream {
            // The last one that a replayed frame names is opened again at the end.
            Stream::User => ChunkState::Full,
            Stream::Cold => ChunkState::Ready,
        };
        let chunk = Chunk::new(place, width, stream, state);
        self.add_chunk(number, Chunk { is_opened: true, ..chunk });
        Ok(true)
    }

    fn replay_open_again(&mut self, opening: Opening) -> Checked<bool> {
        let Opening { chunk: number, place, width, stream } = opening;
        let chunk = *self.chunk(number);
        if (chunk.place, chunk.width, chunk.stream) != (place, width, stream) {
            violated!("{opening:?}: the chunk is {chunk:?}");
        }
        if self.has(Mutation::OpenAgainIsDamage) {
            violated!("{opening:?}: the chunk is open");
        }
        if self.has(Mutation::ReopenedAsNew) {
            self.chunk_mut(number).tail = 0;
            for place in chunk.places() {
                self.map.zero(place, &mut self.world.disk.medium);
            }
        }
        Ok(self.has(Mutation::ReopenedAsNew) || self.has(Mutation::LengthForgotten))
    }
}
