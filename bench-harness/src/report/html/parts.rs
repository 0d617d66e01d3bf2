//! Parts of a run: a table of each, and what is drawn of its lines.

use std::fmt::{self, Write};

use crate::measure::rows::Metric;
use crate::report::charts::{
    Drawn, Ladder, over_time, percentiles, phase_table, phases, settings, throughput,
};
use crate::report::html::frame::{list, plots, table};
use crate::report::measured::{Line, Measured, MeasuredPart};
use crate::report::plot::{COLOUR_COUNT, Plot, escape};
use crate::report::{part_tables, words};

/// The parts, one below the other.
pub fn render_parts(html: &mut String, measured: &Measured) -> fmt::Result {
    let others = measured
        .others_cpu
        .map(|part| format!("Others used {:.0} % of the processors during the run", part * 100.0));
    list(html, others)?;
    for part in &measured.parts {
        render_part(html, part)?;
    }
    if !measured.sizes.is_empty() {
        writeln!(html, "<h2>sizes: bytes on the disk</h2>")?;
        table(html, &part_tables::size_table(measured), |row| row[0].as_str())?;
    }
    Ok(())
}

fn render_part(html: &mut String, part: &MeasuredPart) -> fmt::Result {
    writeln!(html, "<h2>{}</h2><p>{}</p>", escape(&part.name), escape(&part.title))?;
    let class = |row: &[String]| match row[0].split([',', ':']).next() {
        Some("uarr") => "uarr",
        Some("floor") => "floor",
        _ => "",
    };
    table(html, &part_tables::table(part.metric, &part.lines), class)?;
    let invalid =
        part.lines.iter().filter_map(|line| Some(format!("{}: {}", line.name, line.invalid()?)));
    list(html, invalid.chain(part.notes.iter().cloned()))?;
    if let Some(recipe) = &part.recipe {
        writeln!(html, "<details><summary>The recipe that repeats it</summary>")?;
        writeln!(html, "<pre>{}</pre></details>", escape(recipe))?;
    }
    plots(html, "", &of_part(&part.lines))?;
    let rows = part.lines.iter().map(|line| (line.name.clone(), line.phases.as_slice()));
    let rows: Vec<_> = rows.filter(|(_, phases)| !phases.is_empty()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(html, "<h3>Where the time of a durable put goes</h3>")?;
    phases(html, &rows)?;
    table(html, &phase_table(&rows), |_| "")
}

/// Everything that can be drawn of the lines.
fn of_part(lines: &[Line]) -> Vec<Plot> {
    let groups = groups(lines);
    let of_groups = |what: &str, draw: &dyn Fn(String, &[Drawn<'_>]) -> Option<Plot>| {
        let plot = |(name, lines): &Group<'_>| {
            let all: Vec<_> =
                lines.iter().enumerate().map(|(colour, line)| drawn(colour, line)).collect();
            let comma = if name.is_empty() { "" } else { ": " };
            draw(format!("{what}{comma}{name}"), &all)
        };
        groups.iter().filter_map(plot).collect::<Vec<_>>()
    };
    let over_time =
        |title, all: &[Drawn<'_>]| over_time(title, all, "a checkpoint, or what stands for it");
    let mut plots = Vec::from_iter(of_settings(lines));
    plots.extend(of_groups("Percentiles, all rounds together", &percentiles));
    plots.extend(of_groups("Over time: the median, and, thin, the longest", &over_time));
    let title = "Operations per second, and the 99th percentile of each".to_owned();
    plots.extend(throughput(title, ladders(lines)));
    plots
}

/// The lines of a sweep.
fn of_settings(lines: &[Line]) -> Option<Plot> {
    let metrics = [Metric::P50Ns, Metric::P99Ns, Metric::P999Ns];
    let case = |line: &Line| {
        let name = words::shortened_bytes(line.setting.as_deref()?);
        Some((name, metrics.map(|metric| line.value(metric))))
    };
    let all: Vec<_> = lines.iter().filter_map(case).collect();
    settings("Latency under each setting".to_owned(), &all)
}

/// Lines that are drawn together, with a title.
type Group<'l> = (String, Vec<&'l Line>);

/// Those of one ladder, and the others in the order of their turns.
fn groups(lines: &[Line]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for line in lines {
        let title = line.ladder.clone().unwrap_or_default();
        let has_room = |group: &&mut Group<'_>| group.0 == title && group.1.len() < COLOUR_COUNT;
        match groups.iter_mut().rev().find(has_room) {
            Some((_, lines)) => lines.push(line),
            None => groups.push((title, vec![line])),
        }
    }
    groups
}

fn drawn(colour: usize, line: &Line) -> Drawn<'_> {
    Drawn { name: line.name.clone(), colour, curve: &line.curve, series: &line.series }
}

/// Lines that differ in their load alone, from which their latencies can be seen to grow.
fn ladders(lines: &[Line]) -> Vec<Ladder> {
    let mut ladders: Vec<Ladder> = Vec::new();
    for line in lines {
        let Some(name) = &line.ladder else { continue };
        let step = line.value(Metric::OpsPerSecond).zip(line.value(Metric::P99Ns));
        match ladders.iter_mut().find(|ladder| ladder.name == *name) {
            Some(ladder) => ladder.steps.extend(step),
            None => {
                let (name, colour, steps) = (name.clone(), ladders.len(), Vec::from_iter(step));
                ladders.push(Ladder { name, colour, steps });
            }
        }
    }
    ladders
}
