//! The rules of validation in `docs/FORMAT-values.md`: records that break one of them each.

use std::collections::BTreeSet;

use uarr_layout::uarr::{UArrRef, uarr};

/// A record with `body`, without shapes; its root pointer leads back `distance` bytes.
fn record(body: &[u8], root_tag: u8, distance: u32, count: u32) -> Vec<u8> {
    let mut bytes = uarr!(null).to_vec();
    bytes.extend(body);
    let len = (bytes.len() as u32).to_le_bytes();
    bytes[12..16].copy_from_slice(&len);
    bytes[16..20].copy_from_slice(&len);
    bytes[20] = root_tag;
    bytes[24..28].copy_from_slice(&distance.to_le_bytes());
    bytes[28..32].copy_from_slice(&count.to_le_bytes());
    bytes
}

fn changed(valid: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    assert_ne!(bytes[at], byte, "nothing is changed");
    bytes[at] = byte;
    bytes
}

/// `depth` lists of one value inside each other, the innermost first.
fn nested_lists(depth: u8) -> Vec<u8> {
    let mut body = Vec::new();
    for level in 0..depth {
        let (slot, tag) = if level == 0 { (0, 0) } else { (16 | 1 << 32, 0x40) };
        body.extend(u64::to_le_bytes(slot));
        body.extend([tag, 0, 0, 0, 0, 0, 0, 0]);
    }
    record(&body, 0x40, 16, 1)
}

/// The word of a rule, and a record that breaks this rule alone.
fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let null = uarr!(null).to_vec();
    let text = uarr!("nine bytes and more").to_vec();
    let object = uarr!({ "b": 1, "a": 2 }).to_vec();
    let shapes = u32::from_le_bytes([object[16], object[17], object[18], object[19]]) as usize;
    vec![
        ("short", null[..24].to_vec()),
        ("magic", changed(&null, 3, b'2')),
        ("version", changed(&null, 8, 2)),
        ("version", changed(&null, 9, 1)),
        ("flags", changed(&null, 10, 2)),
        ("reserved", changed(&null, 23, 1)),
        ("length", changed(&null, 12, 40)),
        ("length", [&null[..], &[0; 8]].concat()),
        ("align", changed(&null, 16, 33)),
        ("offset", changed(&null, 16, 40)),
        ("crc", changed(&null, 4, 1)),
        ("crc", changed(&null, 10, 1)),
        ("tag", changed(&null, 20, 0x09)),
        ("slot", changed(&null, 24, 1)),
        ("slot", record(&[], 0x41, 0, 8)),
        ("offset", changed(&text, 24, text[24] + 8)),
        ("offset", changed(&text, 28, 60)),
        ("pad", changed(&text, text.len() - 1, 1)),
        ("utf8", changed(&text, 32, 0xFF)),
        ("shape", changed(&object, shapes + 8, object[shapes + 8] ^ 1)),
        ("name", changed(&object, 10, 4)),
        ("depth", nested_lists(65)),
        ("trailing", record(&[0; 8], 0, 0, 0)),
        ("canonical", record(b"eight by", 0x20, 8, 8)),
        ("bigint", record(&[1; 8], 0x23, 8, 8)),
    ]
}

//= test VAL-1, VAL-2, VAL-3, VAL-4, VAL-5, VAL-6, VAL-7, VAL-8, VAL-9, VAL-10, VAL-11
#[test]
fn a_record_that_breaks_a_rule_is_rejected_by_its_word() {
    for (word, bytes) in broken() {
        let error = UArrRef::validate(&bytes).err();
        assert_eq!(error.map(|error| error.rule()), Some(word), "{bytes:02x?}");
    }
    // The neighbours of two of them keep the rule.
    assert!(UArrRef::validate(&nested_lists(64)).is_ok());
    assert!(UArrRef::validate(&record(b"nine byte\0\0\0\0\0\0\0", 0x20, 16, 9)).is_ok());
}

/// The page has every word, and no other, and each has a record above.
#[test]
fn the_page_names_the_words_of_all_rules() {
    let page = include_str!("../../docs/FORMAT-values.md");
    let (_, rules) = page.split_once("- **VAL-1**").expect("the first rule");
    let (rules, _) = rules.split_once("- **VAL-12**").expect("the last one of validation");
    let on_page: BTreeSet<_> = rules.split('`').skip(1).step_by(2).collect();
    let here: BTreeSet<_> = broken().into_iter().map(|(word, _)| word).collect();
    assert_eq!(on_page, here);
}
