//! The installed `fio`: runs a job file and reads what it says, as samples like ours.
//!
//! Its latencies come in bins of about 1.5 %, from submission to completion (`lat`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::error::BenchError;
use crate::measure::latencies::{Latencies, latencies};
use crate::measure::sample::Sample;

/// What `fio --output-format=json+` says, as far as it is read.
#[derive(Deserialize)]
struct Said {
    #[serde(rename = "fio version")]
    version: String,
    jobs: Vec<SaidJob>,
}

#[derive(Deserialize)]
struct SaidJob {
    jobname: String,
    error: i64,
    /// Parts of its run time in percent.
    usr_cpu: f64,
    sys_cpu: f64,
    read: SaidPart,
    write: SaidPart,
    sync: SaidSync,
}

#[derive(Deserialize)]
struct SaidPart {
    total_ios: u64,
    /// Milliseconds.
    runtime: u64,
    lat_ns: SaidLatency,
}

#[derive(Deserialize)]
struct SaidSync {
    lat_ns: SaidLatency,
}

#[derive(Deserialize)]
struct SaidLatency {
    /// Operations by nanoseconds.
    #[serde(default)]
    bins: BTreeMap<String, u64>,
}

/// One job of a run: its name, and what its reads or writes took.
pub struct Job {
    /// Its section in the file.
    pub name: String,
    /// Its reads or writes; a write that is followed by a flush of its own ends with that, see
    /// [`Job::has_flushes`].
    pub sample: Sample,
    /// Whether a flush follows each write. fio tells the two apart but not which belong together:
    /// the fastest write is taken with the fastest flush, and so on, so the median is about right
    /// and the tail is too long.
    pub has_flushes: bool,
}

/// A run: version of fio, and the jobs.
pub struct Run {
    /// As fio says it.
    pub version: String,
    /// In the order of the file.
    pub jobs: Vec<Job>,
}

/// Runs the jobs of `text`, each for so many seconds, on files in `dir`.
pub fn run(dir: &Path, text: &str, seconds: u32) -> Result<Run, BenchError> {
    let file = dir.join("jobs.fio");
    fs::write(&file, with_seconds(text, seconds))
        .map_err(|error| BenchError::at(&file, "cannot write", &error))?;
    let mut fio = Command::new("fio");
    fio.arg("--output-format=json+").arg(format!("--directory={}", dir.display())).arg(&file);
    let output = fio.output().map_err(|error| {
        BenchError::Setup(format!("cannot start fio: {error}; install it (package fio)"))
    })?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(BenchError::Setup(format!("fio failed: {} {}", why.trim(), said.trim())));
    }
    parse(&said).map_err(|why| BenchError::Setup(format!("cannot read what fio says: {why}")))
}

/// The text with another run time, and without a ramp: the file is written by then.
fn with_seconds(text: &str, seconds: u32) -> String {
    let line = |line: &str| match line.split_once('=') {
        Some(("runtime", _)) => format!("runtime={seconds}\n"),
        Some(("ramp_time", _)) => String::new(),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn parse(said: &str) -> Result<Run, String> {
    // Warnings may stand before it.
    let json = said.find('{').map(|start| &said[start..]).ok_or("no JSON")?;
    let said: Said = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let jobs = said.jobs.into_iter().map(SaidJob::into_job).collect::<Result<_, _>>()?;
    Ok(Run { version: said.version, jobs })
}

impl SaidJob {
    fn into_job(self) -> Result<Job, String> {
        let name = self.jobname;
        if self.error != 0 {
            return Err(format!("job {name} ended with error {}", self.error));
        }
        let part = if self.write.total_ios > 0 { self.write } else { self.read };
        let mut values = sorted(&part.lat_ns)?;
        let flushes = sorted(&self.sync.lat_ns)?;
        let has_flushes = !flushes.is_empty();
        for (value, flush) in values.iter_mut().zip(&flushes) {
            *value += flush;
        }
        if has_flushes {
            values.truncate(flushes.len());
        }
        let mut all: Latencies = latencies();
        values.iter().for_each(|&value| all.saturating_record(value));
        if all.is_empty() {
            return Err(format!("job {name} has no latencies: needs lat_percentiles=1"));
        }
        let elapsed_ns = part.runtime * 1_000_000;
        let cpu = (self.usr_cpu + self.sys_cpu) / 100.0;
        let sample = Sample {
            cpu_ns: (elapsed_ns as f64 * cpu) as u64,
            op_count: part.total_ios,
            elapsed_ns,
            threads: 1,
            latencies: Some(all),
            ..Sample::default()
        };
        Ok(Job { name, sample, has_flushes })
    }
}

/// All latencies of the bins, ascending.
fn sorted(latency: &SaidLatency) -> Result<Vec<u64>, String> {
    let bin = |(ns, count): (&String, &u64)| {
        let ns: u64 = ns.parse().map_err(|_| format!("{ns} is no bin"))?;
        Ok((ns, *count))
    };
    let mut bins: Vec<(u64, u64)> = latency.bins.iter().map(bin).collect::<Result<_, String>>()?;
    bins.sort_unstable();
    Ok(bins
        .into_iter()
        .flat_map(|(ns, count)| std::iter::repeat_n(ns, usize::try_from(count).unwrap_or(0)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: &str =
        "{\"total_ios\": IOS, \"runtime\": 2000, \"lat_ns\": {\"N\": 1, \"bins\": {BINS}}}";

    fn said(write: &str, ios: u64, sync: &str) -> String {
        let part =
            |ios: u64, bins: &str| PART.replace("IOS", &ios.to_string()).replace("BINS", bins);
        let (read, write) = (part(3 - ios, "\"7\": 3"), part(ios, write));
        format!(
            "fio: a warning\n{{\"fio version\": \"fio-3.33\", \"jobs\": [{{\"jobname\": \"j\", \
             \"error\": 0, \"usr_cpu\": 5.0, \"sys_cpu\": 10.0, \
             \"read\": {read}, \"write\": {write}, \
             \"sync\": {{\"lat_ns\": {{\"N\": 0{sync}}}}}}}]}}"
        )
    }

    fn medians(text: &str) -> (u64, u64, f64) {
        let run = parse(text).unwrap();
        assert_eq!((run.version.as_str(), run.jobs.len()), ("fio-3.33", 1));
        let sample = &run.jobs[0].sample;
        let all = sample.latencies.as_ref().unwrap();
        assert_eq!(sample.cpu_ns, 300_000_000);
        let rate = sample.op_count as f64 * 1e9 / sample.elapsed_ns as f64;
        (all.len(), all.value_at_quantile(0.5), rate)
    }

    #[test]
    fn writes_reads_and_flushes_are_read() {
        let bins = "\"900\": 1, \"1000\": 2";
        assert_eq!(medians(&said(bins, 3, "")), (3, 1000, 1.5));
        assert_eq!(medians(&said("", 0, "")), (3, 7, 1.5));
        let flushes = ", \"bins\": {\"500\": 1, \"400\": 1, \"600\": 1}";
        assert_eq!(medians(&said(bins, 3, flushes)), (3, 1500, 1.5));
        assert!(parse(&said(bins, 3, flushes)).unwrap().jobs[0].has_flushes);
        for (text, told) in [
            (said("", 3, ""), "needs lat_percentiles=1"),
            (said("\"x\": 1", 3, ""), "x is no bin"),
            (said(bins, 3, "").replace("\"error\": 0", "\"error\": 5"), "ended with error 5"),
            ("nothing".to_owned(), "no JSON"),
            ("{}".to_owned(), "fio version"),
        ] {
            let error = parse(&text).err().unwrap();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn the_run_time_is_that_asked_for() {
        let text = with_seconds("[global]\nruntime=10\nramp_time=1\nbs=4k\n", 3);
        assert_eq!(text, "[global]\nruntime=3\nbs=4k\n");
    }
}
