//! `uarr inspect`: the fields of one structure of a database that is not open, or what is wrong
//! with it.

use std::fmt::Display;

use serde_json::{Map, Value, json};
use uarr::inspect::{Checkpoint, ChunkState, Inspector, PieceKind, Superblock};
use uarr::{Error, KeyKind};

use crate::args::{Global, Inspect};
use crate::exit::Exit;
use crate::expiry::shown_ms;
use crate::failure::{Failure, Result};
use crate::output::{Output, one_line};

/// Runs the command.
pub fn run(global: &Global, args: &Inspect, out: &mut Output) -> Result<Exit> {
    let inspector = global.inspect()?;
    let report = match args {
        Inspect::Superblock => superblock(&inspector),
        Inspect::Segment { number } => segment(&inspector, *number)?,
        Inspect::Chunk { number } => chunk(&inspector, *number)?,
        Inspect::Index => index(&inspector)?,
    };
    out.result(&Value::Object(report.value), report.text)?;
    Ok(if report.is_damaged { Exit::Missing } else { Exit::Done })
}

/// The same facts for people and for programs.
#[derive(Default)]
struct Report {
    value: Map<String, Value>,
    text: String,
    is_damaged: bool,
}

impl Report {
    /// A field; its name is also its label.
    fn field(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        match &value {
            Value::String(text) => self.row(name, one_line(text)),
            Value::Null => self.row(name, "-"),
            other => self.row(name, other),
        }
        self.value.insert(name.to_owned(), value);
    }

    /// A time as the format has it, in ms since 1970, with a date for people; 0: none.
    fn time(&mut self, name: &str, ms: u64) {
        self.row(name, shown_ms(ms).unwrap_or_else(|| "-".to_owned()));
        self.value.insert(format!("{name}_ms"), (ms != 0).then_some(ms).into());
    }

    fn row(&mut self, name: &str, shown: impl Display) {
        self.text.push_str(&format!("{:<20}{shown}\n", name.replace('_', " ")));
    }

    /// Damage of the structure, if there is any.
    fn damage(&mut self, damage: Option<&Error>) {
        self.is_damaged |= damage.is_some();
        self.field("damage", damage.map(ToString::to_string));
    }

    /// Parts of the structure under `name`, each behind a heading of its own.
    fn parts(&mut self, name: &str, parts: impl IntoIterator<Item = (String, Report)>) {
        let mut values = Vec::new();
        for (heading, part) in parts {
            self.text.push_str(&format!("{heading}\n"));
            for line in part.text.lines() {
                self.text.push_str(&format!("  {line}\n"));
            }
            self.is_damaged |= part.is_damaged;
            values.push(Value::Object(part.value));
        }
        self.value.insert(name.to_owned(), values.into());
    }
}

fn superblock(inspector: &Inspector) -> Report {
    let newest = inspector.superblock().map(|block| block.generation.get());
    let mut report = Report::default();
    let slots = inspector.slots().map(|(offset, slot)| {
        let mut part = Report::default();
        part.value.insert("offset".to_owned(), offset.into());
        let mut heading = format!("slot at offset {offset}");
        match slot {
            Ok(Some(block)) => {
                let counts = newest == Some(block.generation.get());
                part.value.insert("counts".to_owned(), counts.into());
                heading.push_str(if counts { ": this one counts" } else { "" });
                slot_fields(&mut part, block);
            }
            Ok(None) => heading.push_str(": never written"),
            Err(error) => part.damage(Some(error)),
        }
        (heading, part)
    });
    report.parts("slots", slots);
    report
}

fn slot_fields(part: &mut Report, block: &Superblock) {
    let (major, minor) = block.version();
    part.field("version", format!("{major}.{minor}"));
    part.field("database", block.database.to_string());
    part.field("generation", block.generation.get());
    part.field("life", block.life.get());
    part.field("closed", block.closed.get() == 1);
    part.field("key_kind", key_kind(block.key_kind.get()));
    part.field("created_ns", block.created_ns.get());
    part.field("block_bytes", block.block_bytes.get());
    part.field("segment_bytes", block.segment_bytes.get());
    part.field("chunk_bytes", block.chunk_bytes.get());
    part.field("strategy", block.strategy.get());
    part.field("strategy_ns", block.strategy_ns.map(|ns| ns.get()).to_vec());
    part.field("next_lsn", block.next_lsn.get());
    part.time("expired_until", block.expiry_floor_ms.get());
    let names = ["newest checkpoint", "checkpoint before"];
    let kept = names.iter().zip(&block.checkpoints);
    part.parts("checkpoints", kept.map(|(name, kept)| ((*name).to_owned(), checkpoint(kept))));
}

fn key_kind(number: u32) -> Value {
    let kinds = [KeyKind::Bytes, KeyKind::U64, KeyKind::I64];
    match kinds.get(number as usize) {
        Some(kind) => kind.to_string().into(),
        None => number.into(),
    }
}

fn checkpoint(checkpoint: &Checkpoint) -> Report {
    let mut part = Report::default();
    part.field("number", checkpoint.number.get());
    part.field("lsn", checkpoint.lsn.get());
    part.field("segment", checkpoint.segment.get());
    part.field("offset", checkpoint.offset.get());
    part.field("next_chunk", checkpoint.next_chunk.get());
    part.field("end_lsn", checkpoint.end_lsn.get());
    part.field("image_bytes", checkpoint.image_bytes.get());
    part.field("entries", checkpoint.entry_count.get());
    part
}

fn segment(inspector: &Inspector, number: u64) -> Result<Report> {
    let segment = inspector.segment(number).map_err(|error| Failure::opening(&error))?;
    let mut report = Report::default();
    report.field("segment", number);
    report.field("file", segment.file);
    report.field("file_bytes", segment.bytes);
    report.field("begun", matches!(segment.header, Ok(Some(_))));
    if let Ok(Some(header)) = &segment.header {
        let (major, minor) = header.version();
        report.field("version", format!("{major}.{minor}"));
        report.field("database", header.database.to_string());
        report.field("life", header.life.get());
        report.field("first_lsn", header.first_lsn.get());
        report.field("segment_bytes", header.segment_bytes.get());
        report.field("block_bytes", header.block_bytes.get());
        report.field("wall_ns", header.wall_ns.get());
    }
    report.damage(segment.header.as_ref().err());
    Ok(report)
}

fn chunk(inspector: &Inspector, number: u64) -> Result<Report> {
    let chunk = inspector.chunk(number).map_err(|error| Failure::opening(&error))?;
    let mut report = Report::default();
    report.field("chunk", number);
    report.field("offset", chunk.offset);
    report.field("address", chunk.address);
    report.field("bytes", chunk.bytes);
    if let Ok(Some(header)) = &chunk.header {
        report.field("database", header.database.to_string());
        report.field("first_lsn", header.first_lsn.get());
    }
    report.field("has_header", matches!(chunk.header, Ok(Some(_))));
    report.field("continues_record_at", chunk.continues);
    report.field("records", chunk.record_count);
    report.field("deletions", chunk.tombstone_count);
    report.field("expiring", chunk.expiring_count);
    report.time("first_expires", chunk.first_expires_ms);
    report.time("last_expires", chunk.last_expires_ms);
    report.field("record_bytes", chunk.record_bytes);
    let damages: Vec<_> = chunk.header.as_ref().err().into_iter().chain(&chunk.damages).collect();
    report.is_damaged = !damages.is_empty();
    for damage in &damages {
        report.text.push_str(&format!("{}\n", one_line(&damage.to_string())));
    }
    let damages: Vec<_> = damages.iter().map(ToString::to_string).collect();
    report.value.insert("damages".to_owned(), damages.into());
    Ok(report)
}

fn index(inspector: &Inspector) -> Result<Report> {
    let mut report = Report::default();
    let Some(image) = inspector.image()? else {
        report.text.push_str("no index image: there was no checkpoint yet\n");
        report.value.insert("checkpoint".to_owned(), Value::Null);
        return Ok(report);
    };
    report.field("checkpoint", image.checkpoint);
    report.field("file", image.file);
    report.field("file_bytes", image.bytes);
    report.field("entries", image.entry_count);
    report.damage(image.damage.as_ref());
    let mut pieces = Vec::new();
    for piece in &image.pieces {
        let kind = match piece.kind {
            PieceKind::IntEntries => "integers",
            PieceKind::ByteEntries => "bytes",
            PieceKind::TableEntries => "tables",
            PieceKind::UnorderedEntries => "unordered table",
            PieceKind::Chunks => "chunks",
            PieceKind::End => "end",
        };
        let (offset, entries) = (piece.offset, piece.entry_count);
        report.text.push_str(&format!(
            "piece at offset {offset}: {kind}, {entries} entries, {} of {} bytes used\n",
            piece.used_bytes, piece.bytes
        ));
        pieces.push(json!({
            "offset": offset,
            "kind": kind,
            "entries": entries,
            "used_bytes": piece.used_bytes,
            "bytes": piece.bytes,
        }));
    }
    report.value.insert("pieces".to_owned(), pieces.into());
    let mut chunks = Vec::new();
    for chunk in &image.chunks {
        let state = match chunk.state() {
            ChunkState::Open => "open",
            ChunkState::Full => "full",
            ChunkState::Continued => "continues the one before",
            ChunkState::Quarantined => "not needed any more",
        };
        let (number, place) = (chunk.number.get(), chunk.place.get());
        let (durable, live) = (chunk.durable_bytes.get(), u64::from(chunk.live_lines.get()) * 64);
        let sweep_ms = chunk.sweep_ms();
        let swept = shown_ms(sweep_ms).map_or_else(String::new, |at| format!(", swept at {at}"));
        report.text.push_str(&format!(
            "chunk {number} in place {place}: {state}, {durable} bytes durable, about {live} \
             live{swept}\n"
        ));
        chunks.push(json!({
            "number": number,
            "place": place,
            "state": state,
            "durable_bytes": durable,
            "live_bytes": live,
            "sweep_ms": (sweep_ms != 0).then_some(sweep_ms),
        }));
    }
    report.value.insert("chunks".to_owned(), chunks.into());
    Ok(report)
}
