//! Rules of the format and who cites them.
//!
//! A rule stands in `docs/FORMAT.md` or `docs/FORMAT-values.md` as `- **WAL-7** ...`. Code that
//! obeys it says `//= WAL-7` on a line of its own, a test that proves it `//= test WAL-7`; commas
//! part several rules.

use std::collections::{BTreeMap, BTreeSet};

use super::package::is_test_path;
use super::{Finding, Tree};

const PAGES: [&str; 2] = ["docs/FORMAT.md", "docs/FORMAT-values.md"];
const MARK: &str = "//= ";

/// Rules without code or without a test, and citations of rules that do not exist.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut rules: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for page in PAGES {
        for (line, rule) in rules_of(tree.text(page)) {
            if rules.insert(rule, (page, line)).is_some() {
                findings.push(Finding::new(page, line, format!("{rule} stands twice")));
            }
        }
    }
    let (mut in_code, mut in_tests) = (BTreeSet::new(), BTreeSet::new());
    for (path, text) in tree.texts(".rs") {
        for (index, line) in text.lines().enumerate() {
            let Some(cited) = line.trim_start().strip_prefix(MARK) else { continue };
            let source = tree.source(path).expect("every .rs file is parsed");
            let is_test = is_test_path(path) || source.is_test_line(index + 1);
            let (cited, says_test) = match cited.strip_prefix("test ") {
                Some(cited) => (cited, true),
                None => (cited, false),
            };
            if says_test != is_test {
                let what = "cites a rule as the other kind: tests say `//= test`, code does not";
                findings.push(Finding::new(path, index + 1, what));
            }
            for rule in cited.split(',').map(str::trim) {
                if !rules.contains_key(rule) {
                    let what = format!("cites `{rule}`, which is no rule of the format");
                    findings.push(Finding::new(path, index + 1, what));
                }
                if is_test { &mut in_tests } else { &mut in_code }.insert(rule);
            }
        }
    }
    for (rule, (page, line)) in rules {
        for (cited, by) in [(&in_code, "code"), (&in_tests, "test")] {
            if !cited.contains(rule) {
                findings.push(Finding::new(page, line, format!("no {by} cites {rule}")));
            }
        }
    }
    findings
}

/// The rules of a page with their lines.
fn rules_of(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = page.lines().enumerate();
    lines.filter_map(|(index, line)| {
        let (rule, _) = line.strip_prefix("- **")?.split_once("**")?;
        let (group, number) = rule.split_once('-')?;
        let is_rule = group.bytes().all(|byte| byte.is_ascii_uppercase());
        (is_rule && number.parse::<u32>().is_ok()).then_some((index + 1, rule))
    })
}
