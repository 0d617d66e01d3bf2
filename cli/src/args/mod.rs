//! The command line: what a user can ask for, in the words of `--help`.

mod line;
mod reads;
mod tables;
mod transfer;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use uarr::repair::RepairMode;
use uarr::{Db, KeyKind, RecoveryMode};

use crate::exit::AFTER_HELP;

pub use self::line::{Line, LineCommand, Shell};
pub use self::reads::{Count, Get, Keys, Scan};
pub use self::tables::TableCommand;
pub use self::transfer::{Export, Import};

/// Import, read, write, scan and verify uarr databases
#[derive(Debug, Parser)]
#[command(name = "uarr", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// What holds for all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all commands.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of all commands")]
pub struct Global {
    /// Directory of the database
    // Not a path yet: an empty variable is one that is not set, and no error of its own.
    #[arg(long, global = true, env = "UARR_DB", value_name = "DIR")]
    #[arg(value_hint = ValueHint::DirPath)]
    pub db: Option<OsString>,
    /// Print results and errors as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Table of the records, in commands about records; the default one if none is named
    #[arg(long, global = true, value_name = "NAME")]
    pub table: Option<String>,
    /// Kind of the keys: bytes (default), u64 or i64; chosen when the database is created, or the
    /// table
    #[arg(long, global = true, value_enum, value_name = "KIND", hide_possible_values = true)]
    pub key_kind: Option<KeyKindArg>,
    /// What to do if the log ends in a write that was cut off: tolerate (cut it, nothing in it was
    /// acknowledged) or strict (an error)
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "MODE",
        default_value = "tolerate",
        hide_possible_values = true
    )]
    pub recovery: RecoveryArg,
    /// The database that the shell has open.
    #[arg(skip)]
    pub shared: Option<Db>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Store the JSON objects of files as records, or an export; creates the database if need be
    Import(Import),
    /// About an open database.
    #[command(flatten)]
    Open(OpenCommand),
    /// Open the database once and run commands that are typed or piped in, a line each
    #[command(after_help = line::SHELL_AFTER_HELP)]
    Shell(Shell),
    /// Report whether machine, file system, disk and database are set up well; changes nothing
    Doctor(Doctor),
    /// Print the log of a database that is not open and may be damaged: a line for each group and
    /// frame, with when its record expires, and where the log ends and why
    LogDump(LogDump),
    /// Print one structure of a database that is not open and may be damaged
    #[command(subcommand)]
    Inspect(Inspect),
    /// Write what is left of a damaged database to a new one; the damaged one stays as it is
    Repair(Repair),
    /// Make, read and check single records outside of a database
    Value(Value),
    /// Print the completions for a shell
    Completions(Completions),
    /// Write the pages of the manual, for packages
    Man(Man),
}

/// What to do with an open database.
#[derive(Debug, Subcommand)]
pub enum OpenCommand {
    /// Write records as lines that import reads back exactly
    Export(Export),
    /// Print a record as JSON
    Get(Get),
    /// Store one record; creates the database if need be
    Put(Put),
    /// Remove a record
    Del(Del),
    /// Add to a counter, and print its new value; creates the database if need be
    Incr(Incr),
    /// Print when a record expires, or change it
    Expiry(ExpiryArgs),
    /// Take a lease, renew it, release it, or show who has it
    #[command(subcommand)]
    Lease(Lease),
    /// Print records in key order, one JSON object per line
    Scan(Scan),
    /// Print how many records there are
    Count(Count),
    /// Print the tables that there are besides the default one
    Tables,
    /// Make a table, change its options, empty it, or drop it
    #[command(subcommand)]
    Table(TableCommand),
    /// Print sizes and counts; works beside a process that has the database open
    Stats,
    /// Measure which commit strategy is fastest on this directory, and use it from now on
    Tune,
    /// Read everything again and check it
    Verify,
    /// Take a checkpoint, so that the next open has nothing to replay
    Checkpoint,
    /// Move what lives out of mostly dead chunks, and give free space back to the file system
    Compact,
}

impl Command {
    /// Whether it is about the records of one table.
    pub fn is_about_records(&self) -> bool {
        match self {
            Self::Import(_) | Self::Shell(_) => true,
            Self::Open(command) => command.is_about_records(),
            Self::Doctor(_) | Self::LogDump(_) | Self::Inspect(_) | Self::Repair(_) => false,
            Self::Value(_) | Self::Completions(_) | Self::Man(_) => false,
        }
    }
}

impl OpenCommand {
    /// Whether it is about the records of one table.
    pub fn is_about_records(&self) -> bool {
        match self {
            Self::Export(_) | Self::Get(_) | Self::Put(_) | Self::Del(_) | Self::Incr(_) => true,
            Self::Expiry(_) | Self::Lease(_) | Self::Scan(_) | Self::Count(_) => true,
            Self::Tables | Self::Table(_) | Self::Stats | Self::Tune => false,
            Self::Verify | Self::Checkpoint | Self::Compact => false,
        }
    }
}

/// Options of `log-dump`.
#[derive(Debug, Args)]
pub struct LogDump {
    /// Only groups that reach this LSN, and those behind them
    #[arg(long, value_name = "LSN")]
    pub from: Option<u64>,
    /// At most this many groups
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}

/// What `inspect` looks at.
#[derive(Debug, Subcommand)]
pub enum Inspect {
    /// Both slots of the superblock; what expires until the time that they say has expired
    Superblock,
    /// The header of a segment of the log
    Segment {
        /// Number of the segment
        #[arg(value_name = "N")]
        number: u64,
    },
    /// The header of a chunk of the data file, how many whole records begin in it, and when the
    /// first and the last of those expire that do
    Chunk {
        /// Number of the chunk, from 0
        #[arg(value_name = "N")]
        number: u64,
    },
    /// The pieces of the newest index image, and when each chunk is looked through for records that
    /// have expired
    Index,
}

/// Options of `repair`.
#[derive(Debug, Args)]
pub struct Repair {
    /// What to keep: tolerate (up to where the log can be read in order) or salvage (also all that
    /// is whole behind that)
    #[arg(long, value_enum, value_name = "MODE", hide_possible_values = true)]
    pub mode: RepairArg,
    /// Directory of the new database: not there yet, or empty
    #[arg(value_name = "NEW_DIR")]
    pub target: PathBuf,
}

/// [`RepairMode`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RepairArg {
    /// Up to where the log can be read in order
    Tolerate,
    /// All that is whole
    Salvage,
}

impl From<RepairArg> for RepairMode {
    fn from(mode: RepairArg) -> Self {
        match mode {
            RepairArg::Tolerate => Self::Tolerate,
            RepairArg::Salvage => Self::Salvage,
        }
    }
}

/// Options of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Directory that holds the database, open or not, or is to hold one [default: --db]
    pub dir: Option<PathBuf>,
    /// Look at the limits of this running process, such as the service, instead of the doctor's own
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Leave out the measurement: two seconds of small durable writes
    #[arg(long)]
    pub no_measure: bool,
    /// Read /proc and /sys below this directory: those of a container's host, or copies of another
    /// machine's; DIR is a directory there
    #[arg(long, value_name = "ROOT")]
    pub root: Option<PathBuf>,
}

/// Options of `put`.
#[derive(Debug, Args)]
pub struct Put {
    /// Key of the record
    #[arg(allow_negative_numbers = true)]
    pub key: OsString,
    /// The record as JSON; - reads it from standard input
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub value: OsString,
    /// The record expires so long from now: 90s, 30m, 12h, 7days
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub ttl: Option<Duration>,
    /// Only if there is no record of the key; otherwise exit code 1
    #[arg(long, conflicts_with = "if_version")]
    pub if_absent: bool,
    /// Only if the newest record has this version: the "lsn" that put printed with --json
    #[arg(long, value_name = "LSN")]
    pub if_version: Option<u64>,
}

/// Options of `incr`.
#[derive(Debug, Args)]
pub struct Incr {
    /// Key of the counter
    #[arg(allow_negative_numbers = true)]
    pub key: OsString,
    /// How much is added
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    pub by: i64,
    /// What a counter that is not there begins with, before something is added
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub initial: i64,
    /// A counter that is not there, or has expired, expires so long from now: 60s, 1h
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub ttl: Option<Duration>,
    /// Change nothing if less would come of it; exit code 1 then
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub min: Option<i64>,
    /// Change nothing if more would come of it; exit code 1 then
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub max: Option<i64>,
}

/// Options of `expiry`.
#[derive(Debug, Args)]
pub struct ExpiryArgs {
    /// Key of the record
    #[arg(allow_negative_numbers = true)]
    pub key: OsString,
    /// The record expires so long from now: 90s, 30m, 12h, 7days
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub ttl: Option<Duration>,
    /// The record never expires
    #[arg(long, conflicts_with = "ttl")]
    pub never: bool,
}

/// What `lease` does.
#[derive(Debug, Subcommand)]
pub enum Lease {
    /// Take a lease, or take it anew; exit code 1 if another owner has it
    Acquire {
        /// Key of the lease
        key: OsString,
        /// Name of the owner
        #[arg(long, value_name = "NAME")]
        owner: OsString,
        /// How long it lasts: 90s, 30m, 12h
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        ttl: Duration,
    },
    /// Have a lease last for a time from now on; exit code 1 if it has ended
    Renew {
        /// Key of the lease
        key: OsString,
        /// The token that acquire printed
        #[arg(long, value_name = "N")]
        token: u64,
        /// How long it lasts: 90s, 30m, 12h
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        ttl: Duration,
    },
    /// End a lease; exit code 1 if it has ended
    Release {
        /// Key of the lease
        key: OsString,
        /// The token that acquire printed
        #[arg(long, value_name = "N")]
        token: u64,
    },
    /// Print who holds a lease; exit code 1 if it is free
    Show {
        /// Key of the lease
        key: OsString,
    },
}

/// Options of `del`.
#[derive(Debug, Args)]
pub struct Del {
    /// Key of the record
    #[arg(allow_negative_numbers = true)]
    pub key: OsString,
}

/// What `value` does, none of which needs a database.
#[derive(Debug, Args)]
pub struct Value {
    /// What to do with the record.
    #[command(subcommand)]
    pub command: ValueCommand,
}

/// What to do with one record.
#[derive(Debug, Subcommand)]
pub enum ValueCommand {
    /// Write the record of a JSON text: its bytes, or with --json {"$bytes":"BASE64"}
    FromJson {
        /// File of one JSON text of at most 64 MiB; - reads standard input
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Print a record as JSON
    ToJson {
        /// File of one record; - reads standard input
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Print ok, or the rule that a record breaks and the byte offset where it does (exit code 1)
    Check {
        /// File of one record; - reads standard input
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Print the bytes of a record with their meaning, of a damaged one as far as it goes
    Dump {
        /// File of one record; - reads standard input
        #[arg(default_value = "-")]
        file: PathBuf,
    },
}

/// Options of `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Options of `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Directory for the pages, such as share/man/man1
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// [`KeyKind`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum KeyKindArg {
    /// Byte strings
    Bytes,
    /// Integers from 0 to 18446744073709551615
    U64,
    /// Integers from -9223372036854775808 to 9223372036854775807
    I64,
}

impl From<KeyKindArg> for KeyKind {
    fn from(kind: KeyKindArg) -> Self {
        match kind {
            KeyKindArg::Bytes => Self::Bytes,
            KeyKindArg::U64 => Self::U64,
            KeyKindArg::I64 => Self::I64,
        }
    }
}

/// [`RecoveryMode`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RecoveryArg {
    /// Opening fails
    Strict,
    /// Opening cuts it: nothing in it was acknowledged
    Tolerate,
}

impl From<RecoveryArg> for RecoveryMode {
    fn from(mode: RecoveryArg) -> Self {
        match mode {
            RecoveryArg::Strict => Self::Strict,
            RecoveryArg::Tolerate => Self::TolerateTornTail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
