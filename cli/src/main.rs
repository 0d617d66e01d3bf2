//! The `uarr` command.

fn main() {}
