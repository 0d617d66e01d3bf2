//! Words: one entry in `docs/GLOSSARY.md` for each, and one home for those that were used twice.
//!
//! The table under "Homes" says where a word may be part of a name in code. A word of the table
//! that names something elsewhere has a second meaning.

use std::collections::BTreeMap;

use quote::ToTokens;

use super::package::code_files;
use super::{Finding, Tree, tokens};

const PAGE: &str = "docs/GLOSSARY.md";
const HOMES: &str = "## Homes";

/// Words with two entries or two meanings, and names with a word away from its home.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let page = tree.text(PAGE);
    let mut findings = entries(page);
    let homes = homes(page);
    if homes.is_empty() {
        findings.push(Finding::new(PAGE, 0, format!("needs a table under {HOMES}")));
    }
    for file in code_files(tree) {
        let Some(source) = tree.source(&file) else { continue };
        let names = tokens::names(source.code.to_token_stream());
        for (word, home) in homes.iter().filter(|(_, home)| !lies_in(&file, home)) {
            let is_word = |part: String| part.trim_end_matches('s') == *word;
            let away = |(_, name): &&(usize, String)| parts(name).any(is_word);
            if let Some((line, name)) = names.iter().find(away) {
                let what = format!("`{name}`: the glossary keeps `{word}` for {home}");
                findings.push(Finding::new(&file, *line, what));
            }
        }
    }
    findings
}

/// Words that two rows explain, or one row in two ways.
fn entries(page: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeMap::new();
    for (line, cells) in rows(page.split(HOMES).next().unwrap_or(page)) {
        let (words, meaning) = (cells[0], cells.get(1).copied().unwrap_or_default());
        if meaning.contains("; also") {
            findings.push(Finding::new(PAGE, line, format!("`{words}` has two meanings")));
        }
        for word in words.split(['/', ',']).map(|word| word.trim().to_lowercase()) {
            if let Some(first) = seen.insert(word.clone(), line) {
                let what = format!("`{word}` has an entry in line {first} already");
                findings.push(Finding::new(PAGE, line, what));
            }
        }
    }
    findings
}

/// Words and the places where they may be part of a name.
fn homes(page: &str) -> Vec<(&str, &str)> {
    let table = page.split(HOMES).nth(1).unwrap_or_default();
    rows(table)
        .filter(|(_, cells)| cells.len() > 1)
        .map(|(_, cells)| (cells[0], cells[1]))
        .collect()
}

/// The rows of all tables of a page, without their heads.
fn rows(page: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let lines = page.lines().enumerate();
    lines.filter(|(_, line)| line.starts_with('|') && !line.starts_with("|--")).filter_map(
        |(index, line)| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            (!["word", "verb"].contains(&cells[0])).then_some((index + 1, cells))
        },
    )
}

/// Whether `file` lies in one of the places that `home` lists.
fn lies_in(file: &str, home: &str) -> bool {
    home.split(',').map(|place| place.trim().trim_matches('`')).any(|place| file.starts_with(place))
}

/// The words of a name, in lower case: `LogEnd` and `log_end` are `log`, `end`.
pub fn parts(name: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in name.chars() {
        if letter == '_' || letter.is_uppercase() && was_lower {
            words.push(String::new());
        }
        if letter != '_' {
            words.last_mut().expect("never empty").push(letter.to_ascii_lowercase());
        }
        was_lower = letter.is_lowercase() || letter.is_numeric();
    }
    words.into_iter().filter(|word| !word.is_empty())
}
