//! One source file, and which of its lines are tests.

use std::ops::RangeInclusive;

use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, ImplItem, Item, Meta, Stmt, TraitItem};

/// One source file, parsed.
pub struct Source {
    /// Without what is compiled for tests alone.
    pub code: syn::File,
    /// Lines of what is compiled for tests alone, from 1.
    pub test_lines: Vec<RangeInclusive<usize>>,
    /// All lines.
    pub line_count: usize,
}

impl Source {
    /// Parses `text`.
    pub fn parse(text: &str) -> syn::Result<Self> {
        let mut code = syn::parse_file(text)?;
        let mut taken = TakeTests::default();
        taken.visit_file_mut(&mut code);
        Ok(Self { code, test_lines: taken.lines, line_count: text.lines().count() })
    }

    /// Whether `line` belongs to a test.
    pub fn is_test_line(&self, line: usize) -> bool {
        self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// Lines that are no test.
    pub fn code_line_count(&self) -> usize {
        (1..=self.line_count).filter(|&line| !self.is_test_line(line)).count()
    }
}

/// Whether these attributes leave an item out of everything but tests.
pub fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("cfg") => {
            list.parse_args::<Meta>().is_ok_and(|predicate| needs_test(&predicate))
        }
        _ => false,
    })
}

/// Whether a predicate of `cfg` can only hold in tests (those of documents included).
fn needs_test(predicate: &Meta) -> bool {
    let all = |list: &syn::MetaList| {
        let inner = syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated;
        list.parse_args_with(inner).map(Vec::from_iter).unwrap_or_default()
    };
    match predicate {
        Meta::Path(path) => path.is_ident("test") || path.is_ident("doctest"),
        Meta::List(list) if list.path.is_ident("all") => all(list).iter().any(needs_test),
        Meta::List(list) if list.path.is_ident("any") => all(list).iter().all(needs_test),
        _ => false,
    }
}

/// The attributes of an item.
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Takes test-only parts out of a file and notes their lines.
#[derive(Default)]
struct TakeTests {
    lines: Vec<RangeInclusive<usize>>,
}

impl TakeTests {
    /// Whether what has `attributes` stays.
    fn keep(&mut self, attributes: &[Attribute], part: &impl Spanned) -> bool {
        if is_test_only(attributes) {
            let (first, last) = (part.span().start().line, part.span().end().line);
            self.lines.push(first..=last);
            return false;
        }
        true
    }
}

impl VisitMut for TakeTests {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        if is_test_only(&file.attrs) {
            self.lines.push(1..=usize::MAX);
            file.items.clear();
        }
        file.items.retain(|item| self.keep(attributes(item), item));
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut module.content {
            items.retain(|item| self.keep(attributes(item), item));
        }
        visit_mut::visit_item_mod_mut(self, module);
    }

    fn visit_item_impl_mut(&mut self, block: &mut syn::ItemImpl) {
        block.items.retain(|item| match item {
            ImplItem::Const(inner) => self.keep(&inner.attrs, item),
            ImplItem::Fn(inner) => self.keep(&inner.attrs, item),
            ImplItem::Type(inner) => self.keep(&inner.attrs, item),
            ImplItem::Macro(inner) => self.keep(&inner.attrs, item),
            _ => true,
        });
        visit_mut::visit_item_impl_mut(self, block);
    }

    fn visit_item_trait_mut(&mut self, block: &mut syn::ItemTrait) {
        block.items.retain(|item| match item {
            TraitItem::Fn(inner) => self.keep(&inner.attrs, item),
            TraitItem::Const(inner) => self.keep(&inner.attrs, item),
            _ => true,
        });
        visit_mut::visit_item_trait_mut(self, block);
    }

    fn visit_fields_named_mut(&mut self, fields: &mut syn::FieldsNamed) {
        let all = std::mem::take(&mut fields.named);
        fields.named = all.into_iter().filter(|field| self.keep(&field.attrs, field)).collect();
        visit_mut::visit_fields_named_mut(self, fields);
    }

    fn visit_block_mut(&mut self, block: &mut syn::Block) {
        block.stmts.retain(|statement| match statement {
            Stmt::Local(inner) => self.keep(&inner.attrs, statement),
            Stmt::Item(inner) => self.keep(attributes(inner), statement),
            Stmt::Macro(inner) => self.keep(&inner.attrs, statement),
            Stmt::Expr(syn::Expr::Block(inner), _) => self.keep(&inner.attrs, statement),
            _ => true,
        });
        visit_mut::visit_block_mut(self, block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compiled_for_tests_alone_is_taken_out() {
        let text = "fn kept() {}\n#[cfg(test)]\nmod tests {\n    fn gone() {}\n}\n\
                    #[cfg(all(test, loom))]\nmod gone;\n#[cfg(not(test))]\nfn stays() {}\n\
                    struct S {\n    #[cfg(test)]\n    gone: u8,\n    stays: u8,\n}\n";
        let source = Source::parse(text).expect("it parses");
        assert_eq!(source.code.items.len(), 3);
        assert_eq!(source.line_count, 14);
        assert_eq!(source.code_line_count(), 14 - 4 - 2 - 2);
        assert!(source.is_test_line(4) && source.is_test_line(12) && !source.is_test_line(13));
    }
}
