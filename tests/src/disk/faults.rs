//! What happens to requests of the disk, decided by rules.

use std::ops::Range;
use std::time::Duration;

use crate::Random;

/// Kind of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Writes that touch a range of the rule.
    Write,
    /// Flushes; they have no place.
    Flush,
    /// Either.
    WriteOrFlush,
}

/// What a rule does with a request it catches.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// It fails with this error number. A flush that fails loses what was written in the ranges of
    /// the rule.
    Fail(i32),
    /// One in so many lands, and is answered, after this time.
    Delay(u64, Duration),
    /// It waits until [`Faults`] are cleared.
    Hold,
}

/// A rule for requests.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which kind.
    pub on: On,
    /// Bytes of the disk; empty means all.
    pub ranges: Vec<Range<u64>>,
    /// How many requests that match are let through first.
    pub skip: u64,
    /// How many are then caught.
    pub times: u64,
    /// What happens to them.
    pub action: Action,
}

impl Rule {
    /// A rule for all that come.
    pub fn always(on: On, ranges: &[Range<u64>], action: Action) -> Self {
        Self { on, ranges: ranges.to_vec(), skip: 0, times: u64::MAX, action }
    }

    /// Whether the byte at `offset` lies in the ranges of the rule.
    pub fn covers(&self, offset: u64) -> bool {
        self.ranges.is_empty() || self.ranges.iter().any(|range| range.contains(&offset))
    }

    fn touches(&self, written: &Range<u64>) -> bool {
        let overlap = |range: &Range<u64>| range.start < written.end && written.start < range.end;
        self.ranges.is_empty() || self.ranges.iter().any(overlap)
    }

    fn matches(&self, written: Option<&Range<u64>>) -> bool {
        match (self.on, written) {
            (On::Write | On::WriteOrFlush, Some(written)) => self.touches(written),
            (On::Flush | On::WriteOrFlush, None) => true,
            _ => false,
        }
    }
}

/// How many requests came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes.
    pub writes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Requests that a rule caught.
    pub caught: u64,
}

/// The rules in force, and what came so far.
#[derive(Debug)]
pub struct Faults {
    pub(super) rules: Vec<Rule>,
    pub(super) counts: Counts,
    random: Random,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), counts: Counts::default(), random: Random::new(seed) }
    }

    /// What happens to a write of `written`, or to a flush; with the rule for it.
    pub(super) fn decide(&mut self, written: Option<&Range<u64>>) -> Option<Rule> {
        match written {
            Some(_) => self.counts.writes += 1,
            None => self.counts.flushes += 1,
        }
        for rule in self.rules.iter_mut().filter(|rule| rule.matches(written)) {
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if rule.times > 0 {
                if let Action::Delay(one_in, _) = rule.action
                    && self.random.below(one_in) != 0
                {
                    continue;
                }
                rule.times -= 1;
                self.counts.caught += 1;
                return Some(rule.clone());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_catches_what_it_names_after_what_it_skips() {
        let mut faults = Faults::new(1);
        let range = 4096..8192;
        let always = Rule::always(On::Write, std::slice::from_ref(&range), Action::Fail(5));
        faults.rules.push(Rule { skip: 1, times: 1, ..always });
        let mut caught = |written| faults.decide(written).is_some();
        assert!(!caught(Some(&(0..4096))));
        assert!(!caught(Some(&(0..4608))), "skipped");
        assert!(!caught(None));
        assert!(caught(Some(&(7680..8192))));
        assert!(!caught(Some(&(7680..8192))), "once");
        assert_eq!(faults.counts, Counts { writes: 4, flushes: 1, caught: 1 });
    }
}
