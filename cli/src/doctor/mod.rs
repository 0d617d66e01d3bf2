//! `uarr doctor`: whether machine, file system, disk and database are set up well.
//!
//! Each part of the machine has a file that reads it, adds facts to the report, and judges them.
//! `root` reads /proc and /sys, `folder` asks the kernel about the directory, `floor` measures;
//! `examined` puts them together, `page` shows them to people.
//!
//! Invariants: nothing is changed, and no file gets a name; a fact that cannot be found is unknown
//! and says why; a finding names what it rests on.

mod database;
mod disk;
mod examined;
mod fact;
mod filesystem;
mod finding;
mod floor;
mod folder;
mod kernel;
mod layers;
mod limits;
mod memory;
mod mount;
mod numa;
mod page;
mod place;
mod probe;
mod processor;
mod report;
mod room;
mod root;
mod stack;

use std::fs;
use std::io;
use std::path::Path;

use self::examined::{Examined, Measuring};
use self::finding::{Finding, Severity};
use crate::args::{Doctor, Global};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::output::Output;

/// Runs the command.
pub fn run(global: &Global, args: &Doctor, out: &mut Output) -> Result<Exit> {
    let named = match &args.dir {
        Some(dir) => dir,
        None => global.directory()?,
    };
    let examined = match &args.root {
        Some(root) => of_copy(root, named, args.pid)?,
        None => of_this_machine(named, args, out)?,
    };
    let page = out.coloured(&page::page(&examined));
    out.result(&examined.to_json(), page)?;
    let is_critical = |finding: &Finding| finding.severity == Severity::Critical;
    let any = examined.report.findings.iter().any(is_critical);
    Ok(if any { Exit::Missing } else { Exit::Done })
}

fn of_copy(root: &Path, dir: &Path, pid: Option<u32>) -> Result<Examined> {
    if !root.join("proc").is_dir() {
        let shown = root.display();
        let message = format!("{shown} has no folder proc: give the root of a machine or a copy");
        return Err(Failure::usage(message).into());
    }
    if !dir.is_absolute() {
        let message = "with --root, give the directory as that machine calls it, from /";
        return Err(Failure::usage(message).into());
    }
    check_pid(root, pid)?;
    Ok(Examined::copy(root, dir, pid))
}

fn of_this_machine(named: &Path, args: &Doctor, out: &Output) -> Result<Examined> {
    let shown = named.display();
    let failed = |error| {
        let failure = Failure::io(&format!("cannot look at {shown}"), &error);
        Failure { exit: Exit::Unopened, ..failure }
    };
    let dir = fs::canonicalize(named).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let message = format!("there is no {shown}: make it, or name the directory above");
            Failure::new(Exit::Unopened, "not_found", message)
        }
        _ => failed(error),
    })?;
    if !dir.is_dir() {
        let message = format!("{shown} is no directory; name the one that holds the database");
        return Err(Failure::new(Exit::Unopened, "not_a_directory", message).into());
    }
    check_pid(Path::new("/"), args.pid)?;
    if args.no_measure {
        return Ok(Examined::here(&dir, Measuring::No, args.pid).map_err(failed)?);
    }
    let bar = out.progress(None);
    bar.set_message("measuring for some two seconds");
    let examined = Examined::here(&dir, Measuring::Yes, args.pid);
    bar.finish_and_clear();
    Ok(examined.map_err(failed)?)
}

fn check_pid(root: &Path, pid: Option<u32>) -> Result<()> {
    match pid {
        Some(pid) if !root.join(format!("proc/{pid}")).is_dir() => {
            Err(Failure::usage(format!("there is no process {pid}: see ps")).into())
        }
        _ => Ok(()),
    }
}
