//! What must hold after each step and each recovery, and when all is quiet.

use super::checkpoint::Checkpointing;
use super::chunk::{Chunk, ChunkState, Place};
use super::database::Database;
use super::keeper::READY_MAX;
use super::mover::Evacuation;
use super::record::{Address, ChunkNumber, KEY_COUNT};
use crate::violation::{Checked, violated};

/// Every reader finds what it must; no index entry leads astray; each place has one owner; what
/// readers hold does not change.
pub fn check(database: &Database) -> Checked<()> {
    for pin in database.pins.iter().chain([&database.pin()]) {
        for key in 0..KEY_COUNT {
            let found = database.as_of(key, pin.lsn)?.and_then(|record| record.version());
            if found != pin.state[key] {
                violated!("key {key} as of {}: {found:?}, not {:?}", pin.lsn, pin.state[key]);
            }
        }
    }
    for (key, address) in &database.index {
        database.record(*address, *key)?;
        let state = database.chunk(address.chunk).state;
        if matches!(state, ChunkState::Quarantined | ChunkState::Ready) {
            violated!("key {key} is in {address:?}: the chunk is {state:?}");
        }
    }
    check_owners(database)?;
    for hold in &database.holds {
        if database.map.cell(hold.place, hold.offset) != Some(hold.record) {
            violated!("the bytes of {:?} changed in the reader's hand", hold.record);
        }
    }
    Ok(())
}

fn check_owners(database: &Database) -> Checked<()> {
    let chunks = database.chunks.values().chain(&database.draining);
    let mut owned: Vec<Place> = chunks.flat_map(Chunk::places).collect();
    owned.extend(&database.free);
    owned.sort_unstable();
    if let Some(pair) = owned.windows(2).find(|pair| pair[0] == pair[1]) {
        violated!("place {} has two owners", pair[0]);
    }
    if owned.len() < database.map.place_count() {
        violated!("a leak: a place has no owner");
    }
    Ok(())
}

/// With no writer and no reader left: dead chunks are evacuated, two checkpoints taken. Then only
/// live chunks and a constant number of others own places.
pub fn check_quiet(database: &mut Database) -> Checked<()> {
    database.pins.clear();
    database.sweep();
    database.holds.clear();
    database.settle_to(database.log().len());
    database.forget()?;
    for chunk in database.sealed() {
        if !is_live(database, chunk) {
            Evacuation::of(chunk).run(database)?;
        }
    }
    Checkpointing::begin().run(database)?;
    Checkpointing::begin().run(database)?;
    database.clear();
    let is_in_use = |state| matches!(state, ChunkState::Open | ChunkState::Ready);
    for (number, chunk) in &database.chunks {
        if !is_in_use(chunk.state) && !is_live(database, *number) {
            violated!("a leak: chunk {number} is {:?}", chunk.state);
        }
    }
    if let Some(chunk) = database.draining.first() {
        violated!("a leak: {chunk:?} was cleared and is not free");
    }
    let ready = database.ready().len();
    if ready > 2 * READY_MAX {
        violated!("a leak: {ready} chunks are ready");
    }
    Ok(())
}

fn is_live(database: &Database, chunk: ChunkNumber) -> bool {
    database.index.values().any(|address: &Address| address.chunk == chunk)
}
