//! Copies entries out of a leaf in order, each copy from one moment of the leaf.

use super::leaf::Leaf;
use crate::prefetch::prefetch;

/// Slots that are fetched ahead of those being copied: the processor by itself stops at the end of
/// every page.
const SLOTS_AHEAD: usize = 48;

impl Leaf {
    /// Appends up to `max` entries with keys from `from` upwards. Returns how many, and the last
    /// key this leaf answers for.
    pub(crate) fn copy_ascending(
        &self,
        from: u64,
        max: usize,
        out: &mut Vec<(u64, u64)>,
    ) -> (usize, u64) {
        let before = out.len();
        self.read(|| {
            out.truncate(before);
            let (begin, end) = self.bounds();
            let start = match self.search(from, begin, end) {
                Ok(mut at) => {
                    while at > begin && self.slots()[at - 1].key() == from {
                        at -= 1;
                    }
                    at
                }
                Err(at) => at,
            };
            let slots = &self.slots()[start..end];
            // A place more than needed: every slot is written, and kept if the next one differs.
            let room = max.min(slots.len());
            out.resize(before + room, (0, 0));
            let target = &mut out[before..];
            let mut taken = 0;
            for (i, slot) in slots.iter().enumerate() {
                if taken == room {
                    break;
                }
                prefetch(slots.as_ptr().wrapping_add(i + SLOTS_AHEAD).cast());
                let key = slot.key();
                target[taken] = (key, slot.payload());
                let last = slots.get(i + 1).is_none_or(|next| next.key() != key);
                taken += usize::from(last);
            }
            out.truncate(before + taken);
            (taken, self.range().1)
        })
    }

    /// Appends up to `max` entries with keys from `from` downwards. Returns how many, and the first
    /// key this leaf answers for.
    pub(crate) fn copy_descending(
        &self,
        from: u64,
        max: usize,
        out: &mut Vec<(u64, u64)>,
    ) -> (usize, u64) {
        let before = out.len();
        self.read(|| {
            out.truncate(before);
            let (begin, end) = self.bounds();
            let start = match self.search(from, begin, end) {
                Ok(mut at) => {
                    while at < end && self.slots()[at].key() == from {
                        at += 1;
                    }
                    at
                }
                Err(at) => at,
            };
            let slots = &self.slots()[begin..start];
            let room = max.min(slots.len());
            out.resize(before + room, (0, 0));
            let target = &mut out[before..];
            let mut taken = 0;
            for i in (0..slots.len()).rev() {
                if taken == room {
                    break;
                }
                prefetch(slots.as_ptr().wrapping_add(i).wrapping_sub(SLOTS_AHEAD).cast());
                let key = slots[i].key();
                target[taken] = (key, slots[i].payload());
                let last = i == 0 || slots[i - 1].key() != key;
                taken += usize::from(last);
            }
            out.truncate(before + taken);
            (taken, self.range().0)
        })
    }

    /// All entries, in order. Writer only: nothing may change beside it.
    pub(crate) fn collect(&self, out: &mut Vec<(u64, u64)>) {
        self.copy_ascending(0, usize::MAX, out);
    }

    /// The least and the greatest key. Writer only.
    pub(crate) fn ends(&self) -> Option<(u64, u64)> {
        let (begin, end) = self.bounds();
        (begin < end).then(|| (self.slots()[begin].key(), self.slots()[end - 1].key()))
    }
}
