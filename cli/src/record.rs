//! `uarr value`: one record outside of a database, to try the format and to look at its bytes.
//!
//! Invariants: the command opens no database, and either uses an input or refuses it with its
//! place. It checks a record before it shows anything of it, except in `dump`, which is there for
//! damaged ones.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use serde_json::json;
use uarr_layout::uarr::{Error, UArrRef, dump, from_json, spec};

use crate::args::{Value, ValueCommand};
use crate::exit::Exit;
use crate::failure::{Failure, Result, output};
use crate::output::{Form, Output};
use crate::value::{no_json, read_json, write_bytes};

/// Runs the command.
pub fn run(args: &Value, out: &mut Output) -> Result<Exit> {
    match &args.command {
        ValueCommand::FromJson { file } => make(file, out),
        ValueCommand::ToJson { file } => show(file, out),
        ValueCommand::Check { file } => check(file, out),
        ValueCommand::Dump { file } => explain(file, out),
    }
}

fn make(file: &Path, out: &mut Output) -> Result<Exit> {
    let (input, name) = open(file)?;
    let text = read_json(input, &name)?;
    let record =
        from_json(&text).map_err(|error| Failure { file: Some(name), ..no_json(&error) })?;
    let written = match out.form {
        // Both streams hold nothing but JSON lines then.
        Form::Json => {
            write_bytes(&mut out.stdout, &record)?;
            writeln!(out.stdout)
        }
        Form::Text => out.stdout.write_all(&record),
    };
    written.map_err(|error| output(&error))?;
    Ok(Exit::Done)
}

fn show(file: &Path, out: &mut Output) -> Result<Exit> {
    let (bytes, name) = read(file)?;
    let record = UArrRef::validate(&bytes).map_err(|error| Failure {
        offset: Some(error.offset() as u64),
        ..Failure::new(Exit::Damage, "corruption", format!("{name} is no valid record: {error}"))
    });
    record
        .map_err(|failure| Failure { file: Some(name), ..failure })?
        .write_json(&mut out.stdout)?;
    writeln!(out.stdout).map_err(|error| output(&error))?;
    Ok(Exit::Done)
}

fn check(file: &Path, out: &mut Output) -> Result<Exit> {
    let (bytes, _) = read(file)?;
    let broken = UArrRef::validate(&bytes).err();
    let value = json!({
        "valid": broken.is_none(),
        "bytes": bytes.len(),
        "rule": broken.map(|error| error.rule()),
        "offset": broken.map(|error| error.offset()),
    });
    let text = broken.map_or("ok\n".to_owned(), |error: Error| format!("{error}\n"));
    out.result(&value, text)?;
    Ok(if broken.is_none() { Exit::Done } else { Exit::Missing })
}

fn explain(file: &Path, out: &mut Output) -> Result<Exit> {
    let (bytes, _) = read(file)?;
    let text = dump(&bytes);
    out.result(&json!({ "lines": text.lines().collect::<Vec<_>>() }), &text)?;
    Ok(Exit::Done)
}

/// The bytes of a file, up to one more than a record can have, and the file's name.
fn read(file: &Path) -> Result<(Vec<u8>, String)> {
    let (input, name) = open(file)?;
    let mut bytes = Vec::new();
    let read = input.take(spec::TOTAL_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::io(&format!("cannot read {name}"), &error))?;
    Ok((bytes, name))
}

/// A file or standard input, and what to call it.
fn open(path: &Path) -> Result<(Box<dyn Read>, String), Failure> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), "standard input".to_owned()));
    }
    let name = path.to_string_lossy().into_owned();
    match File::open(path) {
        Ok(file) => Ok((Box::new(file), name)),
        Err(error) => {
            let message = format!("cannot read {name}: {error}; give a file or -");
            Err(Failure { file: Some(name), ..Failure::input(message) })
        }
    }
}
