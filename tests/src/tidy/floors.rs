//! The floors of the engine: a file uses only rooms on its own floor or below.
//!
//! The picture stands in `docs/ARCHITECTURE.md`, one floor a line, the highest first. A room is a
//! folder or a file of `engine/src`. `|` parts a floor: rooms on different sides of it do not know
//! each other.

use std::collections::BTreeMap;

use super::arrows::arrows;
use super::module::Modules;
use super::{Finding, Tree, fenced};

const PAGE: &str = "docs/ARCHITECTURE.md";
const SOURCE: &str = "engine/src";
const ROOT: &str = "engine/src/lib.rs";

/// Where a room lies: its floor from the top, and its side.
type Place = (usize, usize);

/// Rooms that lack in the picture or stand in it twice or for nothing, and arrows that go up.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(lines) = fenced::block(tree.text(PAGE), "floors") else {
        return vec![Finding::new(PAGE, 0, "needs exactly one block ```floors")];
    };
    let mut places: BTreeMap<&str, Place> = BTreeMap::new();
    let modules = Modules::of(tree, ROOT);
    let rooms: Vec<&str> = modules.files().into_iter().filter_map(room).collect();
    for (floor, (line, rooms_of_floor)) in lines.into_iter().enumerate() {
        for (side, rooms_of_side) in rooms_of_floor.split('|').enumerate() {
            for room in rooms_of_side.split_whitespace() {
                if places.insert(room, (floor, side)).is_some() {
                    findings.push(Finding::new(PAGE, line, format!("`{room}` stands twice")));
                }
                if !rooms.contains(&room) {
                    let what = format!("`{room}` is no folder or file of {SOURCE}");
                    findings.push(Finding::new(PAGE, line, what));
                }
            }
        }
    }
    for file in modules.files() {
        if room(file).is_some_and(|room| !places.contains_key(room)) {
            findings.push(Finding::new(file, 0, format!("stands on no floor of {PAGE}")));
        }
    }
    findings.extend(upward(tree, &places));
    findings
}

/// Arrows from a lower floor to a higher one, or between sides of a floor.
fn upward(tree: &Tree, places: &BTreeMap<&str, Place>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ((from, to), lines) in arrows(tree, ROOT) {
        let place = |file| places.get(room(file)?).copied();
        let (Some(at), Some(target)) = (place(&from), place(&to)) else { continue };
        let way = match at.0.cmp(&target.0) {
            std::cmp::Ordering::Greater => "up to",
            std::cmp::Ordering::Equal if at.1 != target.1 => "across to",
            _ => continue,
        };
        findings.push(Finding::new(from, lines[0], format!("reaches {way} {to}")));
    }
    findings
}

/// The room of a file: its folder directly below the engine's source, or the file itself.
fn room(file: &str) -> Option<&str> {
    let below = file.strip_prefix(SOURCE)?.strip_prefix('/')?;
    Some(below.split('/').next().unwrap_or(below).trim_end_matches(".rs"))
}
