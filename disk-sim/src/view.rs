//! [`View`]: the bytes of a file as one observer sees them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use uarr_uring::PAGE_BYTES;

/// A device writes sectors whole; nothing larger.
pub(crate) const SECTOR_BYTES: usize = 512;
pub(crate) const PAGE: u64 = PAGE_BYTES as u64;

pub(crate) type Page = [u8; PAGE_BYTES];

static ZEROS: Page = [0; PAGE_BYTES];

/// Sparse file content. Cloning shares the pages.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    len: u64,
    pages: BTreeMap<u64, Arc<Page>>,
}

impl View {
    pub fn len(&self) -> u64 {
        self.len
    }

    /// All bytes.
    #[cfg(test)]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len() as usize];
        assert_eq!(self.read(&mut bytes, 0), bytes.len());
        bytes
    }

    /// Reads up to the end; returns the bytes read.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let count = buffer.len().min(self.len.saturating_sub(offset) as usize);
        for (page_index, part, within) in spans(offset, count) {
            match self.pages.get(&page_index) {
                Some(page) => buffer[part].copy_from_slice(&page[within]),
                None => buffer[part].fill(0),
            }
        }
        count
    }

    /// Writes, extending the view as needed.
    pub fn write(&mut self, bytes: &[u8], offset: u64) {
        self.len = self.len.max(offset + bytes.len() as u64);
        for (page_index, part, within) in spans(offset, bytes.len()) {
            let bytes = &bytes[part];
            match self.pages.get_mut(&page_index) {
                Some(page) => Arc::make_mut(page)[within].copy_from_slice(bytes),
                // A page that is not there reads as zeros.
                None if is_zero(bytes) => {}
                None => {
                    let mut page = [0; PAGE_BYTES];
                    page[within].copy_from_slice(bytes);
                    self.pages.insert(page_index, Arc::new(page));
                }
            }
        }
    }

    /// Extends with zeroes what is shorter.
    pub fn grow_to(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    /// The pages that are not zero.
    pub fn pages(&self) -> &BTreeMap<u64, Arc<Page>> {
        &self.pages
    }

    pub fn page(&self, page_index: u64) -> Arc<Page> {
        static ZERO_PAGE: LazyLock<Arc<Page>> = LazyLock::new(|| Arc::new(ZEROS));
        self.pages.get(&page_index).unwrap_or(&ZERO_PAGE).clone()
    }

    /// Sets a page; what of it lies beyond the end is zeroed, as it reads once the file grows.
    pub fn set_page(&mut self, page_index: u64, mut page: Arc<Page>) {
        let inside = self.len.saturating_sub(page_index * PAGE).min(PAGE) as usize;
        if inside == 0 {
            return;
        }
        if !is_zero(&page[inside..]) {
            Arc::make_mut(&mut page)[inside..].fill(0);
        }
        if is_zero(page.as_slice()) {
            self.pages.remove(&page_index);
        } else {
            self.pages.insert(page_index, page);
        }
    }
}

/// Whether a page or a part of one is zero; comparing is many times faster than looking at each
/// byte.
fn is_zero(bytes: &[u8]) -> bool {
    *bytes == ZEROS[..bytes.len()]
}

/// The pages that `offset .. offset + len` touches: page, range of the caller's bytes, range in the
/// page.
fn spans(
    offset: u64,
    len: usize,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % PAGE) as usize;
        let count = (len - done).min(PAGE_BYTES - within);
        let span = (at / PAGE, done..done + count, within..within + count);
        done += count;
        Some(span)
    })
}

pub(crate) fn page_range(offset: u64, len: u64) -> std::ops::Range<u64> {
    offset / PAGE..(offset + len).div_ceil(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn an_image_is_a_growing_array_of_bytes() {
        let mut view = View::default();
        let mut model: Vec<u8> = Vec::new();
        let mut random = Random::new(1);
        for step in 0..if cfg!(miri) { 60 } else { 2000_u32 } {
            let offset = random.below(20_000) as usize;
            let len = random.below(9000) as usize;
            if random.below(10) == 0 {
                view.grow_to(offset as u64);
                model.resize(model.len().max(offset), 0);
            } else if len > 0 {
                let bytes = vec![step as u8; len];
                view.write(&bytes, offset as u64);
                model.resize(model.len().max(offset + len), 0);
                model[offset..offset + len].copy_from_slice(&bytes);
            }
        }
        assert_eq!(view.len(), model.len() as u64);
        assert!(view.to_vec() == model);
    }
}
