//! Lints: every crate takes those of the workspace, and a crate's own clippy.toml keeps what the
//! root's says, since clippy reads only the nearest one.

use super::package::packages;
use super::{Finding, Tree};

/// Crates without the lints of the workspace, and clippy.toml files that lose some.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages(tree) {
        let manifest = format!("{}/Cargo.toml", package.folder);
        if !tree.text(&manifest).contains("[lints]\nworkspace = true\n") {
            findings.push(Finding::new(manifest, 0, "must take the lints of the workspace"));
        }
        let own = format!("{}/clippy.toml", package.folder);
        let (own_text, shared) = (tree.text(&own), tree.text("clippy.toml"));
        let lacks = |line: &&str| !own_text.lines().any(|own| own == *line);
        for line in shared.lines().filter(lacks).filter(|_| !own_text.is_empty()) {
            findings.push(Finding::new(&own, 0, format!("lacks a line of the root's: {line}")));
        }
    }
    findings
}
