//! Options of the commands that read records.

use std::ffi::OsString;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::condition::Condition;

/// Options of `get`.
#[derive(Debug, Args)]
pub struct Get {
    /// Keys of the records. Of several, each is printed on a line with its key
    #[arg(required = true, value_name = "KEY", allow_negative_numbers = true)]
    pub keys: Vec<OsString>,
    /// Print only this field: a name, or a path like a.b[3].c
    #[arg(long, value_name = "FIELD", value_parser = NonEmptyStringValueParser::new())]
    pub field: Option<String>,
    /// Print the bytes of the value as they are stored, and nothing else
    #[arg(long, conflicts_with = "field")]
    pub raw: bool,
}

/// Which keys are meant.
#[derive(Debug, Args)]
pub struct Keys {
    /// Only keys that start with this (byte tables)
    #[arg(long, value_name = "KEY", conflicts_with_all = ["from", "to"])]
    pub prefix: Option<OsString>,
    /// Only keys from this one on
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    pub from: Option<OsString>,
    /// Only keys before this one
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    pub to: Option<OsString>,
}

/// Options of `count`.
#[derive(Debug, Args)]
pub struct Count {
    /// Of which keys.
    #[command(flatten)]
    pub keys: Keys,
}

/// Options of `scan`.
#[derive(Debug, Args)]
pub struct Scan {
    /// Of which keys.
    #[command(flatten)]
    pub keys: Keys,
    /// At most this many records
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// From the highest key down
    #[arg(long)]
    pub reverse: bool,
    /// Print only the keys: one per line, or with --json as {"key":...}
    #[arg(long)]
    pub keys_only: bool,
    /// Print only this field of each value, under its path; again for more fields
    #[arg(
        long = "field",
        value_name = "PATH",
        conflicts_with = "keys_only",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub fields: Vec<String>,
    /// Only records with such a field: PATH=VALUE, or one of != < <= > >= in place of =. Numbers
    /// compare with numbers, texts with texts. Again for more conditions, all of which must hold
    #[arg(long = "where", value_name = "CONDITION")]
    pub conditions: Vec<Condition>,
    /// Print only how many records there are
    #[arg(long, conflicts_with_all = ["keys_only", "fields"])]
    pub count: bool,
}
