//! A report as one HTML file.

mod frame;
mod parts;

use std::fmt::{self, Write};
use std::fs;
use std::path::Path;

use crate::error::BenchError;
use crate::judge::verdict::Outcome;
use crate::machine;
use crate::measure::rows::{Metric, Row, RowResult};
use crate::measure::store::{Contender, StoreFacts};
use crate::report::Report;
use crate::report::charts::{
    Drawn, Ladder, over_time, percentiles, phase_table, phases, throughput,
};
use crate::report::html::frame::{facts, list, page, plots, table};
use crate::report::html::parts::render_parts;
use crate::report::plot::{COLOUR_COUNT, Plot, escape};
use crate::report::saved::Saved;
use crate::report::text::{legend, moved, results, verdicts};

const fn colour(contender: Contender) -> usize {
    match contender {
        Contender::Uarr => 0,
        Contender::Rocksdb => 1,
        Contender::Sqlite => 2,
        Contender::Lmdb => 3,
        Contender::Floor => 4,
        Contender::Redb => 5,
        Contender::Fjall => 6,
    }
}

/// Writes the file.
pub fn write(saved: &Saved, path: &Path) -> Result<(), BenchError> {
    fs::write(path, render(saved)).map_err(|error| BenchError::at(path, "cannot write", &error))
}

/// The file's text.
pub fn render(saved: &Saved) -> String {
    match saved {
        Saved::Check(report) => {
            let title = format!("uarr-bench: {}", report.outcome.name());
            let heading = "Device floor, engine and peers in one run";
            page(&title, heading, |html| {
                render_report(html, report)?;
                facts_of_run(html, saved, vec![("took", format!("{:.0} s", report.elapsed_s))])
            })
        }
        Saved::Parts(measured) => {
            let names: Vec<_> = measured.parts.iter().map(|part| part.name.as_str()).collect();
            let title = format!("uarr-bench: {}", names.join(", "));
            page(&title, "Parts of a run", |html| {
                render_parts(html, measured)?;
                facts_of_run(html, saved, Vec::new())
            })
        }
    }
}

fn render_report(html: &mut String, report: &Report) -> fmt::Result {
    let class = match report.outcome {
        Outcome::Pass => "pass",
        Outcome::Miss => "miss",
        Outcome::Inconclusive => "inconclusive",
    };
    if !report.judgements.is_empty() {
        writeln!(html, "<p><span class=\"verdict {class}\">{}</span></p>", report.outcome.name())?;
        table(html, &verdicts(&report.judgements), |_| "")?;
    }
    let others = report
        .others_cpu
        .map(|part| format!("Others used {:.0} % of the processors during the run", part * 100.0));
    list(html, report.notes.iter().cloned().chain(moved(report)).chain(others))?;
    writeln!(html, "<h2>Measurements</h2>")?;
    table(html, &results(report), |row| row[1].as_str())?;
    list(html, legend(report))?;
    let heading = "<h2>Percentiles of single operations, all rounds together</h2>";
    plots(html, heading, &of_rows(report, percentiles))?;
    let heading = "<h2>Over time: the median in each slice, and, thin, the longest</h2>";
    let over_time = |title, all: &[Drawn<'_>]| over_time(title, all, "");
    plots(html, heading, &of_rows(report, over_time))?;
    let heading = "<h2>Throughput against latency: durable puts of 1 and of 16 threads</h2>";
    plots(html, heading, &Vec::from_iter(throughputs(report)))?;
    let rows = report.rows.iter().map(|row| (name(row), row.phases.as_slice()));
    let rows: Vec<_> = rows.filter(|(_, phases)| !phases.is_empty()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(html, "<h2>Where the time of a durable put goes</h2>")?;
    phases(html, &rows)?;
    table(html, &phase_table(&rows), |_| "")
}

fn name(row: &RowResult) -> String {
    format!("{}, {} ({})", row.row.name(), row.contender, row.class.name())
}

/// A plot of each row, with its floor beside it.
fn of_rows(report: &Report, draw: impl Fn(String, &[Drawn<'_>]) -> Option<Plot>) -> Vec<Plot> {
    // These are drawn beside the rows they are the floor of.
    let is_beside = |row: &Row| matches!(row, Row::WriteFdatasync | Row::ReadMapped);
    let rows = Row::ALL.into_iter().filter(|row| !is_beside(row));
    let plot = |row: Row| {
        let is_in = |result: &&RowResult| {
            result.row == row || row.floor().is_some_and(|floor| result.row == floor)
        };
        let results = report.rows.iter().filter(is_in);
        let mut all: Vec<Drawn<'_>> = Vec::new();
        for result in results {
            let own = colour(result.contender);
            // Of one store with two promises the second line is dashed.
            let is_second = all.iter().any(|drawn| drawn.colour == own);
            all.push(Drawn {
                name: format!("{} ({})", result.contender, result.class.name()),
                colour: if is_second { own + COLOUR_COUNT } else { own },
                curve: &result.curve,
                series: &result.series,
            });
        }
        draw(format!("{}: {}", row.name(), row.meaning()), &all)
    };
    rows.filter_map(plot).collect()
}

/// Durable puts of one and of many threads.
fn throughputs(report: &Report) -> Option<Plot> {
    let rows = [Row::DurablePut1, Row::DurablePut16];
    let ladder = |contender: Contender| {
        let step = |row| {
            let result = report.find(row, contender)?;
            Some((result.value(Metric::OpsPerSecond)?, result.value(Metric::P99Ns)?))
        };
        let steps = rows.into_iter().filter_map(step).collect();
        Ladder { name: format!("{contender}, p99"), colour: colour(contender), steps }
    };
    let title = "durable puts per second, and the 99th percentile of each".to_owned();
    throughput(title, Contender::STORES.map(ladder).into())
}

fn facts_of_run(html: &mut String, saved: &Saved, more: Vec<(&str, String)>) -> fmt::Result {
    writeln!(html, "<h2>Stores</h2>")?;
    let store = |store: &StoreFacts| {
        (store.contender.name(), format!("{}: {}", store.version, store.settings))
    };
    facts(html, saved.stores().iter().map(store))?;
    writeln!(html, "<h2>Machine</h2><p>{}</p>", escape(&machine::line(saved.machine())))?;
    let run = saved.spec();
    let run = format!(
        "{} rounds of {} s, {} records, started {} s after 1970",
        run.repetitions,
        run.seconds,
        run.records,
        saved.started_unix_s()
    );
    let machine = saved.machine().iter().map(|(name, value)| (name.as_str(), value.clone()));
    facts(html, machine.chain([("run", run)]).chain(more))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::timeline::Series;
    use crate::report::sample_report::{sample_measured, sample_report};

    /// Everything that was begun is ended, and nothing is asked of the network.
    fn assert_whole_and_offline(page: &str) {
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</body></html>\n"));
        for tag in ["table", "svg", "ul", "tr", "figure", "div", "p", "li", "h2", "h3"] {
            let begun = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(begun, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        for part in ["http", "src=", "url(", "@import", "<script"] {
            assert!(!page.contains(part), "{part}");
        }
        assert_eq!(page.matches("href=").count(), page.matches("href=\"data:,\"").count());
    }

    #[test]
    fn the_page_is_whole_and_asks_nothing_of_the_network() {
        let mut report = sample_report();
        report.notes.push("<script>alert(1)</script> & \"quotes\"".to_owned());
        let many = RowResult {
            row: Row::DurablePut16,
            threads: 16,
            curve: Vec::new(),
            series: Series::EMPTY,
            ..report.rows[1].clone()
        };
        report.rows.push(many);
        let page = render(&Saved::Check(Box::new(report)));
        assert_whole_and_offline(&page);
        assert!(page.contains("&lt;script&gt;"));
        // Percentiles, and two lines each over time, of three rows; a ladder of the engine.
        assert_eq!(page.matches("<polyline").count(), 3 + 2 * 3 + 1, "{page}");
        assert!(page.contains("Where the time of a durable put goes"));
    }

    #[test]
    fn parts_are_drawn_line_by_line_and_ladders_together() {
        let page = render(&Saved::Parts(Box::new(sample_measured())));
        assert_whole_and_offline(&page);
        assert!(page.contains("Operations per second, and the 99th percentile of each"));
        assert!(page.contains("a checkpoint, or what stands for it</li>"));
        assert_eq!(page.matches("<figure>").count(), 5, "two groups twice, one ladder");
    }
}
