//! Names that say nothing, and types of the engine that share a name.

use std::collections::BTreeMap;

use syn::Item;

use super::glossary::parts;
use super::module::{Modules, name_of};
use super::package::packages;
use super::{Finding, Tree};

/// Words that are part of no name of an item or a file.
const EMPTY: [&str; 8] = ["save", "manager", "util", "utils", "helper", "helpers", "misc", "tmp"];

/// Items and files with an empty word in their name, and types with the name of another.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages(tree).iter().filter(|package| package.folder != "tests") {
        for root in &package.roots {
            let mut types: BTreeMap<String, String> = BTreeMap::new();
            for file in Modules::of(tree, root).files() {
                let stem = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".rs");
                if parts(stem).any(|part| EMPTY.contains(&part.as_str())) {
                    findings.push(Finding::new(file, 0, "the file's name says nothing"));
                }
                let items = tree.source(file).map_or(&[][..], |source| &source.code.items);
                for (item, name) in items.iter().filter_map(|item| Some((item, name_of(item)?))) {
                    if parts(&name).any(|part| EMPTY.contains(&part.as_str())) {
                        findings.push(Finding::new(file, 0, format!("`{name}` says nothing")));
                    }
                    let is_type = package.folder == "engine"
                        && matches!(item, Item::Enum(_) | Item::Struct(_) | Item::Trait(_));
                    if let Some(other) = is_type.then(|| types.insert(name.clone(), file.into())) {
                        let what = |other| format!("`{name}` is also a type of {other}");
                        findings.extend(other.map(|other| Finding::new(file, 0, what(other))));
                    }
                }
            }
        }
    }
    findings
}
