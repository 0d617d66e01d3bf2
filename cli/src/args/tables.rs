//! What `table` does.

use std::time::Duration;

use clap::{ArgGroup, Subcommand};

/// What `table` does.
#[derive(Debug, Subcommand)]
pub enum TableCommand {
    /// Make a table, with keys of the kind that --key-kind says; creates the database if need be
    Create {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// Keys, which are bytes, have no order: less memory and faster writes, but no ranges
        #[arg(long)]
        unordered: bool,
        /// Records expire this long after they were written, if nothing else is said: 90s, 12h, 30d
        #[arg(long, value_name = "TIME", value_parser = time_to_live)]
        ttl: Option<Duration>,
        /// Each write is durable before it is acknowledged, whatever the database promises
        #[arg(long)]
        durable: bool,
    },
    /// Change when records of a table expire that are written from now on, or the durability of its
    /// writes; what is not given stays
    #[command(group(ArgGroup::new("change").required(true).multiple(true)))]
    Alter {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// Records expire this long after they were written, if nothing else is said: 90s, 12h, 30d
        #[arg(long, value_name = "TIME", value_parser = time_to_live)]
        #[arg(group = "change")]
        ttl: Option<Duration>,
        /// Records stay until they are deleted, if nothing else is said
        #[arg(long, group = "change", conflicts_with = "ttl")]
        no_ttl: bool,
        /// Each write is durable before it is acknowledged, whatever the database promises
        #[arg(long, group = "change")]
        durable: bool,
        /// Writes promise what the database promises
        #[arg(long, group = "change", conflicts_with = "durable")]
        no_durable: bool,
    },
    /// Drop a table with all of its records
    Drop {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Drop all records of a table, at once
    Clear {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// A time after which something is over.
fn time_to_live(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time < Duration::from_millis(1) => {
            Err("give at least 1ms; for records that stay leave --ttl out, or alter with --no-ttl"
                .to_owned())
        }
        parsed => parsed.map_err(|error| error.to_string()),
    }
}
