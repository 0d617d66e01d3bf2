//! Memory on huge pages for the slots of leaves.
//!
//! A lookup goes to one random slot of some ten or hundred megabytes; with pages of 4 KiB nearly
//! every lookup first walks the page tables. Slots are therefore cut from regions of 2 MiB that the
//! kernel is asked to back with one huge page each (`madvise(MADV_HUGEPAGE)`; refused, the regions
//! are ordinary memory). One set of regions serves the process, because nodes are freed by
//! whichever thread the epoch picks, possibly after their index is gone.
//!
//! A region is divided into units of 4 KiB; blocks are runs of units, first fit. A region without a
//! block in use goes back to the system, but one is kept, so that a leaf that comes and goes does
//! not take its region along.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::{BTreeMap, BTreeSet};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use allocator_api2::alloc::{AllocError, Allocator, Global};

const REGION_BYTES: usize = 2 << 20;
pub(crate) const UNIT_BYTES: usize = 4 << 10;
const UNITS: usize = REGION_BYTES / UNIT_BYTES;
/// Smaller blocks come from the process's ordinary allocator: small indexes stay small.
const BLOCK_BYTES_MIN: usize = 2 * UNIT_BYTES;
/// Longest block in units; regions that have room for it are tried.
const BLOCK_UNITS_MAX: usize = 16;

const REGION: Layout = match Layout::from_size_align(REGION_BYTES, REGION_BYTES) {
    Ok(layout) => layout,
    Err(_) => panic!("a region's size is a power of two"),
};

static REGIONS: Mutex<Regions> = Mutex::new(Regions::new());

/// Allocates slots of leaves.
#[derive(Clone, Copy, Default)]
pub(crate) struct HugePages;

// SAFETY: blocks are disjoint runs of units of live regions or come from `Global`, which of the two
// being decided by the layout alone; a block stays valid until it is deallocated, whichever copy of
// the allocator (they have no state) does that; a region is freed only when none of its units is in
// use.
unsafe impl Allocator for HugePages {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        match unit_count(layout) {
            Some(units) => {
                let block = regions().allocate(units).ok_or(AllocError)?;
                Ok(NonNull::slice_from_raw_parts(block, layout.size()))
            }
            None => Global.allocate(layout),
        }
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        match unit_count(layout) {
            Some(units) => regions().release(block, units),
            // SAFETY: a block of this layout was allocated by `Global` in `allocate`; the caller
            // promises the rest.
            None => unsafe { Global.deallocate(block, layout) },
        }
    }
}

/// Units of a block, or `None` if it does not belong into a region.
fn unit_count(layout: Layout) -> Option<usize> {
    let units = layout.size().div_ceil(UNIT_BYTES);
    let fits = layout.size() >= BLOCK_BYTES_MIN
        && units <= BLOCK_UNITS_MAX
        && layout.align() <= UNIT_BYTES;
    fits.then_some(units)
}

fn regions() -> MutexGuard<'static, Regions> {
    // Nothing in here leaves a region half changed, so a panic elsewhere does not matter.
    REGIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Regions {
    /// By address.
    all: BTreeMap<usize, Region>,
    /// Addresses of regions that may have room for the longest block.
    roomy: BTreeSet<usize>,
    /// Regions without a block in use.
    empty_count: usize,
}

struct Region {
    start: NonNull<u8>,
    /// Whether each unit is in use.
    used: [bool; UNITS],
    used_count: usize,
}

// SAFETY: a region is plain memory that belongs to whoever holds the `Region`; nothing about it is
// tied to a thread.
unsafe impl Send for Region {}

impl Regions {
    const fn new() -> Self {
        Self { all: BTreeMap::new(), roomy: BTreeSet::new(), empty_count: 0 }
    }

    fn allocate(&mut self, units: usize) -> Option<NonNull<u8>> {
        while let Some(&address) = self.roomy.first() {
            let region = self.all.get_mut(&address).expect("roomy regions are regions");
            if let Some(first) = region.first_fit(BLOCK_UNITS_MAX) {
                self.empty_count -= usize::from(region.used_count == 0);
                return Some(region.take(first, units));
            }
            self.roomy.remove(&address);
        }
        let mut region = Region::new()?;
        let block = region.take(0, units);
        let address = region.start.addr().get();
        self.roomy.insert(address);
        self.all.insert(address, region);
        Some(block)
    }

    fn release(&mut self, block: NonNull<u8>, units: usize) {
        let offset = block.addr().get() % REGION_BYTES;
        let address = block.addr().get() - offset;
        let region = self.all.get_mut(&address).expect("blocks lie in regions");
        region.give_back(offset / UNIT_BYTES, units);
        if UNITS - region.used_count >= BLOCK_UNITS_MAX {
            self.roomy.insert(address);
        }
        if region.used_count == 0 {
            self.empty_count += 1;
            if self.empty_count > 1 {
                self.empty_count -= 1;
                self.roomy.remove(&address);
                self.all.remove(&address);
            }
        }
    }
}

impl Region {
    fn new() -> Option<Self> {
        // SAFETY: the layout has a size.
        let start = NonNull::new(unsafe { alloc(REGION) })?;
        ask_for_huge_page(start);
        Some(Self { start, used: [false; UNITS], used_count: 0 })
    }

    /// The first of `units` free neighbours.
    fn first_fit(&self, units: usize) -> Option<usize> {
        let mut free = 0;
        for (unit, used) in self.used.iter().enumerate() {
            free = if *used { 0 } else { free + 1 };
            if free == units {
                return Some(unit + 1 - units);
            }
        }
        None
    }

    fn take(&mut self, first: usize, units: usize) -> NonNull<u8> {
        let run = &mut self.used[first..first + units];
        assert!(run.iter().all(|used| !used), "a unit belongs to one block");
        run.fill(true);
        self.used_count += units;
        // SAFETY: `first` is a unit of the region (the slice above is in bounds), so the address
        // lies inside of its memory.
        unsafe { self.start.add(first * UNIT_BYTES) }
    }

    fn give_back(&mut self, first: usize, units: usize) {
        let run = &mut self.used[first..first + units];
        assert!(run.iter().all(|used| *used), "a block is released once");
        run.fill(false);
        self.used_count -= units;
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        assert!(self.used_count == 0, "a region outlives its blocks");
        // SAFETY: `start` was allocated in `new` with this layout and is freed once, here; no block
        // of it is in use.
        unsafe { dealloc(self.start.as_ptr(), REGION) };
    }
}

fn ask_for_huge_page(start: NonNull<u8>) {
    // SAFETY: the range is one region, allocated by the caller; the advice changes how memory is
    // backed, never what it holds. A refusal leaves ordinary pages, which are as good.
    #[cfg(all(target_os = "linux", not(miri)))]
    unsafe {
        libc::madvise(start.as_ptr().cast(), REGION_BYTES, libc::MADV_HUGEPAGE);
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = start;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_disjoint_and_regions_go_back() {
        let mut regions = Regions::new();
        let mut blocks = Vec::new();
        for round in 0..400 {
            let units = 2 + round % 15;
            let block = regions.allocate(units).unwrap();
            // SAFETY: the block has been allocated with this length.
            unsafe { block.write_bytes(round as u8, units * UNIT_BYTES) };
            blocks.push((block, units, round as u8));
        }
        let mut units_seen = BTreeSet::new();
        for &(block, units, byte) in &blocks {
            // SAFETY: the block is allocated and was filled above.
            let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), units * UNIT_BYTES) };
            assert!(bytes.iter().all(|&seen| seen == byte));
            assert!((0..units).all(|i| units_seen.insert(block.addr().get() / UNIT_BYTES + i)));
        }
        let region_count = regions.all.len();
        assert!((400 * 9 / UNITS..400 * 9 / UNITS + 3).contains(&region_count), "{region_count}");
        // Every second block goes, and the holes are used again.
        for (block, units, _) in blocks.iter().skip(1).step_by(2) {
            regions.release(*block, *units);
        }
        let again: Vec<_> = (0..100).map(|_| regions.allocate(2).unwrap()).collect();
        assert_eq!(regions.all.len(), region_count);
        again.into_iter().for_each(|block| regions.release(block, 2));
        for (block, units, _) in blocks.iter().step_by(2) {
            regions.release(*block, *units);
        }
        assert_eq!((regions.all.len(), regions.empty_count), (1, 1));
    }

    #[test]
    fn other_sizes_are_served_elsewhere() {
        for bytes in [16, BLOCK_BYTES_MIN - 16, REGION_BYTES] {
            let layout = Layout::from_size_align(bytes, 8).unwrap();
            assert_eq!(unit_count(layout), None);
            let block = HugePages.allocate(layout).unwrap();
            // SAFETY: allocated above with this layout.
            unsafe { HugePages.deallocate(block.cast(), layout) };
        }
        assert_eq!(unit_count(Layout::from_size_align(BLOCK_BYTES_MIN, 8).unwrap()), Some(2));
        assert_eq!(unit_count(Layout::from_size_align(63 << 10, 8).unwrap()), Some(16));
    }
}
