//! `uarr shell`: commands about one open database, a line each, typed or piped in.
//!
//! Each line is split as other shells split it and parsed by the definitions that parse the command
//! line; `commands` runs it on the database that is open. A failure ends its line, not the shell.
//! The exit code of a script, that is of lines that come from no terminal, is that of the first
//! line that failed.

mod complete;
mod editor;

use std::io::{self, BufRead, IsTerminal, Read};

use clap::Parser;
use uarr::Db;

use self::editor::{Editor, Typed};
use crate::args::{Global, Line, LineCommand, Shell};
use crate::commands::{self, check_table};
use crate::exit::Exit;
use crate::failure::{Failure, Result, Stop, output};
use crate::open::Absent;
use crate::output::{Form, Output, counted, one_line, report};
use crate::refused;
use crate::signals;
use crate::value::JSON_BYTES_MAX;

/// Longest line of a script: a record, with its command.
const LINE_BYTES_MAX: usize = JSON_BYTES_MAX + (1 << 20);

/// Runs the command.
pub fn run(global: &Global, args: &Shell, out: &mut Output) -> Result<Exit> {
    let absent = if args.create { Absent::Create } else { Absent::Refuse };
    let db = global.open_shared(absent, args.durability)?;
    let _before_end = global.sync_before_end(&db);
    let shared = Global { shared: Some(db.clone()), key_kind: None, ..global.clone() };
    let mut session = Session { global: shared, first_failed: None };
    let began = session.use_table(global.table.as_deref());
    let ended = began.and_then(|()| match io::stdin().is_terminal() {
        true => session.converse(&db, args),
        false => session.read_script(),
    });
    // What was written is durable even if the shell ends by an error.
    let closed = db.close_unused().map_err(|error| Failure::engine(&error));
    let exit = ended?;
    closed?;
    out.finish()?;
    Ok(exit)
}

/// What lines have in common.
struct Session {
    /// Options of a line that has none.
    global: Global,
    /// How the first line failed that did.
    first_failed: Option<Exit>,
}

/// Whether the shell goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    End,
}

impl Session {
    /// Runs the lines that a person types.
    fn converse(&mut self, db: &Db, args: &Shell) -> Result<Exit> {
        signals::cancel_by_interrupt();
        let mut editor = Editor::new(db, &self.global, !args.no_history)?;
        if self.global.form() == Form::Text {
            let keys = counted(db.stats().key_count, "key");
            let dir = one_line(&db.path().display().to_string());
            println_or_closed(&format!(
                "uarr {}, {dir}: {keys}; help lists the commands, Ctrl-D ends",
                env!("CARGO_PKG_VERSION")
            ))?;
        }
        loop {
            match editor.read_line(self.global.table.as_deref())? {
                Typed::Line(line) => {
                    if self.run_line(&line, None)? == Then::End {
                        break;
                    }
                }
                Typed::Cancelled => {}
                Typed::End => break,
            }
        }
        Ok(Exit::Done)
    }

    /// Runs the lines of standard input.
    fn read_script(&mut self) -> Result<Exit> {
        let mut number = 0;
        while let Some(line) = next_line()? {
            number += 1;
            let ran = match line {
                Ok(line) => self.run_line(&line, Some(number))?,
                Err(failure) => self.note(failure, Some(number)),
            };
            if ran == Then::End {
                break;
            }
        }
        Ok(self.first_failed.unwrap_or(Exit::Done))
    }

    /// Runs a line, and reports how it failed. `number` is that of a line of a script.
    fn run_line(&mut self, line: &str, number: Option<u64>) -> Result<Then> {
        signals::begin();
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(Then::GoOn);
        }
        let Some(words) = shlex::split(text) else {
            let failure = Failure::usage("a quote is not closed; close it, or write \\' for one");
            return Ok(self.note(failure, number));
        };
        let line = match Line::try_parse_from(words) {
            Ok(line) => line,
            Err(error) => {
                if refused::show(&error, self.global.form()) != Exit::Done {
                    self.first_failed.get_or_insert(Exit::Usage);
                }
                return Ok(Then::GoOn);
            }
        };
        let mut out = Output::new(if line.json { Form::Json } else { self.global.form() });
        let ended = self.run_command(&line, &mut out);
        // What is made durable before a signal ends the shell may not have this line's writes.
        signals::stay_if_ending();
        let finished = out.finish();
        match ended.and_then(|(exit, then)| finished.map(|()| (exit, then))) {
            Ok((exit, then)) => {
                if exit != Exit::Done {
                    self.first_failed.get_or_insert(exit);
                }
                Ok(then)
            }
            Err(Stop::Failure(failure)) => Ok(self.note(*failure, number)),
            Err(Stop::OutputClosed) => Err(Stop::OutputClosed),
        }
    }

    fn run_command(&mut self, line: &Line, out: &mut Output) -> Result<(Exit, Then)> {
        let exit = match &line.command {
            LineCommand::Open(command) => {
                check_table(line.table.as_ref(), command.is_about_records())?;
                let mut global = self.global.clone();
                global.json |= line.json;
                global.table = line.table.clone().or(global.table);
                global.key_kind = line.key_kind;
                commands::run(&global, command, out)?
            }
            LineCommand::Use { name } => {
                self.use_table(name.as_deref())?;
                Exit::Done
            }
            LineCommand::Sync => {
                self.global.open(Absent::Refuse)?.sync()?;
                Exit::Done
            }
            LineCommand::Exit => return Ok((Exit::Done, Then::End)),
        };
        Ok((exit, Then::GoOn))
    }

    /// Has later lines be about a table; `None`: the default one.
    fn use_table(&mut self, name: Option<&str>) -> Result<()> {
        if let Some(name) = name
            && self.global.open(Absent::Refuse)?.find_table(name)?.is_none()
        {
            let mut failure = Failure::no_table(name);
            failure.message += ", `table create` makes one";
            return Err(failure.into());
        }
        self.global.table = name.map(str::to_owned);
        Ok(())
    }

    /// Reports a failure, and notes it if it is the first.
    fn note(&mut self, mut failure: Failure, number: Option<u64>) -> Then {
        self.first_failed.get_or_insert(failure.exit);
        if let Some(number) = number {
            failure.message = format!("line {number}: {}", failure.message);
            failure.line.get_or_insert(number);
        }
        report(self.global.form(), &failure);
        Then::GoOn
    }
}

/// The next line of standard input; the inner error says why it is none. Commands may read from
/// standard input what is behind their line.
fn next_line() -> Result<Option<Result<String, Failure>>> {
    let mut input = io::stdin().lock();
    let failed = |error: io::Error| Failure::io("cannot read standard input", &error);
    let mut bytes = Vec::new();
    let limit = LINE_BYTES_MAX as u64 + 1;
    let read = (&mut input).take(limit).read_until(b'\n', &mut bytes).map_err(failed)?;
    if read == 0 {
        return Ok(None);
    }
    if bytes.len() > LINE_BYTES_MAX {
        input.skip_until(b'\n').map_err(failed)?;
        return Ok(Some(Err(Failure::input("the line is longer than any record; split it"))));
    }
    let line = String::from_utf8(bytes);
    Ok(Some(line.map_err(|_| Failure::input("the line is no UTF-8 text; write hex:... for keys"))))
}

fn println_or_closed(text: &str) -> Result<()> {
    use std::io::Write;
    writeln!(io::stdout(), "{text}").map_err(|error| output(&error))
}
