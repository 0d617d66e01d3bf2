//! [`Loss`]: what readers of a file see, but no flush brings to the device, although flushes report
//! success.
//!
//! A kernel or a device reports a failed flush once. Afterwards it still shows the bytes from its
//! cache, counts them as clean, and reports success of later flushes. Writing the bytes again
//! helps, with one exception: pages of a cached file in space that was never written
//! ([`Loss::block`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use uarr_uring::PAGE_BYTES;

use crate::view::{PAGE, Page, SECTOR_BYTES, page_range};

/// All sectors of a page.
const WHOLE: u8 = u8::MAX;
const _: () = assert!(PAGE_BYTES / SECTOR_BYTES == u8::BITS as usize, "a bit for each sector");

/// The lost sectors of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loss {
    /// A bit for each lost sector of a page.
    sectors: BTreeMap<u64, u8>,
    /// Pages that no flush brings to the device, even if they are written again.
    blocked: BTreeSet<u64>,
}

impl Loss {
    /// A whole page is lost.
    pub fn lose_page(&mut self, page_index: u64) {
        self.sectors.insert(page_index, WHOLE);
    }

    /// The sector at `offset` is lost.
    pub fn lose_sector(&mut self, offset: u64) {
        *self.sectors.entry(offset / PAGE).or_default() |= bit(offset);
    }

    /// From now on all writes to the page are lost, until [`Loss::renew`] or a restart of the
    /// machine. Some file systems behave so when the first write-back to space that was only
    /// allocated fails: they do not note that it was written, and act as if they had.
    pub fn block(&mut self, page_index: u64) {
        self.blocked.insert(page_index);
    }

    /// Whether flushes leave the page out. It is lost then, again.
    pub fn is_blocked(&self, page_index: u64) -> bool {
        self.blocked.contains(&page_index)
    }

    /// The sectors that a write touches are no longer lost.
    pub fn rewrite(&mut self, range: Range<u64>) {
        if self.sectors.is_empty() {
            return;
        }
        for page_index in page_range(range.start, range.end - range.start) {
            let Some(bits) = self.sectors.get_mut(&page_index) else { continue };
            let page = page_index * PAGE;
            let offsets = (page..page + PAGE).step_by(SECTOR_BYTES);
            let is_touched = |at: &u64| *at < range.end && range.start < at + SECTOR_BYTES as u64;
            offsets.filter(is_touched).for_each(|at| *bits &= !bit(at));
            if *bits == 0 {
                self.sectors.remove(&page_index);
            }
        }
    }

    /// The content of a range was discarded: later writes to whole pages in it are not lost.
    pub fn renew(&mut self, range: Range<u64>) {
        let whole = range.start.div_ceil(PAGE)..range.end / PAGE;
        self.blocked.retain(|page_index| !whole.contains(page_index));
        self.rewrite(range);
    }

    /// The kernel's cache has dropped the file: readers see it as the device has it.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    pub fn pages(&self) -> impl Iterator<Item = u64> {
        self.sectors.keys().copied()
    }

    /// Gives the lost sectors of `page` the content that the device has.
    pub fn restore(&self, page_index: u64, page: &mut Arc<Page>, durable: &Page) {
        let Some(bits) = self.sectors.get(&page_index) else { return };
        let page = Arc::make_mut(page);
        for start in (0..PAGE_BYTES).step_by(SECTOR_BYTES) {
            if bits & bit(start as u64) != 0 {
                let sector = start..start + SECTOR_BYTES;
                page[sector.clone()].copy_from_slice(&durable[sector]);
            }
        }
    }
}

/// The bit of the sector at `offset` in its page.
fn bit(offset: u64) -> u8 {
    1 << (offset % PAGE / SECTOR_BYTES as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sectors of page 1 that read as the device has them.
    fn lost(loss: &Loss) -> Vec<usize> {
        let mut page = Arc::new([1; PAGE_BYTES]);
        loss.restore(1, &mut page, &[0; PAGE_BYTES]);
        (0..8).filter(|sector| page[sector * SECTOR_BYTES] == 0).collect()
    }

    #[test]
    fn lost_sectors_are_found_again_when_they_are_rewritten() {
        let mut loss = Loss::default();
        loss.lose_page(1);
        assert_eq!(lost(&loss), [0, 1, 2, 3, 4, 5, 6, 7]);
        loss.rewrite(PAGE + 511..PAGE + 513);
        assert_eq!(lost(&loss), [2, 3, 4, 5, 6, 7]);
        loss.rewrite(2 * PAGE..3 * PAGE);
        loss.rewrite(PAGE + 1024..PAGE + 4096);
        assert_eq!(lost(&loss), [0; 0]);
        assert_eq!(loss.pages().count(), 0);
        loss.lose_sector(PAGE + 600);
        assert_eq!(lost(&loss), [1]);
    }

    #[test]
    fn a_blocked_page_is_free_when_it_was_given_up_whole() {
        let mut loss = Loss::default();
        loss.block(1);
        loss.rewrite(PAGE..2 * PAGE);
        loss.renew(PAGE + 1..2 * PAGE);
        assert!(loss.is_blocked(1));
        loss.renew(100..2 * PAGE);
        assert!(!loss.is_blocked(1));
    }
}
