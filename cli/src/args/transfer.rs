//! Options of the commands that carry many records in or out.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use uarr::Durability;

use super::Keys;

/// Most records that `import --batch` may put into one commit.
const BATCH_RECORDS_MAX: i64 = 1_000_000;

/// Options of `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// Files of JSON objects, each of at most 64 MiB: one a line, one behind the other, or in an
    /// array; or exports. Compressed ones (gzip, zstd) are unpacked; - reads standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Field that holds the key, a string or an integer: a name or a path like a.b[3]. If a key
    /// comes twice, the last record stays. An export has keys of its own
    #[arg(long, value_name = "FIELD", value_parser = NonEmptyStringValueParser::new())]
    pub key: Option<String>,
    /// Store only this field, a name or a path, in place of the whole object
    #[arg(long, value_name = "FIELD", value_parser = NonEmptyStringValueParser::new())]
    pub value: Option<String>,
    /// Put this before each key (byte tables)
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<OsString>,
    /// Records per commit at most; fewer if the input comes slowly
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=BATCH_RECORDS_MAX)
    )]
    pub batch: u32,
    /// Skip lines and objects that cannot be imported, and count them
    #[arg(long)]
    pub skip_bad: bool,
    /// When commits are durable: sync, interval:100ms or manual (when the import is done)
    #[arg(long, value_name = "WHEN", default_value = "sync")]
    pub durability: Durability,
}

/// Options of `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// File to write, compressed if its name ends in .gz or .zst; - writes standard output
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// Of which keys.
    #[command(flatten)]
    pub keys: Keys,
}
