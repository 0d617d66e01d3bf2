//! Arguments that are not run: those that ask for help, and those that cannot be used.

use crate::exit::Exit;
use crate::failure::{Failure, Stop, output};
use crate::output::{Form, report};

/// Prints help, the version, or what is wrong with the arguments.
pub fn show(error: &clap::Error, form: Form) -> Exit {
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
