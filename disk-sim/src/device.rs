//! [`Device`]: what the device has of a file, and in which pages the cache differs from it.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use uarr_uring::PAGE_BYTES;

use crate::cache::Cache;
use crate::lies::{Landing, Lies};
use crate::loss::Loss;
use crate::random::Random;
use crate::view::{PAGE, Page, SECTOR_BYTES, View, page_range};

/// What a loss of power leaves of a file at the least, and what a flush brings to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Device {
    durable: View,
    /// Pages that are in the cache only; a crash keeps any part of them, and the kernel may steal
    /// them: write them back at any time.
    dirty: BTreeSet<u64>,
    loss: Loss,
}

impl Device {
    /// A device that has all of `durable`.
    pub fn new(durable: View) -> Self {
        Self { durable, ..Self::default() }
    }

    pub fn durable(&self) -> &View {
        &self.durable
    }

    pub fn dirty_pages(&self) -> &BTreeSet<u64> {
        &self.dirty
    }

    /// Pages of which a loss of power may leave either what the cache has or what the device has.
    pub fn doubtful_pages(&self) -> impl Iterator<Item = u64> {
        let pages: BTreeSet<u64> = self.loss.pages().chain(self.dirty.iter().copied()).collect();
        pages.into_iter().filter(|page_index| !self.loss.is_blocked(*page_index))
    }

    /// Bytes in the cache were written.
    pub fn note_write(&mut self, range: Range<u64>) {
        self.dirty.extend(page_range(range.start, range.end - range.start));
        self.loss.rewrite(range);
    }

    /// What was written there is lost, although readers see it.
    pub fn lose(&mut self, range: Range<u64>) {
        range.step_by(SECTOR_BYTES).for_each(|offset| self.loss.lose_sector(offset));
    }

    /// The content of a range was given up: it becomes durable as if it was written for the first
    /// time.
    pub fn renew(&mut self, range: Range<u64>) {
        self.dirty.extend(page_range(range.start, range.end - range.start));
        self.loss.renew(range);
    }

    /// The kernel writes some dirty page back, or part of it, without being asked.
    pub fn steal(&mut self, cache: &Cache, random: &mut Random) -> io::Result<()> {
        if self.durable.len() != cache.len() && random.flip() {
            self.durable.grow_to(cache.len());
        }
        let count = self.dirty.len() as u64;
        if count == 0 {
            return Ok(());
        }
        let chosen = self.dirty.iter().nth(random.below(count) as usize);
        let page_index = *chosen.expect("fewer than there are");
        if self.loss.is_blocked(page_index) {
            return Ok(());
        }
        let mut page = self.durable.page(page_index);
        let cached = self.brought_by_flush(cache, page_index)?;
        let whole = random.flip();
        for start in (0..PAGE_BYTES).step_by(SECTOR_BYTES) {
            let sector = start..start + SECTOR_BYTES;
            if (whole || random.flip()) && page[sector.clone()] != cached[sector.clone()] {
                Arc::make_mut(&mut page)[sector.clone()].copy_from_slice(&cached[sector]);
            }
        }
        self.durable.set_page(page_index, page);
        Ok(())
    }

    /// The page as the device has it after a flush that says "done".
    fn brought_by_flush(&self, cache: &Cache, page_index: u64) -> io::Result<Arc<Page>> {
        let mut page = cache.page(page_index)?;
        self.loss.restore(page_index, &mut page, &self.durable.page(page_index));
        Ok(page)
    }

    /// Everything that is dirty reaches the device.
    pub fn flush(&mut self, cache: &Cache, lies: &mut Lies) -> io::Result<()> {
        self.durable.grow_to(cache.len());
        for page_index in std::mem::take(&mut self.dirty) {
            if self.loss.is_blocked(page_index) {
                self.loss.lose_page(page_index);
                continue;
            }
            let page = self.brought_by_flush(cache, page_index)?;
            let landing = if lies.misplaced_ahead() > 0 && *page != *self.durable.page(page_index) {
                lies.landing()
            } else {
                Landing::InPlace
            };
            match landing {
                Landing::InPlace => self.durable.set_page(page_index, page),
                Landing::Nowhere => {}
                Landing::Elsewhere { salt } => {
                    let other = elsewhere(salt, page_index, cache.len().div_ceil(PAGE));
                    self.durable.set_page(other, page);
                }
            }
        }
        Ok(())
    }

    /// A range reaches the device, and as much of the file's length as it needs.
    pub fn flush_range(
        &mut self,
        cache: &Cache,
        range: Range<u64>,
        lies: &mut Lies,
    ) -> io::Result<()> {
        let Range { start, end } = range;
        let mut bytes = vec![0; (end - start) as usize];
        let count = cache.read(&mut bytes, start)?;
        match if lies.misplaced_ahead() > 0 { lies.landing() } else { Landing::InPlace } {
            Landing::InPlace => self.durable.write(&bytes[..count], start),
            Landing::Nowhere => {}
            Landing::Elsewhere { salt } => {
                let units = (cache.len() - count as u64) / SECTOR_BYTES as u64;
                let other = elsewhere(salt, start / SECTOR_BYTES as u64, units.max(2));
                self.durable.write(&bytes[..count], other * SECTOR_BYTES as u64);
            }
        }
        for page_index in page_range(start, end - start) {
            if *self.durable.page(page_index) == *cache.page(page_index)? {
                self.dirty.remove(&page_index);
            }
        }
        Ok(())
    }

    /// A write-back has failed: some pages are on the device, the others count as clean, but are
    /// lost.
    pub fn fail_write_back(&mut self, cache: &Cache, random: &mut Random) -> io::Result<()> {
        let bias = random.bias();
        for page_index in std::mem::take(&mut self.dirty) {
            if !self.loss.is_blocked(page_index) && random.chance(bias) {
                let page = self.brought_by_flush(cache, page_index)?;
                self.durable.grow_to(cache.len());
                self.durable.set_page(page_index, page);
                continue;
            }
            self.loss.lose_page(page_index);
            // Space that was never written, as far as a reader can see.
            let was_written = self.durable.page(page_index).iter().any(|byte| *byte != 0);
            if !was_written && random.flip() {
                self.loss.block(page_index);
            }
        }
        Ok(())
    }

    /// The process that used the file is killed. The kernel may have dropped clean pages: they then
    /// read in `cached` as the device has them. Whether it dropped the file altogether: then it has
    /// forgotten what it did not report, too.
    pub fn drop_clean(&mut self, cached: &mut View, random: &mut Random) -> bool {
        let forgets = random.below(4) == 0;
        for page_index in self.loss.pages() {
            if forgets || random.flip() {
                let mut page = cached.page(page_index);
                self.loss.restore(page_index, &mut page, &self.durable.page(page_index));
                cached.set_page(page_index, page);
            }
        }
        if forgets {
            self.loss.forget();
        }
        forgets
    }
}

/// A place other than `place` below `count`, which is 2 at least.
fn elsewhere(salt: u64, place: u64, count: u64) -> u64 {
    let other = salt % count.max(2);
    if other == place { (other + 1) % count.max(2) } else { other }
}
