//! What the checks may still find: everything listed here is to go, and nothing is to come.

use std::collections::{BTreeMap, BTreeSet};

use super::{CHECKS, Tree};

/// A check, the place of its findings, and the sum of their amounts at most.
pub type Allowed<'a> = (&'a str, &'a str, usize);

/// The list, which only shrinks: an entry that is not needed any more must be struck.
pub const NOT_YET: &[Allowed<'static>] = &[];

/// Runs every check over `tree`; what is wrong beside `allowed`, one finding a line.
pub fn verdict(tree: &Tree, allowed: &[Allowed<'_>]) -> Vec<String> {
    let mut said = Vec::new();
    let mut left: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for &(check, place, amount) in allowed {
        if left.insert((check, place), amount).is_some() {
            said.push(format!("not_yet.rs lists [{check}] of {place} twice"));
        }
    }
    for &(check, run) in CHECKS {
        let findings = run(tree);
        let places: BTreeSet<&str> = findings.iter().map(|finding| &*finding.place).collect();
        for place in places {
            let here = || findings.iter().filter(|finding| finding.place == place);
            let amount: usize = here().map(|finding| finding.amount).sum();
            let entry = left.keys().find(|entry| **entry == (check, place)).copied();
            let may = entry.and_then(|entry| left.remove(&entry));
            if amount > may.unwrap_or(0) {
                said.extend(here().map(|finding| format!("[{check}] {finding}")));
            }
            if let Some(may) = may.filter(|may| amount > *may) {
                said.push(format!("[{check}] {place}: {amount}, not_yet.rs allows {may}"));
            }
        }
    }
    for (check, place) in left.into_keys() {
        said.push(format!("not_yet.rs: [{check}] of {place} is mended: strike the entry"));
    }
    said
}
