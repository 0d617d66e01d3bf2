//! How many assertions the code has.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

use syn::visit::{self, Visit};

use super::Tree;
use super::module::Modules;
use super::package::{Package, packages};
use super::sizes::functions;

/// Assertions and functions of some code, tests aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Functions with a body.
    pub functions: usize,
    /// `assert!`, `assert_eq!`, `assert_ne!` that are asked while it runs.
    pub asserts: usize,
    /// The same with `debug_`: not in release builds.
    pub debug_asserts: usize,
    /// Those of constants: asked by the compiler.
    pub const_asserts: usize,
}

impl Counts {
    /// Those of one file.
    pub fn of(code: &syn::File) -> Self {
        let mut counting = Counting::default();
        counting.visit_file(code);
        Self { functions: functions(code).len(), ..counting.counts }
    }

    /// All assertions per function.
    pub fn per_function(&self) -> f64 {
        let all = self.asserts + self.debug_asserts + self.const_asserts;
        all as f64 / self.functions.max(1) as f64
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.functions += other.functions;
        self.asserts += other.asserts;
        self.debug_asserts += other.debug_asserts;
        self.const_asserts += other.const_asserts;
    }
}

#[derive(Default)]
struct Counting {
    counts: Counts,
    is_const: bool,
}

impl Counting {
    fn within_const(&mut self, walk: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.is_const, true);
        walk(self);
        self.is_const = outer;
    }
}

impl<'ast> Visit<'ast> for Counting {
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let name = call.path.segments.last().map(|last| last.ident.to_string());
        let count = match name.as_deref() {
            Some("assert" | "assert_eq" | "assert_ne") if self.is_const => {
                &mut self.counts.const_asserts
            }
            Some("assert" | "assert_eq" | "assert_ne") => &mut self.counts.asserts,
            Some("debug_assert" | "debug_assert_eq" | "debug_assert_ne") => {
                &mut self.counts.debug_asserts
            }
            _ => return,
        };
        *count += 1;
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.within_const(|counting| visit::visit_item_const(counting, item));
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.within_const(|counting| visit::visit_impl_item_const(counting, item));
    }

    fn visit_expr_const(&mut self, block: &'ast syn::ExprConst) {
        self.within_const(|counting| visit::visit_expr_const(counting, block));
    }
}

/// The counts of a crate: of each file, each room (folder) and all.
pub struct Report {
    /// The folder of the crate.
    pub folder: String,
    /// By file or room, from the source of the crate.
    pub rows: BTreeMap<String, Counts>,
    /// Of all files.
    pub total: Counts,
}

/// The counts of every crate but that of the tests.
pub fn reports(tree: &Tree) -> Vec<Report> {
    let packages = packages(tree);
    let shipped = packages.iter().filter(|package| package.folder != "tests");
    shipped.map(|package| report(tree, package)).collect()
}

fn report(tree: &Tree, package: &Package) -> Report {
    let (mut rows, mut total) = (BTreeMap::<String, Counts>::new(), Counts::default());
    let source = format!("{}/src/", package.folder);
    for root in &package.roots {
        for file in Modules::of(tree, root).files() {
            let Some(parsed) = tree.source(file) else { continue };
            let counts = Counts::of(&parsed.code);
            let below = file.strip_prefix(&source).unwrap_or(file);
            if let Some((room, _)) = below.split_once('/') {
                *rows.entry(format!("{room}/")).or_default() += counts;
            }
            *rows.entry(below.into()).or_default() += counts;
            total += counts;
        }
    }
    Report { folder: package.folder.clone(), rows, total }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<34} functions  assert  debug  const  per function", self.folder)?;
        let total = ("all", &self.total);
        let rows = self.rows.iter().map(|(name, counts)| (name.as_str(), counts));
        for (name, counts) in rows.chain([total]) {
            let Counts { functions, asserts, debug_asserts, const_asserts } = counts;
            let ratio = counts.per_function();
            writeln!(
                f,
                "  {name:<32} {functions:>9} {asserts:>7} {debug_asserts:>6} {const_asserts:>6} \
                 {ratio:>13.2}"
            )?;
        }
        Ok(())
    }
}
