//! Which group of the log is in force, and what proves that something is missing behind its end:
//! functions of values, for every reader of the log.
//!
//! Two places may hold groups with the same LSNs. Recovery writes groups that no later one proves
//! durable to a new place, as the device may have forgotten the old one by the next loss of power.
//! Until then both say the same; writers append behind the new one only. So the group that was
//! written last is in force:
//! 1. the one of the later life (high halves of life numbers count opens);
//! 2. of the same open, the one in the later segment (numbers of segments rise and are never used
//!    twice).

use std::cmp::Reverse;

use uarr_layout::group::GroupHeader;

/// How far the log was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The latest life among the groups and segments read.
    pub life: u64,
    /// The last LSN.
    pub lsn: u64,
}

impl Chain {
    /// Whether `group` may come next (WAL-6).
    //= WAL-6
    pub fn goes_on_with(self, group: &GroupHeader) -> bool {
        !is_earlier_life(group.life.get(), self.life)
            && group.previous_lsn.get() == self.lsn
            && group.first_lsn.get() > self.lsn
    }

    /// Whether `group` proves by what it calls durable that acknowledged records are missing where
    /// the log ends. It need not stand in its place: what it says was so when it was written.
    //= WAL-4
    pub fn lacks_durable(self, group: &GroupHeader) -> bool {
        group.durable_lsn.get() > self.lsn
    }

    /// Whether `group`, behind the end or in another segment than `segment`, where the log ends,
    /// and valid in its place, goes on with what was copied in front of it and cannot be read any
    /// more.
    //= WAL-15
    pub fn lacks_copy(self, segment: u64, group: &GroupHeader, block_bytes: u64) -> bool {
        let follows_copy = group.segment.get() != segment && group.offset.get() > block_bytes;
        follows_copy && self.goes_on_with(group)
    }
}

/// Of `groups`, which all go on with the same chain, the one that is in force; `None` if none of
/// them is whole. Sorts them, and asks for as few as possible whether they are whole.
//= WAL-15
pub(crate) fn in_force<E>(
    groups: &mut [GroupHeader],
    mut is_whole: impl FnMut(&GroupHeader) -> Result<bool, E>,
) -> Result<Option<&GroupHeader>, E> {
    groups.sort_by_key(|group| Reverse((group.life.get() >> 32, group.segment.get())));
    for pair in groups.windows(2) {
        assert_eq!(pair[0].previous_lsn, pair[1].previous_lsn);
        assert!(pair[0].segment != pair[1].segment, "a place holds one group");
    }
    for group in groups.iter() {
        if is_whole(group)? {
            return Ok(Some(group));
        }
    }
    Ok(None)
}

/// Whether a group was written in another open of the database than the later of those seen so far.
pub(crate) fn is_earlier_life(life: u64, latest: u64) -> bool {
    life >> 32 < latest >> 32 || (life >> 32 == latest >> 32 && life != latest)
}

#[cfg(test)]
mod tests {
    use uarr_layout::DatabaseId;

    use super::*;

    const BLOCK_BYTES: u64 = 512;

    fn group(open: u64, random: u64, segment: u64, offset: u64) -> GroupHeader {
        let mut group = GroupHeader::new(DatabaseId([1; 16]));
        group.life = (open << 32 | random).into();
        (group.segment, group.offset) = (segment.into(), offset.into());
        (group.previous_lsn, group.first_lsn) = (10.into(), 11.into());
        group.frame_count = 1.into();
        group
    }

    /// All states of one place: nothing, or a group of one of three opens, whole or not.
    fn states() -> Vec<Option<(u64, bool)>> {
        let groups = (1..=3).flat_map(|open| [Some((open, true)), Some((open, false))]);
        std::iter::once(None).chain(groups).collect()
    }

    //= test WAL-15
    #[test]
    fn of_all_places_the_whole_group_that_was_written_last_is_in_force() {
        let all = states();
        let mut count = 0;
        for case in 0..7 * 7 * 7 {
            let [first, second, third] =
                [case / 49, case / 7 % 7, case % 7].map(|index| all[index]);
            // In place, and at the start of two later segments.
            let places =
                [(first, 5, 7 * BLOCK_BYTES), (second, 6, BLOCK_BYTES), (third, 9, BLOCK_BYTES)];
            let mut groups = Vec::new();
            let mut whole = Vec::new();
            for (state, segment, offset) in places {
                if let Some((open, is_whole)) = state {
                    groups.push(group(open, 77, segment, offset));
                    whole.extend(is_whole.then_some((open, segment)));
                }
            }
            let is_whole = |group: &GroupHeader| {
                let place = (group.life.get() >> 32, group.segment.get());
                Ok::<_, ()>(whole.contains(&place))
            };
            let found = in_force(&mut groups, is_whole).unwrap();
            let found = found.map(|group| (group.life.get() >> 32, group.segment.get()));
            assert_eq!(found, whole.iter().max().copied(), "{first:?} {second:?} {third:?}");
            count += 1;
        }
        assert_eq!(count, 7 * 7 * 7);
    }

    //= test WAL-6
    #[test]
    fn the_chain_goes_on_only_with_the_next_lsn_of_no_earlier_life() {
        let chain = Chain { life: 2 << 32 | 5, lsn: 10 };
        for (open, random, previous, first) in (1..=3).flat_map(|open| {
            [4, 5].into_iter().flat_map(move |random| {
                (9..=11).flat_map(move |previous| {
                    (9..=12).map(move |first| (open, random, previous, first))
                })
            })
        }) {
            let mut next = group(open, random, 5, BLOCK_BYTES);
            (next.previous_lsn, next.first_lsn) = (previous.into(), first.into());
            let lives = (open, random) == (2, 5) || open == 3;
            let expected = lives && previous == 10 && first > 10;
            assert_eq!(chain.goes_on_with(&next), expected, "{open} {random} {previous} {first}");
        }
    }

    //= test WAL-4, WAL-15
    #[test]
    fn a_group_behind_the_end_proves_a_loss_by_its_durable_lsn_or_by_what_it_follows() {
        let chain = Chain { life: 2 << 32, lsn: 10 };
        for (open, segment, offset, previous, durable) in (1..=3).flat_map(|open| {
            [5, 6].into_iter().flat_map(move |segment| {
                [1, 2].into_iter().flat_map(move |block| {
                    (9..=11).flat_map(move |previous| {
                        (9..=11).map(move |durable| {
                            (open, segment, block * BLOCK_BYTES, previous, durable)
                        })
                    })
                })
            })
        }) {
            let mut behind = group(open, 0, segment, offset);
            (behind.previous_lsn, behind.durable_lsn) = (previous.into(), durable.into());
            behind.first_lsn = 20.into();
            let follows = open >= 2 && segment == 6 && offset > BLOCK_BYTES && previous == 10;
            let shown = (open, segment, offset, previous, durable);
            assert_eq!(chain.lacks_durable(&behind), durable > 10, "{shown:?}");
            assert_eq!(chain.lacks_copy(5, &behind, BLOCK_BYTES), follows, "{shown:?}");
        }
    }
}
