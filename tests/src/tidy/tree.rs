//! The texts of the project.

use std::collections::BTreeMap;
use std::path::Path;

use super::source::Source;

/// Folders that hold nothing of ours.
const FOREIGN: [&str; 3] = ["target", "bench-results", "node_modules"];
const ENDINGS: [&str; 3] = ["rs", "toml", "md"];

/// The texts of the project by their path from its root, with `/` between the parts of a path.
pub struct Tree {
    texts: BTreeMap<String, String>,
    sources: BTreeMap<String, Source>,
}

impl Tree {
    /// Reads every text below `root`.
    pub fn read(root: &Path) -> std::io::Result<Self> {
        let mut texts = BTreeMap::new();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder)? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if name.starts_with('.') || FOREIGN.contains(&&*name) {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else if ENDINGS.iter().any(|ending| path.extension() == Some(ending.as_ref())) {
                    let below = path.strip_prefix(root).expect("found below the root");
                    let key = below.to_string_lossy().replace('\\', "/");
                    texts.insert(key, std::fs::read_to_string(&path)?);
                }
            }
        }
        Ok(Self::of_texts(texts))
    }

    /// A planted tree, for tests of the checks.
    pub fn planted<T: Into<String>>(texts: impl IntoIterator<Item = (&'static str, T)>) -> Self {
        Self::of_texts(texts.into_iter().map(|(path, text)| (path.into(), text.into())).collect())
    }

    fn of_texts(texts: BTreeMap<String, String>) -> Self {
        let is_source = |path: &&String| path.ends_with(".rs");
        let sources = texts.keys().filter(is_source).map(|path| {
            let source = Source::parse(&texts[path]);
            (path.clone(), source.unwrap_or_else(|error| panic!("{path}: {error}")))
        });
        Self { sources: sources.collect(), texts }
    }

    /// The text at `path`; empty if there is none, and then every check that needs it finds so.
    pub fn text(&self, path: &str) -> &str {
        self.texts.get(path).map_or("", String::as_str)
    }

    /// Paths and texts that end in `ending`.
    pub fn texts(&self, ending: &str) -> impl Iterator<Item = (&str, &str)> {
        let all = self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        all.filter(move |(path, _)| path.ends_with(ending))
    }

    /// All source files.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.sources.iter().map(|(path, source)| (path.as_str(), source))
    }

    /// The source file at `path`.
    pub fn source(&self, path: &str) -> Option<&Source> {
        self.sources.get(path)
    }
}
