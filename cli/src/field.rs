//! Fields of records, by name or by path, and what to say of one that is not there.

use uarr_layout::uarr::{Kind, UArrRef};

/// How much a name must be like the one asked for to be what was meant: 1 is equal.
const LIKENESS_MIN: f64 = 0.6;
/// Names of an object that are looked at for one that was meant.
const NAMES_MAX: usize = 1000;
/// Longer names are not what was meant, and not listed.
const NAME_BYTES_MAX: usize = 64;
/// Names that are listed where none is like the one asked for.
const NAMES_LISTED_MAX: usize = 5;

/// The field of this name; if there is none, the one at this path, such as `a.b[3].c`.
pub fn find_field<'a>(record: &UArrRef<'a>, path: &str) -> Option<UArrRef<'a>> {
    record.get(path).or_else(|| record.get_path(path)).filter(|field| !field.is_undefined())
}

/// Where the path leaves the record, in which [`find_field`] finds nothing: a half sentence that
/// follows "there is no field".
pub fn whereabouts(record: &UArrRef<'_>, path: &str) -> String {
    let steps = path.char_indices().filter(|(_, character)| ['.', '['].contains(character));
    let mut known = steps.filter_map(|(at, _)| Some((at, find_field(record, &path[..at])?)));
    let (at, parent) = known.next_back().unwrap_or((0, *record));
    let (known, rest) = path.split_at(at);
    let place = if known.is_empty() { "the record".to_owned() } else { format!("'{known}'") };
    let kind = noun(parent.kind());
    match rest.strip_prefix('.').unwrap_or(rest) {
        rest if rest.starts_with('[') => match (parent.kind(), parent.len()) {
            (Kind::Array | Kind::List, Some(1)) => format!("; {place} has 1 element, [0]"),
            (Kind::Array | Kind::List, Some(count)) => {
                format!("; {place} has {count} elements, the first is [0]")
            }
            _ => format!("; {place} is {kind}, no list"),
        },
        _ if parent.kind() != Kind::Object => format!("; {place} is {kind}, it has no fields"),
        rest => {
            let name = rest.split(['.', '[']).next().unwrap_or(rest);
            let dot = if known.is_empty() { "" } else { "." };
            suggestion(&parent, name, &format!("{known}{dot}"), &place)
        }
    }
}

/// The field that was meant by `name`, or those there are.
fn suggestion(object: &UArrRef<'_>, name: &str, before: &str, place: &str) -> String {
    let names = object.entries().take(NAMES_MAX).map(|(name, _)| name);
    let names: Vec<_> = names.filter(|name| name.len() <= NAME_BYTES_MAX).collect();
    let likeness = |other: &str| {
        strsim::normalized_damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase())
    };
    let best = names.iter().map(|other| (likeness(other), other));
    let best = best.max_by(|(one, _), (other, _)| one.total_cmp(other));
    match best {
        Some((likeness, other)) if likeness >= LIKENESS_MIN => {
            format!("; did you mean '{before}{other}'?")
        }
        Some(_) => {
            let listed = names[..names.len().min(NAMES_LISTED_MAX)].join(", ");
            let more = if names.len() > NAMES_LISTED_MAX { ", ..." } else { "" };
            format!("; {place} has {listed}{more}")
        }
        None if object.is_empty() => format!("; {place} is empty"),
        None => String::new(),
    }
}

/// A value of this kind, in words.
pub fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Null => "null",
        Kind::Bool => "a boolean",
        Kind::Int => "an integer",
        Kind::F64 => "a floating-point number",
        Kind::BigInt => "an integer beyond 64 bits",
        Kind::Str => "a text",
        Kind::Array | Kind::List => "a list",
        Kind::Object => "an object",
        _ => "something else",
    }
}

/// A path that is looked up in many records: if it is in none of them, that is worth a word.
#[derive(Debug)]
pub struct Tracked {
    /// The path.
    pub path: String,
    was_found: bool,
    /// What the first record without it says.
    whereabouts: Option<String>,
}

impl Tracked {
    /// A path that was not looked up yet.
    pub fn new(path: &str) -> Self {
        Self { path: path.to_owned(), was_found: false, whereabouts: None }
    }

    /// The field at the path.
    pub fn find<'a>(&mut self, record: &UArrRef<'a>) -> Option<UArrRef<'a>> {
        let found = find_field(record, &self.path);
        self.was_found |= found.is_some();
        if !self.was_found && self.whereabouts.is_none() {
            self.whereabouts = Some(whereabouts(record, &self.path));
        }
        found
    }

    /// What to say if there were records, and none had the field.
    pub fn warning(&self) -> Option<String> {
        let whereabouts = self.whereabouts.as_ref().filter(|_| !self.was_found)?;
        Some(format!("no record has the field '{}'{whereabouts}", self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uarr_layout::uarr::from_json;

    #[test]
    fn fields_by_name_and_by_path() {
        let record = from_json(r#"{"a":{"b":[10,{"c":20}]},"a.b":30,"n":null}"#).unwrap();
        let find = |path: &str| find_field(&record.as_ref(), path).map(|found| found.to_string());
        assert_eq!(find("a.b").as_deref(), Some("30"));
        assert_eq!(find("a.b[1].c").as_deref(), Some("20"));
        assert_eq!(find("n").as_deref(), Some("null"));
        assert_eq!(find("a.x"), None);
        assert_eq!(find("a.b[9]"), None);
        assert_eq!(find("a..b"), None);
    }

    #[test]
    fn paths_that_lead_nowhere() {
        let json = r#"{"name":"Ada","addr":{"city":"x","zip":[1,[2],{"k":3}]},"none":{}}"#;
        let record = from_json(json).unwrap();
        let check = |path: &str, expected: &str| {
            assert_eq!(whereabouts(&record.as_ref(), path), expected, "{path}");
        };
        check("nmae", "; did you mean 'name'?");
        check("NAME", "; did you mean 'name'?");
        check("name.first", "; 'name' is a text, it has no fields");
        check("addr.citi", "; did you mean 'addr.city'?");
        check("adr.city", "; did you mean 'addr'?");
        check("addr.qqqq", "; 'addr' has city, zip");
        check("qqqqqqqq", "; the record has name, addr, none");
        check("none.a", "; 'none' is empty");
        check("addr.zip[3]", "; 'addr.zip' has 3 elements, the first is [0]");
        check("addr.zip[1][1]", "; 'addr.zip[1]' has 1 element, [0]");
        check("addr.zip[2].j", "; 'addr.zip[2]' has k");
        check("addr[0]x", "; 'addr' is an object, no list");
        check("name[0]", "; 'name' is a text, no list");
        check("addr.zip.k", "; 'addr.zip' is a list, it has no fields");
        check("", "; the record has name, addr, none");
        check("\u{e9}.\u{e9}", "; the record has name, addr, none");
    }
}
