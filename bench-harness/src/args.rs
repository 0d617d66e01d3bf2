//! The arguments of the command.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::{Args, Parser, Subcommand, value_parser};
use uarr_bench::check::reopen;
use uarr_bench::error::BenchError;
use uarr_bench::judge::targets::Targets;
use uarr_bench::judge::verdict::ROUNDS_MAX;
use uarr_bench::measure::store::Contender;
use uarr_bench::parts::commit::CommitPart;
use uarr_bench::parts::fio::{FioOptions, PROFILES, Profile};
use uarr_bench::parts::read::ReadPart;
use uarr_bench::parts::rounds::{Options, Part};
use uarr_bench::parts::run::RunOptions;
use uarr_bench::parts::sweep::SweepOptions;
use uarr_bench::parts::sweep::paged::{self, ChildArgs};
use uarr_bench::parts::sweep::recipe::{BUILT_IN, Recipe};
use uarr_bench::parts::workload::Workload;
use uarr_bench::stores::faulty::Fault;

/// Measures the device floor, the uarr engine, RocksDB and SQLite side by side on your own disk.
///
/// Exit codes: 0 every target met, 1 a target missed, 2 inconclusive, 3 set-up error or wrong data.
#[derive(Parser)]
#[command(name = "uarr-bench", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Floor, engine and peers in one run, judged by a targets file.
    Check(CheckArgs),
    /// The commit path in parts: strategies, threads and tasks, rotation, memory-first writes,
    /// loads, fixed rates. Ends with 2 if the generator of a rate was late.
    Commit(CommitArgs),
    /// The read path in parts: gets of one and two threads, misses, scans, sizes on the disk.
    Read(ReadArgs),
    /// Workloads as data: YCSB A to F, rates up to the knee, or files of your own. Ends with 2 if
    /// the generator of a rate was late.
    Run(RunArgs),
    /// One setting varied, everything else as it is: strategy, group cap, block size, segment size,
    /// extents, pages, queue depth, or recipes of your own.
    Sweep(SweepArgs),
    /// The device floor alone.
    Floor(FloorArgs),
    /// The installed fio and our floor ask the device the same, by turns: do they agree?
    Fio(FioArgs),
    /// Prints a JSON report again, judged by other targets if they are given, and writes its HTML;
    /// or makes a page of several.
    Report(ReportArgs),
    /// Two JSON reports of one subcommand side by side. Ends with 1 if a number of the engine is
    /// surely worse, with 2 if none can be compared.
    Compare(CompareArgs),
    /// The process that is killed by `check`.
    #[command(name = reopen::VICTIM_COMMAND, hide = true)]
    KillVictim(VictimArgs),
    /// The process that reads with certain pages of memory.
    #[command(name = paged::GETS_COMMAND, hide = true)]
    SweepGets(ChildArgs),
}

#[derive(Args)]
pub struct CheckArgs {
    /// Directory on the disk to measure; reports are written here too.
    #[arg(long, default_value = "bench-results")]
    pub dir: PathBuf,
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// Seconds of each measurement, 0.01 to 60.
    #[arg(long, value_parser = seconds)]
    pub seconds: Option<f64>,
    /// Rounds, 1 to 100.
    #[arg(long, value_parser = rounds())]
    pub reps: Option<u32>,
    /// Records of the read workloads, 1000 to 50000000.
    #[arg(long, value_parser = value_parser!(u64).range(1000..=50_000_000))]
    pub records: Option<u64>,
    /// A few seconds, to see that everything works; its numbers mean little.
    #[arg(long)]
    pub quick: bool,
    /// Makes the engine misbehave, to see that the run notices: wrong-data or lost-write (exit code
    /// 3), skipped-flush (its durable rows are not judged).
    #[arg(long, value_parser = Fault::of_check)]
    pub fault: Option<Fault>,
    /// Where the JSON goes [default: DIR/report.json].
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Where the HTML goes [default: DIR/report.html].
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// Directory for the latencies of each row, in files .hgrm [default: none are written].
    #[arg(long)]
    pub histograms: Option<PathBuf>,
}

#[derive(Args)]
pub struct CommitArgs {
    #[command(flatten)]
    pub rounds: RoundsArgs,
    /// Only these: strategies, threads, rotation, checkpoint, memory, load, paced, paced-memory
    /// [default: all].
    #[arg(long, value_delimiter = ',', value_parser = part::<CommitPart>)]
    pub parts: Vec<CommitPart>,
}

#[derive(Args)]
pub struct ReadArgs {
    #[command(flatten)]
    pub rounds: RoundsArgs,
    /// Only these: gets, misses, scans, full-scans, sizes [default: all].
    #[arg(long, value_delimiter = ',', value_parser = part::<ReadPart>)]
    pub parts: Vec<ReadPart>,
}

/// Where, how long and how often is measured.
#[derive(Args)]
pub struct TimesArgs {
    /// Directory on the disk to measure.
    #[arg(long, default_value = "bench-results")]
    pub dir: PathBuf,
    /// Seconds of each measurement, 0.01 to 60.
    #[arg(long, default_value = "2", value_parser = seconds)]
    pub seconds: f64,
    /// Rounds, 1 to 100.
    #[arg(long, default_value = "3", value_parser = rounds())]
    pub reps: u32,
}

impl TimesArgs {
    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

/// Where a run is written.
#[derive(Args, Clone)]
pub struct FilesArgs {
    /// Where the JSON goes [default: none is written].
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Where the HTML goes, with plots [default: none is written].
    #[arg(long)]
    pub html: Option<PathBuf>,
}

/// How parts are measured.
#[derive(Args)]
pub struct RoundsArgs {
    #[command(flatten)]
    pub times: TimesArgs,
    /// Records of loaded stores and of memory-first writes, 1000 to 50000000.
    #[arg(long, default_value = "1000000")]
    #[arg(value_parser = value_parser!(u64).range(1000..=50_000_000))]
    pub records: u64,
    #[command(flatten)]
    pub files: FilesArgs,
}

impl RoundsArgs {
    pub fn options<P: Part>(self, parts: Vec<P>) -> Options<P> {
        Options {
            duration: self.times.duration(),
            rounds: self.times.reps,
            dir: self.times.dir,
            records: self.records,
            parts: if parts.is_empty() { P::ALL.to_vec() } else { parts },
        }
    }
}

#[derive(Args)]
pub struct RunArgs {
    /// Files (their format: bench-harness/src/parts/workload.rs), or ycsb-a to ycsb-f,
    /// ycsb-f-transactions, put-poisson, get-poisson, mixed-memory, large-values, clustered-text,
    /// readers-beside-writer, cold-gets, larger-than-memory; text16-gets, text16-puts, text16-scans
    /// and as many of text40: keys of 16 or 40 bytes.
    #[arg(required = true)]
    pub workloads: Vec<String>,
    #[command(flatten)]
    pub times: TimesArgs,
    /// Records loaded, 1000 to 50000000 [default: what the workload says].
    #[arg(long, value_parser = value_parser!(u64).range(1000..=50_000_000))]
    pub records: Option<u64>,
    /// Only these stores [default: all that are built in].
    #[arg(long, value_delimiter = ',', value_parser = store)]
    pub stores: Vec<Contender>,
    /// Makes the engine misbehave, to see that the run notices: wrong-data, lost-write or, where a
    /// workload has read-modify-writes, lost-update (exit code 3).
    #[arg(long, value_parser = Fault::of_run)]
    pub fault: Option<Fault>,
    #[command(flatten)]
    pub files: FilesArgs,
}

impl RunArgs {
    pub fn options(&self) -> Result<RunOptions, BenchError> {
        let all = Contender::WRITE_STORES.into_iter().filter(|store| store.is_built_in());
        let find = |name: &String| {
            let mut workload = Workload::find(name)?;
            workload.records = self.records.unwrap_or(workload.records);
            Ok(workload)
        };
        Ok(RunOptions {
            dir: self.times.dir.clone(),
            duration: self.times.duration(),
            rounds: self.times.reps,
            stores: if self.stores.is_empty() { all.collect() } else { self.stores.clone() },
            workloads: self.workloads.iter().map(find).collect::<Result<_, BenchError>>()?,
            fault: self.fault,
        })
    }
}

#[derive(Args)]
pub struct SweepArgs {
    /// Files (their format: bench-harness/src/parts/sweep/recipe.rs), or strategy, group-cap,
    /// block-size, segment-size, extents, pages, queue-depth [default: all of these].
    recipes: Vec<String>,
    /// Directory on the disk to measure.
    #[arg(long, default_value = "bench-results")]
    dir: PathBuf,
    /// Seconds of each measurement, 0.01 to 60 [default: what the recipe says].
    #[arg(long, value_parser = seconds)]
    seconds: Option<f64>,
    /// Rounds, 1 to 100 [default: what the recipe says].
    #[arg(long, value_parser = rounds())]
    reps: Option<u32>,
    /// Directory for the recipes as they were run, in files .toml [default: none are written].
    #[arg(long)]
    pub keep_recipes: Option<PathBuf>,
    #[command(flatten)]
    pub files: FilesArgs,
}

impl SweepArgs {
    pub fn options(&self, program: PathBuf) -> Result<SweepOptions, BenchError> {
        let all = || BUILT_IN.map(|(name, _)| name.to_owned()).to_vec();
        let names = if self.recipes.is_empty() { all() } else { self.recipes.clone() };
        let find = |name: &String| {
            let mut recipe = Recipe::find(name)?;
            recipe.seconds = self.seconds.unwrap_or(recipe.seconds);
            recipe.rounds = self.reps.unwrap_or(recipe.rounds);
            Ok(recipe)
        };
        let recipes = names.iter().map(find).collect::<Result<_, BenchError>>()?;
        Ok(SweepOptions { dir: self.dir.clone(), recipes, program })
    }
}

/// A store that is built in.
fn store(name: &str) -> Result<Contender, String> {
    let store = Contender::from_name(name).filter(|store| *store != Contender::Floor);
    let store = store.ok_or("no such store")?;
    let needs = || format!("not built in (needs --features {})", store.feature());
    store.is_built_in().then_some(store).ok_or_else(needs)
}

fn part<P: Part>(name: &str) -> Result<P, &'static str> {
    P::from_name(name).ok_or("no such part")
}

#[derive(Args)]
pub struct FloorArgs {
    /// Directory on the disk to measure.
    #[arg(long, default_value = "bench-results")]
    pub dir: PathBuf,
    /// Seconds of each measurement, 0.01 to 60.
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub seconds: f64,
    /// Rounds, 1 to 100.
    #[arg(long, default_value = "3", value_parser = rounds())]
    pub reps: u32,
    /// Size of the file in MiB, 1 to 65536.
    #[arg(long, default_value = "256", value_parser = value_parser!(u64).range(1..=65_536))]
    pub mib: u64,
    #[command(flatten)]
    pub files: FilesArgs,
}

#[derive(Args)]
pub struct FioArgs {
    /// Directory on the disk to measure.
    #[arg(long, default_value = "bench-results")]
    pub dir: PathBuf,
    /// Seconds of each job, 1 to 60.
    #[arg(long, default_value = "2", value_parser = value_parser!(u32).range(1..=60))]
    pub seconds: u32,
    /// Rounds, 1 to 100.
    #[arg(long, default_value = "3", value_parser = rounds())]
    pub reps: u32,
    /// Only these: wal-append-fdatasync, group-commit, randread-4k-qd1, randread-4k-qd32, mixed
    /// [default: all].
    #[arg(long, value_delimiter = ',', value_parser = Profile::from_name)]
    pub profiles: Vec<Profile>,
    #[command(flatten)]
    pub files: FilesArgs,
}

impl FioArgs {
    pub fn options(&self) -> FioOptions {
        let all = || PROFILES.to_vec();
        FioOptions {
            dir: self.dir.clone(),
            seconds: self.seconds,
            rounds: self.reps,
            profiles: if self.profiles.is_empty() { all() } else { self.profiles.clone() },
        }
    }
}

#[derive(Args)]
pub struct ReportArgs {
    /// A report; with --markdown also several.
    #[arg(required = true)]
    pub json: Vec<PathBuf>,
    /// Where the HTML goes [default: beside the JSON].
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// Print docs/BENCHMARKS.md, made of all of these reports, instead.
    #[arg(long, conflicts_with = "html")]
    pub markdown: bool,
    #[command(flatten)]
    pub judge: JudgeArgs,
}

/// What a run is judged by.
#[derive(Args)]
pub struct JudgeArgs {
    /// Targets file; without it, and without a profile, nothing is judged and the exit code is 0.
    #[arg(long)]
    pub targets: Option<PathBuf>,
    /// Targets that come with the program: default, strict-nvme (a disk of your own that is idle)
    /// or cloud-disk (a disk behind a network).
    #[arg(long, conflicts_with = "targets", value_parser = Targets::profile)]
    pub profile: Option<Targets>,
}

impl JudgeArgs {
    pub fn targets(&self) -> Result<Option<Targets>, BenchError> {
        let file = self.targets.as_deref().map(Targets::read).transpose()?;
        Ok(file.or_else(|| self.profile.clone()))
    }
}

#[derive(Args)]
pub struct CompareArgs {
    /// The report of the run before.
    pub old: PathBuf,
    /// The report of the run after.
    pub new: PathBuf,
    /// How sure a difference must be, 0.5 to 0.999.
    #[arg(long, default_value = "0.95", value_parser = |text: &str| between(text, 0.5, 0.999))]
    pub confidence: f64,
    /// Relative difference that counts as noise between runs, 0 to 1.
    #[arg(long, default_value = "0.05", value_parser = |text: &str| between(text, 0.0, 1.0))]
    pub margin: f64,
}

#[derive(Args)]
pub struct VictimArgs {
    #[arg(long, value_parser = |name: &str| Contender::from_name(name).ok_or("no such store"))]
    pub store: Contender,
    #[arg(long)]
    pub dir: PathBuf,
    #[arg(long)]
    pub records: u64,
}

fn rounds() -> impl TypedValueParser<Value = u32> {
    value_parser!(u32).range(1..=i64::from(ROUNDS_MAX))
}

fn seconds(text: &str) -> Result<f64, String> {
    between(text, 0.01, 60.0)
}

fn between(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let is_between = (least..=most).contains(&number);
    is_between.then_some(number).ok_or_else(|| format!("not in {least} to {most}"))
}
