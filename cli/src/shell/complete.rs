//! What Tab completes: commands, options and their values, tables, and fields of records.
//!
//! Commands and options come from the definitions that parse lines, tables and fields from the
//! database: of fields, those that the first records of the table have.

use std::collections::BTreeSet;

use clap::{Arg, Command, CommandFactory};
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};
use uarr::Db;
use uarr_layout::uarr::{Kind, UArrRef};

use crate::args::Line;

/// Records that are looked at for fields, and the longest value among them.
const SAMPLED_RECORDS_MAX: usize = 64;
const SAMPLED_BYTES_MAX: usize = 1 << 20;
/// How deep fields in fields are offered, and how many fields there are at most.
const DEPTH_MAX: usize = 3;
const FIELDS_MAX: usize = 500;
/// Options whose values are fields.
const FIELD_OPTIONS: [&str; 2] = ["field", "where"];

/// Completes lines about a database.
pub struct Completing {
    db: Db,
    /// What records are of, where a line does not say it.
    pub table: Option<String>,
    line: Command,
}

impl Completing {
    /// For lines about `db`.
    pub fn new(db: Db) -> Self {
        let mut line = Line::command();
        // With it the options of all lines are those of each command.
        line.build();
        Self { db, table: None, line }
    }

    /// The start of the word that ends `text`, and what it may become.
    fn candidates(&self, text: &str) -> (usize, Vec<String>) {
        let start = text.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = &text[start..];
        // Within quotes there is nothing to complete.
        let Some(before) = shlex::split(&text[..start]) else { return (start, Vec::new()) };
        let mut offered = self.offered(&before, word);
        offered.retain(|offer| offer.starts_with(word) && !needs_quotes(offer));
        (start, offered)
    }

    /// All that may stand behind the words `before`; those that begin as `word` count.
    fn offered(&self, before: &[String], word: &str) -> Vec<String> {
        let mut command = &self.line;
        for given in before {
            command = command.find_subcommand(given).unwrap_or(command);
        }
        if let Some(option) = before.last().and_then(|last| last.strip_prefix("--"))
            && let Some(option) = command.get_arguments().find(|arg| arg.get_long() == Some(option))
            && option.get_action().takes_values()
        {
            return self.values(option, before);
        }
        if word.starts_with('-') {
            let options = command.get_arguments().filter(|option| !option.is_hide_set());
            return options.filter_map(Arg::get_long).map(|name| format!("--{name}")).collect();
        }
        if command.has_subcommands() {
            let commands = command.get_subcommands().filter(|command| !command.is_hide_set());
            return commands.map(|command| command.get_name().to_owned()).collect();
        }
        match command.get_name() {
            "use" | "drop" | "clear" => self.tables(),
            _ => Vec::new(),
        }
    }

    fn values(&self, option: &Arg, before: &[String]) -> Vec<String> {
        match option.get_id().as_str() {
            "table" => self.tables(),
            _ if option.get_long().is_some_and(|long| FIELD_OPTIONS.contains(&long)) => {
                let table = before.windows(2).find(|words| words[0] == "--table");
                self.fields(table.map(|words| &words[1]).or(self.table.as_ref()))
            }
            _ => {
                let values = option.get_possible_values();
                values.iter().map(|value| value.get_name().to_owned()).collect()
            }
        }
    }

    fn tables(&self) -> Vec<String> {
        self.db.tables().into_iter().flatten().map(|table| table.name).collect()
    }

    fn fields(&self, table: Option<&String>) -> Vec<String> {
        let db = match table {
            None => self.db.clone(),
            Some(name) => match self.db.find_table(name) {
                Ok(Some(table)) => (*table).clone(),
                _ => return Vec::new(),
            },
        };
        let mut paths = BTreeSet::new();
        for record in db.iter().take(SAMPLED_RECORDS_MAX).flatten() {
            if record.bytes().len() <= SAMPLED_BYTES_MAX
                && let Ok(value) = UArrRef::validate(record.bytes())
            {
                add_fields(&value, "", DEPTH_MAX, &mut paths);
            }
        }
        paths.into_iter().collect()
    }
}

fn add_fields(value: &UArrRef<'_>, above: &str, depth: usize, paths: &mut BTreeSet<String>) {
    if value.kind() != Kind::Object || depth == 0 {
        return;
    }
    for (name, field) in value.entries() {
        if paths.len() >= FIELDS_MAX {
            return;
        }
        let path = format!("{above}{name}");
        add_fields(&field, &format!("{path}."), depth - 1, paths);
        paths.insert(path);
    }
}

/// Whether a shell would not take it as one word.
fn needs_quotes(word: &str) -> bool {
    let is_plain = |char: char| char.is_alphanumeric() || "-_.:@/+%,=".contains(char);
    !word.chars().all(is_plain)
}

impl Completer for Completing {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, offered) = self.candidates(&line[..position]);
        let pair = |offer: String| {
            // A condition goes on behind its field.
            let goes_on = line[..start].ends_with("--where ");
            let end = if goes_on { "" } else { " " };
            Pair { replacement: format!("{offer}{end}"), display: offer }
        };
        Ok((start, offered.into_iter().map(pair).collect()))
    }
}

impl Hinter for Completing {
    type Hint = String;
}

impl Highlighter for Completing {}
impl Validator for Completing {}
impl Helper for Completing {}

#[cfg(test)]
mod tests {
    use super::*;
    use uarr::uarr;

    #[test]
    fn commands_options_tables_and_fields() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path()).unwrap();
        db.put("a", uarr!({ "name": "Ada", "home": { "city": "London" }, "a b": 1 })).unwrap();
        db.table("users").unwrap().put("b", uarr!({ "nick": 1 })).unwrap();
        db.table("uploads").unwrap();
        let mut completing = Completing::new(db);
        let check = |completing: &Completing, text: &str, expected: &[&str]| {
            let (start, offered) = completing.candidates(text);
            assert_eq!(offered, expected, "{text}");
            assert!(offered.iter().all(|offer| offer.starts_with(&text[start..])), "{text}");
        };
        check(&completing, "sc", &["scan"]);
        check(&completing, "  co", &["count", "compact"]);
        check(&completing, "table c", &["create", "clear"]);
        check(&completing, "help ta", &["tables", "table"]);
        check(&completing, "use u", &["uploads", "users"]);
        check(&completing, "table drop us", &["users"]);
        check(&completing, "scan --ke", &["--keys-only", "--key-kind"]);
        check(&completing, "scan --table u", &["uploads", "users"]);
        check(&completing, "scan --key-kind u", &["u64"]);
        check(&completing, "get a --field ", &["home", "home.city", "name"]);
        check(&completing, "scan --where home.", &["home.city"]);
        check(&completing, "scan --table users --field n", &["nick"]);
        check(&completing, "put 'a b", &[]);
        check(&completing, "get ", &[]);
        completing.table = Some("users".to_owned());
        check(&completing, "get a --field n", &["nick"]);
        completing.table = Some("gone".to_owned());
        check(&completing, "get a --field n", &[]);
    }
}
