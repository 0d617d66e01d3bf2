//! Options of the commands that read records.

use std::ffi::OsString;

use clap::Args;

/// Options of `get`.
#[derive(Debug, Args)]
pub struct Get {
    /// Key of the record
    #[arg(allow_negative_numbers = true)]
    pub key: OsString,
    /// Print only this field: a name, or a path like `a.b[3].c`
    #[arg(long, value_name = "FIELD")]
    pub field: Option<String>,
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
}
