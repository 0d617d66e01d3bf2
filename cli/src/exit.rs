//! What the exit codes mean.

/// The text at the end of `uarr --help`; no line has more than 80 columns, which are not wrapped.
pub const AFTER_HELP: &str = "\
Keys:
  Byte tables take keys as text, as hex:6b6579 for any bytes, or as u64:5 or
  i64:-5 for integers; integer tables take numbers. Keys that are not plain text
  are shown in these forms. A value that is no record is shown as
  {\"$bytes\":\"<base64>\"}.

Exit codes:
  0  done, or what read the output has gone away
  1  key or field not found; condition or bound not met; verify, inspect,
     log-dump or value check found damage; doctor found something critical
  2  bad usage or bad input
  3  the database cannot be opened: missing, locked, other format, no
     permission, other files there; or a process that writes to it has gone
     on for too long beside a command that reads
  4  the command met damage
  5  no space left
  6  another error of the operating system, or output that cannot be written
  In a shell, 128 and its number if a signal ended the command: 130 is Ctrl-C,
  143 is SIGTERM. What was acknowledged before is there and durable, what import
  has stored too; a second signal does not wait for that.
  uarr shell: that of the first line of a script that failed.

With --json every error is one line on stderr:
  {\"error\":{\"kind\":...,\"message\":...,\"file\":...,\"offset\":...,\"line\":...}}";

/// The exit codes, as documented in [`AFTER_HELP`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// A key or field is not there, a condition is not met, or a command that looks for damage or
    /// risks found some.
    Missing = 1,
    /// Arguments or input cannot be used.
    Usage = 2,
    /// The database cannot be opened.
    Unopened = 3,
    /// Bytes of the database are not what was written.
    Damage = 4,
    /// No space is left.
    NoSpace = 5,
    /// Anything else that the operating system refused.
    Io = 6,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_fits_80_columns() {
        for line in AFTER_HELP.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
