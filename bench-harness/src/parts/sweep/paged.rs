//! Gets in a process of their own, whose memory has the pages that were asked for.
//!
//! glibc asks the kernel for huge pages if the environment says so when the process begins; a
//! process that wants none says so itself. The child loads a new database, reads, and tells the
//! parent what it measured, and how much of its memory had huge pages.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::BenchError;
use crate::measure::job::{Job, Timing, View, Work};
use crate::measure::latencies::latencies;
use crate::measure::sample::Sample;
use crate::measure::store::{OpenSpec, Writes};
use crate::parts::sweep::recipe::{Pages, Settings};
use crate::stores;

/// Name of the hidden subcommand that is the child.
pub const GETS_COMMAND: &str = "sweep-gets";
/// What the environment says to glibc.
const TUNABLES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");

/// What the child is asked to do.
pub struct Asked<'s> {
    /// Pages, threads, records, bytes of values.
    pub settings: &'s Settings,
    /// How long it reads.
    pub seconds: f64,
    /// Chooses the records.
    pub seed: u64,
}

/// The arguments of the child.
#[derive(clap::Args)]
pub struct ChildArgs {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    records: u64,
    #[arg(long)]
    value_bytes: usize,
    #[arg(long)]
    threads: u32,
    #[arg(long)]
    seconds: f64,
    #[arg(long)]
    seed: u64,
    /// Memory is to have no huge pages.
    #[arg(long)]
    is_small: bool,
}

/// What the child tells.
#[derive(Serialize, Deserialize)]
pub struct Done {
    op_count: u64,
    elapsed_ns: u64,
    cpu_ns: u64,
    major_faults: u64,
    /// Operations by nanoseconds, timed one by one.
    counts: BTreeMap<u64, u64>,
    /// Memory in huge pages.
    huge_kib: u64,
}

impl Done {
    /// How much memory had huge pages.
    pub fn note(&self, pages: Pages) -> String {
        let name = match pages {
            Pages::System => "system",
            Pages::Small => "4-kib",
            Pages::Huge => "huge",
        };
        format!("pages = {name}: {} MiB of memory had huge pages", self.huge_kib >> 10)
    }

    /// As a sample of the parent.
    pub fn into_sample(self, threads: u32) -> Sample {
        let mut all = latencies();
        self.counts.iter().for_each(|(&ns, &count)| all.saturating_record_n(ns, count));
        Sample {
            op_count: self.op_count,
            elapsed_ns: self.elapsed_ns,
            cpu_ns: self.cpu_ns,
            major_faults: self.major_faults,
            threads,
            latencies: Some(all),
            ..Sample::default()
        }
    }
}

/// Runs the child, with a database in `dir`.
pub fn measure(program: &Path, dir: &Path, asked: &Asked<'_>) -> Result<Done, BenchError> {
    let settings = asked.settings;
    let mut command = Command::new(program);
    command.arg(GETS_COMMAND).arg("--dir").arg(dir);
    for (name, value) in [
        ("--records", settings.records.to_string()),
        ("--value-bytes", settings.value_bytes.to_string()),
        ("--threads", settings.threads.to_string()),
        ("--seconds", asked.seconds.to_string()),
        ("--seed", asked.seed.to_string()),
    ] {
        command.args([name, &value]);
    }
    match settings.pages {
        Pages::System => &mut command,
        Pages::Small => command.arg("--is-small"),
        Pages::Huge => command.env(TUNABLES.0, TUNABLES.1),
    };
    let output =
        command.output().map_err(|error| BenchError::at(program, "cannot start", &error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(BenchError::Setup(format!("the process that reads failed: {said}")));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| BenchError::Setup(format!("the process that reads said: {error}")))
}

/// The child's part.
pub fn child(args: &ChildArgs) -> Result<(), BenchError> {
    if args.is_small {
        rustix::thread::disable_transparent_huge_pages(true)
            .map_err(|error| BenchError::Setup(format!("cannot do without huge pages: {error}")))?;
    }
    let writes = Writes::Interval;
    let record_count = args.records;
    let value_bytes = args.value_bytes;
    let spec = OpenSpec { value_bytes, ..OpenSpec::new(writes, record_count) };
    let store = stores::open_engine(&args.dir, spec, |builder| builder)?;
    store.load(record_count)?;
    store.prepare_reads()?;
    store.verify(std::slice::from_ref(&(0..record_count)), record_count)?;
    let job = |timing| Job {
        work: Work::Get { record_count },
        view: View::PerRead,
        threads: args.threads,
        duration: Duration::from_secs_f64(args.seconds / 2.0),
        op_count_min: 0,
        op_count_max: u64::MAX,
        timing,
        checkpoint_at: None,
        readers: 0,
        seed: args.seed,
    };
    let whole = store.run(&job(Timing::Whole))?;
    let timed = store.run(&job(Timing::Each))?;
    let timed = timed.latencies.unwrap_or_else(latencies);
    let counts = timed.iter_recorded();
    let done = Done {
        op_count: whole.op_count,
        elapsed_ns: whole.elapsed_ns,
        cpu_ns: whole.cpu_ns,
        major_faults: whole.major_faults,
        counts: counts.map(|step| (step.value_iterated_to(), step.count_at_value())).collect(),
        huge_kib: huge_kib(),
    };
    store.close()?;
    let text = serde_json::to_string(&done)
        .map_err(|error| BenchError::Setup(format!("cannot encode: {error}")))?;
    writeln!(std::io::stdout(), "{text}")
        .map_err(|error| BenchError::Setup(format!("cannot report to the parent: {error}")))
}

/// Anonymous memory of this process in huge pages; 0 where the kernel does not say.
fn huge_kib() -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = maps.lines().find_map(|line| line.strip_prefix("AnonHugePages:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
