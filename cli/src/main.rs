//! The `uarr` command: import, read, write, scan and verify databases, and single records.
//!
//! `main` parses, runs one command and turns its end into an exit code; `args` is the command line,
//! `exit` the codes, `failure` the errors, `output` the streams. Each command has a file.
//!
//! Invariants: no input, argument or byte of a database makes it panic; a closed pipe behind stdout
//! ends it quietly; with `--json` both streams hold nothing but JSON lines.

#![forbid(unsafe_code)]

mod args;
mod checkpoint;
mod compact;
mod compression;
mod condition;
mod convert;
mod doctor;
mod documents;
mod exit;
mod expiry;
mod export;
mod exported;
mod failure;
mod field;
mod get;
mod import;
mod input;
mod inspect;
mod key;
mod lease;
mod lines;
mod log_dump;
mod manual;
mod open;
mod output;
mod packs;
mod record;
mod repair;
mod scan;
mod stats;
mod tables;
mod texts;
mod tune;
mod value;
mod verify;
mod write;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::exit::Exit;
use crate::failure::{Failure, Result, Stop, output};
use crate::output::{Form, Output, report};

fn main() -> ExitCode {
    uarr_uring::survive_file_size_limit();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(refuse(&error) as u8),
    };
    let form = cli.global.form();
    let mut out = Output::new(form);
    let ended = run(&cli, &mut out);
    // What the command found before it failed is shown too.
    let finished = out.finish();
    let exit = match ended.and_then(|exit| finished.map(|()| exit)) {
        Ok(exit) => exit,
        Err(Stop::OutputClosed) => Exit::Done,
        Err(Stop::Failure(failure)) => {
            report(form, &failure);
            failure.exit
        }
    };
    ExitCode::from(exit as u8)
}

/// Prints help, the version, or what is wrong with the arguments.
fn refuse(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        // Asked for: help or version. A closed pipe ends them quietly as well.
        return match error.print().map_err(|error| output(&error)) {
            Ok(()) | Err(Stop::OutputClosed) => Exit::Done,
            Err(Stop::Failure(failure)) => {
                report(Form::Text, &failure);
                failure.exit
            }
        };
    }
    let form = match std::env::args_os().any(|argument| argument == "--json") {
        true => Form::Json,
        false => Form::Text,
    };
    match form {
        Form::Text => drop(error.print()),
        Form::Json => {
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let summary = text.lines().take_while(|line| !line.is_empty());
            let summary: Vec<_> = summary.map(str::trim).collect();
            report(form, &Failure::usage(summary.join(" ")));
        }
    }
    Exit::Usage
}

fn run(cli: &Cli, out: &mut Output) -> Result<Exit> {
    let global = &cli.global;
    if global.table.is_some() && !cli.command.is_about_records() {
        let message = "--table is for commands about records; leave it out";
        return Err(Failure::usage(message).into());
    }
    match &cli.command {
        Command::Import(args) => import::run(global, args, out),
        Command::Export(args) => export::run(global, args, out),
        Command::Get(args) => get::run(global, args, out),
        Command::Put(args) => write::put(global, args, out),
        Command::Del(args) => write::delete(global, args, out),
        Command::Incr(args) => write::increment(global, args, out),
        Command::Expiry(args) => expiry::run(global, args, out),
        Command::Lease(what) => lease::run(global, what, out),
        Command::Count(args) => scan::count(global, args, out),
        Command::Scan(args) => scan::run(global, args, out),
        Command::Tables => tables::list(global, out),
        Command::Table(what) => tables::run(global, what, out),
        Command::Stats => stats::run(global, out),
        Command::Doctor(args) => doctor::run(global, args, out),
        Command::Tune => tune::run(global, out),
        Command::Verify => verify::run(global, out),
        Command::LogDump(args) => log_dump::run(global, args, out),
        Command::Inspect(what) => inspect::run(global, what, out),
        Command::Repair(args) => repair::run(global, args, out),
        Command::Checkpoint => checkpoint::run(global, out),
        Command::Compact => compact::run(global, out),
        Command::Value(args) => record::run(args, out),
        Command::Completions(args) => manual::completions(args, out),
        Command::Man(args) => manual::pages(args),
    }
}
