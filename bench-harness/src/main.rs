//! The command `uarr-bench`.
//!
//! Exit codes: 0 every target met, 1 a target missed, 2 inconclusive, 3 set-up error or wrong data.

#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::{Args, Parser, Subcommand, value_parser};
use uarr_bench::check::reopen;
use uarr_bench::check::{CheckOptions, run};
use uarr_bench::error::BenchError;
use uarr_bench::judge::targets::Targets;
use uarr_bench::judge::verdict::{EXIT_CODE_ERROR, Outcome, ROUNDS_MAX, judge};
use uarr_bench::measure::store::Contender;
use uarr_bench::parts::commit::{self, CommitPart};
use uarr_bench::parts::fio::{self, FioOptions, PROFILES, Profile};
use uarr_bench::parts::floors;
use uarr_bench::parts::read::{self, ReadPart};
use uarr_bench::parts::rounds::{Options, Part};
use uarr_bench::parts::run::{RunOptions, run as run_workloads};
use uarr_bench::parts::workload::Workload;
use uarr_bench::report::compare::{self, Change, Sureness, compare};
use uarr_bench::report::measured::Measured;
use uarr_bench::report::page::Page;
use uarr_bench::report::part_tables::render;
use uarr_bench::report::saved::Saved;
use uarr_bench::report::{Report, RunSpec};
use uarr_bench::report::{html, text};
use uarr_bench::stores::faulty::Fault;

/// Measures the device floor, the uarr engine, RocksDB and SQLite side by side on your own disk.
///
/// Exit codes: 0 every target met, 1 a target missed, 2 inconclusive, 3 set-up error or wrong data.
#[derive(Parser)]
#[command(name = "uarr-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
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
}

#[derive(Args)]
struct CheckArgs {
    /// Directory on the disk to measure; reports are written here too.
    #[arg(long, default_value = "bench-results")]
    dir: PathBuf,
    #[command(flatten)]
    judge: JudgeArgs,
    /// Seconds of each measurement, 0.01 to 60.
    #[arg(long, value_parser = seconds)]
    seconds: Option<f64>,
    /// Rounds, 1 to 100.
    #[arg(long, value_parser = rounds())]
    reps: Option<u32>,
    /// Records of the read workloads, 1000 to 50000000.
    #[arg(long, value_parser = value_parser!(u64).range(1000..=50_000_000))]
    records: Option<u64>,
    /// A few seconds, to see that everything works; its numbers mean little.
    #[arg(long)]
    quick: bool,
    /// Makes the engine misbehave, to see that the run notices: wrong-data or lost-write (exit code
    /// 3), skipped-flush (its durable rows are not judged).
    #[arg(long, value_parser = Fault::from_name)]
    fault: Option<Fault>,
    /// Where the JSON goes [default: DIR/report.json].
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where the HTML goes [default: DIR/report.html].
    #[arg(long)]
    html: Option<PathBuf>,
    /// Directory for the latencies of each row, in files .hgrm [default: none are written].
    #[arg(long)]
    histograms: Option<PathBuf>,
}

#[derive(Args)]
struct CommitArgs {
    #[command(flatten)]
    rounds: RoundsArgs,
    /// Only these: strategies, threads, rotation, checkpoint, memory, load, paced, paced-memory
    /// [default: all].
    #[arg(long, value_delimiter = ',', value_parser = part::<CommitPart>)]
    parts: Vec<CommitPart>,
}

#[derive(Args)]
struct ReadArgs {
    #[command(flatten)]
    rounds: RoundsArgs,
    /// Only these: gets, misses, scans, full-scans, sizes [default: all].
    #[arg(long, value_delimiter = ',', value_parser = part::<ReadPart>)]
    parts: Vec<ReadPart>,
}

/// Where, how long and how often is measured.
#[derive(Args)]
struct TimesArgs {
    /// Directory on the disk to measure.
    #[arg(long, default_value = "bench-results")]
    dir: PathBuf,
    /// Seconds of each measurement, 0.01 to 60.
    #[arg(long, default_value = "2", value_parser = seconds)]
    seconds: f64,
    /// Rounds, 1 to 100.
    #[arg(long, default_value = "3", value_parser = rounds())]
    reps: u32,
}

impl TimesArgs {
    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

/// Where a run is written.
#[derive(Args, Clone)]
struct FilesArgs {
    /// Where the JSON goes [default: none is written].
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where the HTML goes, with plots [default: none is written].
    #[arg(long)]
    html: Option<PathBuf>,
}

/// How parts are measured.
#[derive(Args)]
struct RoundsArgs {
    #[command(flatten)]
    times: TimesArgs,
    /// Records of loaded stores and of memory-first writes, 1000 to 50000000.
    #[arg(long, default_value = "1000000")]
    #[arg(value_parser = value_parser!(u64).range(1000..=50_000_000))]
    records: u64,
    #[command(flatten)]
    files: FilesArgs,
}

impl RoundsArgs {
    fn options<P: Part>(self, parts: Vec<P>) -> Options<P> {
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
struct RunArgs {
    /// Files (their format: bench-harness/src/parts/workload.rs), or ycsb-a to ycsb-f, put-poisson,
    /// get-poisson, mixed-memory, large-values.
    #[arg(required = true)]
    workloads: Vec<String>,
    #[command(flatten)]
    times: TimesArgs,
    /// Records loaded, 1000 to 50000000 [default: what the workload says].
    #[arg(long, value_parser = value_parser!(u64).range(1000..=50_000_000))]
    records: Option<u64>,
    /// Only these stores [default: all that are built in].
    #[arg(long, value_delimiter = ',', value_parser = store)]
    stores: Vec<Contender>,
    #[command(flatten)]
    files: FilesArgs,
}

impl RunArgs {
    fn options(&self) -> Result<RunOptions, BenchError> {
        let all = Contender::STORES.into_iter().filter(|store| store.is_built_in());
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
        })
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
struct FloorArgs {
    /// Directory on the disk to measure.
    #[arg(long, default_value = "bench-results")]
    dir: PathBuf,
    /// Seconds of each measurement, 0.01 to 60.
    #[arg(long, default_value = "1", value_parser = seconds)]
    seconds: f64,
    /// Rounds, 1 to 100.
    #[arg(long, default_value = "3", value_parser = rounds())]
    reps: u32,
    /// Size of the file in MiB, 1 to 65536.
    #[arg(long, default_value = "256", value_parser = value_parser!(u64).range(1..=65_536))]
    mib: u64,
    #[command(flatten)]
    files: FilesArgs,
}

#[derive(Args)]
struct FioArgs {
    /// Directory on the disk to measure.
    #[arg(long, default_value = "bench-results")]
    dir: PathBuf,
    /// Seconds of each job, 1 to 60.
    #[arg(long, default_value = "2", value_parser = value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Rounds, 1 to 100.
    #[arg(long, default_value = "3", value_parser = rounds())]
    reps: u32,
    /// Only these: wal-append-fdatasync, group-commit, randread-4k-qd1, randread-4k-qd32, mixed
    /// [default: all].
    #[arg(long, value_delimiter = ',', value_parser = Profile::from_name)]
    profiles: Vec<Profile>,
    #[command(flatten)]
    files: FilesArgs,
}

impl FioArgs {
    fn options(&self) -> FioOptions {
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
struct ReportArgs {
    /// A report; with --markdown also several.
    #[arg(required = true)]
    json: Vec<PathBuf>,
    /// Where the HTML goes [default: beside the JSON].
    #[arg(long)]
    html: Option<PathBuf>,
    /// Print docs/BENCHMARKS.md, made of all of these reports, instead.
    #[arg(long, conflicts_with = "html")]
    markdown: bool,
    #[command(flatten)]
    judge: JudgeArgs,
}

/// What a run is judged by.
#[derive(Args)]
struct JudgeArgs {
    /// Targets file; without it, and without a profile, nothing is judged and the exit code is 0.
    #[arg(long)]
    targets: Option<PathBuf>,
    /// Targets that come with the program: default, strict-nvme (a disk of your own that is idle)
    /// or cloud-disk (a disk behind a network).
    #[arg(long, conflicts_with = "targets", value_parser = Targets::profile)]
    profile: Option<Targets>,
}

impl JudgeArgs {
    fn targets(&self) -> Result<Option<Targets>, BenchError> {
        let file = self.targets.as_deref().map(Targets::read).transpose()?;
        Ok(file.or_else(|| self.profile.clone()))
    }
}

#[derive(Args)]
struct CompareArgs {
    /// The report of the run before.
    old: PathBuf,
    /// The report of the run after.
    new: PathBuf,
    /// How sure a difference must be, 0.5 to 0.999.
    #[arg(long, default_value = "0.95", value_parser = |text: &str| between(text, 0.5, 0.999))]
    confidence: f64,
    /// Relative difference that counts as noise between runs, 0 to 1.
    #[arg(long, default_value = "0.05", value_parser = |text: &str| between(text, 0.0, 1.0))]
    margin: f64,
}

#[derive(Args)]
struct VictimArgs {
    #[arg(long, value_parser = |name: &str| Contender::from_name(name).ok_or("no such store"))]
    store: Contender,
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    records: u64,
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

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; a wrong argument is one of set-up.
            let code = if error.use_stderr() { EXIT_CODE_ERROR } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let result = match cli.command {
        Command::Check(args) => check(&args),
        Command::Commit(args) => {
            let files = args.rounds.files.clone();
            tables(commit::run(&args.rounds.options(args.parts)), &files)
        }
        Command::Read(args) => {
            let files = args.rounds.files.clone();
            tables(read::run(&args.rounds.options(args.parts)), &files)
        }
        Command::Run(args) => {
            let measured = args.options().and_then(|options| run_workloads(&options));
            tables(measured, &args.files)
        }
        Command::Floor(args) => {
            let duration = Duration::from_secs_f64(args.seconds);
            let measured = floors::run(&args.dir, duration, args.reps, args.mib << 20);
            tables(measured, &args.files)
        }
        Command::Fio(args) => tables(fio::run(&args.options()), &args.files),
        Command::Report(args) => report(&args),
        Command::Compare(args) => compare_reports(&args),
        Command::KillVictim(args) => {
            reopen::victim(args.store, &args.dir, args.records).map(|()| 0)
        }
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("uarr-bench: {error}");
            ExitCode::from(EXIT_CODE_ERROR)
        }
    }
}

/// Seconds, rounds and records of a full run: less than five minutes with all stores. Many short
/// rounds tell more than few long ones: the verdict rests on how rounds differ.
const FULL: RunSpec = RunSpec { seconds: 0.5, repetitions: 9, records: 1_000_000, quick: false };
/// The same of a smoke run, with as many rounds as a verdict needs.
const QUICK: RunSpec = RunSpec { seconds: 0.05, repetitions: 6, records: 20_000, quick: true };

fn check(args: &CheckArgs) -> Result<u8, BenchError> {
    // Read first: a slip in the targets must not cost a run.
    let targets = args.judge.targets()?;
    let base = if args.quick { QUICK } else { FULL };
    let options = CheckOptions {
        dir: args.dir.clone(),
        run: RunSpec {
            seconds: args.seconds.unwrap_or(base.seconds),
            repetitions: args.reps.unwrap_or(base.repetitions),
            records: args.records.unwrap_or(base.records),
            quick: args.quick,
        },
        targets: targets.clone(),
        fault: args.fault,
        histograms: args.histograms.clone(),
        program: std::env::current_exe()
            .map_err(|error| BenchError::Setup(format!("cannot find this program: {error}")))?,
    };
    let mut report = run(&options)?;
    if args.quick {
        report.notes.push(
            "a quick run: it shows that everything works, its numbers mean little".to_owned(),
        );
    }
    let code = targets.map_or(0, |targets| judged(&mut report, &targets));
    let json = args.json.clone().unwrap_or_else(|| args.dir.join("report.json"));
    let page = args.html.clone().unwrap_or_else(|| args.dir.join("report.html"));
    report.write_json(&json)?;
    let saved = Saved::Check(Box::new(report));
    html::write(&saved, &page)?;
    show(&saved);
    print(&format!("reports: {} {}\n", json.display(), page.display()));
    Ok(code)
}

/// Judges the report, and returns the exit code.
fn judged(report: &mut Report, targets: &Targets) -> u8 {
    let (judgements, outcome, notes) = judge(report.evidence(), targets);
    (report.judgements, report.outcome) = (judgements, outcome);
    for note in notes {
        if !report.notes.contains(&note) {
            report.notes.push(note);
        }
    }
    outcome.exit_code()
}

fn tables(measured: Result<Measured, BenchError>, files: &FilesArgs) -> Result<u8, BenchError> {
    let measured = measured?;
    if let Some(path) = &files.json {
        measured.write_json(path)?;
    }
    let saved = Saved::Parts(Box::new(measured));
    if let Some(path) = &files.html {
        html::write(&saved, path)?;
    }
    Ok(show(&saved))
}

/// Prints a report, and returns what it says as an exit code.
fn show(saved: &Saved) -> u8 {
    match saved {
        Saved::Check(report) => {
            print(&text::render(report));
            0
        }
        Saved::Parts(measured) => {
            print(&render(measured));
            if measured.is_invalid() { Outcome::Inconclusive.exit_code() } else { 0 }
        }
    }
}

fn report(args: &ReportArgs) -> Result<u8, BenchError> {
    if args.markdown {
        print(&Page::read(&args.json)?.render());
        return Ok(0);
    }
    let [json] = &args.json[..] else {
        return Err(BenchError::Setup("several reports make one page: add --markdown".to_owned()));
    };
    let mut saved = Saved::read(json)?;
    let judged = match (&mut saved, args.judge.targets()?) {
        (Saved::Check(report), Some(targets)) => judged(report, &targets),
        (Saved::Parts(_), Some(_)) => {
            let text = format!("{}: only reports of `check` are judged", json.display());
            return Err(BenchError::Setup(text));
        }
        (_, None) => 0,
    };
    let page = args.html.clone().unwrap_or_else(|| json.with_extension("html"));
    html::write(&saved, &page)?;
    let shown = show(&saved);
    print(&format!("report: {}\n", page.display()));
    Ok(judged.max(shown))
}

fn compare_reports(args: &CompareArgs) -> Result<u8, BenchError> {
    let (old, new) = (Saved::read(&args.old)?, Saved::read(&args.new)?);
    let sureness = Sureness { confidence: args.confidence, margin: args.margin };
    let all = compare(&old, &new, sureness);
    print(&compare::render(&old, &new, &all, sureness));
    let has = |change| all.iter().any(|one| one.is_own() && one.change == change);
    let outcome = if has(Change::Worse) {
        Outcome::Miss
    } else if has(Change::None) || has(Change::Better) {
        Outcome::Pass
    } else {
        Outcome::Inconclusive
    };
    Ok(outcome.exit_code())
}

/// Prints; a reader that has gone away is no error.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
