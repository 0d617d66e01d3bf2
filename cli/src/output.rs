//! What the user sees: results on stdout, warnings, failures and progress on stderr.
//!
//! Invariants: everything on stderr is one line each; with `--json` each of these lines is a JSON
//! object. Nothing here panics if a stream is closed: stderr is best effort, stdout is reported.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::time::Duration;

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::failure::{Failure, Result, output};

/// Bytes collected before stdout is written.
const STDOUT_BUFFER_BYTES: usize = 64 << 10;
/// How progress is shown: all but the bar, which takes the rest, fits 40 columns.
const TEMPLATE: &str = "{percent:>3}% {wide_bar} {msg} {eta:>4}";
/// The same where the end is not known.
const TEMPLATE_UNSIZED: &str = "{spinner} {msg}";
/// Where the values of labels begin.
const LABEL_COLUMNS: usize = 20;
/// A space that is no place to break a line.
const GLUE: char = '\u{a0}';
/// Pictures of the bar per second.
const DRAWS_PER_SECOND: u8 = 10;

/// Where a command puts its results.
pub struct Output {
    /// Buffered standard output; [`Output::finish`] empties it.
    pub stdout: BufWriter<StdoutLock<'static>>,
    /// What the user wants to read.
    pub form: Form,
}

/// For whom results and errors are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Output {
    /// Standard output in this form.
    pub fn new(form: Form) -> Self {
        let stdout = BufWriter::with_capacity(STDOUT_BUFFER_BYTES, io::stdout().lock());
        Self { stdout, form }
    }

    /// Prints the one result of a command: the JSON value, or the text for people.
    pub fn result(&mut self, value: &Value, text: impl fmt::Display) -> Result<()> {
        let written = match self.form {
            Form::Json => writeln!(self.stdout, "{value}"),
            Form::Text => write!(self.stdout, "{text}"),
        };
        written.map_err(|error| output(&error))
    }

    /// The text with its colours where standard output is a terminal that wants some, else without.
    pub fn coloured(&self, text: &str) -> String {
        match AutoStream::choice(&io::stdout()) {
            ColorChoice::Never => strip_str(text).to_string(),
            _ => text.to_owned(),
        }
    }

    /// Writes what is still buffered.
    pub fn finish(&mut self) -> Result<()> {
        self.stdout.flush().map_err(|error| output(&error))
    }

    /// Whether someone sees how far a command is.
    pub fn shows_progress(&self) -> bool {
        self.form == Form::Text && io::stderr().is_terminal()
    }

    /// A progress bar on stderr if that is a terminal read by people, else one that shows nothing.
    /// Its message says what was done so far.
    pub fn progress(&self, length: Option<u64>) -> ProgressBar {
        if self.form == Form::Json {
            return ProgressBar::hidden();
        }
        // Not a terminal: indicatif draws nothing.
        let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND);
        let bar = progress(length, target);
        bar.enable_steady_tick(Duration::from_millis(250));
        bar
    }
}

fn progress(length: Option<u64>, target: ProgressDrawTarget) -> ProgressBar {
    let template = if length.is_some() { TEMPLATE } else { TEMPLATE_UNSIZED };
    let bar = ProgressBar::with_draw_target(length, target);
    bar.with_style(
        ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> "),
    )
}

/// `1 record`, `2,500 records`: a count of what `noun` says.
pub fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", HumanCount(count))
}

/// Columns of the terminal behind standard output, if it is one.
pub fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// A line of a label and a value. On a terminal with so many `columns` a long value goes on below
/// its beginning.
pub fn labelled(label: &str, value: &str, columns: Option<usize>) -> String {
    let first = format!("{label:<LABEL_COLUMNS$}");
    let columns = columns.unwrap_or(usize::MAX);
    if first.len() + value.len() <= columns {
        return format!("{first}{value}\n");
    }
    let below = " ".repeat(LABEL_COLUMNS);
    let options = textwrap::Options::new(columns).initial_indent(&first).subsequent_indent(&below);
    // Numbers stay with their units.
    let mut glued = String::with_capacity(value.len());
    for character in value.chars() {
        let is_unit = character == ' ' && glued.ends_with(|before: char| before.is_ascii_digit());
        glued.push(if is_unit { GLUE } else { character });
    }
    textwrap::fill(&glued, options.break_words(false)).replace(GLUE, " ") + "\n"
}

/// Reports something that is no error.
pub fn warn(form: Form, text: &str) {
    match form {
        Form::Text => stderr_line(&format!("uarr: warning: {}", one_line(text))),
        Form::Json => stderr_line(&json!({ "warning": text }).to_string()),
    }
}

/// Reports why the command failed.
pub fn report(form: Form, failure: &Failure) {
    match form {
        Form::Text => stderr_line(&format!("uarr: {}", one_line(&failure.message))),
        Form::Json => stderr_line(&failure.to_json().to_string()),
    }
}

fn stderr_line(line: &str) {
    // If stderr is closed, only the exit code remains.
    let _ = writeln!(io::stderr(), "{line}");
}

/// The text with control characters escaped: names of files and keys may hold any.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::InMemoryTerm;

    #[test]
    fn progress_fits_narrow_terminals() {
        let shown = |columns, length| {
            let terminal = InMemoryTerm::new(3, columns);
            let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
            let bar = progress(length, target);
            bar.set_message(counted(123_456_789, "record"));
            bar.set_position(70);
            bar.force_draw();
            terminal.contents()
        };
        for columns in [40, 80, 120] {
            let line = shown(columns, Some(100));
            assert_eq!(line.lines().count(), 1, "{line}");
            assert!(line.starts_with(" 70% =") && line.contains(" 123,456,789 records "), "{line}");
            assert!(line.chars().count() > usize::from(columns) - 4, "{line}");
            let line = shown(columns, None);
            assert!(line.lines().count() == 1 && line.contains("123,456,789 records"), "{line}");
        }
    }

    #[test]
    fn counts_and_their_nouns() {
        assert_eq!(counted(0, "record"), "0 records");
        assert_eq!(counted(1, "record"), "1 record");
        assert_eq!(counted(2500, "record"), "2,500 records");
    }

    #[test]
    fn long_values_go_on_below() {
        let label = "on disk";
        assert_eq!(labelled(label, "1 B, 2 B", None), "on disk             1 B, 2 B\n");
        assert_eq!(labelled(label, "1 B, 2 B", Some(28)), "on disk             1 B, 2 B\n");
        let below = "on disk             1 B,\n                    2 B\n";
        assert_eq!(labelled(label, "1 B, 2 B", Some(25)), below);
        assert_eq!(labelled(label, "1 B, 2 B", Some(26)), below);
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(one_line("a\nb\x1b[1m\u{9b}c"), "a\\nb\\u{1b}[1m\\u{9b}c");
        assert_eq!(one_line("plain \u{e9}"), "plain \u{e9}");
    }
}
