//! What is drawn of a run: percentiles, latency over time, throughput against latency, and where
//! the time of durable puts goes.

use std::fmt::{self, Write};

use crate::measure::phases::{PHASES, Phase};
use crate::measure::timeline::{Mark, Series};
use crate::report::plot::{Axis, Curve, Plot, Style, class, escape};
use crate::report::table::Table;
use crate::report::words::{duration, rate};

/// Rounds whose begins are named.
const ROUNDS_NAMED_MAX: usize = 10;

/// A row or line as it is drawn.
pub struct Drawn<'r> {
    /// Its name in the legend.
    pub name: String,
    /// Its colour in every plot.
    pub colour: usize,
    /// Percentiles: (part of all operations, ns).
    pub curve: &'r [(f64, f64)],
    /// Over time.
    pub series: &'r Series,
}

fn time(ns: f64) -> String {
    duration(Some(ns))
}

/// A number with its unit, if it has one, as it stands at an axis: without zeros that say nothing.
fn shortened(text: &str) -> String {
    let (digits, unit) = text.split_at(text.find(' ').unwrap_or(text.len()));
    let digits = match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => digits,
    };
    format!("{digits}{unit}")
}

fn time_of_tick(ns: f64) -> String {
    shortened(&time(ns))
}

fn rate_of_tick(per_second: f64) -> String {
    shortened(&rate(per_second))
}

/// Latency by percentiles; `None` if there is no curve.
pub fn percentiles(title: String, all: &[Drawn<'_>]) -> Option<Plot> {
    let all = all.iter().filter(|drawn| drawn.curve.len() >= 2);
    let points = all.clone().flat_map(|drawn| drawn.curve.iter());
    let curve = |drawn: &Drawn<'_>| Curve {
        name: drawn.name.clone(),
        colour: drawn.colour,
        style: Style::Line,
        points: drawn.curve.to_vec(),
    };
    Some(Plot {
        title,
        x: Axis::percentiles(points.clone().map(|point| point.0).fold(0.0, f64::max))?,
        y: Axis::logarithmic("", points.map(|point| point.1), time_of_tick)?,
        curves: all.map(curve).collect(),
        bands: Vec::new(),
        band_name: "",
    })
}

/// Rounds one after the other, so that each begins where the longest of the round before ends.
struct Rounds {
    begins: Vec<f64>,
    end: f64,
}

impl Rounds {
    fn of(all: &[Drawn<'_>]) -> Self {
        let mut lengths: Vec<f64> = Vec::new();
        for series in all.iter().map(|drawn| drawn.series) {
            // A slice reaches as far beyond its middle as the first one begins before it.
            let half = series.at_s.first().copied().unwrap_or(0.0);
            for (&round, at) in series.round.iter().zip(&series.at_s) {
                let round = round as usize;
                lengths.resize(lengths.len().max(round + 1), 0.0);
                lengths[round] = lengths[round].max(at + half);
            }
        }
        let mut end = 0.0;
        let begin = |length: f64| {
            end += length;
            end - length
        };
        let begins = lengths.into_iter().map(begin).collect();
        Self { begins, end }
    }

    fn place(&self, round: u32, at_s: f64) -> f64 {
        self.begins[round as usize] + at_s
    }

    fn axis(&self) -> Option<Axis> {
        let seconds = |value: f64| format!("{} s", (value * 1e3).round() / 1e3);
        let axis = Axis::linear("", [self.end].into_iter(), seconds)?;
        if self.begins.len() < 2 {
            return Some(axis);
        }
        let name = |(number, &begin): (usize, &f64)| {
            let is_named = self.begins.len() <= ROUNDS_NAMED_MAX;
            (begin, if is_named { (number + 1).to_string() } else { String::new() })
        };
        let ticks = self.begins.iter().enumerate().map(name).collect();
        let title = "begins of rounds, which follow each other".to_owned();
        Some(axis.with_ticks(title, ticks))
    }
}

/// Latency over time, the median and the longest of each slice; `None` if there is no series.
pub fn over_time(title: String, all: &[Drawn<'_>], meanwhile: &'static str) -> Option<Plot> {
    let rounds = Rounds::of(all);
    let curve = |drawn: &Drawn<'_>, style: Style, column: &[Option<f64>]| {
        let series = drawn.series;
        let slices = series.round.iter().zip(&series.at_s).zip(column);
        let point = |((round, at), ns): ((&u32, &f64), &Option<f64>)| {
            Some((rounds.place(*round, *at), (*ns)?))
        };
        let (name, colour) = (drawn.name.clone(), drawn.colour);
        Curve { name, colour, style, points: slices.filter_map(point).collect() }
    };
    let both = |drawn: &Drawn<'_>| {
        let series = drawn.series;
        let max = curve(drawn, Style::Thin, &series.max_ns);
        [max, curve(drawn, Style::Line, &series.p50_ns)]
    };
    let curves: Vec<_> = all.iter().flat_map(both).collect();
    let curves: Vec<_> = curves.into_iter().filter(|curve| !curve.points.is_empty()).collect();
    let marks = all.iter().flat_map(|drawn| &drawn.series.marks);
    let band =
        |mark: &Mark| rounds.place(mark.round, mark.from_s)..rounds.place(mark.round, mark.to_s);
    let latencies = curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1));
    Some(Plot {
        title,
        x: rounds.axis()?,
        y: Axis::logarithmic("", latencies, time_of_tick)?,
        bands: marks.map(band).collect(),
        band_name: meanwhile,
        curves,
    })
}

/// What has been measured under several loads.
pub struct Ladder {
    /// Its name in the legend.
    pub name: String,
    /// Its colour.
    pub colour: usize,
    /// Operations per second and latency in ns under each load.
    pub steps: Vec<(f64, f64)>,
}

/// Throughput against latency; `None` if no ladder has two steps.
pub fn throughput(title: String, ladders: Vec<Ladder>) -> Option<Plot> {
    let ladders: Vec<_> = ladders.into_iter().filter(|ladder| ladder.steps.len() >= 2).collect();
    let steps = ladders.iter().flat_map(|ladder| &ladder.steps);
    let x = Axis::logarithmic("per second", steps.clone().map(|step| step.0), rate_of_tick)?;
    let y = Axis::logarithmic("", steps.map(|step| step.1), time_of_tick)?;
    let curve = |Ladder { name, colour, steps }| {
        let style = Style::Dots;
        Curve { name, colour, style, points: steps }
    };
    let curves = ladders.into_iter().map(curve).collect();
    Some(Plot { title, x, y, curves, bands: Vec::new(), band_name: "" })
}

/// Latency under each value of a setting; `None` if none has a median.
pub fn settings(title: String, all: &[(String, [Option<f64>; 3])]) -> Option<Plot> {
    let at = |place: usize| {
        let point = |(number, (_, ns)): (usize, &(String, [Option<f64>; 3]))| {
            Some((number as f64, ns[place]?))
        };
        all.iter().enumerate().filter_map(point).collect::<Vec<_>>()
    };
    let curve = |(colour, name): (usize, &str)| {
        let style = Style::Dots;
        Curve { name: name.to_owned(), colour, style, points: at(colour) }
    };
    let curves: Vec<_> = ["p50", "p99", "p99.9"].into_iter().enumerate().map(curve).collect();
    let curves: Vec<_> = curves.into_iter().filter(|curve| !curve.points.is_empty()).collect();
    let latencies = curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1));
    Some(Plot {
        title,
        x: Axis::names(all.iter().map(|(name, _)| name.clone())),
        y: Axis::logarithmic("", latencies, time_of_tick)?,
        curves,
        bands: Vec::new(),
        band_name: "",
    })
}

/// Where the time of durable puts goes: a bar for each row, as long as its mean, and a table of
/// percentiles. Draws nothing of nothing.
pub fn phases(html: &mut String, rows: &[(String, &[Phase])]) -> fmt::Result {
    let whole = |phases: &[Phase]| phases.iter().map(|phase| phase.mean_ns).sum::<f64>();
    let rows: Vec<_> = rows.iter().filter(|(_, phases)| whole(phases) > 0.0).collect();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(html, "<figure class=\"bars\"><figcaption>Means, which add up</figcaption>")?;
    for (name, phases) in &rows {
        let sum = whole(phases);
        writeln!(html, "<p>{}: {}</p><div class=\"bar\">", escape(name), time(sum))?;
        for (colour, phase) in phases.iter().enumerate() {
            writeln!(
                html,
                "<span class=\"{}\" style=\"flex-grow:{:.4}\" title=\"{}: {}\"></span>",
                class(colour),
                phase.mean_ns / sum,
                escape(&phase.name),
                time(phase.mean_ns),
            )?;
        }
        writeln!(html, "</div>")?;
    }
    writeln!(html, "<ul class=\"legend\">")?;
    for (colour, (name, meaning)) in PHASES.iter().enumerate() {
        let class = class(colour);
        writeln!(html, "<li><i class=\"{class}\"></i>{name}: {meaning}</li>")?;
    }
    writeln!(html, "</ul></figure>")
}

/// The percentiles of phases.
pub fn phase_table(rows: &[(String, &[Phase])]) -> Table {
    let row = |name: &str, phase: &Phase| {
        let all = &phase.percentiles;
        let times = [Some(phase.mean_ns), all.p50_ns, all.p99_ns, all.p999_ns, all.max_ns];
        let words = [name.to_owned(), phase.name.clone()];
        words.into_iter().chain(times.map(duration)).collect()
    };
    let rows = rows.iter().flat_map(|(name, phases)| phases.iter().map(|phase| row(name, phase)));
    Table {
        head: vec!["", "phase", "mean", "p50", "p99", "p99.9", "max"],
        left_count: 2,
        rows: rows.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::latencies::Percentiles;

    fn series(rounds: &[u32], at_s: &[f64]) -> Series {
        let ns: Vec<_> = at_s.iter().map(|_| Some(5e3)).collect();
        let marks = vec![Mark { round: 1, from_s: 0.1, to_s: 0.2 }];
        let (round, at_s) = (rounds.to_vec(), at_s.to_vec());
        Series { round, at_s, p50_ns: ns.clone(), max_ns: ns, marks }
    }

    #[test]
    fn rounds_follow_each_other_however_long_each_took() {
        let (short, long) = (series(&[0, 1], &[0.5, 0.5]), series(&[0, 0, 1], &[0.5, 1.5, 0.5]));
        let drawn = |series| Drawn { name: "a".to_owned(), colour: 0, curve: &[], series };
        let plot = over_time("t".to_owned(), &[drawn(&short), drawn(&long)], "pause").unwrap();
        let across: Vec<Vec<f64>> = plot
            .curves
            .iter()
            .map(|curve| curve.points.iter().map(|point| point.0).collect())
            .collect();
        assert_eq!(across[1], [0.5, 2.5]);
        assert_eq!(across[3], [0.5, 1.5, 2.5]);
        assert_eq!(plot.bands[0], 2.1..2.2);
        let ticks: Vec<_> = plot.x.ticks.iter().map(|(at, name)| (*at, name.as_str())).collect();
        assert_eq!(ticks, [(0.0, "1"), (2.0, "2")]);
        assert!(over_time("t".to_owned(), &[drawn(&Series::EMPTY)], "").is_none());
    }

    #[test]
    fn a_single_load_is_no_ladder() {
        let ladder = |steps: &[(f64, f64)]| {
            let (name, steps) = ("a".to_owned(), steps.to_vec());
            throughput("t".to_owned(), vec![Ladder { name, colour: 0, steps }])
        };
        assert!(ladder(&[(1e3, 5e4)]).is_none());
        let plot = ladder(&[(1e3, 5e4), (1e5, 9e4)]).unwrap();
        assert_eq!(plot.x.ticks.last().unwrap().1, "100 K");
        assert_eq!(plot.y.ticks.first().unwrap().1, "50 us");
    }

    #[test]
    fn bars_are_as_long_as_their_parts() {
        let percentiles = Percentiles::default();
        let phase = |name: &str, mean_ns| Phase { name: name.to_owned(), mean_ns, percentiles };
        let all = [phase("queue", 1e3), phase("device", 3e3)];
        let mut html = String::new();
        phases(&mut html, &[("a<b".to_owned(), &all), ("none".to_owned(), &[])]).unwrap();
        assert!(html.contains("a&lt;b: 4.00 us") && !html.contains("none"), "{html}");
        assert!(html.contains("flex-grow:0.2500\" title=\"queue: 1.00 us"), "{html}");
        let mut nothing = String::new();
        phases(&mut nothing, &[]).unwrap();
        assert_eq!(nothing, "");
    }
}
