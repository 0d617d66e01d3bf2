//! Crates that may be published: a registry has the manifest, README and licences of each, and no
//! paths of this project.

use super::package::packages;
use super::{Finding, Tree};

/// Most words that registries take, and the longest of them.
const KEYWORDS_MAX: usize = 5;
const KEYWORD_BYTES_MAX: usize = 20;
/// What every such crate takes from the workspace.
const SHARED: [&str; 4] = ["version", "edition", "rust-version", "license"];

/// What is missing from manifests of crates without `publish = false`, and paths without a version.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let parsed = |path: &str| tree.text(path).parse::<toml::Table>().unwrap_or_default();
    let root = parsed("Cargo.toml");
    let version = root.get("workspace").and_then(|table| table.get("package")?.get("version"));
    for package in packages(tree) {
        let place = format!("{}/Cargo.toml", package.folder);
        let manifest = parsed(&place);
        let Some(own) = manifest.get("package").and_then(toml::Value::as_table) else { continue };
        if own.get("publish").and_then(toml::Value::as_bool) == Some(false) {
            continue;
        }
        let mut say = |what: String| findings.push(Finding::new(&place, 0, what));
        for key in SHARED.iter().filter(|key| own.get(**key).is_none()) {
            say(format!("lacks {key}.workspace = true"));
        }
        let words = own.get("keywords").and_then(toml::Value::as_array);
        let words: Vec<_> = words.into_iter().flatten().filter_map(toml::Value::as_str).collect();
        let is_short = words.iter().all(|word| word.len() <= KEYWORD_BYTES_MAX);
        if words.is_empty() || words.len() > KEYWORDS_MAX || !is_short {
            say(format!("wants 1 to {KEYWORDS_MAX} keywords of {KEYWORD_BYTES_MAX} bytes at most"));
        }
        for key in ["description", "categories"].iter().filter(|key| own.get(**key).is_none()) {
            say(format!("lacks {key}"));
        }
        let readme = own.get("readme").and_then(toml::Value::as_str).unwrap_or("none");
        let text = match readme.strip_prefix("../") {
            Some(above) => tree.text(above),
            None => tree.text(&format!("{}/{readme}", package.folder)),
        };
        if text.is_empty() {
            say("lacks a readme that is there".to_owned());
        }
        let include = own.get("include").map(toml::Value::to_string).unwrap_or_default();
        if !["/src", "/README.md", "/LICENSE-*"].iter().all(|part| include.contains(part)) {
            say("must include /src, /README.md and /LICENSE-*, so that no tests go along"
                .to_owned());
        }
        for folder in &package.needs {
            let shared = root.get("workspace").and_then(|table| table.get("dependencies"));
            let all = shared.and_then(toml::Value::as_table).into_iter().flatten();
            let found = all.map(|(_, wanted)| wanted).find(|wanted| {
                wanted.get("path").and_then(toml::Value::as_str) == Some(folder.as_str())
            });
            if found.and_then(|wanted| wanted.get("version")) != version {
                say(format!("needs {folder}, which has not the version of the workspace"));
            }
        }
    }
    findings
}
