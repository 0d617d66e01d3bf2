//! The modules of a crate, and what a path names in them.
//!
//! Names are resolved as the compiler does it, as far as files are concerned: through `crate`,
//! `self`, `super`, child modules, imports, re-exports and globs of modules. What stands behind a
//! type (its functions, its variants) belongs to the file of the type. Names of other crates
//! resolve to nothing.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::Visit;
use syn::{Attribute, Item, ItemUse, UseTree};

use super::Tree;

/// Imports that name each other end somewhere: longer chains are not followed.
const IMPORTS_MAX: usize = 32;

/// One module of a crate.
pub struct Module {
    /// The file it stands in.
    pub file: String,
    /// Whether its file declares modules with files of their own.
    pub has_child_files: bool,
    parent: Option<usize>,
    names: BTreeMap<String, Vec<Named>>,
    globs: Vec<Vec<String>>,
}

/// What a name stands for.
enum Named {
    /// An item of this file, whose path may go on: a type or a trait.
    Type(String),
    /// Another item of this file.
    Item(String),
    Module(usize),
    Import(Vec<String>),
}

/// The modules of one crate; the first is its root.
pub struct Modules {
    /// All of them.
    pub all: Vec<Module>,
}

impl Modules {
    /// The modules of the crate that begins in `root`.
    pub fn of(tree: &Tree, root: &str) -> Self {
        let mut modules = Self { all: Vec::new() };
        let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
        if let Some(source) = tree.source(root) {
            modules.add(tree, None, root, folder, &source.code.items);
        }
        modules
    }

    /// The module that `file` is.
    pub fn home(&self, file: &str) -> usize {
        let found = self.all.iter().position(|module| module.file == file);
        found.expect("a file of this crate")
    }

    /// The child `name` of a module.
    pub fn child(&self, module: usize, name: &str) -> Option<usize> {
        self.all[module].names.get(name)?.iter().find_map(|named| match named {
            Named::Module(child) => Some(*child),
            _ => None,
        })
    }

    /// The files of the crate.
    pub fn files(&self) -> BTreeSet<&str> {
        self.all.iter().map(|module| module.file.as_str()).collect()
    }

    /// Adds the module with `items`; files of its children lie in `folder`.
    fn add(
        &mut self,
        tree: &Tree,
        parent: Option<usize>,
        file: &str,
        folder: &str,
        items: &[Item],
    ) -> usize {
        let this = self.all.len();
        self.all.push(Module {
            file: file.into(),
            has_child_files: false,
            parent,
            names: BTreeMap::new(),
            globs: Vec::new(),
        });
        for item in items {
            match item {
                Item::Mod(module) => {
                    let name = module.ident.to_string();
                    let below = format!("{folder}/{name}");
                    let child = match &module.content {
                        Some((_, items)) => self.add(tree, Some(this), file, &below, items),
                        None => {
                            self.all[this].has_child_files = true;
                            let files = [format!("{below}.rs"), format!("{below}/mod.rs")];
                            let found = files.iter().find(|path| tree.source(path).is_some());
                            let Some(found) = found else { continue };
                            let source = tree.source(found).expect("found above");
                            self.add(tree, Some(this), found, &below, &source.code.items)
                        }
                    };
                    self.name(this, name, Named::Module(child));
                }
                item => self.add_item(this, item),
            }
        }
        this
    }

    fn add_item(&mut self, this: usize, item: &Item) {
        let file = self.all[this].file.clone();
        if let Some(name) = name_of(item) {
            let exported = |item: &syn::ItemMacro| has_attribute(&item.attrs, "macro_export");
            let is_exported = matches!(item, Item::Macro(item) if exported(item));
            let home = if is_exported { 0 } else { this };
            let named = if is_type(item) { Named::Type(file) } else { Named::Item(file) };
            self.name(home, name, named);
        }
        let mut imports = Imports::default();
        imports.visit_item(item);
        for (import, path) in imports.found {
            match import {
                Some(name) => self.name(this, name, Named::Import(path)),
                None => self.all[this].globs.push(path),
            }
        }
    }

    fn name(&mut self, module: usize, name: String, named: Named) {
        self.all[module].names.entry(name).or_default().push(named);
    }

    /// The files that define what `path` names in `module`; none if it names something of another
    /// crate.
    pub fn resolve(&self, module: usize, path: &[String]) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        for end in self.ends(module, path, IMPORTS_MAX) {
            found.insert(match end {
                End::File(file) => file,
                End::Module(module) => &self.all[module].file,
            });
        }
        found
    }

    fn ends(&self, module: usize, path: &[String], imports_left: usize) -> Vec<End<'_>> {
        match path.split_first().map(|(first, rest)| (first.as_str(), rest)) {
            Some(("crate", rest)) => self.walk(0, rest, imports_left),
            Some(("self", rest)) => self.walk(module, rest, imports_left),
            Some(("super", rest)) => match self.all[module].parent {
                Some(parent) => match rest.first().is_some_and(|next| next == "super") {
                    true => self.ends(parent, rest, imports_left),
                    false => self.walk(parent, rest, imports_left),
                },
                None => Vec::new(),
            },
            Some(_) => self.walk(module, path, imports_left),
            None => Vec::new(),
        }
    }

    fn walk(&self, module: usize, path: &[String], imports_left: usize) -> Vec<End<'_>> {
        let Some((first, rest)) = path.split_first() else { return vec![End::Module(module)] };
        if imports_left == 0 {
            return Vec::new();
        }
        let Some(named) = self.all[module].names.get(first) else {
            return self.walk_globs(module, path, imports_left);
        };
        let ends = named.iter().flat_map(|named| match named {
            Named::Type(file) => vec![End::File(file)],
            Named::Item(file) if rest.is_empty() => vec![End::File(file)],
            Named::Item(_) => Vec::new(),
            Named::Module(child) => self.walk(*child, rest, imports_left),
            // `use log::Log` in a module that calls something else `log` would name itself.
            Named::Import(target) if target.first() == Some(first) && target.len() == 1 => {
                Vec::new()
            }
            Named::Import(target) => {
                let whole: Vec<String> = target.iter().chain(rest).cloned().collect();
                self.ends(module, &whole, imports_left - 1)
            }
        });
        ends.collect()
    }

    fn walk_globs(&self, module: usize, path: &[String], imports_left: usize) -> Vec<End<'_>> {
        let ends = self.all[module].globs.iter().flat_map(|glob| {
            let targets = self.ends(module, glob, imports_left - 1);
            targets.into_iter().flat_map(|target| match target {
                End::Module(target) if target != module => {
                    self.walk(target, path, imports_left - 1)
                }
                _ => Vec::new(),
            })
        });
        ends.collect()
    }
}

/// Where a path ends.
enum End<'a> {
    File(&'a str),
    Module(usize),
}

/// The name that an item gives to its module.
pub fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

fn is_type(item: &Item) -> bool {
    matches!(
        item,
        Item::Enum(_)
            | Item::Struct(_)
            | Item::Trait(_)
            | Item::TraitAlias(_)
            | Item::Type(_)
            | Item::Union(_)
    )
}

fn has_attribute(attributes: &[Attribute], name: &str) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident(name))
}

/// Collects imports, those inside of functions too; not those of modules inside.
#[derive(Default)]
struct Imports {
    found: Vec<(Option<String>, Vec<String>)>,
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_none() {
            let leaves = leaves(&item.tree);
            self.found.extend(leaves.into_iter().map(|leaf| (leaf.name, leaf.path)));
        }
    }

    fn visit_item_mod(&mut self, _: &'ast syn::ItemMod) {}
}

/// One name that a `use` imports.
pub struct Leaf {
    /// What it is called here; `None` for a glob.
    pub name: Option<String>,
    /// What it names.
    pub path: Vec<String>,
    /// Where it stands.
    pub line: usize,
}

/// All names that a tree of `use` imports.
pub fn leaves(tree: &UseTree) -> Vec<Leaf> {
    match tree {
        UseTree::Path(path) => {
            let mut below = leaves(&path.tree);
            for leaf in &mut below {
                leaf.path.insert(0, path.ident.to_string());
                if leaf.path.last().is_some_and(|last| last == "self") {
                    leaf.path.pop();
                    let is_self = leaf.name.as_deref() == Some("self");
                    leaf.name = if is_self { leaf.path.last().cloned() } else { leaf.name.take() };
                }
            }
            below
        }
        UseTree::Name(name) => vec![leaf(&name.ident, &name.ident)],
        UseTree::Rename(name) => vec![leaf(&name.rename, &name.ident)],
        UseTree::Glob(glob) => {
            let line = glob.star_token.spans[0].start().line;
            vec![Leaf { name: None, path: Vec::new(), line }]
        }
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

fn leaf(name: &syn::Ident, target: &syn::Ident) -> Leaf {
    let line = target.span().start().line;
    Leaf { name: Some(name.to_string()), path: vec![target.to_string()], line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resolve_through_imports_and_re_exports() {
        let tree = Tree::planted([
            ("c/src/lib.rs", "mod a;\nmod d;\npub use a::Thing as Other;\nuse std::fmt;"),
            ("c/src/a.rs", "mod b;\npub use self::b::*;\nfn b() {}\nmacro_rules! m { () => {} }"),
            ("c/src/a/b.rs", "pub enum Thing { One }\npub fn f() { use super::super::d::g; }"),
            ("c/src/d/mod.rs", "pub mod inner { pub struct In; }\npub fn g() {}"),
        ]);
        let modules = Modules::of(&tree, "c/src/lib.rs");
        assert_eq!(modules.files().len(), 4);
        let file_of = |from: &str, path: &str| {
            let path: Vec<String> = path.split("::").map(String::from).collect();
            modules.resolve(modules.home(from), &path).into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(file_of("c/src/d/mod.rs", "crate::Other::One"), "c/src/a/b.rs");
        assert_eq!(file_of("c/src/d/mod.rs", "super::a::Thing"), "c/src/a/b.rs");
        assert_eq!(file_of("c/src/a/b.rs", "super::super::d::inner::In"), "c/src/d/mod.rs");
        assert_eq!(file_of("c/src/a/b.rs", "g"), "c/src/d/mod.rs");
        assert_eq!(file_of("c/src/a/b.rs", "crate::d"), "c/src/d/mod.rs");
        assert_eq!(file_of("c/src/lib.rs", "fmt::Debug"), "");
        assert_eq!(file_of("c/src/lib.rs", "crate::none"), "");
        // A function may have the name of a module.
        assert_eq!(file_of("c/src/lib.rs", "a::b::Thing"), "c/src/a/b.rs");
    }
}
