//! Latencies as a percentile table in the `.hgrm` format, which the plotters of HdrHistogram read.
//!
//! A line for each value that occurred: the value in microseconds, the part of all operations that
//! took at most as long, how many these are, and one over the part beyond. So every percentile can
//! be read off exactly: it is the first value whose count reaches that part of the total.
//! `tests/percentiles.py` does so with another program.

use std::fmt::{self, Write};
use std::fs;
use std::path::Path;

use crate::error::BenchError;
use crate::measure::latencies::Latencies;

/// Writes the file `name`.hgrm in `dir`.
pub fn write(dir: &Path, name: &str, latencies: &Latencies) -> Result<(), BenchError> {
    let path = dir.join(format!("{name}.hgrm"));
    let text = render(latencies).expect("writing to a string cannot fail");
    fs::write(&path, text).map_err(|error| BenchError::at(&path, "cannot write", &error))
}

fn render(latencies: &Latencies) -> Result<String, fmt::Error> {
    let us = |ns: f64| ns / 1e3;
    let total = latencies.len();
    let mut text = String::new();
    writeln!(
        text,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut count = 0;
    for step in latencies.iter_recorded() {
        count += step.count_at_value();
        let (value, part) = (us(step.value_iterated_to() as f64), count as f64 / total as f64);
        write!(text, "{value:12.3} {part:14.12} {count:10}")?;
        match count < total {
            true => writeln!(text, " {:14.2}", 1.0 / (1.0 - part))?,
            false => writeln!(text)?,
        }
    }
    let (mean, deviation) = (us(latencies.mean()), us(latencies.stdev()));
    writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
    writeln!(
        text,
        "#[Max     = {:12.3}, Total count    = {total:12}]",
        us(latencies.max() as f64)
    )?;
    writeln!(text, "#[Unit    = us]")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::latencies::latencies;

    #[test]
    fn each_value_has_a_line_and_the_last_has_all() {
        let mut all = latencies();
        for ns in [1500, 1500, 250, 90_000] {
            all.record(ns).unwrap();
        }
        let text = render(&all).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "       Value     Percentile TotalCount 1/(1-Percentile)",
                "",
                "       0.250 0.250000000000          1           1.33",
                "       1.500 0.750000000000          3           4.00",
                "      90.047 1.000000000000          4",
                "#[Mean    =       23.317, StdDeviation   =       38.512]",
                "#[Max     =       90.047, Total count    =            4]",
                "#[Unit    = us]",
            ]
        );
        assert!(render(&latencies()).unwrap().contains("Total count    =            0"));
    }
}
