//! The line that a person edits: prompt, history, completion.
//!
//! The file of earlier lines is a comfort: if it cannot be read or written, the shell goes on
//! without. Lines that begin with a space do not go into it.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config};
use uarr::Db;

use crate::args::Global;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::output::warn;
use crate::shell::complete::Completing;
use crate::signals::{BeforeEnd, before_end};

/// Lines that are kept.
const HISTORY_LINES_MAX: usize = 10_000;

/// Reads lines from a terminal.
pub struct Editor {
    lines: rustyline::Editor<Completing, FileHistory>,
    history: Option<PathBuf>,
    _before_end: Option<BeforeEnd>,
}

/// What a person did.
pub enum Typed {
    /// A line.
    Line(String),
    /// Ctrl-C.
    Cancelled,
    /// Ctrl-D.
    End,
}

impl Editor {
    /// An editor for lines about `db`.
    pub fn new(db: &Db, global: &Global, keeps_history: bool) -> Result<Self> {
        let config = Config::builder()
            .max_history_size(HISTORY_LINES_MAX)
            .map_err(|error| unusable(&error))?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            // Pasted lines are lines.
            .bracketed_paste(false)
            .build();
        let lines = rustyline::Editor::with_config(config);
        let mut lines = lines.map_err(|error| unusable(&error))?;
        lines.set_helper(Some(Completing::new(db.clone())));
        let history = history_file().filter(|_| keeps_history);
        if let Some(file) = &history {
            // There may be none yet.
            let _ = lines.load_history(file);
        }
        // While a line is edited the terminal is not as the shell has found it.
        let found = tcgetattr(io::stdin()).ok();
        let before_end = found.map(|found| {
            before_end(global.form(), move || {
                let _ = tcsetattr(io::stdin(), OptionalActions::Now, &found);
            })
        });
        let mut editor = Self { lines, history, _before_end: before_end };
        if let Some(Err(error)) = editor.history.as_ref().map(|file| make_folder(file)) {
            let text = format!("earlier lines are not kept: {error}; --no-history says so");
            warn(global.form(), &text);
            editor.history = None;
        }
        Ok(editor)
    }

    /// Reads a line about `table`.
    pub fn read_line(&mut self, table: Option<&str>) -> Result<Typed> {
        if let Some(helper) = self.lines.helper_mut() {
            helper.table = table.map(str::to_owned);
        }
        let prompt = match table {
            Some(table) => format!("uarr:{}> ", crate::output::one_line(table)),
            None => "uarr> ".to_owned(),
        };
        match self.lines.readline(&prompt) {
            Ok(line) => {
                self.keep(&line);
                Ok(Typed::Line(line))
            }
            Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => Ok(Typed::Cancelled),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(error) => Err(unusable(&error).into()),
        }
    }

    /// Keeps a line; at once, as the shell may be killed.
    fn keep(&mut self, line: &str) {
        let is_new = self.lines.add_history_entry(line).unwrap_or(false);
        if is_new && let Some(file) = &self.history {
            let _ = self.lines.append_history(file);
        }
    }
}

fn unusable(error: &ReadlineError) -> Failure {
    Failure::new(Exit::Io, "io", format!("the terminal cannot be used: {error}"))
}

/// Where earlier lines are kept: in `$XDG_STATE_HOME`, or else `~/.local/state`.
fn history_file() -> Option<PathBuf> {
    let named = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")))?;
    Some(state.join("uarr/history"))
}

fn make_folder(file: &std::path::Path) -> io::Result<()> {
    let folder = file.parent().unwrap_or(file);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
