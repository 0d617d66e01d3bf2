//! Dumps the record of a JSON text, annotated.
//!
//! ```sh
//! echo '{"id": 7}' | cargo run -q -p uarr-layout --example uarr_dump
//! ```

use std::io::Read;

use uarr_layout::uarr::{dump, from_json};

fn main() {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text).expect("standard input can be read");
    match from_json(text) {
        Ok(record) => print!("{}", dump(&record)),
        Err(error) => println!("{error}"),
    }
}
