//! [`CounterPremise`]: what must hold when a counter is changed, and what that leads to.

use std::cell::Cell;

/// How a counter is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CounterStep {
    pub by: i128,
    /// What is changed if there is no record.
    pub initial: i64,
    /// When it expires then, in ms since 1970; 0: never.
    pub initial_expires_ms: u64,
    pub min: i64,
    pub max: i64,
}

impl CounterStep {
    /// What it makes of `value`; `None`: that is out of bounds.
    pub fn from(&self, value: i64) -> Option<i64> {
        let value = i64::try_from(i128::from(value).checked_add(self.by)?).ok()?;
        (self.min..=self.max).contains(&value).then_some(value)
    }
}

/// A change of a counter, and what was found when it was last asked whether it can be staged.
pub(crate) struct CounterPremise<'a> {
    pub key: &'a [u8],
    pub step: CounterStep,
    pub found: Cell<Option<FoundCounter>>,
}

impl CounterPremise<'_> {
    /// What the counter becomes, and when it expires.
    pub fn result(&self) -> (i64, u64) {
        match self.found.get() {
            Some(FoundCounter { result: Some(result), expires_ms, .. }) => (result, expires_ms),
            _ => unreachable!("it was asked for when there was room for it"),
        }
    }
}

/// The newest value of a counter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundCounter {
    /// LSN of its record, or of the deletion; 0 if there is none.
    pub lsn: u64,
    /// It may not be applied yet.
    pub is_staged: bool,
    /// `None`: it is no integer.
    pub value: Option<i64>,
    /// `None`: it would be out of bounds.
    pub result: Option<i64>,
    /// When it expires, in ms since 1970; 0: never.
    pub expires_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_stays_within_its_bounds_and_those_of_the_type() {
        let step = CounterStep { by: -3, initial: 10, initial_expires_ms: 0, min: 0, max: 10 };
        assert_eq!([10, 3, 2, 0].map(|value| step.from(value)), [Some(7), Some(0), None, None]);
        assert_eq!(step.from(14), None, "above, although it would come nearer");
        let any = CounterStep { by: 1, initial: 0, min: i64::MIN, max: i64::MAX, ..step };
        assert_eq!([i64::MAX, -1].map(|value| any.from(value)), [None, Some(0)]);
        let far = CounterStep { by: -i128::from(i64::MIN), ..any };
        assert_eq!([i64::MIN, -1, 0].map(|v| far.from(v)), [Some(0), Some(i64::MAX), None]);
        assert_eq!(CounterStep { by: i128::MAX, ..any }.from(1), None);
    }
}
