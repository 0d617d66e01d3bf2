//! Lines of source: at most 100 columns, ASCII, no tabs.

use super::{Finding, Tree};

const COLUMNS_MAX: usize = 100;

/// Lines that are too wide or have other characters.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts(".rs") {
        for (index, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                findings.push(Finding::new(path, index + 1, format!("has {columns} columns")));
            }
            if !line.is_ascii() || line.contains('\t') {
                let what = "has a tab, or a character that is not ASCII: write it as \\u{...}";
                findings.push(Finding::new(path, index + 1, what));
            }
        }
    }
    findings
}
