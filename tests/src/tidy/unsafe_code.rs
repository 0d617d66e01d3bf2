//! Unsafe code: only in the crates that may have it, and each file of it on one page.

use quote::ToTokens;

use super::package::packages;
use super::{Finding, Tree, tokens};

const PAGE: &str = "docs/UNSAFE.md";

/// Crates with unsafe code.
const CRATES: [&str; 3] = ["uring/", "index/", "bench-harness/peers/"];

/// Unsafe code elsewhere, crates that do not forbid it, and files that the page does not name or
/// names for nothing.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut fenced = Vec::new();
    for (path, source) in tree.sources() {
        let names = tokens::names(source.code.to_token_stream());
        let Some((line, _)) = names.into_iter().find(|(_, name)| name == "unsafe") else {
            continue;
        };
        if CRATES.iter().any(|folder| path.starts_with(folder)) {
            fenced.push(path);
        } else {
            let what = format!("unsafe code: only {} have it", CRATES.join(", "));
            findings.push(Finding::new(path, line, what));
        }
    }
    for root in packages(tree).iter().flat_map(|package| &package.roots) {
        let may = CRATES.iter().any(|folder| root.starts_with(folder));
        if !may && !tree.text(root).contains("#![forbid(unsafe_code)]") {
            findings.push(Finding::new(root, 0, "must say #![forbid(unsafe_code)]"));
        }
    }
    let page = tree.text(PAGE);
    for path in &fenced {
        if !page.contains(&format!("`{path}`")) {
            findings.push(Finding::new(
                *path,
                0,
                format!("has unsafe code and stands not in {PAGE}"),
            ));
        }
    }
    for (index, line) in page.lines().enumerate() {
        for named in line.split('`').skip(1).step_by(2).filter(|named| named.contains("/src/")) {
            if !fenced.contains(&named) {
                let what = format!("`{named}` is no file with unsafe code");
                findings.push(Finding::new(PAGE, index + 1, what));
            }
        }
    }
    findings
}
