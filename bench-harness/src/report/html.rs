//! The report as one HTML file without links to anything: it can be mailed and opened offline.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::error::BenchError;
use crate::judge::verdict::Outcome;
use crate::measure::rows::Row;
use crate::measure::store::Contender;
use crate::report::Report;
use crate::report::plot::{Curve, escape, percentile_plot};
use crate::report::table::Table;
use crate::report::text::{legend, moved, results, verdicts};

const STYLE: &str = "\
body{font:15px/1.45 system-ui,sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;\
color:#1c2330;background:#fff}\
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}h3{font-size:1em;margin-bottom:.2em}\
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}\
th,td{padding:.25em .6em;border-bottom:1px solid #dde2ea;text-align:left;white-space:nowrap}\
td.number,th.number{text-align:right}tr.uarr td{background:#f0f6ff}tr.floor td{color:#667}\
.wide{overflow-x:auto}.grid{stroke:#e4e8ee}svg{max-width:760px;width:100%}svg text{fill:#445}\
.verdict{display:inline-block;padding:.3em .8em;border-radius:.3em;color:#fff;font-weight:600}\
.pass{background:#19733c}.miss{background:#b3261e}.inconclusive{background:#8a6100}\
.facts td:last-child{white-space:normal}";

const fn colour(contender: Contender) -> &'static str {
    match contender {
        Contender::Floor => "#8a93a3",
        Contender::Uarr => "#1660d0",
        Contender::Rocksdb => "#c2571a",
        Contender::Sqlite => "#2c8a57",
        Contender::Lmdb => "#8a4fb0",
    }
}

/// Writes the file.
pub fn write(report: &Report, path: &Path) -> Result<(), BenchError> {
    fs::write(path, render(report)).map_err(|error| BenchError::at(path, "cannot write", &error))
}

/// The file's text.
pub fn render(report: &Report) -> String {
    let mut html = String::new();
    render_into(&mut html, report).expect("writing to a string cannot fail");
    html
}

fn render_into(html: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        html,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>uarr-bench: {}</title>\n<style>{STYLE}</style></head>\n<body>\n\
         <h1>Device floor, engine and peers in one run</h1>",
        report.outcome.name()
    )?;
    let class = match report.outcome {
        Outcome::Pass => "pass",
        Outcome::Miss => "miss",
        Outcome::Inconclusive => "inconclusive",
    };
    if !report.judgements.is_empty() {
        writeln!(html, "<p><span class=\"verdict {class}\">{}</span></p>", report.outcome.name())?;
        table(html, &verdicts(&report.judgements), |_| "")?;
    }
    writeln!(html, "<ul>")?;
    for note in &report.notes {
        writeln!(html, "<li>{}</li>", escape(note))?;
    }
    for moved in moved(report) {
        writeln!(html, "<li>{}</li>", escape(&moved))?;
    }
    if let Some(others) = report.others_cpu {
        writeln!(
            html,
            "<li>Others used {:.0} % of the processors during the run</li>",
            others * 100.0
        )?;
    }
    writeln!(html, "</ul>\n<h2>Measurements</h2>")?;
    table(html, &results(report), |row| row[1].as_str())?;
    writeln!(html, "<ul>")?;
    for line in legend(report) {
        writeln!(html, "<li>{}</li>", escape(&line))?;
    }
    writeln!(html, "</ul>\n<h2>Percentiles of single operations, all rounds together</h2>")?;
    plots(html, report)?;
    facts(html, report)?;
    writeln!(html, "</body></html>")
}

/// A table; `class` names the class of a row.
fn table<'t>(
    html: &mut String,
    table: &'t Table,
    class: impl Fn(&'t [String]) -> &'t str,
) -> std::fmt::Result {
    let kind = |index: usize| if index < table.left_count { "" } else { " class=\"number\"" };
    write!(html, "<div class=\"wide\"><table><tr>")?;
    for (index, head) in table.head.iter().enumerate() {
        write!(html, "<th{}>{}</th>", kind(index), escape(head))?;
    }
    writeln!(html, "</tr>")?;
    for row in &table.rows {
        write!(html, "<tr class=\"{}\">", escape(class(row)))?;
        for (index, cell) in row.iter().enumerate() {
            write!(html, "<td{}>{}</td>", kind(index), escape(cell))?;
        }
        writeln!(html, "</tr>")?;
    }
    writeln!(html, "</table></div>")
}

fn plots(html: &mut String, report: &Report) -> std::fmt::Result {
    for row in Row::ALL {
        if row == Row::WriteFdatasync || row == Row::ReadMapped {
            continue; // drawn beside the rows they are the floor of
        }
        let results = report.rows.iter().filter(|result| {
            result.row == row || row.floor().is_some_and(|floor| result.row == floor)
        });
        let curves: Vec<Curve<'_>> = results
            .map(|result| Curve {
                name: format!("{} ({})", result.contender, result.class.name()),
                colour: colour(result.contender),
                points: &result.curve,
            })
            .collect();
        if let Some(plot) = percentile_plot(&curves) {
            writeln!(html, "<h3>{}: {}</h3>\n{plot}", row.name(), escape(row.meaning()))?;
        }
    }
    Ok(())
}

fn facts(html: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(html, "<h2>Stores</h2><table class=\"facts\">")?;
    for store in &report.stores {
        writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            store.contender,
            escape(&store.version),
            escape(&store.settings)
        )?;
    }
    writeln!(html, "</table>\n<h2>Machine</h2><table class=\"facts\">")?;
    for (name, value) in &report.machine {
        writeln!(html, "<tr><td>{}</td><td>{}</td></tr>", escape(name), escape(value))?;
    }
    writeln!(
        html,
        "<tr><td>run</td><td>{} rounds of {} s, {} records, started {} s after 1970, took {:.0} \
         s</td></tr>\
         </table>",
        report.run.repetitions,
        report.run.seconds,
        report.run.records,
        report.started_unix_s,
        report.elapsed_s
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample_report::sample_report;

    #[test]
    fn the_page_is_whole_and_asks_nothing_of_the_network() {
        let mut report = sample_report();
        report.notes.push("<script>alert(1)</script> & \"quotes\"".to_owned());
        let page = render(&report);
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</body></html>\n"));
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"));
        for (open, close) in
            [("<table", "</table>"), ("<svg", "</svg>"), ("<ul>", "</ul>"), ("<tr", "</tr>")]
        {
            assert_eq!(page.matches(open).count(), page.matches(close).count(), "{open}");
        }
        assert!(page.matches("<polyline").count() >= 3, "a curve for each contender");
        let addresses =
            page.matches("http").count() - page.matches("http://www.w3.org/2000/svg").count();
        assert_eq!(addresses, 0, "the only address is the name space of SVG");
        for part in ["src=", "href=", "url(", "@import"] {
            assert!(!page.contains(part), "{part}");
        }
    }
}
