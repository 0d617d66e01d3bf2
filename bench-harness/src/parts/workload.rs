//! A workload as data: what is asked of the stores, in a TOML file.
//!
//! ```toml
//! schema = 1
//! records = 100_000             # loaded before, 1 to 50,000,000
//! value_bytes = 1000            # 16 to 1,048,576, a multiple of 8
//! keys = "zipf"                 # uniform, zipf or latest
//! writes = "durable"            # or "memory-first", each store's strongest; if it writes
//! threads = 4                   # 1 to 64
//! readers = 2                   # threads beside these that only get, 0 to 64; default 0
//! key_order = "clustered"       # 1024 neighbours each; default "spread"
//! key_form = "text"             # 20 bytes; text16, text40: as many; or "u64", the default
//! cache = "cold"                # each round begins with the store closed and none of its files in
//!                               # the page cache; default "warm"
//! memory_mib = 256              # of the whole process and its page cache, 256 or more: a cgroup
//! scan_records_max = 100        # of a scan, 1 to 10,000
//!
//! [operations]                  # parts of a hundred
//! get = 50                      # get, miss, update, get_update, insert, scan, and
//! update = 50                   # read_modify_write: get and update in one transaction
//!
//! [arrival]                     # without it each thread begins when its last operation is done
//! process = "poisson"           # or "even"
//! per_second = [1000, 2000]     # of all threads together, one rate after the other
//! p99_ns_max = 2_000_000        # the knee is the highest rate whose responses keep this
//! ```
//!
//! Everything unknown in the file is an error that names the line.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::error::BenchError;
use crate::measure::job::Arrival;
use crate::measure::keys::{KeyForm, KeyOrder};
use crate::measure::mix::{Keys, Mix, Parts};
use crate::measure::store::{Class, Contender, OpenSpec, Writes};

/// Version of the file.
const SCHEMA: u32 = 1;

/// Less does not hold the code and the buffers of all stores.
const MEMORY_MIB_MIN: u64 = 256;

/// The workloads that come with the program: name and text.
const BUILT_IN: [(&str, &str); 21] = [
    ("ycsb-a", include_str!("../../workloads/ycsb-a.toml")),
    ("ycsb-b", include_str!("../../workloads/ycsb-b.toml")),
    ("ycsb-c", include_str!("../../workloads/ycsb-c.toml")),
    ("ycsb-d", include_str!("../../workloads/ycsb-d.toml")),
    ("ycsb-e", include_str!("../../workloads/ycsb-e.toml")),
    ("ycsb-f", include_str!("../../workloads/ycsb-f.toml")),
    ("ycsb-f-transactions", include_str!("../../workloads/ycsb-f-transactions.toml")),
    ("put-poisson", include_str!("../../workloads/put-poisson.toml")),
    ("get-poisson", include_str!("../../workloads/get-poisson.toml")),
    ("mixed-memory", include_str!("../../workloads/mixed-memory.toml")),
    ("large-values", include_str!("../../workloads/large-values.toml")),
    ("clustered-text", include_str!("../../workloads/clustered-text.toml")),
    ("readers-beside-writer", include_str!("../../workloads/readers-beside-writer.toml")),
    ("cold-gets", include_str!("../../workloads/cold-gets.toml")),
    ("larger-than-memory", include_str!("../../workloads/larger-than-memory.toml")),
    ("text16-gets", include_str!("../../workloads/text16-gets.toml")),
    ("text16-puts", include_str!("../../workloads/text16-puts.toml")),
    ("text16-scans", include_str!("../../workloads/text16-scans.toml")),
    ("text40-gets", include_str!("../../workloads/text40-gets.toml")),
    ("text40-puts", include_str!("../../workloads/text40-puts.toml")),
    ("text40-scans", include_str!("../../workloads/text40-scans.toml")),
];

/// A workload.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    schema: u32,
    /// Its name in tables: that of the file.
    #[serde(skip)]
    pub name: String,
    /// Records loaded before.
    pub records: u64,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// What operations fall on.
    keys: Keys,
    /// What writes wait for.
    writes: Option<Promise>,
    /// Threads at work.
    pub threads: u32,
    /// Threads that only get, beside them.
    #[serde(default)]
    pub readers: u32,
    /// Where keys lie.
    #[serde(default)]
    key_order: KeyOrder,
    /// What keys are.
    #[serde(default)]
    pub key_form: KeyForm,
    /// What is cached when a round begins.
    #[serde(default)]
    pub cache: Cache,
    /// Memory of the process, page cache included.
    pub memory_mib: Option<u64>,
    #[serde(default = "default_scan_records_max")]
    scan_records_max: u64,
    operations: Parts,
    /// When operations begin, if not when the last one is done.
    pub arrival: Option<Rates>,
}

/// What writes wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Promise {
    Durable,
    MemoryFirst,
}

/// What is cached when a round begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cache {
    /// What the rounds before have left.
    #[default]
    Warm,
    /// Nothing: the store was closed, and its files are not in the page cache.
    Cold,
}

/// When operations begin.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// How they are spread over time.
    pub process: Arrival,
    /// Operations per second of all threads, one rate after the other.
    pub per_second: Vec<u32>,
    /// The knee is the highest rate whose 99th percentile of response times keeps this.
    pub p99_ns_max: Option<f64>,
}

const fn default_scan_records_max() -> u64 {
    100
}

impl Workload {
    /// The workload that comes with the program under this name, or that of a file.
    pub fn find(name: &str) -> Result<Self, BenchError> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Self::parse(name, text).map_err(BenchError::Setup);
        }
        let path = Path::new(name);
        if !path.is_file() {
            let all = BUILT_IN.map(|(name, _)| name).join(", ");
            return Err(BenchError::Setup(format!("{name} is no file and none of {all}")));
        }
        let text = fs::read_to_string(path)
            .map_err(|error| BenchError::at(path, "cannot read the workload", &error))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&stem, &text).map_err(|error| BenchError::at(path, "bad workload", &error))
    }

    /// Reads and checks the text of a workload. The error names the line.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let read: Result<Self, _> = toml::from_str(text);
        let workload = read.map_err(|error| error.to_string().trim_end().to_owned())?;
        let workload = Self { name: name.to_owned(), ..workload };
        workload.check()?;
        Ok(workload)
    }

    fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!(
                "schema = {} is unknown, this program reads {SCHEMA}",
                self.schema
            ));
        }
        let within = |what: &str, value: u64, least: u64, most: u64| {
            let is_within = (least..=most).contains(&value);
            is_within
                .then_some(())
                .ok_or_else(|| format!("{what} = {value} is not {least} to {most}"))
        };
        within("records", self.records, 1, 50_000_000)?;
        within("value_bytes", self.value_bytes as u64, 16, 1 << 20)?;
        within("threads", u64::from(self.threads), 1, 64)?;
        within("readers", u64::from(self.readers), 0, 64)?;
        within("memory_mib", self.memory_mib.unwrap_or(MEMORY_MIB_MIN), MEMORY_MIB_MIN, 1 << 24)?;
        within("scan_records_max", self.scan_records_max, 1, 10_000)?;
        if !self.value_bytes.is_multiple_of(8) {
            return Err(format!("value_bytes = {} is no multiple of 8", self.value_bytes));
        }
        if self.operations.sum() != 100 {
            return Err(format!("the operations make {}, not 100", self.operations.sum()));
        }
        if self.operations.has_writes() != self.writes.is_some() {
            let why =
                "writes = says what writes wait for: needed if some operation writes, else not";
            return Err(why.to_owned());
        }
        let is_counted = !self.operations.has_overwrites() && self.keys != Keys::Latest;
        if self.has_transactions() && !is_counted {
            let why = "read_modify_write is checked by counting: no update or get_update beside \
                       it, nor keys = \"latest\"";
            return Err(why.to_owned());
        }
        let Some(rates) = &self.arrival else { return Ok(()) };
        within("rates in per_second", rates.per_second.len() as u64, 1, 32)?;
        for &rate in &rates.per_second {
            within("per_second", u64::from(rate), 1, 10_000_000)?;
        }
        Ok(())
    }

    /// How `contender` is opened for it, and the class of that.
    pub fn writes(&self, contender: Contender) -> (Writes, Class) {
        match self.writes {
            Some(Promise::Durable) => (Writes::Durable, Class::Sync),
            Some(Promise::MemoryFirst) => {
                let writes = contender.load_writes();
                (writes, writes.class())
            }
            None => (contender.load_writes(), Class::Read),
        }
    }

    /// How `contender` is opened for it.
    pub fn spec(&self, contender: Contender) -> OpenSpec {
        OpenSpec {
            value_bytes: self.value_bytes,
            key_order: self.key_order,
            key_form: self.key_form,
            // The page cache needs most of it.
            cache_bytes: self.memory_mib.map(|mib| (mib << 20) / 4),
            modifies: self.has_transactions(),
            ..OpenSpec::new(self.writes(contender).0, self.records)
        }
    }

    /// Whether stores are open only while they are measured, so that each has all memory.
    pub fn is_apart(&self) -> bool {
        self.memory_mib.is_some() || self.cache == Cache::Cold
    }

    /// Whether it modifies records in transactions. Nothing else overwrites them then, so each of
    /// their versions says how many have taken effect.
    pub const fn has_transactions(&self) -> bool {
        self.operations.read_modify_write > 0
    }

    /// Whether it reads records in key order.
    pub const fn has_scans(&self) -> bool {
        self.operations.scan > 0
    }

    /// The mix of its operations, whose new records have numbers from `first` on.
    pub fn mix(&self, first: u64, version: u64) -> Mix {
        Mix {
            parts: self.operations,
            keys: self.keys,
            record_count: self.records,
            scan_records_max: self.scan_records_max,
            first,
            version,
        }
    }

    /// What it is, in one line.
    pub fn text(&self) -> String {
        let keys = match self.keys {
            Keys::Uniform => "uniform",
            Keys::Zipf => "Zipf",
            Keys::Latest => "latest first",
        };
        let mut more = String::new();
        if self.key_order == KeyOrder::Clustered {
            more.push_str(", in clusters of 1024 neighbours");
        }
        if let Some(bytes) = self.key_form.text_bytes() {
            more.push_str(&format!(", as text of {bytes} bytes"));
        }
        if self.readers > 0 {
            more.push_str(&format!(", beside {} threads that only get", self.readers));
        }
        if self.cache == Cache::Cold {
            more.push_str(", cold");
        }
        if let Some(mib) = self.memory_mib {
            more.push_str(&format!(", in {mib} MiB of memory"));
        }
        let begin = match &self.arrival {
            None => "each thread begins when its last operation is done",
            Some(Rates { process: Arrival::Even, .. }) => "begun at fixed times",
            Some(Rates { process: Arrival::Poisson, .. }) => "begun at random times (Poisson)",
        };
        format!(
            "{}, keys {keys}, {} records, values of {} bytes, threads: {}{more}; {begin}",
            self.operations.text(),
            self.records,
            self.value_bytes,
            self.threads,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "schema = 1\nrecords = 1000\nvalue_bytes = 64\nkeys = \"zipf\"\n\
        writes = \"durable\"\nthreads = 2\n[operations]\nget = 60\nupdate = 40\n\
        [arrival]\nprocess = \"even\"\nper_second = [10, 20]\n";

    #[test]
    fn the_workloads_that_come_with_the_program_are_good() {
        for (name, _) in BUILT_IN {
            let workload = Workload::find(name).unwrap();
            assert_eq!(workload.name, name);
        }
        let text = Workload::find("ycsb-a").unwrap().text();
        let told = "50 % get, 50 % update, keys Zipf, 100000 records, values of 1000 bytes, \
                    threads: 4; each thread begins when its last operation is done";
        assert_eq!(text, told);
        let error = Workload::find("ycsb-g").unwrap_err().to_string();
        assert!(error.contains("no file and none of ycsb-a, ycsb-b"), "{error}");
    }

    #[test]
    fn stores_are_opened_as_it_says() {
        let durable = Workload::parse("w", GOOD).unwrap();
        assert_eq!(durable.writes(Contender::Sqlite), (Writes::Durable, Class::Sync));
        let memory = Workload::parse("w", &GOOD.replace("durable", "memory-first")).unwrap();
        assert_eq!(memory.writes(Contender::Uarr), (Writes::Interval, Class::Interval));
        assert_eq!(memory.writes(Contender::Sqlite), (Writes::OsCache, Class::OsCache));
        let reads = Workload::find("ycsb-c").unwrap();
        assert_eq!(reads.writes(Contender::Sqlite), (Writes::OsCache, Class::Read));
        let mix = durable.mix(7, 3);
        assert_eq!((mix.record_count, mix.first, mix.version), (1000, 7, 3));
    }

    #[test]
    fn errors_name_the_line_or_the_field() {
        for (from, to, told) in [
            ("schema = 1", "schema = 2", "schema = 2 is unknown"),
            ("records = 1000", "records = 0", "records = 0 is not 1 to 50000000"),
            ("value_bytes = 64", "value_bytes = 8", "value_bytes = 8 is not 16"),
            ("value_bytes = 64", "value_bytes = 66", "no multiple of 8"),
            ("\"zipf\"", "\"zip\"", "line 4"),
            ("threads = 2", "threads = 0", "threads = 0 is not 1 to 64"),
            ("threads = 2", "colour = 2", "line 6"),
            ("threads = 2", "threads = 2\nreaders = 65", "readers = 65 is not 0 to 64"),
            ("threads = 2", "threads = 2\ncache = \"hot\"", "line 7"),
            ("threads = 2", "threads = 2\nmemory_mib = 100", "memory_mib = 100 is not 256"),
            ("get = 60", "get = 50", "the operations make 90, not 100"),
            ("get = 60", "got = 60", "line 8"),
            ("get = 60", "read_modify_write = 60", "checked by counting"),
            ("writes = \"durable\"\n", "", "what writes wait for"),
            ("update = 40", "miss = 40", "what writes wait for"),
            ("[10, 20]", "[]", "rates in per_second = 0"),
            ("[10, 20]", "[0]", "per_second = 0 is not 1"),
            ("\"even\"", "\"uneven\"", "line 11"),
        ] {
            let text = GOOD.replace(from, to);
            let error = Workload::parse("w", &text).unwrap_err();
            assert!(error.contains(told), "{text}\ngave\n{error}");
        }
    }
}
