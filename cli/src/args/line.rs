//! The shell: its options, and what a line of it may say.

use clap::{Args, Parser, Subcommand};
use uarr::Durability;

use super::{KeyKindArg, OpenCommand};

/// Options of `shell`.
#[derive(Debug, Args)]
pub struct Shell {
    /// Create the database if there is none
    #[arg(long)]
    pub create: bool,
    /// When writes are durable: sync, interval:100ms or manual (by the command sync, or at the end)
    #[arg(long, value_name = "WHEN", default_value = "sync")]
    pub durability: Durability,
    /// Neither read nor write the file of earlier lines
    #[arg(long)]
    pub no_history: bool,
}

/// A line of the shell.
#[derive(Debug, Parser)]
#[command(name = "uarr", no_binary_name = true, help_template = "{subcommands}\n\n{after-help}")]
#[command(after_help = AFTER_HELP)]
pub struct Line {
    /// What to do.
    #[command(subcommand)]
    pub command: LineCommand,
    /// Print results and errors as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Table of the records, in place of the one that `use` has named
    #[arg(long, global = true, value_name = "NAME")]
    pub table: Option<String>,
    /// Kind of the keys of a new table: bytes (default), u64 or i64
    #[arg(long, global = true, value_enum, value_name = "KIND", hide_possible_values = true)]
    pub key_kind: Option<KeyKindArg>,
}

const AFTER_HELP: &str = "\
'help COMMAND' says more. Words are split and quoted as in other shells, and a
line that begins with # is a comment. Tab completes commands, options, tables
and fields. Ctrl-C drops a line, or ends scan, count and export; a second one
ends the shell, as Ctrl-D does.";

/// The text at the end of `uarr shell --help`.
pub const SHELL_AFTER_HELP: &str = "\
Lines are commands from export to compact, without --db, and:
  use [TABLE]   from now on records are those of this table
  sync          make durable what was written
  help, exit

A line that fails does not end the shell. Lines that come from no terminal are a
script: it runs to its end, and the exit code is that of its first failure.
Earlier lines are kept in $XDG_STATE_HOME/uarr/history, or else below
~/.local/state; not those that begin with a space.";

/// What a line of the shell does.
#[derive(Debug, Subcommand)]
pub enum LineCommand {
    /// As the command has it.
    #[command(flatten)]
    Open(OpenCommand),
    /// From now on records are those of this table; without a name, of the default one
    Use {
        /// Its name
        #[arg(value_name = "TABLE")]
        name: Option<String>,
    },
    /// Make durable what was written
    Sync,
    /// End the shell
    #[command(alias = "quit")]
    Exit,
}
