//! Which file of a crate uses which.
//!
//! An arrow goes from a file to the file that defines what one of its paths names, whatever the
//! path goes through. Lines of `mod` are no arrows, nor are re-exports in a file that declares
//! modules, nor anything that is compiled for tests alone. Calls of methods are not seen: a file
//! that calls a method of a type names the type, or gets it from a file that does.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};
use syn::{Item, ItemUse, Visibility};

use super::Tree;
use super::module::{Modules, leaves};
use super::tokens;

/// Arrows between files, from and to, each with the lines that draw it.
pub type Arrows = BTreeMap<(String, String), Vec<usize>>;

/// The arrows among the files of the crate that begins in `root`.
pub fn arrows(tree: &Tree, root: &str) -> Arrows {
    let modules = Modules::of(tree, root);
    let mut arrows = Arrows::new();
    for file in modules.files() {
        let Some(source) = tree.source(file) else { continue };
        let mut walk = Walk { modules: &modules, file, within: Vec::new(), arrows: &mut arrows };
        walk.within.push(modules.home(file));
        walk.visit_file(&source.code);
    }
    arrows
}

/// Walks through one file.
struct Walk<'a> {
    modules: &'a Modules,
    file: &'a str,
    /// The module, and those around it in the same file.
    within: Vec<usize>,
    arrows: &'a mut Arrows,
}

impl Walk<'_> {
    fn note(&mut self, line: usize, path: &[String]) {
        let module = *self.within.last().expect("a file is a module");
        for target in self.modules.resolve(module, path) {
            if target != self.file {
                let arrow = (self.file.to_string(), target.to_string());
                self.arrows.entry(arrow).or_default().push(line);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let Some((_, items)) = &module.content else { return };
        let outer = *self.within.last().expect("a file is a module");
        let inner = self.modules.child(outer, &module.ident.to_string());
        self.within.push(inner.expect("a module in a file is known"));
        items.iter().for_each(|item: &Item| self.visit_item(item));
        self.within.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let module = *self.within.last().expect("a file is a module");
        let is_face = self.modules.all[module].has_child_files;
        if item.leading_colon.is_some() || is_face && !matches!(item.vis, Visibility::Inherited) {
            return;
        }
        for leaf in leaves(&item.tree) {
            self.note(leaf.line, &leaf.path);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            let parts = path.segments.iter().map(|segment| segment.ident.to_string());
            let line = path.segments[0].ident.span().start().line;
            self.note(line, &parts.collect::<Vec<_>>());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        for (line, path) in tokens::paths(call.tokens.clone()) {
            self.note(line, &path);
        }
    }

    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}
