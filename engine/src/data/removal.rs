//! [`Removals`]: dropped tables that are not gone yet, and how far each is.

use std::collections::VecDeque;
use std::vec;

use uarr_layout::record::Locator;

use crate::table_prefix::TablePrefix;

/// A table that was dropped, and is not gone yet.
#[derive(Debug)]
pub(crate) struct Removal {
    pub prefix: TablePrefix,
    pub stage: RemovalStage,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum RemovalStage {
    /// Readers that may see the table have pinned this LSN, or a lower one: they are waited for.
    Readers { lsn: u64 },
    /// Its index is out of reach. These of its records still count as live.
    Records(vec::IntoIter<Locator>),
    /// Both kept checkpoints have to be later than this one: then none names a record of it.
    Checkpoints { number: u64 },
}

/// Of those that wait, the first waits for least: only that is looked at, however many there are.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    records: VecDeque<Removal>,
    readers: VecDeque<Removal>,
    checkpoints: VecDeque<Removal>,
}

impl Removals {
    /// Adds one, before others of its stage that wait for no less. What tables have to wait for
    /// rises from one drop to the next, so its place is at an end, or nearly.
    pub fn put(&mut self, removal: Removal) {
        let awaited = removal.awaited();
        let of_stage = match removal.stage {
            RemovalStage::Records(_) => &mut self.records,
            RemovalStage::Readers { .. } => &mut self.readers,
            RemovalStage::Checkpoints { .. } => &mut self.checkpoints,
        };
        let at = of_stage.partition_point(|other| other.awaited() < awaited);
        of_stage.insert(at, removal);
        let next = of_stage.get(at + 1);
        assert!(next.is_none_or(|next| awaited <= next.awaited()), "the first waits for least");
    }

    /// Takes one that need not wait, when readers have pinned `oldest_pinned` and later LSNs, and
    /// the older of the kept checkpoints is `older_checkpoint`.
    pub fn take(&mut self, oldest_pinned: Option<u64>, older_checkpoint: u64) -> Option<Removal> {
        let reads_end = oldest_pinned.unwrap_or(u64::MAX);
        let of_stages = [
            (&mut self.records, u64::MAX),
            (&mut self.readers, reads_end),
            (&mut self.checkpoints, older_checkpoint),
        ];
        of_stages.into_iter().find_map(|(of_stage, passed)| {
            let is_ready = of_stage.front().is_some_and(|first| first.awaited() < passed);
            is_ready.then(|| of_stage.pop_front()).flatten()
        })
    }
}

impl Removal {
    /// What has to be passed before it can go on.
    fn awaited(&self) -> u64 {
        match self.stage {
            RemovalStage::Records(_) => 0,
            RemovalStage::Readers { lsn } => lsn,
            RemovalStage::Checkpoints { number } => number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_least_is_looked_at_first() {
        let mut removals = Removals::default();
        let of = |number, stage| Removal { prefix: TablePrefix::new(number, 0), stage };
        removals.put(of(100, RemovalStage::Checkpoints { number: 2 }));
        removals.put(of(101, RemovalStage::Readers { lsn: 7 }));
        removals.put(of(102, RemovalStage::Readers { lsn: 9 }));
        assert!(removals.take(Some(7), 2).is_none(), "they may see it, and one names it");
        removals.put(of(103, RemovalStage::Records(Vec::new().into_iter())));
        let mut taken = |oldest, older| {
            let taken = removals.take(oldest, older)?;
            let number = taken.prefix.number();
            // One that could not go on is first again.
            removals.put(taken);
            assert_eq!(removals.take(oldest, older)?.prefix.number(), number);
            Some(number)
        };
        assert_eq!(
            [taken(Some(8), 2), taken(Some(8), 2), taken(Some(8), 2)],
            [Some(103), Some(101), None]
        );
        assert_eq!([taken(None, 3), taken(None, 3), taken(None, 3)], [Some(102), Some(100), None]);
    }
}
