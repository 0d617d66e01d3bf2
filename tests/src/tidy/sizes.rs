//! Sizes: a file is read at one sitting, a function is seen at once.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::package::code_files;
use super::{Finding, Tree};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Files with more lines than they should have, tests aside.
pub fn check_files(tree: &Tree) -> Vec<Finding> {
    let sizes = code_files(tree).into_iter().filter_map(|file| {
        let lines = tree.source(&file)?.code_line_count();
        let what = format!("has {lines} lines without its tests, {FILE_LINES_MAX} at most");
        (lines > FILE_LINES_MAX).then(|| Finding::new(file, 0, what).of(lines))
    });
    sizes.collect()
}

/// Functions with more lines than a screen.
pub fn check_functions(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in code_files(tree) {
        let Some(source) = tree.source(&file) else { continue };
        for function in functions(&source.code) {
            if function.lines > FUNCTION_LINES_MAX {
                let what = format!("`{}` has {} lines", function.name, function.lines);
                findings.push(Finding::new(&file, function.line, what).of(function.lines));
            }
        }
    }
    findings
}

/// A function with a body.
pub struct Function {
    /// Its name.
    pub name: String,
    /// Where it begins.
    pub line: usize,
    /// How many lines it has, from its signature to its last brace.
    pub lines: usize,
}

/// The functions of a file, those inside of others too.
pub fn functions(code: &syn::File) -> Vec<Function> {
    let mut found = Functions(Vec::new());
    found.visit_file(code);
    found.0
}

struct Functions(Vec<Function>);

impl Functions {
    fn note(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let first = signature.span().start().line;
        let last = body.brace_token.span.close().end().line;
        let name = signature.ident.to_string();
        self.0.push(Function { name, line: first, lines: last + 1 - first });
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.note(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.note(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.note(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}
