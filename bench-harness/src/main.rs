//! The command `uarr-bench`.
//!
//! Exit codes: 0 every target met, 1 a target missed, 2 inconclusive, 3 set-up error or wrong data.

#![forbid(unsafe_code)]

mod args;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::args::{CheckArgs, Cli, Command, CompareArgs, FilesArgs, ReportArgs, SweepArgs};
use uarr_bench::check::reopen;
use uarr_bench::check::{CheckOptions, run};
use uarr_bench::error::BenchError;
use uarr_bench::judge::targets::Targets;
use uarr_bench::judge::verdict::{EXIT_CODE_ERROR, Outcome, judge};
use uarr_bench::parts::commit;
use uarr_bench::parts::fio;
use uarr_bench::parts::floors;
use uarr_bench::parts::read;
use uarr_bench::parts::run::run as run_workloads;
use uarr_bench::parts::sweep::paged;
use uarr_bench::parts::sweep::run as run_sweep;
use uarr_bench::report::compare::{self, Change, Sureness, compare};
use uarr_bench::report::measured::Measured;
use uarr_bench::report::page::Page;
use uarr_bench::report::part_tables::render;
use uarr_bench::report::saved::Saved;
use uarr_bench::report::{Report, RunSpec};
use uarr_bench::report::{html, text};

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
        Command::Sweep(args) => sweep(&args),
        Command::SweepGets(args) => paged::child(&args).map(|()| 0),
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
const FULL: RunSpec = RunSpec { seconds: 0.4, repetitions: 9, records: 1_000_000, quick: false };
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
        program: own_program()?,
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

/// This program, to be started again.
fn own_program() -> Result<PathBuf, BenchError> {
    std::env::current_exe()
        .map_err(|error| BenchError::Setup(format!("cannot find this program: {error}")))
}

fn sweep(args: &SweepArgs) -> Result<u8, BenchError> {
    let options = args.options(own_program()?)?;
    let measured = run_sweep(&options)?;
    if let Some(dir) = &args.keep_recipes {
        for recipe in &options.recipes {
            let path = dir.join(format!("{}.toml", recipe.name));
            std::fs::write(&path, recipe.to_text())
                .map_err(|error| BenchError::at(&path, "cannot write", &error))?;
        }
    }
    tables(Ok(measured), &args.files)
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
