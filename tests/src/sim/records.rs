//! Values that are records, and patches of them.

use uarr::uarr;
use uarr::value::{Bytes, Patch};

use crate::Random;

/// A record that most patches fit, as long as its filler and a little more.
pub(super) fn record(random: &mut Random, filler: &[u8]) -> Vec<u8> {
    let count = random.next();
    uarr!({ "count": count, "text": "x", "list": [1, "y"], "filler": Bytes(filler) }).to_vec()
}

/// A patch that fits records, those that were patched before too, or only some of them.
pub(super) fn patch(random: &mut Random) -> Patch {
    let number = random.next().cast_signed();
    let long = "z".repeat(random.below(40) as usize);
    let operations = match random.below(8) {
        0..3 => uarr!([[0, ["count"], number]]),
        3 => uarr!([[0, ["text"], long], [0, ["count"], 0]]),
        4 => uarr!([[2, ["list"], [number, "more"]], [0, ["new"], { "a": number }]]),
        5 => uarr!([[0, ["filler"], long]]),
        6 => uarr!([[1, ["list", 0]]]),
        _ => uarr!([]),
    };
    Patch::from_record(operations).expect("it is well formed")
}
