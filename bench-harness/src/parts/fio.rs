//! The profiles of `fio-profiles/` by the installed fio, with our floor before and after: two
//! programs that ask the device the same thing should agree.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::BenchError;
use crate::machine::folder::RunFolder;
use crate::measure::fio;
use crate::measure::floor::{DeviceFloor, Span};
use crate::measure::rotation;
use crate::measure::rows::{Metric, Row};
use crate::measure::sample::{median, ratios};
use crate::parts::rounds::{Gathered, measure_run};
use crate::progress::Progress;
use crate::report::RunSpec;
use crate::report::measured::{Line, Measured, MeasuredPart};

/// Size of our file, as large as those of the profiles.
const FLOOR_BYTES: u64 = 256 << 20;
/// Relative difference up to which the two agree: of medians, or of means where fio tells writes
/// and flushes apart. Means add up, medians do not.
const AGREED: f64 = 0.1;

/// A job file, and the job in it that asks what a floor of ours does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// Its name, that of the file.
    pub name: &'static str,
    text: &'static str,
    ours: Option<(&'static str, Row)>,
}

/// All of them.
pub const PROFILES: [Profile; 5] = [
    Profile {
        name: "wal-append-fdatasync",
        text: include_str!("../../../fio-profiles/wal-append-fdatasync.fio"),
        ours: Some(("append-4k", Row::WriteFdatasync)),
    },
    Profile {
        name: "group-commit",
        text: include_str!("../../../fio-profiles/group-commit.fio"),
        ours: Some(("group-4k", Row::WriteDsync)),
    },
    Profile {
        name: "randread-4k-qd1",
        text: include_str!("../../../fio-profiles/randread-4k-qd1.fio"),
        ours: Some(("read-qd1", Row::ReadDirect)),
    },
    Profile {
        name: "randread-4k-qd32",
        text: include_str!("../../../fio-profiles/randread-4k-qd32.fio"),
        ours: None,
    },
    Profile { name: "mixed", text: include_str!("../../../fio-profiles/mixed.fio"), ours: None },
];

impl Profile {
    /// The profile with this name.
    pub fn from_name(name: &str) -> Result<Self, String> {
        let found = PROFILES.into_iter().find(|profile| profile.name == name);
        found.ok_or_else(|| format!("none of {}", PROFILES.map(|profile| profile.name).join(", ")))
    }

    /// The question it asks: the first line of the file.
    fn question(&self) -> &'static str {
        let line = self.text.lines().next().unwrap_or_default();
        line.trim_start_matches("# Question: ")
    }
}

/// How to run.
#[derive(Clone, Debug)]
pub struct FioOptions {
    /// Where; must exist.
    pub dir: PathBuf,
    /// Seconds of each job.
    pub seconds: u32,
    /// How often each is repeated.
    pub rounds: u32,
    /// What is asked.
    pub profiles: Vec<Profile>,
}

/// Runs the profiles.
pub fn run(options: &FioOptions) -> Result<Measured, BenchError> {
    let folder = RunFolder::create(&options.dir)?;
    let spec = RunSpec {
        seconds: f64::from(options.seconds),
        repetitions: options.rounds,
        records: 0,
        quick: false,
    };
    measure_run(spec, folder.path(), Vec::new(), || {
        let mut device = DeviceFloor::create(folder.path(), FLOOR_BYTES)?;
        let mut measure = |profile| measure(options, profile, folder.path(), &mut device);
        options.profiles.iter().map(&mut measure).collect()
    })
}

fn measure(
    options: &FioOptions,
    profile: &Profile,
    folder: &Path,
    device: &mut DeviceFloor,
) -> Result<MeasuredPart, BenchError> {
    let progress = Progress::new(u64::from(options.rounds));
    progress.phase(profile.name);
    let mut lines: Vec<Gathered> = Vec::new();
    if let Some((_, row)) = profile.ours {
        lines.push(Gathered::new(format!("floor: {}", row.name()), None));
    }
    let first_job = lines.len();
    let half = Span::of(Duration::from_secs(u64::from(options.seconds)) / 2);
    let (mut version, mut metric) = (String::new(), Metric::P50Ns);
    for round in 0..options.rounds {
        progress.now(format!("{}, round {}", profile.name, round + 1));
        rotation::wait_until_still();
        let mut floor = |seed| {
            let row = profile.ours.map(|(_, row)| row);
            row.map(|row| device.measure(row, half, seed)).transpose()
        };
        let before = floor(u64::from(round) << 1)?;
        let said = fio::run(folder, profile.text, options.seconds)?;
        let after = floor(u64::from(round) << 1 | 1)?;
        if let Some((mut sample, after)) = before.zip(after) {
            sample.join(after);
            lines[0].add(&sample);
        }
        if said.jobs.iter().any(|job| job.has_flushes) {
            metric = Metric::MeanNs;
        }
        for (number, job) in said.jobs.iter().enumerate() {
            if lines.len() == first_job + number {
                let flush = if job.has_flushes { ", write and flush" } else { "" };
                lines.push(Gathered::new(format!("fio, {}{flush}", job.name), None));
            }
            lines[first_job + number].add(&job.sample);
        }
        version = said.version;
        progress.step();
    }
    progress.finish();
    let lines: Vec<_> = lines.into_iter().map(Gathered::into_line).collect();
    let compared = if metric == Metric::MeanNs { "mean" } else { "p50" };
    let agreement = profile.ours.and_then(|(job, _)| agreement(job, metric, &lines));
    Ok(MeasuredPart {
        recipe: None,
        name: profile.name.to_owned(),
        title: format!(
            "{} ({version}); ratio: {compared} against the first row",
            profile.question()
        ),
        metric,
        notes: agreement.into_iter().collect(),
        lines,
    })
}

/// Whether fio and our floor say the same of the device.
fn agreement(job: &str, metric: Metric, lines: &[Line]) -> Option<String> {
    let floor = lines.first()?;
    let name = format!("fio, {job}");
    let theirs = lines.iter().find(|line| line.name.split(", write and").next() == Some(&name))?;
    let ratios = ratios(&theirs.of(metric), &floor.of(metric))?;
    let ratio = median(&ratios)?;
    let differ = (ratio - 1.0).abs();
    let verdict = if differ <= AGREED { "agree" } else { "DIFFER" };
    Some(format!("fio and our floor {verdict}: {ratio:.2}x (within {:.0} %)", AGREED * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::sample::Repetition;
    use std::collections::BTreeMap;

    /// The sections of a job file with their options.
    fn sections(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut all = BTreeMap::new();
        let mut present = String::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                Some(name) => {
                    present = name.to_owned();
                    assert!(all.insert(present.clone(), BTreeMap::new()).is_none(), "{line} twice");
                }
                None => {
                    let (name, value) = line.split_once('=').unwrap_or((line, ""));
                    let section = all.get_mut(&present).unwrap();
                    assert!(section.insert(name.to_owned(), value.to_owned()).is_none(), "{line}");
                }
            }
        }
        all
    }

    #[test]
    fn each_job_file_is_what_the_program_takes_it_for() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fio-profiles");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                name.strip_suffix(".fio").map(str::to_owned)
            })
            .collect();
        let mut names = PROFILES.map(|profile| profile.name.to_owned()).to_vec();
        files.sort();
        names.sort();
        assert_eq!(names, files);
        for profile in PROFILES {
            assert!(profile.question().ends_with('?'), "{}", profile.name);
            let sections = sections(profile.text);
            let global = &sections["global"];
            for (name, value) in [("direct", "1"), ("time_based", "1"), ("lat_percentiles", "1")] {
                assert_eq!(global[name], value, "{}", profile.name);
            }
            assert!(global.contains_key("runtime") && global.contains_key("size"));
            if let Some((job, _)) = profile.ours {
                assert_eq!(sections[job]["bs"], "4k", "{}", profile.name);
            }
        }
    }

    #[test]
    fn what_differs_by_less_than_a_tenth_agrees() {
        let line = |name: &str, us: f64| Line {
            rounds: vec![Repetition {
                mean_ns: us * 1e3,
                p50_ns: Some(us * 2e3),
                ..Repetition::default()
            }],
            ..Line::new(name.to_owned(), None)
        };
        for (us, told) in [
            (109.0, "fio and our floor agree: 1.09x (within 10 %)"),
            (85.0, "fio and our floor DIFFER: 0.85x (within 10 %)"),
        ] {
            let flushed = line("fio, j, write and flush", us);
            // Where writes and flushes are told apart, the median is a guess.
            let guessed = Repetition { p50_ns: Some(1.0), ..flushed.rounds[0].clone() };
            let flushed = Line { rounds: vec![guessed], ..flushed };
            let lines = [line("floor: x", 100.0), line("fio, other", 7.0), flushed];
            assert_eq!(agreement("j", Metric::MeanNs, &lines).as_deref(), Some(told));
            let lines = [line("floor: x", 100.0), line("fio, j", us)];
            assert_eq!(agreement("j", Metric::P50Ns, &lines).as_deref(), Some(told));
        }
        assert_eq!(agreement("j", Metric::P50Ns, &[line("floor: x", 100.0)]), None);
    }
}
