//! The fences that keep the house in order: what `tests/tests/tidy.rs` runs over the source.
//!
//! Each check is a function of a [`Tree`], the texts of the project, and returns [`Finding`]s. What
//! the checks compare with stands in the pages of `docs` (floors and crates in ARCHITECTURE, rules
//! in FORMAT, words in GLOSSARY, fences of unsafe code in UNSAFE), so page and code cannot differ
//! for long.
//!
//! Map of the modules: `tree` reads and parses, `source` is one file without its tests, `package`
//! the crates, `module` resolves names, `arrows` finds which file uses which, `tokens` looks into
//! macros; every other file is one check, named after what it looks at. `not_yet` lists what may
//! remain for now.

pub mod arrows;
pub mod assertions;
pub mod circles;
pub mod citations;
pub mod crates;
pub mod fenced;
pub mod finding;
pub mod floors;
pub mod glossary;
pub mod lines;
pub mod lint_tables;
pub mod module;
pub mod names;
pub mod not_yet;
pub mod outside;
pub mod package;
pub mod releases;
pub mod sizes;
pub mod source;
pub mod tokens;
pub mod tree;
pub mod unsafe_code;

pub use finding::Finding;
pub use tree::Tree;

/// A check by its name.
pub type Check = (&'static str, fn(&Tree) -> Vec<Finding>);

/// Every check, in the order of their reports.
pub const CHECKS: &[Check] = &[
    ("circle", circles::check),
    ("floor", floors::check),
    ("crate", crates::check),
    ("rule", citations::check),
    ("glossary", glossary::check),
    ("line", lines::check),
    ("outside", outside::check),
    ("unsafe", unsafe_code::check),
    ("file", sizes::check_files),
    ("function", sizes::check_functions),
    ("name", names::check),
    ("lint", lint_tables::check),
    ("release", releases::check),
];
