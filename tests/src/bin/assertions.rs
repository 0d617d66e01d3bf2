//! Prints how many assertions each file, room and crate has per function, tests aside.
//!
//! Usage: `assertions [CRATE ...]`, by folder; all crates without an argument.

#![forbid(unsafe_code)]

use std::path::Path;

use uarr_tests::tidy::{Tree, assertions};

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let asked: Vec<String> = std::env::args().skip(1).collect();
    for report in assertions::reports(&Tree::read(&root)?) {
        if asked.is_empty() || asked.contains(&report.folder) {
            println!("{report}");
        }
    }
    Ok(())
}
