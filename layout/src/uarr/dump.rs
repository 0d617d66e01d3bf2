//! Annotated hexadecimal dump of a record, for people who debug the format.
//!
//! Invariant: every byte of the record is shown or counted; a damaged record is dumped as far as
//! it can be followed, and the broken rule is named at the end.

use super::header::Header;
use super::json_write::write_string;
use super::reference::UArrRef;
use super::shape::ShapeView;
use super::spec::{HEADER_BYTES, SHAPE_NONE, align8, tag};
use super::view::{Budget, Kind, View};

/// Longest part that is shown in full; of longer ones the first bytes are.
const PART_BYTES_MAX: usize = 64;
const NOTE_CHARS_MAX: usize = 60;

/// A run of bytes and what it is.
struct Part {
    start: usize,
    len: usize,
    note: String,
}

/// The record as lines of offset, bytes and meaning; the last line says whether it is valid.
#[must_use]
pub fn dump(bytes: &[u8]) -> String {
    let mut parts = Vec::new();
    if let Ok(header) = Header::parse(bytes) {
        let root = UArrRef::root(bytes, header);
        header_parts(header, &root, &mut parts);
        walk(&root, &mut Budget::new(&root), &mut parts);
        shape_parts(&root, &mut parts);
    }
    parts.sort_by_key(|part| part.start);
    let mut text = String::new();
    let mut at = 0;
    for part in &parts {
        if part.start > at {
            write_part(&mut text, bytes, &gap(bytes, at, part.start));
        }
        // A damaged record may use bytes twice: they are shown once.
        if part.start >= at {
            write_part(&mut text, bytes, part);
            at = part.start + part.len;
        }
    }
    if at < bytes.len() {
        write_part(&mut text, bytes, &gap(bytes, at, bytes.len()));
    }
    match UArrRef::validate(bytes) {
        Ok(_) => text.push_str("valid\n"),
        Err(error) => text.extend([&*error.to_string(), "\n"]),
    }
    text
}

fn gap(bytes: &[u8], start: usize, end: usize) -> Part {
    let is_padding = end - start < 8 && bytes[start..end].iter().all(|byte| *byte == 0);
    let note = if is_padding { "padding" } else { "not referred to" };
    Part { start, len: end - start, note: note.to_owned() }
}

fn write_part(text: &mut String, bytes: &[u8], part: &Part) {
    let shown = part.len.min(PART_BYTES_MAX);
    let Some(content) = bytes.get(part.start..part.start + shown) else { return };
    for (row, line) in content.chunks(8).enumerate() {
        let mut hex = String::new();
        line.iter().for_each(|byte| hex.push_str(&format!("{byte:02x} ")));
        let note = if row == 0 { part.note.as_str() } else { "" };
        let line = format!("{:04x}  {hex:<24} {note}", part.start + row * 8);
        text.extend([line.trim_end(), "\n"]);
    }
    if shown < part.len {
        text.push_str(&format!("      ... {} more bytes\n", part.len - shown));
    }
}

fn header_parts(header: &Header, root: &UArrRef<'_>, parts: &mut Vec<Part>) {
    let mut add = |start, note| parts.push(Part { start, len: 8, note });
    add(0, format!("magic \"UAR1\", crc {:#010x}", header.crc32c.get()));
    add(
        8,
        format!(
            "version {}.{}, flags {}, length {}",
            header.major, header.minor, header.flags, header.total_len
        ),
    );
    let shapes = header.shapes_offset.get();
    add(16, format!("shapes at {shapes:#x}, root tag {:#04x} {}", root.tag(), word(root)));
    add(24, format!("root slot: {}", slot_note(root)));
}

fn word(value: &UArrRef<'_>) -> &'static str {
    match value.kind() {
        Kind::Null => "null",
        Kind::Undefined => "undefined",
        Kind::Bool => "bool",
        Kind::Int if value.tag() == tag::UINT => "uint",
        Kind::Int => "int",
        Kind::F64 => "f64",
        Kind::Time => "time",
        Kind::Duration => "duration",
        Kind::Node => "node",
        Kind::NodeName => "node name",
        Kind::Str => "string",
        Kind::Bytes => "bytes",
        Kind::BigInt => "big integer",
        Kind::Id128 => "id",
        Kind::Decimal => "decimal",
        Kind::Array => value.as_array().map_or("array", |array| array.element_name()),
        Kind::List => "list",
        Kind::Object => "object",
        Kind::Unknown => "unknown",
    }
}

/// What a slot says: its value, or where it leads.
fn slot_note(value: &UArrRef<'_>) -> String {
    if value.tag() < tag::POINTER_MIN {
        return short(value);
    }
    let count = (value.slot() >> 32) as u32;
    let is_empty = matches!(value.kind(), Kind::Bytes | Kind::Array | Kind::List) && count == 0;
    if is_empty || (value.kind() == Kind::Object && count == SHAPE_NONE) {
        return "empty".to_owned();
    }
    let rel = value.slot() as u32;
    match value.target(0) {
        Some(target) if value.kind() == Kind::Object => {
            format!("rel {rel:#x} -> {target:#x}, shape {count:#x}")
        }
        Some(target) => format!("rel {rel:#x} -> {target:#x}, {count}"),
        None => format!("rel {rel:#x} leads out of the record"),
    }
}

/// The value in typed notation, cut to fit a line.
fn short(value: &UArrRef<'_>) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(NOTE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn walk(value: &UArrRef<'_>, budget: &mut Budget, parts: &mut Vec<Part>) {
    if budget.pay(value).is_err() {
        return;
    }
    let len = match value.view() {
        Ok(View::List(_) | View::Object(_)) => return walk_container(value, budget, parts),
        Ok(View::Array(array)) => array.bytes().len(),
        Ok(_) if value.tag() >= tag::POINTER_MIN => (value.slot() >> 32) as usize,
        _ => return,
    };
    if let (Some(start), true) = (value.target(len as u64), len > 0) {
        parts.push(Part { start, len, note: short(value) });
    }
}

fn walk_container(value: &UArrRef<'_>, budget: &mut Budget, parts: &mut Vec<Part>) {
    let Some(count) = value.len().filter(|count| *count > 0) else { return };
    if budget.enter(value).is_err() {
        return;
    }
    let mut names = value.entries().map(|(name, _)| name);
    let mut tags = Vec::new();
    for child in value.iter() {
        walk(&child, budget, parts);
        let mut note = String::new();
        if let Some(name) = names.next()
            && write_string(&mut note, name).is_ok()
        {
            note.push_str(": ");
        }
        note.push_str(&slot_note(&child));
        parts.push(Part { start: child.slot_at() as usize, len: 8, note });
        tags.push(word(&child));
    }
    if let Some(table) = value.target(count as u64 * 9) {
        let note = format!("tags: {}", tags.join(", "));
        parts.push(Part { start: table + count * 8, len: count, note });
    }
    budget.leave();
}

fn shape_parts(root: &UArrRef<'_>, parts: &mut Vec<Part>) {
    let area = root.shapes_area();
    let area_at = root.record_bytes().len() - area.len();
    let mut offset = 0;
    while let Some(shape) = area.get(offset..).and_then(ShapeView::parse) {
        let start = area_at + offset;
        if shape.count == 0 || start < HEADER_BYTES {
            return;
        }
        let lookup_at = start + 8;
        let ends_at = lookup_at + shape.lookup.len();
        let names_at = ends_at + shape.ends.len();
        let (count, bytes) = (shape.count, shape.names.len());
        let mut add = |start, len, note| parts.push(Part { start, len, note });
        add(start, 8, format!("shape {offset:#x}: {count} names of {bytes} bytes"));
        let lookup = if count <= 128 { "fingerprints" } else { "hashes and permutation" };
        add(lookup_at, shape.lookup.len(), lookup.to_owned());
        add(ends_at, shape.ends.len(), "ends".to_owned());
        if bytes > 0 {
            let names = String::from_utf8_lossy(shape.names);
            let cut: String = names.chars().take(NOTE_CHARS_MAX).collect();
            add(names_at, bytes, format!("names {cut}"));
        }
        offset += align8(shape.bytes_unpadded());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_record_is_shown_once() {
        let record = crate::uarr::uarr!({
            "id": 7, "name": "Ada Lovelace", "vec": f32[1.0, 2.0], "tags": ["x", null, [], {}],
        });
        let text = dump(&record);
        let shown: Vec<u8> = text
            .lines()
            .filter(|line| *line != "valid")
            .flat_map(|line| line.get(6..30).unwrap_or(&line[6..]).split_whitespace())
            .map(|hex| u8::from_str_radix(hex, 16).expect("two digits"))
            .collect();
        assert_eq!(shown, record.as_bytes());
        assert!(text.contains("\"name\": rel"), "{text}");
    }

    #[test]
    fn damaged_records_are_dumped_with_the_broken_rule() {
        let record = crate::uarr::uarr!({ "a": ["long enough text", 1] });
        for at in (0..record.len()).step_by(if cfg!(miri) { 7 } else { 1 }) {
            let mut damaged = record.to_vec();
            damaged[at] ^= 0x41;
            assert!(!dump(&damaged).is_empty());
        }
        assert!(dump(b"nothing").contains("rule `short` broken at byte 0"));
    }
}
