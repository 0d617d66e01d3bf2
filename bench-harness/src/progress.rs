//! Shows a waiting person how far the run is: a bar on a terminal, one line per phase elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// Progress of a run on standard error.
pub struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
}

impl Progress {
    /// A run of `step_count` steps.
    pub fn new(step_count: u64) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target =
            if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(step_count), target);
        let style = ProgressStyle::with_template(
            "{bar:24} {pos}/{len} {elapsed} of about {duration}  {msg}",
        )
        .expect("the template is well-formed");
        bar.set_style(style.progress_chars("=> "));
        Self { bar, is_terminal }
    }

    /// Begins a phase of several steps.
    pub fn phase(&self, name: &str) {
        if !self.is_terminal {
            eprintln!("uarr-bench: {name}");
        }
        self.bar.set_message(name.to_owned());
    }

    /// Names the present step; drawn only on a terminal.
    pub fn now(&self, what: String) {
        self.bar.set_message(what);
        self.bar.tick();
    }

    /// One step is done.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
