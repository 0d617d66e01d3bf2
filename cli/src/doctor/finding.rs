//! [`Finding`]: something that could be better, what it rests on, what it costs here, and how to
//! change it and back.

use std::cmp::Reverse;

use serde_json::{Value, json};

use super::root::Reading;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Acknowledged data is at risk, or the database cannot work.
    Critical,
    /// Costs latency, or will fail one day.
    Warning,
    /// Good to know; often right as it is.
    Note,
}

impl Severity {
    /// For people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// What a finding costs on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Cost {
    /// This much, measured here, for each commit or what `of` says.
    Measured {
        /// Microseconds.
        us: f64,
        /// What takes so much longer.
        of: &'static str,
    },
    /// No more than this.
    AtMost {
        /// Microseconds.
        us: f64,
        /// What takes so much longer at most.
        of: &'static str,
    },
    /// Not known: it was not measured, or cannot be measured without changing something.
    #[default]
    Unknown,
}

impl Cost {
    /// Microseconds by which findings are ranked; measured ones come before bounds.
    fn rank(self) -> (u8, f64) {
        match self {
            Self::Measured { us, .. } => (2, us),
            Self::AtMost { us, .. } => (1, us),
            Self::Unknown => (0, 0.0),
        }
    }
}

/// What can be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remedy {
    /// Command that changes it until the next boot or mount; none if no command can.
    pub command: Option<String>,
    /// What to do where no command helps, or to make the change last.
    pub advice: Option<String>,
    /// What may go wrong.
    pub risk: Option<String>,
    /// Command, or what to do, that brings back what was.
    pub undo: Option<String>,
}

/// Something that could be better.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Fixed word for programs.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is so.
    pub title: String,
    /// What it rests on: source and value.
    pub read: Vec<(String, String)>,
    /// Why it matters.
    pub why: String,
    /// What can be done.
    pub remedy: Remedy,
    /// What it costs here.
    pub cost: Cost,
}

impl Finding {
    /// A finding that costs what is not known, and that nothing can be done about.
    pub fn new(id: &'static str, severity: Severity, title: impl Into<String>) -> Self {
        Self {
            id,
            severity,
            title: title.into(),
            read: Vec::new(),
            why: String::new(),
            remedy: Remedy::default(),
            cost: Cost::Unknown,
        }
    }

    /// Rests on a file. One that says nothing adds nothing.
    pub fn read(self, reading: &Reading) -> Self {
        match reading.known() {
            Some(text) => self.saw(&reading.source, text),
            None => self,
        }
    }

    /// Rests on what `source` says.
    pub fn saw(mut self, source: &str, value: impl Into<String>) -> Self {
        self.read.push((source.to_owned(), value.into()));
        self
    }

    /// Why it matters.
    pub fn why(self, why: impl Into<String>) -> Self {
        Self { why: why.into(), ..self }
    }

    /// The command that changes it, what that risks, and what brings it back.
    pub fn change(
        mut self,
        command: impl Into<String>,
        risk: impl Into<String>,
        undo: impl Into<String>,
    ) -> Self {
        self.remedy.command = Some(command.into());
        self.remedy.risk = Some(risk.into());
        self.remedy.undo = Some(undo.into());
        self
    }

    /// What to do where no command helps, or to make the change last; behind what was advised.
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        let advice = advice.into();
        self.remedy.advice = Some(match self.remedy.advice {
            Some(before) => format!("{before}; or {advice}"),
            None => advice,
        });
        self
    }

    /// What may go wrong with what is advised.
    pub fn risks(mut self, risk: impl Into<String>) -> Self {
        self.remedy.risk = Some(risk.into());
        self
    }

    /// What it costs, if that is known.
    pub fn costs(self, cost: Option<Cost>) -> Self {
        Self { cost: cost.unwrap_or_default(), ..self }
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let read = self.read.iter();
        let read = read.map(|(source, value)| json!({ "source": source, "value": value }));
        let cost = match self.cost {
            Cost::Measured { us, of } => json!({ "kind": "measured", "us": tenths(us), "of": of }),
            Cost::AtMost { us, of } => json!({ "kind": "at_most", "us": tenths(us), "of": of }),
            Cost::Unknown => Value::Null,
        };
        json!({
            "id": self.id,
            "severity": self.severity.word(),
            "title": self.title,
            "read": read.collect::<Vec<_>>(),
            "why": self.why,
            "command": self.remedy.command,
            "advice": self.remedy.advice,
            "risk": self.remedy.risk,
            "undo": self.remedy.undo,
            "cost": cost,
        })
    }
}

fn tenths(us: f64) -> f64 {
    (us * 10.0).round() / 10.0
}

/// Orders findings: critical ones, then by what they cost here, then by how much they matter.
pub fn rank(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        let key = |finding: &Finding| finding.severity != Severity::Critical;
        let (a_kind, a_us) = a.cost.rank();
        let (b_kind, b_us) = b.cost.rank();
        key(a)
            .cmp(&key(b))
            .then(Reverse(a_kind).cmp(&Reverse(b_kind)))
            .then(b_us.total_cmp(&a_us))
            .then(a.severity.cmp(&b.severity))
            .then(a.id.cmp(b.id))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn risk_comes_first_then_what_is_measured_then_bounds() {
        let finding = |id, severity, cost| Finding { cost, ..Finding::new(id, severity, "") };
        let measured = |us| Cost::Measured { us, of: "commit" };
        let mut findings = [
            finding("e", Severity::Note, Cost::Unknown),
            finding("d", Severity::Warning, Cost::Unknown),
            finding("c", Severity::Note, Cost::AtMost { us: 900.0, of: "wake-up" }),
            finding("b", Severity::Warning, measured(2.0)),
            finding("a", Severity::Note, measured(30.0)),
            finding("z", Severity::Critical, Cost::Unknown),
        ];
        rank(&mut findings);
        let order: String = findings.iter().map(|finding| finding.id).collect();
        assert_eq!(order, "zabcde");
    }
}
