//! The tables of a run of parts, and the run as text.

use crate::measure::rows::Metric;
use crate::measure::sample::{median, ratios};
use crate::measure::store::Class;
use crate::report::measured::{Line, Measured, Size};
use crate::report::table::Table;
use crate::report::{text, words};

/// The tables of a run as text.
pub fn render(measured: &Measured) -> String {
    let mut text = String::new();
    for store in &measured.stores {
        text.push_str(&(text::store_line(store) + "\n"));
    }
    let run = &measured.run;
    let facts = ["file system", "mount options", "kernel", "cpu model", "log block"]
        .into_iter()
        .filter_map(|name| measured.machine.get(name).map(|value| format!("{name} {value}")));
    text.push_str(&format!(
        "{} rounds of {} s; values of 128 bytes if nothing else is said; {}\n",
        run.repetitions,
        run.seconds,
        facts.collect::<Vec<_>>().join(", ")
    ));
    for part in &measured.parts {
        text.push_str(&format!("\n{}: {}\n\n", part.name, part.title));
        text.push_str(&table(part.metric, &part.lines).to_text());
        for line in &part.lines {
            let Some(why) = line.invalid() else { continue };
            text.push_str(&format!("{}: {why}\n", line.name));
        }
        if let Some(recipe) = &part.recipe {
            text.push_str(&format!("the recipe that repeats it:\n\n{recipe}\n"));
        }
        part.notes.iter().for_each(|note| text.push_str(&format!("{note}\n")));
    }
    if !measured.sizes.is_empty() {
        text.push_str("\nsizes: bytes on the disk\n\n");
        text.push_str(&size_table(measured).to_text());
    }
    text
}

/// What the stores took on the disk.
pub fn size_table(measured: &Measured) -> Table {
    let row = |size: &Size| {
        let bytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        vec![
            size.contender.name().to_owned(),
            bytes(size.user_bytes),
            bytes(size.loaded_bytes),
            bytes(size.overwritten_bytes),
            bytes(size.fresh_bytes),
        ]
    };
    Table {
        head: vec!["", "keys and values", "loaded", "written twice", "one record, open"],
        left_count: 1,
        rows: measured.sizes.iter().map(row).collect(),
    }
}

/// The lines of a part beside each other.
pub fn table(metric: Metric, lines: &[Line]) -> Table {
    let mut head = vec![
        "",
        "durability",
        "per second",
        "p50",
        "p99",
        "p99.9",
        "max",
        "CPU/op",
        "flush/commit",
        "ratio",
        "rounds",
    ];
    let retries = |line: &Line| line.value(Metric::RetriesPerTransaction);
    // Transactions, which are a part of what a store did, are compared with each other.
    let first = |line: &Line| {
        let mut alike =
            lines.iter().filter(|first| retries(first).is_some() == retries(line).is_some());
        alike.next().unwrap_or(&lines[0])
    };
    let mut rows: Vec<_> = lines.iter().map(|line| row(metric, line, first(line))).collect();
    if lines.iter().any(|line| retries(line).is_some()) {
        head.push("retries");
        for (row, line) in rows.iter_mut().zip(lines) {
            row.push(words::count(retries(line)));
        }
    }
    Table { head, left_count: 2, rows }
}

fn row(metric: Metric, line: &Line, first: &Line) -> Vec<String> {
    let time = |metric| words::duration(line.value(metric));
    let ratios = line.is_comparable(first).then(|| ratios(&line.of(metric), &first.of(metric)));
    let ratios = ratios.flatten().unwrap_or_default();
    let low = ratios.iter().copied().reduce(f64::min);
    let high = ratios.iter().copied().reduce(f64::max);
    let per_second = line.value(Metric::OpsPerSecond);
    vec![
        line.name.clone(),
        line.class.map_or("-", Class::name).to_owned(),
        per_second.map_or_else(|| "n/a".to_owned(), words::rate),
        time(Metric::P50Ns),
        time(Metric::P99Ns),
        time(Metric::P999Ns),
        time(Metric::MaxNs),
        // Threads that read beside others have no count of their own.
        words::duration(line.value(Metric::CpuNsPerOp).filter(|&ns| ns > 0.0)),
        words::count(line.value(Metric::FlushesPerCommit)),
        words::ratio(median(&ratios)),
        format!("{} .. {}", words::ratio(low), words::ratio(high)),
    ]
}
