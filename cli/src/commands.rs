//! The commands about an open database: those that the shell has, too.

use crate::args::{Global, OpenCommand};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::{
    checkpoint, compact, expiry, export, get, lease, open_stats, scan, stats, tables, tune, verify,
    write,
};

/// Runs `command`.
pub fn run(global: &Global, command: &OpenCommand, out: &mut Output) -> Result<Exit> {
    match command {
        OpenCommand::Export(args) => export::run(global, args, out),
        OpenCommand::Get(args) => get::run(global, args, out),
        OpenCommand::Put(args) => write::put(global, args, out),
        OpenCommand::Del(args) => write::delete(global, args, out),
        OpenCommand::Incr(args) => write::increment(global, args, out),
        OpenCommand::Expiry(args) => expiry::run(global, args, out),
        OpenCommand::Lease(what) => lease::run(global, what, out),
        OpenCommand::Count(args) => scan::count(global, args, out),
        OpenCommand::Scan(args) => scan::run(global, args, out),
        OpenCommand::Tables => tables::list(global, out),
        OpenCommand::Table(what) => tables::run(global, what, out),
        OpenCommand::Stats => match &global.shared {
            Some(db) => open_stats::print(db, out),
            None => stats::run(global, out),
        },
        OpenCommand::Tune => tune::run(global, out),
        OpenCommand::Verify => verify::run(global, out),
        OpenCommand::Checkpoint => checkpoint::run(global, out),
        OpenCommand::Compact => compact::run(global, out),
    }
}

/// Fails if the command line names a table for a command that is not about records.
pub fn check_table(table: Option<&String>, is_about_records: bool) -> Result<(), Failure> {
    match table {
        Some(_) if !is_about_records => {
            Err(Failure::usage("--table is for commands about records; leave it out"))
        }
        _ => Ok(()),
    }
}
