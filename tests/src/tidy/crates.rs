//! The arrows between the crates, as `docs/ARCHITECTURE.md` draws them: `cli --> engine layout`.
//! Behind `+` stands what only tests and benches of the crate need.

use std::collections::BTreeSet;

use super::package::packages;
use super::{Finding, Tree, fenced};

const PAGE: &str = "docs/ARCHITECTURE.md";

/// Crates whose Cargo.toml and picture differ.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(lines) = fenced::block(tree.text(PAGE), "crates") else {
        return vec![Finding::new(PAGE, 0, "needs exactly one block ```crates")];
    };
    let mut drawn = BTreeSet::new();
    let packages = packages(tree);
    for (number, line) in lines {
        let (name, needs) = line.split_once("-->").unwrap_or((line, ""));
        let (needs, tests_need) = needs.split_once('+').unwrap_or((needs, ""));
        let set = |names: &str| -> BTreeSet<String> {
            names.split_whitespace().map(String::from).collect()
        };
        let Some(package) = packages.iter().find(|package| package.folder == name.trim()) else {
            findings.push(Finding::new(PAGE, number, format!("`{}` is no crate", name.trim())));
            continue;
        };
        if !drawn.insert(&package.folder) {
            findings.push(Finding::new(PAGE, number, format!("`{}` stands twice", name.trim())));
        }
        for (said, is, whose) in [
            (set(needs), &package.needs, "needs"),
            (set(tests_need), &package.tests_need, "needs for tests"),
        ] {
            if said != *is {
                let is = Vec::from_iter(is.iter().map(String::as_str)).join(" ");
                let what = format!("{}/Cargo.toml {whose}: {is}", package.folder);
                findings.push(Finding::new(PAGE, number, what));
            }
        }
    }
    for package in packages.iter().filter(|package| !drawn.contains(&package.folder)) {
        let place = format!("{}/Cargo.toml", package.folder);
        findings.push(Finding::new(place, 0, format!("the crate stands not in {PAGE}")));
    }
    findings
}
