//! What stands inside of macros, which are tokens and no syntax.

use proc_macro2::{TokenStream, TokenTree};

/// A path in tokens: its line and its parts.
pub type Path = (usize, Vec<String>);

/// The paths of at least two parts in `tokens`, at any depth; `$crate` is `crate`.
pub fn paths(tokens: TokenStream) -> Vec<Path> {
    let mut found = Vec::new();
    let mut path: Path = (0, Vec::new());
    let mut colons = 0;
    let mut finish = |path: &mut Path| {
        if path.1.len() > 1 {
            found.push(std::mem::take(path));
        }
        path.1.clear();
    };
    let mut inner = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(name) => {
                if colons != 2 {
                    finish(&mut path);
                    path = (name.span().start().line, vec![name.to_string()]);
                } else if !path.1.is_empty() {
                    path.1.push(name.to_string());
                }
                colons = 0;
            }
            TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
            other => {
                finish(&mut path);
                colons = 0;
                if let TokenTree::Group(group) = other {
                    inner.push(group.stream());
                }
            }
        }
    }
    finish(&mut path);
    found.extend(inner.into_iter().flat_map(paths));
    found
}

/// Every name in `tokens` with its line, at any depth.
pub fn names(tokens: TokenStream) -> Vec<(usize, String)> {
    let each = tokens.into_iter().flat_map(|token| match token {
        TokenTree::Ident(name) => vec![(name.span().start().line, name.to_string())],
        TokenTree::Group(group) => names(group.stream()),
        _ => Vec::new(),
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_at_any_depth() {
        let tokens = "one, $crate::a::b(two, c::d::<e::f>(), g: h) ::i::j k: l::m";
        let found = paths(tokens.parse().expect("tokens"));
        let joined: Vec<String> = found.into_iter().map(|(_, parts)| parts.join("::")).collect();
        assert_eq!(joined, ["crate::a::b", "l::m", "c::d", "e::f"]);
    }
}
