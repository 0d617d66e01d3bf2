//! The world outside: the engine reaches files, clock and environment through
//! `uarr_uring::Storage` alone, but for the places that are listed here.

use std::collections::BTreeSet;

use quote::ToTokens;
use syn::Item;

use super::module::{Modules, leaves};
use super::{Finding, Tree, tokens};

const ROOT: &str = "engine/src/lib.rs";

/// Modules of the standard library that reach the world.
const MODULES: [&str; 4] = ["fs", "env", "net", "process"];

/// Names that read the clock or wait by it.
const CLOCK: [&str; 6] =
    ["Instant", "SystemTime", "sleep", "wait_timeout", "wait_timeout_while", "recv_timeout"];

/// What may stand where, and why.
const NAMED: [(&str, &str, &str); 4] = [
    ("engine/src/api/builder.rs", "fs", "finds or makes the directory before there is a storage"),
    ("engine/src/expiry.rs", "SystemTime", "the type by which callers say when"),
    ("engine/src/jobs/threads.rs", "sleep", "background threads rest between steps"),
    ("engine/src/sync.rs", "wait_timeout", "waits with an end, for all of the engine"),
];

/// Uses of files, clock or environment outside of the named files, and names without a use.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut met = BTreeSet::new();
    for file in Modules::of(tree, ROOT).files() {
        let Some(source) = tree.source(file) else { continue };
        for (line, name) in reached(&source.code) {
            if NAMED.iter().any(|(place, named, _)| *place == file && *named == name) {
                met.insert((file.to_string(), name));
                continue;
            }
            let what = format!("uses `{name}`: time and files come through `Storage`");
            findings.push(Finding::new(file, line, what));
        }
    }
    for (file, name, why) in NAMED {
        let is_met = met.contains(&(file.to_string(), name.to_string()));
        if !is_met && tree.source(file).is_some() {
            let what = format!("does not use `{name}` any more ({why}): strike it in outside.rs");
            findings.push(Finding::new(file, 0, what));
        }
    }
    findings
}

/// What a file reaches of the world, with lines.
fn reached(code: &syn::File) -> BTreeSet<(usize, String)> {
    let tokens = code.to_token_stream();
    let clock = tokens::names(tokens.clone()).into_iter();
    let clock = clock.filter(|(_, name)| CLOCK.contains(&name.as_str()));
    let mut paths = tokens::paths(tokens);
    for item in &code.items {
        if let Item::Use(item) = item {
            paths.extend(leaves(&item.tree).into_iter().map(|leaf| (leaf.line, leaf.path)));
        }
    }
    let modules = paths.into_iter().filter_map(|(line, path)| match &path[..] {
        [std, module, ..] if std == "std" && MODULES.contains(&module.as_str()) => {
            Some((line, module.clone()))
        }
        _ => None,
    });
    clock.chain(modules).collect()
}
