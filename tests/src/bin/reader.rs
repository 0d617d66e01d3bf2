//! The process whose system calls a test counts: `reader DIRECTORY KEYS GETS`
//!
//! Opens the database in DIRECTORY, gets the keys 0 .. KEYS once, then GETS more of them, prints
//! how many bytes it saw and closes it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use uarr::KeyKind;
use uarr_tests::small;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(keys), Some(gets)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        eprintln!("usage: reader DIRECTORY KEYS GETS");
        return ExitCode::from(2);
    };
    let read = || -> Result<usize, Box<dyn std::error::Error>> {
        let (keys, gets): (u64, u64) = (keys.parse()?, gets.parse()?);
        // Threads of the background make calls of their own whenever they wake.
        let db = small(directory).keys(KeyKind::U64).background(false).open()?;
        let mut seen = 0;
        for number in (0..keys).chain((0..gets).map(|number| number * 7919 % keys)) {
            seen += db.get(number)?.ok_or("a record is missing")?.len();
        }
        println!("{seen}");
        Ok(seen)
    };
    match read() {
        // The database is dropped by now, in both cases in the same way.
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
