//! The promises of the engine as rows of docs/BENCHMARKS.md: where each number stands in the
//! reports, and which goals it has.

use crate::judge::targets::Bound::{self, AtLeast, AtMost};
use crate::measure::rows::{Metric, Row};
use crate::measure::store::Contender;

/// A promise, and the rows of its table.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// Its name: `{{name}}` in the template stands for the table.
    pub name: &'static str,
    /// The rows.
    pub rows: &'static [PageRow],
}

/// A row of a table: one number of each contender.
#[derive(Clone, Copy, Debug)]
pub struct PageRow {
    /// What it is.
    pub what: &'static str,
    /// Where the numbers stand.
    pub source: Source,
    /// Which of them.
    pub number: Number,
    /// The goals.
    pub goals: &'static [Goal],
}

/// Where the numbers of a row stand.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// In a report of `check`.
    Check(Row),
    /// In a part of `commit` or `read`.
    Part {
        /// The part.
        part: &'static str,
        /// The engine's line.
        own: &'static str,
        /// A peer's line; `{}` stands for its name. Empty: peers have none.
        peer: &'static str,
        /// The floor's line; empty: there is none.
        floor: &'static str,
    },
    /// In the sizes that `read` gives.
    Sizes,
}

/// A number of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// A time, or a rate per second.
    Of(Metric),
    /// The time of one record, of a single thread.
    TimePerRecord,
    /// Bytes on the disk per byte of keys and values: each record written once.
    BytesPerByte,
    /// The same, each record written twice.
    BytesPerByteTwice,
    /// Bytes on the disk of an open database with one record.
    FreshBytes,
}

/// A bound on the engine's number.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// On which side of what.
    pub bound: Bound,
    /// What the number is divided by.
    pub of: Of,
}

/// What the engine's number is divided by.
#[derive(Clone, Copy, Debug)]
pub enum Of {
    /// Nothing: the bound is of the number itself.
    Nothing,
    /// The same number of a store or of the floor.
    Contender(Contender),
    /// The engine's number in another row of the same report.
    Own(&'static str, Source),
}

const fn goal(bound: Bound, contender: Contender) -> Goal {
    Goal { bound, of: Of::Contender(contender) }
}

const fn alone(bound: Bound) -> Goal {
    Goal { bound, of: Of::Nothing }
}

const fn row(
    what: &'static str,
    source: Source,
    number: Number,
    goals: &'static [Goal],
) -> PageRow {
    PageRow { what, source, number, goals }
}

const fn part(part: &'static str, own: &'static str, peer: &'static str) -> Source {
    Source::Part { part, own, peer, floor: "" }
}

const P50: Number = Number::Of(Metric::P50Ns);
const P99: Number = Number::Of(Metric::P99Ns);
const P999: Number = Number::Of(Metric::P999Ns);
const LONGEST: Number = Number::Of(Metric::MaxNs);
const MEAN: Number = Number::Of(Metric::MeanNs);
const CPU: Number = Number::Of(Metric::CpuNsPerOp);
const RATE: Number = Number::Of(Metric::OpsPerSecond);
const TIME: Number = Number::TimePerRecord;

const PUT1: Source = Source::Check(Row::DurablePut1);
const PUT16: Source = Source::Check(Row::DurablePut16);
const THREADS_1: Source = part("threads", "uarr, 1 threads", "{}, 1 threads");
const THREADS_16: Source = part("threads", "uarr, 16 threads", "{}, 16 threads");
const THREADS_64: Source = part("threads", "uarr, 64 threads", "{}, 64 threads");
const TASKS_256: Source = part("threads", "uarr, 256 tasks on 2 threads", "");
const TASKS_1024: Source = part("threads", "uarr, 1024 tasks on 2 threads", "");
const ONE_THREAD: Of = Of::Own("one thread", THREADS_1);
const LOAD_SORTED: Source = part("load", "uarr, ingest, sorted", "{}, batches of 1000, sorted");
const LOAD_RANDOM: Source = part("load", "uarr, ingest, random", "{}, batches of 1000, random");
const SINGLE: Source = Source::Part {
    part: "memory",
    own: "uarr, single",
    peer: "{}, single",
    floor: "BTreeMap, insert and copy",
};
const BATCHES: Source = part("memory", "uarr, batches of 1000", "{}, batches of 1000");
const PACED_100K: Source = part("paced-memory", "uarr, 100000 per second, service", "");
const GET_1: Source =
    Source::Part { part: "gets", own: "uarr", peer: "{}", floor: "floor: slot, then record" };
const GET_SNAPSHOT: Source = part("gets", "", "{}, one snapshot");
const GET_2: Source = part("gets", "uarr, 2 threads", "{}, 2 threads");
const MISS: Source = part("misses", "uarr", "{}");
const SCAN_100: Source = part("scans", "uarr", "{}");
const SCAN_ALL: Source = part("full-scans", "uarr", "{}");

use Contender::{Floor, Lmdb, Rocksdb, Sqlite};

/// The tables of the page.
pub const PROMISES: [Promise; 7] = [
    Promise {
        name: "durable put",
        rows: &[
            row(
                "durable put, 1 thread, p50",
                PUT1,
                P50,
                &[goal(AtMost(1.05), Floor), goal(AtMost(1.0), Rocksdb), goal(AtMost(1.0), Sqlite)],
            ),
            row("durable put, p99", PUT1, P99, &[goal(AtMost(1.25), Floor)]),
            row("durable put, p99.9", PUT1, P999, &[]),
            row("durable put, CPU of all threads", PUT1, CPU, &[]),
        ],
    },
    Promise {
        name: "throughput",
        rows: &[
            row(
                "durable puts per second, 16 threads",
                THREADS_16,
                RATE,
                &[goal(AtLeast(3.0), Rocksdb), Goal { bound: AtLeast(8.0), of: ONE_THREAD }],
            ),
            row("durable put, 16 threads, p99.9", PUT16, P999, &[goal(AtMost(1.0), Rocksdb)]),
            row(
                "durable puts per second, 64 threads",
                THREADS_64,
                RATE,
                &[goal(AtLeast(4.0), Rocksdb), goal(AtLeast(30.0), Sqlite)],
            ),
            row(
                "durable puts per second, 256 tasks",
                TASKS_256,
                RATE,
                &[Goal { bound: AtLeast(60.0), of: ONE_THREAD }],
            ),
            row("the same, p99", TASKS_256, P99, &[alone(AtMost(2e6))]),
            row("durable puts per second, 1024 tasks", TASKS_1024, RATE, &[]),
            row(
                "4 gets, 1 durable put",
                Source::Check(Row::MixedDurable),
                MEAN,
                &[goal(AtMost(0.77), Rocksdb), goal(AtMost(0.77), Sqlite)],
            ),
            row("load in key order, per record", LOAD_SORTED, TIME, &[goal(AtMost(1.0), Rocksdb)]),
            row("load in random order", LOAD_RANDOM, TIME, &[goal(AtMost(0.2), Rocksdb)]),
        ],
    },
    Promise {
        name: "memory-first put",
        rows: &[
            row(
                "puts per second, random keys",
                SINGLE,
                RATE,
                &[goal(AtLeast(5.0), Rocksdb), goal(AtLeast(1.0), Floor)],
            ),
            row(
                "records per second, batches of 1000",
                BATCHES,
                RATE,
                &[goal(AtLeast(5.0), Rocksdb)],
            ),
            row("put at 100,000 per second, p99.9", PACED_100K, P999, &[alone(AtMost(10e3))]),
            row("the same, longest", PACED_100K, LONGEST, &[alone(AtMost(500e3))]),
            row(
                "4 gets, 1 put, not waited for",
                Source::Check(Row::MixedUnsynced),
                MEAN,
                &[goal(AtMost(0.1), Rocksdb)],
            ),
        ],
    },
    Promise {
        name: "get",
        rows: &[
            row(
                "get, uniform, a read transaction each, mean",
                GET_1,
                MEAN,
                &[goal(AtMost(0.05), Rocksdb), goal(AtMost(0.1), Sqlite), goal(AtMost(0.12), Lmdb)],
            ),
            row("the same, all gets in one read transaction", GET_SNAPSHOT, MEAN, &[]),
            row(
                "gets per second, 2 threads",
                GET_2,
                RATE,
                &[Goal { bound: AtLeast(1.9), of: Of::Own("one thread", GET_1) }],
            ),
            row("get of an absent key, mean", MISS, MEAN, &[goal(AtMost(0.2), Rocksdb)]),
        ],
    },
    Promise {
        name: "scan",
        rows: &[
            row("scan of 100 records, per record", SCAN_100, TIME, &[goal(AtMost(0.8), Lmdb)]),
            row("scan of all records, per record", SCAN_ALL, TIME, &[goal(AtMost(1.0), Lmdb)]),
        ],
    },
    Promise {
        name: "reopen",
        rows: &[row(
            "open after SIGKILL, to the first record",
            Source::Check(Row::Reopen),
            MEAN,
            &[alone(AtMost(100e6))],
        )],
    },
    Promise {
        name: "size",
        rows: &[
            row(
                "loaded and closed, bytes per user byte",
                Source::Sizes,
                Number::BytesPerByte,
                &[alone(AtMost(1.5))],
            ),
            row(
                "the same, each record written twice",
                Source::Sizes,
                Number::BytesPerByteTwice,
                &[alone(AtMost(1.5))],
            ),
            row(
                "a database with one record, open",
                Source::Sizes,
                Number::FreshBytes,
                &[alone(AtMost((64u64 << 20) as f64))],
            ),
        ],
    },
];
