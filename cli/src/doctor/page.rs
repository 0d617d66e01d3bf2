//! The report as people read it: facts in groups, what was measured, findings in their order. As
//! wide as the terminal, at most 80 columns, but for words that are wider: commands and paths stay
//! whole.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};
use indicatif::BinaryBytes;
use textwrap::{Options, WordSeparator, WordSplitter};

use super::examined::Examined;
use super::fact::{Fact, Group};
use super::finding::{Cost, Finding, Severity};
use super::floor::{Floor, Op, Times};
use crate::output::{columns, one_line};

/// Widest page, and the narrowest that it is made for.
const COLUMNS_MAX: usize = 80;
const COLUMNS_MIN: usize = 40;
/// Where values begin.
const LABEL_COLUMNS: usize = 24;
/// Where the texts of a finding begin.
const FINDING_COLUMNS: usize = 12;
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Writes the page, with the colours of a terminal.
pub fn page(examined: &Examined) -> String {
    let columns = columns().unwrap_or(COLUMNS_MAX).clamp(COLUMNS_MIN, COLUMNS_MAX);
    let mut page = Page { text: String::new(), columns };
    page.line(&styled(BOLD, format!("uarr doctor {}", one_line(&examined.directory))));
    page.facts(&examined.report.facts.0);
    page.measured(examined.floor.as_ref());
    page.findings(&examined.report.findings);
    page.text
}

struct Page {
    text: String,
    columns: usize,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// A label, and a text that wraps behind it.
    fn row(&mut self, label: &str, columns: usize, style: Style, text: &str) {
        let indent = " ".repeat(columns);
        let margin = if columns == FINDING_COLUMNS { "    " } else { "  " };
        let first = format!("{margin}{label:<0$}", columns - margin.len());
        // A label that is too long has its line.
        let (first, is_long) = match first.chars().count() > columns || !first.ends_with(' ') {
            true => (indent.as_str(), true),
            false => (first.as_str(), false),
        };
        if is_long {
            self.line(&format!("{margin}{label}"));
        }
        let options = options(self.columns).initial_indent(first).subsequent_indent(&indent);
        for line in textwrap::wrap(&one_line(text), options) {
            let (label, text) = line.split_at_checked(columns).unwrap_or(("", &line));
            self.line(&format!("{label}{}", styled(style, text)));
        }
    }

    /// A command that can be copied, also where it takes several lines.
    fn command(&mut self, label: &str, command: &str) {
        let mut label = label;
        for line in command_lines(&one_line(command), self.columns - FINDING_COLUMNS) {
            self.line(&format!("    {label:<0$}{line}", FINDING_COLUMNS - 4));
            label = "";
        }
    }

    fn facts(&mut self, facts: &[Fact]) {
        let mut groups: Vec<Group> = facts.iter().map(|fact| fact.group).collect();
        groups.sort();
        groups.dedup();
        for group in groups {
            self.line("");
            self.line(&styled(BOLD, group.title()));
            for fact in facts.iter().filter(|fact| fact.group == group) {
                match &fact.value {
                    Ok(value) => self.row(&fact.name, LABEL_COLUMNS, Style::new(), value),
                    Err(why) => {
                        self.row(&fact.name, LABEL_COLUMNS, DIM, &format!("unknown: {why}"));
                    }
                }
            }
        }
    }

    fn measured(&mut self, floor: Option<&Result<Floor, String>>) {
        self.line("");
        let floor = match floor {
            Some(Ok(floor)) => floor,
            Some(Err(why)) => {
                self.line(&styled(BOLD, "Measured here"));
                return self.row("nothing", LABEL_COLUMNS, DIM, why);
            }
            None => {
                self.line(&styled(BOLD, "Measured here"));
                return self.row("nothing", LABEL_COLUMNS, DIM, "it was not asked for");
            }
        };
        let how = if floor.is_direct { "past the page cache" } else { "through the page cache" };
        let title = format!(
            "Measured here: {} bytes {how}, {:.1} s",
            floor.block_bytes,
            floor.duration.as_secs_f64()
        );
        self.line(&styled(BOLD, title));
        let head = format!("{:>10}{:>10}{:>10}", "p50", "p99", "count");
        self.measurement(DIM, "us", &head);
        let rows = Op::ALL.into_iter().map(|op| (op.title(), floor.of(op)));
        for (title, times) in rows.chain([("waking up later than asked", floor.wake)]) {
            let cells = match times {
                Some(Times { count, p50_ns, p99_ns }) => {
                    let us = |ns: u64| format!("{:.1}", ns as f64 / 1000.0);
                    format!("{:>10}{:>10}{count:>10}", us(p50_ns), us(p99_ns))
                }
                None => format!("{:>10}", "-"),
            };
            self.measurement(Style::new(), title, &cells);
        }
        let clock = format!("{:>10.3}", floor.clock_ns / 1000.0);
        self.measurement(Style::new(), "reading the clock", &clock);
        if let Some(all) = floor.disk_bytes {
            let own = BinaryBytes(floor.own_bytes);
            let text = format!("{} in all, {own} of them to measure", BinaryBytes(all));
            self.row("written to disk", LABEL_COLUMNS, Style::new(), &text);
        }
    }

    /// A row of the table of what was measured; two where the page is narrow.
    fn measurement(&mut self, style: Style, title: &str, cells: &str) {
        if self.columns == COLUMNS_MAX {
            return self.line(&styled(style, format!("  {title:<48}{cells}")));
        }
        self.line(&styled(style, format!("  {title}")));
        self.line(&styled(style, format!("  {cells}")));
    }

    fn findings(&mut self, findings: &[Finding]) {
        self.line("");
        for (index, finding) in findings.iter().enumerate() {
            self.finding(index + 1, finding);
            self.line("");
        }
        let count = |severity| findings.iter().filter(|found| found.severity == severity).count();
        let all = [Severity::Critical, Severity::Warning, Severity::Note];
        let counts = all.map(|severity| {
            let count = count(severity);
            let plural = if count == 1 || severity == Severity::Critical { "" } else { "s" };
            format!("{count} {}{plural}", severity.word())
        });
        let text = match findings.is_empty() {
            true => "nothing found that could be better; nothing was changed".to_owned(),
            false => format!("{}; nothing was changed", counts.join(", ")),
        };
        self.line(&styled(BOLD, text));
    }

    fn finding(&mut self, number: usize, finding: &Finding) {
        let cost = match finding.cost {
            Cost::Measured { us, of } => format!(": {us:.1} us a {of} here"),
            Cost::AtMost { us, of } => format!(": up to {us:.1} us a {of}"),
            Cost::Unknown => String::new(),
        };
        let word = finding.severity.word();
        let title = format!("{number:>2}  {word}: {}{cost}", finding.title);
        let colour = match finding.severity {
            Severity::Critical => AnsiColor::Red,
            Severity::Warning => AnsiColor::Yellow,
            Severity::Note => AnsiColor::Cyan,
        };
        let style = colour.on_default().bold();
        let options = options(self.columns).subsequent_indent("    ");
        for line in textwrap::wrap(&one_line(&title), options) {
            self.line(&styled(style, line));
        }
        for (source, value) in &finding.read {
            self.row("read", FINDING_COLUMNS, DIM, &format!("{source}: {value}"));
        }
        self.row("why", FINDING_COLUMNS, Style::new(), &finding.why);
        let remedy = &finding.remedy;
        if let Some(command) = &remedy.command {
            self.command("change", command);
        }
        for (label, text) in [("advice", &remedy.advice), ("risk", &remedy.risk)] {
            if let Some(text) = text {
                self.row(label, FINDING_COLUMNS, Style::new(), text);
            }
        }
        if let Some(undo) = &remedy.undo {
            self.command("undo", undo);
        }
    }
}

/// The lines of a command: a shell goes on behind `&&` and behind a backslash.
fn command_lines(command: &str, columns: usize) -> Vec<String> {
    let parts: Vec<&str> = command.split(" && ").collect();
    let last = parts.len() - 1;
    let mut lines = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        let part = if index < last { format!("{part} &&") } else { part.to_owned() };
        // Spaces in quotes are no place to go on behind.
        if part.len() <= columns || part.contains('\'') {
            lines.push(part);
            continue;
        }
        let wrapped = textwrap::wrap(&part, options(columns - " \\".len()));
        let end = wrapped.len() - 1;
        let line = |(index, line)| format!("{line}{}", if index < end { " \\" } else { "" });
        lines.extend(wrapped.iter().enumerate().map(line));
    }
    lines
}

/// Wraps at spaces only: commands and paths hold hyphens.
fn options<'o>(columns: usize) -> Options<'o> {
    Options::new(columns)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
}

fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_go_on_where_a_shell_does() {
        let lines = |command| command_lines(command, 20);
        assert_eq!(lines("echo a > b"), ["echo a > b"]);
        assert_eq!(lines("umount /a && fsck && mount /a"), ["umount /a &&", "fsck &&", "mount /a"]);
        assert_eq!(lines("refresh --one-option --two"), ["refresh \\", "--one-option --two"]);
        assert_eq!(lines("echo 'a long text in quotes'"), ["echo 'a long text in quotes'"]);
    }
}
