//! Golden records of format version 1 with corrupt twins, and the dumps in the documentation.
//!
//! Nothing here changes while version 1 is read. The files and dumps are written once by
//! `cargo test -p uarr-layout --test uarr_golden -- --ignored`; a change of them is a change of
//! the format and needs a new version.

use std::fs;
use std::path::PathBuf;

use uarr_layout::uarr::{
    BigInt, Builder, Decimal, Id128, NodeName, Time, UArrBuf, UArrRef, Value, dump, uarr,
};

fn records() -> Vec<(&'static str, UArrBuf)> {
    let mut rare = Builder::new().checksummed();
    let big = BigInt::from_decimal("18446744073709551616").expect("digits");
    let rare = rare.list(|list| {
        list.push(Time(1_000_000_000));
        list.push(NodeName("user:1"));
        list.push(&big);
        list.push(Decimal::new(1250, -3).expect("in range"));
        list.push(Id128([0x11; 16]));
        list.bytes(b"\x00\xff");
    });
    let rare = rare.expect("within the limits").clone();
    let wide = Value::Object((0..129).map(|i| (format!("n{i}"), Value::Int(i))).collect());
    vec![
        ("null", uarr!(null)),
        (
            "example",
            uarr!({
                "id": 7,
                "name": "Ada Lovelace",
                "vec": f32[1.0, 2.0],
                "tags": ["x", null],
                "pos": { "x": 0.5, "y": -1 },
            }),
        ),
        ("shared", uarr!([{ "a": 1 }, { "a": 2 }, {}, []])),
        ("rare", rare),
        ("wide", wide.to_buf().expect("within the limits")),
    ]
}

/// Name, byte to change, bits to flip; rule and offset that must be reported.
const TWINS: [(&str, usize, u8, &str, usize); 22] = [
    ("null", 0, 0x20, "magic", 0),
    ("null", 8, 0x03, "version", 8),
    ("null", 10, 0x02, "flags", 10),
    ("null", 12, 0x08, "length", 12),
    ("null", 20, 0x60, "tag", 20),
    ("null", 22, 0x01, "reserved", 21),
    ("null", 24, 0x01, "slot", 24),
    ("example", 4, 0x01, "crc", 4),
    ("example", 16, 0x08, "slot", 24),
    ("example", 16, 0x01, "align", 12),
    ("example", 0x20, 0x80, "utf8", 0x20),
    ("example", 0x2C, 0x01, "pad", 0x2C),
    ("example", 0x48, 0x01, "slot", 0x38),
    ("example", 0x70, 0x08, "offset", 0x70),
    ("example", 0x8C, 0x08, "offset", 0x88),
    ("example", 0x91, 0xD0, "tag", 0x91),
    ("example", 0xA0, 0x01, "shape", 0x98),
    ("example", 0xAC, 0x01, "pad", 0xAC),
    ("example", 0xAB, 0x01, "shape", 0x98),
    ("shared", 0x50, 0x01, "slot", 0x50),
    ("rare", 0x20, 0x01, "crc", 4),
    ("wide", 0x4B8, 0x01, "shape", 0x4B0),
];

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn twin_name(twin: &(&str, usize, u8, &str, usize)) -> String {
    format!("v1-{}-byte-{}-{}-at-{}.uarr", twin.0, twin.1, twin.3, twin.4)
}

fn documentation() -> PathBuf {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let own = docs.join("FORMAT-values.md");
    if own.exists() { own } else { docs.join("FORMAT.md") }
}

#[test]
fn golden_records_are_read_and_written_again() {
    for (name, record) in records() {
        let golden = fs::read(path(&format!("v1-{name}.uarr"))).expect("the golden file is there");
        assert_eq!(golden, record.as_bytes(), "{name}");
        let value = UArrRef::validate(&golden).expect("golden records are valid");
        assert_eq!(value.to_buf(), Ok(record), "{name}");
    }
}

#[test]
fn corrupt_twins_are_rejected_by_rule_and_offset() {
    let mut wrong = Vec::new();
    for twin in &TWINS {
        let golden = fs::read(path(&format!("v1-{}.uarr", twin.0))).expect("the file is there");
        let corrupt = fs::read(path(&twin_name(twin))).expect("the twin is there");
        let changed: Vec<usize> =
            (0..golden.len()).filter(|at| golden[*at] != corrupt[*at]).collect();
        assert_eq!(changed, [twin.1]);
        let present = UArrRef::validate(&corrupt).err().map(|e| (e.rule(), e.offset()));
        if present != Some((twin.3, twin.4)) {
            wrong.push((twin, present));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The page with every example block filled in anew.
fn page_with_dumps(page: &str) -> String {
    let mut text = String::new();
    let mut is_inside = false;
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("```uarr ") {
            let record = records().into_iter().find(|record| record.0 == name);
            let (_, record) = record.expect("every example of the page has a record");
            text.extend([line, "\n", &dump(&record)]);
            is_inside = true;
        } else if line == "```" && is_inside {
            text.push_str("```\n");
            is_inside = false;
        } else if !is_inside {
            text.extend([line, "\n"]);
        }
    }
    text
}

/// F000-37
#[test]
fn the_examples_of_the_documentation_are_exact() {
    let page = fs::read_to_string(documentation()).expect("the page is there");
    for name in ["null", "example", "shared", "rare"] {
        assert!(page.contains(&format!("```uarr {name}\n0000  55 41 52 31")), "{name}");
    }
    assert_eq!(page_with_dumps(&page), page);
}

#[test]
#[ignore = "writes the golden files and dumps"]
fn bless() {
    for (name, record) in records() {
        fs::write(path(&format!("v1-{name}.uarr")), record.as_bytes()).expect("written");
    }
    for twin in &TWINS {
        let (_, mut bytes) = records()
            .into_iter()
            .find(|record| record.0 == twin.0)
            .map(|(name, record)| (name, record.to_vec()))
            .expect("every twin has a record");
        bytes[twin.1] ^= twin.2;
        fs::write(path(&twin_name(twin)), bytes).expect("written");
    }
    let page = fs::read_to_string(documentation()).expect("the page is there");
    fs::write(documentation(), page_with_dumps(&page)).expect("written");
}
