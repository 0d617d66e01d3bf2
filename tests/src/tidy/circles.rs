//! Circles among the files of a crate: files that use each other, directly or around corners.

use std::collections::{BTreeMap, BTreeSet};

use super::arrows::{Arrows, arrows};
use super::package::packages;
use super::{Finding, Tree};

/// Files that reach each other, at least two of them.
pub type Circle = BTreeSet<String>;

/// The circles of `arrows`: its strongly connected parts.
pub fn circles(arrows: &Arrows) -> Vec<Circle> {
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in arrows.keys() {
        reached.entry(from).or_default().insert(to);
    }
    let from = |file| reachable(&reached, file);
    let all: BTreeMap<&str, BTreeSet<&str>> =
        reached.keys().map(|file| (*file, from(file))).collect();
    let mut found = BTreeSet::new();
    for (file, reach) in all.iter().filter(|(file, reach)| reach.contains(*file)) {
        let back = |other: &&&str| all.get(**other).is_some_and(|reach| reach.contains(file));
        found.insert(reach.iter().filter(back).map(ToString::to_string).collect::<Circle>());
    }
    found.into_iter().collect()
}

fn reachable<'a>(next: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut ahead: Vec<&str> = next.get(from).into_iter().flatten().copied().collect();
    while let Some(file) = ahead.pop() {
        if reached.insert(file) {
            ahead.extend(next.get(file).into_iter().flatten());
        }
    }
    reached
}

/// One line per crate: how many circles, and who is in them.
pub fn report(tree: &Tree) -> String {
    let mut lines = String::new();
    for package in packages(tree) {
        for root in &package.roots {
            let arrows = arrows(tree, root);
            let circles = circles(&arrows);
            lines += &format!("{root}: {} arrows, {} circles\n", arrows.len(), circles.len());
            for circle in circles {
                lines += &format!("    {}: {}\n", circle.len(), names(&circle, root));
            }
        }
    }
    lines
}

/// The members of a circle without the folder of their crate.
fn names(circle: &Circle, root: &str) -> String {
    let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
    let short = |file: &String| file.replacen(&format!("{folder}/"), "", 1);
    circle.iter().map(short).collect::<Vec<_>>().join(" ")
}

/// Every circle of every crate, as big as its files are many.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages(tree) {
        for root in &package.roots {
            for circle in circles(&arrows(tree, root)) {
                let what = format!("a circle of {} files: {}", circle.len(), names(&circle, root));
                findings.push(Finding::new(&package.folder, 0, what).of(circle.len()));
            }
        }
    }
    findings
}
