//! The crates of the project, as their Cargo.toml files describe them.

use std::collections::BTreeSet;

use super::Tree;
use super::module::Modules;

/// One package.
pub struct Package {
    /// Its folder, from the root of the project.
    pub folder: String,
    /// Packages of the project it needs, by folder.
    pub needs: BTreeSet<String>,
    /// Packages of the project that only its tests and benches need.
    pub tests_need: BTreeSet<String>,
    /// Files where a crate begins: `src/lib.rs`, `src/main.rs`, `src/bin/*.rs`.
    pub roots: Vec<String>,
}

/// The packages of the workspace, in the order of its `members`.
pub fn packages(tree: &Tree) -> Vec<Package> {
    let Some(workspace) = manifest(tree, "Cargo.toml") else { return Vec::new() };
    let members = at(&workspace, &["workspace", "members"]).and_then(toml::Value::as_array);
    let members = members.into_iter().flatten().filter_map(toml::Value::as_str);
    members.map(|folder| package(tree, &workspace, folder)).collect()
}

fn package(tree: &Tree, workspace: &toml::Table, folder: &str) -> Package {
    let table = manifest(tree, &format!("{folder}/Cargo.toml")).unwrap_or_default();
    let begins = |path: &str| match path.strip_prefix(&format!("{folder}/src/")) {
        Some(below) => match below.strip_prefix("bin/") {
            Some(name) => !name.contains('/'),
            None => below == "lib.rs" || below == "main.rs",
        },
        None => false,
    };
    let mut sections = vec![&table];
    let targets = at(&table, &["target"]).and_then(toml::Value::as_table);
    sections.extend(targets.into_iter().flatten().filter_map(|(_, target)| target.as_table()));
    let needed = |section: &str| {
        let tables = sections.iter().filter_map(|table| table.get(section)?.as_table());
        let names = tables.flatten().filter_map(|(name, wanted)| {
            folder_of(workspace, folder, name, wanted).filter(|needed| needed != folder)
        });
        names.collect::<BTreeSet<_>>()
    };
    let (mut needs, tests_need) = (needed("dependencies"), needed("dev-dependencies"));
    needs.extend(needed("build-dependencies"));
    Package {
        folder: folder.into(),
        tests_need: tests_need.difference(&needs).cloned().collect(),
        needs,
        roots: tree
            .sources()
            .map(|(path, _)| path)
            .filter(|path| begins(path))
            .map(String::from)
            .collect(),
    }
}

/// The folder of a package of the project; `None` if it comes from elsewhere.
fn folder_of(
    workspace: &toml::Table,
    from: &str,
    name: &str,
    wanted: &toml::Value,
) -> Option<String> {
    let shared = ["workspace", "dependencies", name, "path"];
    match wanted.get("path").and_then(toml::Value::as_str) {
        Some(".") => Some(from.into()),
        Some(path) => Some(joined(from, path)),
        None => at(workspace, &shared).and_then(toml::Value::as_str).map(String::from),
    }
}

/// The path from the root that `path` means in folder `from`.
fn joined(from: &str, path: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn manifest(tree: &Tree, path: &str) -> Option<toml::Table> {
    let text = tree.text(path);
    let parsed = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
    (!text.is_empty()).then_some(parsed)
}

fn at<'a>(table: &'a toml::Table, keys: &[&str]) -> Option<&'a toml::Value> {
    let (first, rest) = keys.split_first()?;
    rest.iter().try_fold(table.get(*first)?, |value, key| value.get(key))
}

/// Whether all of this file serves tests, benches or examples.
pub fn is_test_path(path: &str) -> bool {
    let mut folders = path.split('/').rev().skip(1);
    folders.any(|folder| ["tests", "benches", "examples"].contains(&folder))
}

/// The files that ship: those of every crate but of the crate of tests, and nothing that is
/// compiled for tests alone.
pub fn code_files(tree: &Tree) -> Vec<String> {
    let mut files = Vec::new();
    for package in packages(tree).iter().filter(|package| package.folder != "tests") {
        for root in &package.roots {
            let modules = Modules::of(tree, root);
            files.extend(modules.files().into_iter().map(String::from));
        }
    }
    files
}
