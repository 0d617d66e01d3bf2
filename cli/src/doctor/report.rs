//! [`Report`]: what the parts of the doctor gather.

use super::fact::Facts;
use super::finding::Finding;

/// Facts and findings.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was read.
    pub facts: Facts,
    /// What could be better.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Adds a finding.
    pub fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
    }
}
