//! `uarr log-dump`: the log of a database that is not open, group by group and frame by frame.

use serde_json::{Value, json};
use uarr::KeyKind;
use uarr::inspect::{
    ChunkOpening, FLAG_BATCH_CONTINUES, Frame, FrameKind, Group, LogEnd, Next, table_number,
};

use crate::args::{Global, LogDump};
use crate::exit::Exit;
use crate::expiry::shown_ms;
use crate::failure::Result;
use crate::key::ShownKey;
use crate::output::{Output, one_line};

/// Runs the command. A log that ends in a torn group is no damage; one of which something
/// acknowledged is missing is.
pub fn run(global: &Global, args: &LogDump, out: &mut Output) -> Result<Exit> {
    let inspector = global.inspect()?;
    let kind = inspector.key_kind().unwrap_or_default();
    let mut log = inspector.log()?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        match log.next()? {
            Next::Group(group) if group.header.last_lsn() < args.from.unwrap_or(0) => {}
            Next::Group(group) => {
                write_group(out, &group, kind)?;
                left -= 1;
            }
            Next::End(end) => {
                out.result(&end_to_json(&end), end_to_text(&end))?;
                return Ok(if end.missing.is_some() { Exit::Missing } else { Exit::Done });
            }
        }
    }
    Ok(Exit::Done)
}

fn write_group(out: &mut Output, group: &Group<'_>, kind: KeyKind) -> Result<()> {
    let header = &group.header;
    let (segment, offset) = (header.segment.get(), header.offset.get());
    let (first, last) = (header.first_lsn.get(), header.last_lsn());
    let (life, durable) = (header.life.get(), header.durable_lsn.get());
    let (count, bytes) = (header.frame_count.get(), header.group_bytes.get());
    let value = json!({
        "type": "group",
        "segment": segment,
        "offset": offset,
        "first_lsn": first,
        "last_lsn": last,
        "previous_lsn": header.previous_lsn.get(),
        "durable_lsn": durable,
        "life": life,
        "frames": count,
        "bytes": bytes,
        "wall_ns": header.wall_ns.get(),
    });
    let text = format!(
        "group  segment {segment} offset {offset} LSN {first}..{last} frames {count} bytes \
         {bytes} life {life:#x} durable {durable}\n"
    );
    out.result(&value, text)?;
    for (offset, frame) in group.frames() {
        write_frame(out, group, offset, &frame, kind)?;
    }
    Ok(())
}

fn write_frame(
    out: &mut Output,
    group: &Group<'_>,
    offset: u64,
    frame: &Frame<'_>,
    kind: KeyKind,
) -> Result<()> {
    let (segment, lsn) = (group.header.segment.get(), frame.header.lsn.get());
    let verb = match FrameKind::from_byte(frame.header.kind) {
        Ok(FrameKind::Put) => "put",
        Ok(FrameKind::Delete) => "delete",
        Ok(FrameKind::Patch) => "patch",
        Ok(FrameKind::ChunkOpen) => return write_opening(out, group, offset, frame),
        Err(_) => "unknown",
    };
    let key = ShownKey::of_stored(frame.key, kind);
    let table = table_number(frame.key);
    let (value_bytes, address) = (frame.value.len(), frame.header.address.get());
    let expires_ms = frame.header.expires_ms.get();
    let continues = frame.header.flags & FLAG_BATCH_CONTINUES != 0;
    let value = json!({
        "type": "frame",
        "segment": segment,
        "offset": offset,
        "lsn": lsn,
        "kind": verb,
        "table": table,
        "key": key.to_json(),
        "value_bytes": value_bytes,
        "record_value_bytes": frame.record_value_bytes(),
        "expires_ms": (expires_ms != 0).then_some(expires_ms),
        "address": address,
        "batch_continues": continues,
        "life": group.header.life.get(),
        "durable_lsn": group.header.durable_lsn.get(),
    });
    let batch = if continues { " batch goes on" } else { "" };
    let expires = shown_ms(expires_ms).map_or_else(String::new, |at| format!(" expires {at}"));
    let of_table = if table == 0 { String::new() } else { format!("table {table} ") };
    let text = format!(
        "frame  segment {segment} offset {offset} LSN {lsn} {verb} {of_table}{} value \
         {value_bytes} bytes{expires} address {address}{batch}\n",
        one_line(&key.to_string())
    );
    out.result(&value, text)
}

/// A frame that says where a chunk lies.
fn write_opening(
    out: &mut Output,
    group: &Group<'_>,
    offset: u64,
    frame: &Frame<'_>,
) -> Result<()> {
    let (segment, lsn) = (group.header.segment.get(), frame.header.lsn.get());
    let address = frame.header.address.get();
    let opening = ChunkOpening::peek(frame.value);
    let (place, count) =
        opening.map_or((0, 0), |opening| (opening.place.get(), opening.count.get()));
    let value = json!({
        "type": "frame",
        "segment": segment,
        "offset": offset,
        "lsn": lsn,
        "kind": "chunk-open",
        "address": address,
        "place": place,
        "count": count,
        "life": group.header.life.get(),
        "durable_lsn": group.header.durable_lsn.get(),
    });
    let text = format!(
        "frame  segment {segment} offset {offset} LSN {lsn} chunk-open address {address} place \
         {place} count {count}\n"
    );
    out.result(&value, text)
}

fn end_to_json(end: &LogEnd) -> Value {
    json!({
        "type": "end",
        "segment": end.segment,
        "file": end.file,
        "offset": end.offset,
        "lsn": end.lsn,
        "torn": end.torn,
        "missing": end.missing.as_ref().map(ToString::to_string),
    })
}

fn end_to_text(end: &LogEnd) -> String {
    let why = match &end.torn {
        Some(defect) => format!("a group stands there that is not whole: {}", one_line(defect)),
        None => "no group stands there".to_owned(),
    };
    let mut text =
        format!("end    segment {} offset {} LSN {}: {why}\n", end.segment, end.offset, end.lsn);
    if let Some(missing) = &end.missing {
        text.push_str(&format!("{}\n", one_line(&missing.to_string())));
    }
    text
}
