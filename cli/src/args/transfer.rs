//! Options of the commands that carry many records in or out.

use std::path::PathBuf;

use clap::Args;
use uarr::Durability;

/// Most records that `import --batch` may put into one commit.
const BATCH_RECORDS_MAX: i64 = 1_000_000;

/// Options of `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// File of JSON objects, one per line of at most 64 MiB; - reads standard input
    pub file: PathBuf,
    /// Field that holds the key, a string or an integer: a name or a path like a.b. If a key
    /// comes twice, the last record stays
    #[arg(long, value_name = "FIELD")]
    pub key: String,
    /// Records per commit at most; fewer if the input comes slowly
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=BATCH_RECORDS_MAX)
    )]
    pub batch: u32,
    /// Skip lines that cannot be imported, and count them
    #[arg(long)]
    pub skip_bad: bool,
    /// When commits are durable: sync, interval:100ms or manual (when the import is done)
    #[arg(long, value_name = "WHEN", default_value = "sync")]
    pub durability: Durability,
}
