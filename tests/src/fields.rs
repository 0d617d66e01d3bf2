//! Every field of every structure on disk, in one table, and right checksums after one of them was
//! changed.

use std::collections::BTreeMap;
use std::ops::Range;

use uarr_layout::DatabaseId;
use uarr_layout::checksum::{Seed, crc32c, extend, payload_crc};
use uarr_layout::chunk::{CHUNK_ENTRY_BYTES, CHUNK_OPENING_BYTES};
use uarr_layout::frame::Frame;
use uarr_layout::geometry::{
    CHUNK_HEADER_BYTES, FRAME_HEADER_BYTES, GROUP_HEADER_BYTES, PATCH_HEADER_BYTES,
    PIECE_HEADER_BYTES, RECORD_HEADER_BYTES,
};
use uarr_layout::group::SegmentHeader;
use uarr_layout::image::{ByteEntry, PieceHeader, PieceKind};
use uarr_layout::record::RecordHeader;
use uarr_layout::superblock::{Checkpoint, SLOT_BYTES, SLOT_STRIDE_BYTES};
use zerocopy::FromBytes;

use crate::files::Files;

/// A field: its name and width.
type Field = (&'static str, usize);

/// The fields of a structure, one behind the other, and its size.
struct Structure {
    name: &'static str,
    fields: &'static [Field],
    bytes: usize,
}

const SLOT: Structure = Structure {
    name: "slot",
    fields: &[
        ("magic", 8),
        ("crc", 4),
        ("major", 2),
        ("minor", 2),
        ("database", 16),
        ("generation", 8),
        ("life", 8),
        ("closed", 4),
        ("key kind", 4),
        ("created", 8),
        ("block bytes", 4),
        ("strategy", 4),
        ("segment bytes", 8),
        ("chunk bytes", 8),
        ("strategy time 1", 8),
        ("strategy time 2", 8),
        ("strategy time 3", 8),
        ("hash seed", 8),
        ("next LSN", 8),
        // Two checkpoints, which have a table of their own.
        ("checkpoints", 128),
        ("expiry floor", 8),
        ("reserved", 3832),
    ],
    bytes: SLOT_BYTES,
};
const CHECKPOINT: Structure = Structure {
    name: "checkpoint",
    fields: &[
        ("number", 8),
        ("LSN", 8),
        ("segment", 8),
        ("offset", 8),
        ("next chunk", 8),
        ("end LSN", 8),
        ("image bytes", 8),
        ("entries", 8),
    ],
    bytes: size_of::<Checkpoint>(),
};
const SEGMENT: Structure = Structure {
    name: "segment",
    fields: &[
        ("magic", 8),
        ("crc", 4),
        ("major", 2),
        ("minor", 2),
        ("database", 16),
        ("segment", 8),
        ("life", 8),
        ("first LSN", 8),
        ("segment bytes", 8),
        ("block bytes", 4),
        ("reserved", 4),
        ("wall clock", 8),
    ],
    bytes: size_of::<SegmentHeader>(),
};
const GROUP: Structure = Structure {
    name: "group",
    fields: &[
        ("magic", 4),
        ("crc", 4),
        ("database", 16),
        ("segment", 8),
        ("life", 8),
        ("offset", 8),
        ("first LSN", 8),
        ("previous LSN", 8),
        ("durable LSN", 8),
        ("wall clock", 8),
        ("frame count", 4),
        ("frames crc", 4),
        ("group bytes", 8),
    ],
    bytes: GROUP_HEADER_BYTES,
};
const FRAME: Structure = Structure {
    name: "frame",
    fields: &[
        ("payload crc", 4),
        ("kind", 1),
        ("flags", 1),
        ("key bytes", 2),
        ("LSN", 8),
        ("address", 8),
        ("expiry", 8),
        ("value bytes", 4),
        ("table", 4),
    ],
    bytes: FRAME_HEADER_BYTES,
};
const PATCH: Structure = Structure {
    name: "patch",
    fields: &[("base", 8), ("result bytes", 4), ("result crc", 4)],
    bytes: PATCH_HEADER_BYTES,
};
const OPENING: Structure = Structure {
    name: "chunk-open frame",
    fields: &[("place", 4), ("count", 4), ("reserved", 8)],
    bytes: CHUNK_OPENING_BYTES,
};
const CHUNK: Structure = Structure {
    name: "chunk",
    fields: &[
        ("magic", 8),
        ("crc", 4),
        ("major", 2),
        ("minor", 2),
        ("database", 16),
        ("address", 8),
        ("first LSN", 8),
        ("reserved", 16),
    ],
    bytes: CHUNK_HEADER_BYTES as usize,
};
const RECORD: Structure = Structure {
    name: "record",
    fields: &[
        ("header crc", 4),
        ("payload crc", 4),
        ("LSN", 8),
        ("previous", 8),
        ("value bytes", 4),
        ("key bytes", 2),
        ("flags", 2),
    ],
    bytes: RECORD_HEADER_BYTES,
};
const PIECE: Structure = Structure {
    name: "piece",
    fields: &[
        ("magic", 4),
        ("crc", 4),
        ("database", 16),
        ("image", 8),
        ("offset", 8),
        ("major", 2),
        ("kind", 2),
        ("table", 4),
        ("entry count", 4),
        ("used bytes", 4),
        ("piece bytes", 4),
        ("reserved", 4),
    ],
    bytes: PIECE_HEADER_BYTES,
};
/// Entries have no fixed length: each of their bytes is a field.
const INT_ENTRY: Structure = Structure { name: "integer entry", fields: &[("byte", 1)], bytes: 1 };
const BYTE_ENTRY: Structure = Structure {
    name: "byte entry",
    fields: &[("locator", 8), ("shared", 2), ("suffix bytes", 2)],
    bytes: size_of::<ByteEntry>(),
};
const CHUNK_ENTRY: Structure = Structure {
    name: "chunk entry",
    fields: &[
        ("number", 8),
        ("place", 4),
        ("state", 1),
        ("reserved", 3),
        ("durable bytes", 4),
        ("live lines", 4),
        ("mark", 8),
    ],
    bytes: CHUNK_ENTRY_BYTES,
};
const END: Structure =
    Structure { name: "end of an image", fields: &[("total", 8)], bytes: size_of::<u64>() };

const STRUCTURES: [&Structure; 14] = [
    &SLOT,
    &CHECKPOINT,
    &SEGMENT,
    &GROUP,
    &FRAME,
    &PATCH,
    &OPENING,
    &CHUNK,
    &RECORD,
    &PIECE,
    &INT_ENTRY,
    &BYTE_ENTRY,
    &CHUNK_ENTRY,
    &END,
];

/// The tables leave no byte out, so a field that is added is missed here first.
pub fn check_tables() {
    for structure in STRUCTURES {
        let bytes: usize = structure.fields.iter().map(|(_, width)| width).sum();
        assert_eq!(bytes, structure.bytes, "the fields of '{}'", structure.name);
    }
}

/// A field of a structure in a file.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file.
    pub path: String,
    /// What it is, for messages.
    pub name: String,
    /// Where it stands.
    pub bytes: Range<usize>,
    /// What has to be sealed behind a change, innermost first.
    seals: Vec<Seal>,
}

/// A checksum that covers the field.
#[derive(Clone, Copy, Debug)]
enum Seal {
    /// Of the bytes from 12 to the end of a structure of this size, at 8.
    Plain { at: usize, bytes: usize },
    /// Of a group's frames, and its header.
    Group(usize),
    /// Of a record.
    Record(usize),
    /// Of a piece of an image.
    Piece(usize),
}

fn number(bytes: &[u8]) -> u64 {
    let mut wide = [0; 8];
    let len = bytes.len().min(8);
    wide[..len].copy_from_slice(&bytes[..len]);
    u64::from_le_bytes(wide)
}

/// At most so many groups, records and entries of a file: the first ones, and every 7th of the
/// others.
fn is_chosen(index: usize) -> bool {
    index < 3 || index.is_multiple_of(7)
}

fn add(places: &mut Vec<Place>, path: &str, structure: &Structure, at: usize, seals: &[Seal]) {
    let mut start = at;
    for (field, width) in structure.fields {
        let bytes = start..start + width;
        start = bytes.end;
        if *field != "checkpoints" {
            let name = format!("{} of the {} at {at}", field, structure.name);
            places.push(Place { path: path.into(), name, bytes, seals: seals.to_vec() });
        }
    }
}

/// All fields in the files of a database with log blocks of `block` bytes and chunks of `chunk`
/// bytes.
pub fn places(files: &Files, block: usize, chunk: usize) -> Vec<Place> {
    let mut places = Vec::new();
    for slot in [0, SLOT_STRIDE_BYTES as usize] {
        let seal = [Seal::Plain { at: slot, bytes: SLOT_BYTES }];
        add(&mut places, "superblock", &SLOT, slot, &seal);
        for checkpoint in [128, 192] {
            add(&mut places, "superblock", &CHECKPOINT, slot + checkpoint, &seal);
        }
    }
    for (path, bytes) in files {
        match path.split('/').next() {
            Some("wal") => add_log(&mut places, path, bytes, block),
            Some("index") => add_image(&mut places, path, bytes, block),
            Some("data") => add_data(&mut places, path, bytes, chunk),
            _ => {}
        }
    }
    places
}

fn add_log(places: &mut Vec<Place>, path: &str, bytes: &[u8], block: usize) {
    if bytes.starts_with(b"UARRWAL1") {
        add(places, path, &SEGMENT, 0, &[Seal::Plain { at: 0, bytes: SEGMENT.bytes }]);
    }
    let starts = (0..bytes.len()).step_by(block).filter(|at| bytes[*at..].starts_with(b"UGRP"));
    for (index, at) in starts.enumerate() {
        let seals = [Seal::Group(at)];
        if is_chosen(index) {
            add(places, path, &GROUP, at, &seals);
        }
        let group_bytes = number(&bytes[at + 88..at + 96]) as usize;
        let mut frame_at = at + GROUP_HEADER_BYTES;
        while frame_at < (at + group_bytes).min(bytes.len()) {
            let Ok((frame, len)) = Frame::load(&bytes[frame_at..]) else { break };
            let patch = frame.patch().is_some();
            if is_chosen(index) || patch || frame.opens_chunk() {
                add(places, path, &FRAME, frame_at, &seals);
            }
            if patch {
                let payload = FRAME_HEADER_BYTES + frame.key.len().next_multiple_of(8);
                add(places, path, &PATCH, frame_at + payload, &seals);
            }
            if frame.opens_chunk() {
                add(places, path, &OPENING, frame_at + FRAME_HEADER_BYTES, &seals);
            }
            frame_at += len;
        }
    }
}

fn add_image(places: &mut Vec<Place>, path: &str, bytes: &[u8], block: usize) {
    for at in (0..bytes.len()).step_by(block) {
        let Ok(header) = PieceHeader::peek(&bytes[at..]) else { continue };
        let seals = [Seal::Piece(at)];
        add(places, path, &PIECE, at, &seals);
        let (start, used) = (at + PIECE_HEADER_BYTES, header.used_bytes.get() as usize);
        let kind = number(&bytes[at + 42..at + 44]);
        if kind == PieceKind::End as u64 {
            add(places, path, &END, start, &seals);
        } else if kind == PieceKind::IntEntries as u64 {
            for at in (start..start + used).take(16) {
                add(places, path, &INT_ENTRY, at, &seals);
            }
        } else if kind == PieceKind::Chunks as u64 {
            for at in (start..start + used).step_by(CHUNK_ENTRY.bytes).take(4) {
                add(places, path, &CHUNK_ENTRY, at, &seals);
            }
        } else {
            let mut at = start;
            for _ in 0..4 {
                let Ok((entry, _)) = ByteEntry::ref_from_prefix(&bytes[at..start + used]) else {
                    break;
                };
                add(places, path, &BYTE_ENTRY, at, &seals);
                at += BYTE_ENTRY.bytes + usize::from(entry.suffix_bytes.get());
            }
        }
    }
}

fn add_data(places: &mut Vec<Place>, path: &str, bytes: &[u8], chunk: usize) {
    let Some(seed) = bytes.get(16..32).map(seed_of) else { return };
    for at in (0..bytes.len()).step_by(chunk).filter(|at| bytes[*at..].starts_with(b"UARRCHNK")) {
        add(places, path, &CHUNK, at, &[Seal::Plain { at, bytes: CHUNK.bytes }]);
    }
    let is_record = |at: &usize| {
        let header = RecordHeader::peek(&bytes[*at..]);
        header.is_some_and(|header| header.verify_header(&bytes[*at..], seed, *at as u64).is_ok())
    };
    for (index, at) in (0..bytes.len()).step_by(16).filter(is_record).enumerate() {
        if is_chosen(index) {
            add(places, path, &RECORD, at, &[Seal::Record(at)]);
        }
    }
}

fn seed_of(database: &[u8]) -> Seed {
    Seed::new(&DatabaseId(database.try_into().expect("an identity has 16 bytes")))
}

impl Place {
    /// Values at the edge of something: of the type, of the file, of its neighbours.
    pub fn values(&self, file: &[u8]) -> Vec<u64> {
        let width = self.bytes.len().min(8);
        let mask = u64::MAX >> (64 - 8 * width);
        let present = number(&file[self.bytes.clone()]);
        let neighbour = number(&file[self.bytes.end..][..width.min(file.len() - self.bytes.end)]);
        let len = file.len() as u64;
        let wanted = [
            0,
            1,
            u64::MAX,
            u64::MAX - 1,
            mask >> 1,
            (mask >> 1) + 1,
            present.wrapping_add(1),
            present.wrapping_sub(1),
            present.wrapping_mul(2),
            neighbour,
            len,
            len + 1,
            (len / 16) << 16,
            ((len + 4096) / 16) << 16,
            u64::MAX - 100,
            1 << 40,
            1 << 47,
            1 << 60,
            (1 << 62) - 1,
            u64::MAX << 32,
        ];
        let mut values: Vec<u64> = wanted.iter().map(|value| value & mask).collect();
        values.sort_unstable();
        values.dedup();
        values.retain(|value| *value != present);
        values
    }

    /// Sets the field, and gives everything around it right checksums.
    pub fn set(&self, file: &mut [u8], value: u64) {
        let field = &mut file[self.bytes.clone()];
        let width = field.len().min(8);
        field.fill(0);
        field[..width].copy_from_slice(&value.to_le_bytes()[..width]);
        self.seals.iter().for_each(|seal| seal.apply(file));
    }
}

fn store(file: &mut [u8], at: usize, crc: u32) {
    file[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

impl Seal {
    fn apply(self, file: &mut [u8]) {
        match self {
            Self::Plain { at, bytes } => {
                let crc = crc32c(&[&file[at + 12..at + bytes]]);
                store(file, at + 8, crc);
            }
            Self::Group(at) => seal_group(&mut file[at..]),
            Self::Record(at) => seal_record(file, at),
            Self::Piece(at) => {
                let piece = &file[at..];
                let used = number(&piece[52..56]) as usize;
                let used = piece[PIECE_HEADER_BYTES..].get(..used).unwrap_or_default();
                let crc = crc32c(&[&piece[8..PIECE_HEADER_BYTES], used]);
                store(file, at + 4, crc);
            }
        }
    }
}

/// As far as the frames can be distinguished; the header in any case.
fn seal_group(group: &mut [u8]) {
    let group_bytes = (number(&group[88..96]) as usize).clamp(GROUP_HEADER_BYTES, group.len());
    let mut at = GROUP_HEADER_BYTES;
    let mut crc = 0;
    while at + FRAME_HEADER_BYTES <= group_bytes {
        let loaded = Frame::load(&group[at..group_bytes])
            .map(|(frame, len)| (payload_crc(frame.key, frame.value), len));
        let len = match loaded {
            Ok((crc, len)) => {
                store(group, at, crc);
                len
            }
            Err(_) => group_bytes,
        };
        crc = extend(crc, &group[at..at + FRAME_HEADER_BYTES]);
        at = at.saturating_add(len);
    }
    store(group, 84, crc);
    let crc = crc32c(&[&group[8..GROUP_HEADER_BYTES]]);
    store(group, 4, crc);
}

fn seal_record(file: &mut [u8], at: usize) {
    let seed = seed_of(&file[16..32]);
    let header = *RecordHeader::peek(&file[at..]).expect("a header was there");
    let payload = file[at..]
        .get(..header.record_bytes())
        .and_then(|record| Some(crc32c(&[header.key(record)?, &record[header.value_offset()..]])));
    if let Some(crc) = payload {
        store(file, at + 4, crc);
    }
    let end = (at + header.key_offset()).min(file.len());
    let crc = seed.crc32c_at(at as u64, &[&file[at + 4..end]]);
    store(file, at, crc);
}

/// The fields by structure, to see that none is missing among `places`.
pub fn names(places: &[Place]) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for place in places {
        let name = place.name.split(" at ").next().unwrap_or_default();
        *names.entry(name.to_owned()).or_default() += 1;
    }
    names
}

/// How many fields all structures of a database with such keys have.
pub fn field_count(is_int: bool) -> usize {
    let other = if is_int { BYTE_ENTRY.name } else { INT_ENTRY.name };
    let structures = STRUCTURES.iter().filter(|structure| structure.name != other);
    // One entry stands for both checkpoints.
    structures.map(|structure| structure.fields.len()).sum::<usize>() - 1
}
