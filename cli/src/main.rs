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
mod commands;
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
mod open_stats;
mod output;
mod packs;
mod reader;
mod record;
mod refused;
mod repair;
mod scan;
mod shell;
mod signals;
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
use crate::failure::{Result, Stop};
use crate::output::{Form, Output, report};

fn main() -> ExitCode {
    uarr_uring::survive_file_size_limit();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let form = match std::env::args_os().any(|argument| argument == "--json") {
                true => Form::Json,
                false => Form::Text,
            };
            return ExitCode::from(refused::show(&error, form) as u8);
        }
    };
    let form = cli.global.form();
    let mut out = Output::new(form);
    let ended = run(&cli, &mut out);
    // What the command found before it failed is shown too.
    let finished = out.finish();
    signals::stay_if_ending();
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

fn run(cli: &Cli, out: &mut Output) -> Result<Exit> {
    let global = &cli.global;
    commands::check_table(global.table.as_ref(), cli.command.is_about_records())?;
    match &cli.command {
        Command::Import(args) => import::run(global, args, out),
        Command::Open(command) => commands::run(global, command, out),
        Command::Shell(args) => shell::run(global, args, out),
        Command::Doctor(args) => doctor::run(global, args, out),
        Command::LogDump(args) => log_dump::run(global, args, out),
        Command::Inspect(what) => inspect::run(global, what, out),
        Command::Repair(args) => repair::run(global, args, out),
        Command::Value(args) => record::run(args, out),
        Command::Completions(args) => manual::completions(args, out),
        Command::Man(args) => manual::pages(args),
    }
}
