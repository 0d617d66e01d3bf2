//! A golden patch frame of format version 2.0 with corrupt twins, and its dump in the
//! documentation.
//!
//! Written once by `cargo test -p uarr-layout --test frame_golden -- --ignored`; a change is a
//! change of the format and needs a new version.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use uarr_layout::Defect;
use uarr_layout::frame::{Frame, FrameKind};
use uarr_layout::patch::PatchHeader;
use uarr_layout::uarr::{Bytes, Patch, UArrBuf, uarr};
use zerocopy::IntoBytes;

const KEY: &[u8] = b"ada";
const BASE: u64 = 4;

fn value(born: u64) -> UArrBuf {
    uarr!({ "born": born, "notes": Bytes(&[0; 40]) })
}

/// The frame, as FORMAT.md describes it.
fn golden_frame() -> Vec<u8> {
    let patch = Patch::from_record(uarr!([[0, ["born"], 1816]])).unwrap();
    let result = patch.apply(&value(1815)).unwrap();
    assert_eq!(result, value(1816));
    let payload = [PatchHeader::new(BASE, KEY, &result).as_bytes(), patch.as_bytes()].concat();
    let mut frame = Frame::new_patch(0, KEY, &payload, &result);
    (frame.header.lsn, frame.header.address) = (7.into(), 256.into());
    let mut bytes = vec![0; frame.len_in_log()];
    frame.store(&mut bytes);
    bytes
}

/// Byte to change, bits to flip. What is found is in `expected`.
const TWINS: [(usize, u8); 8] =
    [(0, 0x01), (4, 0x08), (5, 0x02), (32, 0x80), (40, 0x01), (48, 0x40), (56, 0x01), (120, 0x01)];

/// What reading the twin with byte `at` changed must report: lengths, kinds and flags by name, the
/// rest by checksum.
fn is_expected(at: usize, defect: Defect) -> bool {
    match at {
        4 => defect == Defect::Kind(3 ^ 0x08),
        5 => defect == Defect::Flags(0x02),
        32 => defect == Defect::Length,
        _ => matches!(defect, Defect::Checksum { .. }),
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn twin_path(at: usize) -> PathBuf {
    path(&format!("v2.0-patch-byte-{at}.frame"))
}

fn page_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/FORMAT.md")
}

fn read(bytes: &[u8]) -> Result<Frame<'_>, Defect> {
    let (frame, len) = Frame::load(bytes)?;
    frame.verify()?;
    assert_eq!(len, bytes.len());
    Ok(frame)
}

#[test]
fn the_golden_frame_is_read_and_written_again() {
    let golden = fs::read(path("v2.0-patch.frame")).unwrap();
    assert_eq!(golden, golden_frame());
    let frame = read(&golden).unwrap();
    assert_eq!(frame.verify(), Ok(FrameKind::Patch));
    assert_eq!((frame.key, frame.header.lsn.get(), frame.header.address.get()), (KEY, 7, 256));
    let (header, patch) = frame.patch().unwrap();
    assert_eq!(header.base.get(), BASE);
    let result = uarr_layout::uarr::apply(&value(1815), patch).unwrap();
    assert!(header.is_result(KEY, &result));
    assert_eq!(frame.record_value_bytes(), result.len());
}

#[test]
fn corrupt_twins_are_rejected() {
    let golden = fs::read(path("v2.0-patch.frame")).unwrap();
    for (at, bits) in TWINS {
        let twin = fs::read(twin_path(at)).unwrap();
        let changed: Vec<_> = (0..golden.len()).filter(|i| golden[*i] != twin[*i]).collect();
        assert_eq!((changed, golden[at] ^ twin[at]), (vec![at], bits));
        let defect = read(&twin).map(|frame| frame.header).unwrap_err();
        assert!(is_expected(at, defect), "byte {at}: {defect:?}");
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (row, chunk) in bytes.chunks(16).enumerate() {
        let _ = write!(text, "{:04x} ", row * 16);
        for byte in chunk {
            let _ = write!(text, " {byte:02x}");
        }
        text.push('\n');
    }
    text
}

/// The page with the dump filled in anew.
fn page_with_dump(page: &str) -> String {
    let (before, rest) = page.split_once("```frame patch\n").unwrap();
    let (_, after) = rest.split_once("```\n").unwrap();
    format!("{before}```frame patch\n{}```\n{after}", hex(&golden_frame()))
}

/// F000-37
#[test]
fn the_example_of_the_documentation_is_exact() {
    let page = fs::read_to_string(page_path()).unwrap();
    assert!(page.contains("```frame patch\n0000  "));
    assert_eq!(page_with_dump(&page), page);
}

#[test]
#[ignore = "writes the golden files and the dump"]
fn bless() {
    let golden = golden_frame();
    fs::write(path("v2.0-patch.frame"), &golden).unwrap();
    for (at, bits) in TWINS {
        let mut twin = golden.clone();
        twin[at] ^= bits;
        fs::write(twin_path(at), twin).unwrap();
    }
    let page = fs::read_to_string(page_path()).unwrap();
    fs::write(page_path(), page_with_dump(&page)).unwrap();
}
