//! docs/BENCHMARKS.md is what the command makes of the committed reports.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

use std::fs;
use std::path::{Path, PathBuf};

use uarr_bench::report::page::Page;

const MAKE: &str = "uarr-bench report --markdown bench-harness/results/*.json >docs/BENCHMARKS.md";
const PAGE_LINES_MAX: usize = 120;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_page_is_made_of_the_committed_reports() {
    let results = root().join("bench-harness/results");
    let entries = fs::read_dir(results).unwrap().map(|entry| entry.unwrap().path());
    let mut reports: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect();
    reports.sort();
    let made = Page::read(&reports).unwrap().render();
    let page = fs::read_to_string(root().join("docs/BENCHMARKS.md")).unwrap();
    assert!(made == page, "docs/BENCHMARKS.md is not what its reports say; run: {MAKE}");
    assert!(made.lines().count() <= PAGE_LINES_MAX, "{} lines", made.lines().count());
}
