//! `uarr completions` and `uarr man`: made from the same definition that parses.

use std::fs;
use std::io::Write;

use clap::CommandFactory;

use crate::args::{Cli, Completions, Man};
use crate::exit::Exit;
use crate::failure::{Failure, Result, output};
use crate::output::Output;

/// Prints the completions for a shell.
pub fn completions(args: &Completions, out: &mut Output) -> Result<Exit> {
    // Made in memory first: the generator would panic at a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "uarr", &mut script);
    out.stdout.write_all(&script).map_err(|error| output(&error))?;
    Ok(Exit::Done)
}

/// Writes a page for the command and one for each of its subcommands.
pub fn pages(args: &Man) -> Result<Exit> {
    let written = fs::create_dir_all(&args.dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.dir));
    written.map_err(|error| Failure::unwritable(&args.dir.to_string_lossy(), &error))?;
    Ok(Exit::Done)
}
