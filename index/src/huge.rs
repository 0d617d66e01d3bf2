//! Memory on huge pages for the nodes of the tree.
//!
//! A lookup goes to random places of some ten or hundred megabytes; with pages of 4 KiB nearly
//! every step first walks the page tables. Nodes are therefore cut from regions of 2 MiB that the
//! kernel is asked to back with one huge page each (`madvise(MADV_HUGEPAGE)`; refused, the regions
//! are ordinary memory). Each node holds the [`Memory`] that it lies in, because the epoch frees it
//! on any thread, possibly after its index is gone.
//!
//! Inside a region blocks are kept by a two-level segregated fit (crate `rlsf`): O(1). A region
//! without a block in use goes back to the system, but one is kept, so that a leaf that comes and
//! goes does not take its region along.
//!
//! The first touch of a region costs 0.4 ms, or several where a virtual machine has to fetch the
//! memory from its host. [`Memory::prepare`] lets a thread that may wait pay for it: it puts
//! touched regions aside, the *spares*, which the next inserts that need one take.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::{BTreeMap, BTreeSet};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use allocator_api2::alloc::{AllocError, Allocator, Global};
use allocator_api2::boxed::Box as BoxIn;
use rlsf::Tlsf;

const REGION_BYTES: usize = 2 << 20;
/// Larger blocks should have huge pages of their own.
const BLOCK_BYTES_MAX: usize = REGION_BYTES / 2;

/// Regions that are kept ready.
const SPARES_MAX: usize = 2;

/// Up to here an index does without regions: the first touch of one may cost as much as opening a
/// small database.
const PLAIN_BYTES_MAX: usize = 256 << 10;

const _: () = assert!(REGION_BYTES.is_power_of_two() && PLAIN_BYTES_MAX < REGION_BYTES);

/// Steps in which memory is touched.
const PAGE_BYTES: usize = 4096;

const REGION: Layout = match Layout::from_size_align(REGION_BYTES, REGION_BYTES) {
    Ok(layout) => layout,
    Err(_) => panic!("a region's size is a power of two"),
};

/// A node's memory.
pub(crate) type HugeBox<T> = BoxIn<T, Memory>;

/// Where nodes of indexes lie. Clones are the same memory; it is given back when the last clone and
/// the last node in it are gone.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Regions>>);

impl Memory {
    /// Memory of its own for one index, or for some that grow together.
    pub fn new() -> Self {
        Self::default()
    }

    /// Prepares memory for indexes that grow, so that no insert waits for the system to clear it.
    /// True if there was something to do: then it took a millisecond or so, in which no other
    /// thread waits for this one.
    ///
    /// For a background thread, which calls again while there is something to do: once per 100,000
    /// inserted integer keys keeps pace. Holds up to 4 MiB more than without, and none while the
    /// indexes are small. Without such calls, inserts do the same themselves.
    pub fn prepare(&self) -> bool {
        if !self.regions().wants_spare() {
            return false;
        }
        let Some(region) = Region::new() else { return false };
        region.touch();
        self.regions().keep_spare(region);
        true
    }

    fn regions(&self) -> MutexGuard<'_, Regions> {
        // Nothing in here leaves a region half changed, so a panic elsewhere does not matter.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SAFETY: a block comes from the TLSF of a live region or from `Global`. A block of `Global` lies
// in no region, because all bytes of a region are its own: so `deallocate` finds the allocator by
// the address. All clones have the same regions, so a block stays valid until any of them
// deallocates it; a region is freed only when none of its blocks is in use.
unsafe impl Allocator for Memory {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if !may_lie_in_region(layout) {
            return Global.allocate(layout);
        }
        let mut regions = self.regions();
        if regions.take_plain(layout.size()) {
            drop(regions);
            return Global.allocate(layout);
        }
        let block = regions.allocate(layout).ok_or(AllocError)?;
        Ok(NonNull::slice_from_raw_parts(block, layout.size()))
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        // A reader that is still there must not find what it looks for.
        #[cfg(debug_assertions)]
        // SAFETY: the caller promises that the block has this layout and is not used any more.
        unsafe {
            block.write_bytes(crate::life::FREED_BYTE, layout.size());
        }
        // SAFETY: the caller promises that the block came from `allocate` with this layout, and is
        // not used any more.
        let released =
            may_lie_in_region(layout) && unsafe { self.regions().release(block, layout) };
        if !released {
            // SAFETY: the block lies in no region, so `allocate` took it from `Global`; the caller
            // promises the rest.
            unsafe { Global.deallocate(block, layout) };
        }
    }
}

fn may_lie_in_region(layout: Layout) -> bool {
    (1..=BLOCK_BYTES_MAX).contains(&layout.size()) && layout.align() <= BLOCK_BYTES_MAX / 2
}

#[derive(Default)]
struct Regions {
    /// By address.
    all: BTreeMap<usize, Region>,
    /// Addresses of regions that had room when they were last asked, or got some since.
    roomy: BTreeSet<usize>,
    /// Regions without a block in use.
    empty_count: usize,
    /// Regions that are in memory already and not yet among `all`.
    spares: Vec<Region>,
    /// Bytes of blocks that might lie in regions, and do not.
    plain_bytes: usize,
}

struct Region {
    start: NonNull<u8>,
    blocks: Box<Tlsf<'static, u32, u16, 17, 16>>,
    block_count: usize,
}

// SAFETY: a region is plain memory that belongs to the holder of the `Region`; nothing about it is
// tied to a thread.
unsafe impl Send for Region {}

impl Regions {
    /// Notes a block of `bytes` to lie outside of regions, if there is so little that a region
    /// would be mostly empty. False if the block should lie in a region.
    fn take_plain(&mut self, bytes: usize) -> bool {
        let is_plain = self.all.is_empty() && self.plain_bytes + bytes <= PLAIN_BYTES_MAX;
        if is_plain {
            self.plain_bytes += bytes;
        }
        is_plain
    }

    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        while let Some(&address) = self.roomy.first() {
            let region = self.all.get_mut(&address).expect("roomy regions are regions");
            if let Some(block) = region.blocks.allocate(layout) {
                self.empty_count -= usize::from(region.block_count == 0);
                region.block_count += 1;
                return Some(block);
            }
            self.roomy.remove(&address);
        }
        let mut region = match self.spares.pop() {
            Some(region) => region,
            None => Region::new()?,
        };
        let block = region.blocks.allocate(layout)?;
        region.block_count = 1;
        let address = region.start.addr().get();
        self.roomy.insert(address);
        self.all.insert(address, region);
        Some(block)
    }

    /// Takes a block back. False, and the block noted as gone, if it does not lie in a region.
    ///
    /// # Safety
    /// The block was allocated or noted here with this layout and is not used any more.
    unsafe fn release(&mut self, block: NonNull<u8>, layout: Layout) -> bool {
        let address = block.addr().get() & !(REGION_BYTES - 1);
        let Some(region) = self.all.get_mut(&address) else {
            assert!(self.plain_bytes >= layout.size(), "a block is given back once");
            self.plain_bytes -= layout.size();
            return false;
        };
        assert!(region.block_count > 0, "a block is given back once");
        // The TLSF's own words lie before the block: they are reached through the region's pointer,
        // not through that of a box, which may touch its content only.
        let block = region.start.with_addr(block.addr());
        // SAFETY: regions are aligned to their size, so this is the region whose TLSF handed the
        // block out, with this alignment; the caller promises the rest.
        unsafe { region.blocks.deallocate(block, layout.align()) };
        region.block_count -= 1;
        self.roomy.insert(address);
        if region.block_count == 0 {
            self.empty_count += 1;
            if self.empty_count > 1 {
                self.empty_count -= 1;
                self.roomy.remove(&address);
                let region = self.all.remove(&address).expect("blocks lie in regions");
                self.keep_spare(region);
            }
        }
        true
    }

    /// Whether there is an index, and too little for it when the regions it has are full.
    fn wants_spare(&self) -> bool {
        !self.all.is_empty() && self.spares.len() + self.empty_count < SPARES_MAX
    }

    /// Sets an empty region aside, or gives it back if there are enough.
    fn keep_spare(&mut self, region: Region) {
        assert!(region.block_count == 0, "a spare region has no block in use");
        if self.spares.len() < SPARES_MAX {
            self.spares.push(region);
        }
    }
}

impl Region {
    fn new() -> Option<Self> {
        // SAFETY: the layout has a size.
        let start = NonNull::new(unsafe { alloc(REGION) })?;
        ask_for_huge_page(start);
        let mut blocks = Box::new(Tlsf::new());
        // SAFETY: the memory was just allocated, has no other user, and is freed after the last use
        // of `blocks`, in `drop`.
        unsafe { blocks.insert_free_block_ptr(NonNull::slice_from_raw_parts(start, REGION_BYTES)) };
        Some(Self { start, blocks, block_count: 0 })
    }

    /// Brings all of the memory in: with a huge page it is there already, because `new` wrote to
    /// it.
    fn touch(&self) {
        for offset in (0..REGION_BYTES).step_by(PAGE_BYTES) {
            let address = self.start.as_ptr().wrapping_add(offset).cast::<AtomicU8>();
            // SAFETY: the byte lies in the region, which is allocated and, being borrowed, not
            // freed meanwhile; any byte is aligned as an `AtomicU8`.
            let byte = unsafe { &*address };
            // A write that adds 0: the words of the TLSF there keep their values.
            byte.fetch_add(0, Relaxed);
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        assert!(self.block_count == 0, "a region outlives its blocks");
        // SAFETY: `start` was allocated in `new` with this layout and is freed once, here; no block
        // of it is in use, and `blocks` is only dropped after this, which touches no block.
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

    fn layout(round: usize) -> Layout {
        Layout::from_size_align(64 + round % 37 * 900, 8 << (round % 4)).unwrap()
    }

    #[test]
    fn blocks_are_disjoint_and_regions_go_back() {
        let mut regions = Regions::default();
        let mut blocks = Vec::new();
        for round in 0..400 {
            let block = regions.allocate(layout(round)).unwrap();
            assert!(block.addr().get().is_multiple_of(layout(round).align()));
            // SAFETY: the block has been allocated with this length.
            unsafe { block.write_bytes(round as u8, layout(round).size()) };
            blocks.push((block, round));
        }
        for &(block, round) in &blocks {
            let len = layout(round).size();
            // SAFETY: the block is allocated and was filled above.
            let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), len) };
            assert!(bytes.iter().all(|&seen| seen == round as u8));
        }
        let total: usize = blocks.iter().map(|&(_, round)| layout(round).size()).sum();
        let region_count = regions.all.len();
        assert!(region_count <= total / REGION_BYTES + 2, "{region_count} for {total} bytes");
        // Every second block goes, and the holes are used again.
        for &(block, round) in blocks.iter().skip(1).step_by(2) {
            // SAFETY: allocated above with this layout, and not used any more.
            unsafe { regions.release(block, layout(round)) };
        }
        let again: Vec<_> = (0..100).map(|_| regions.allocate(layout(1)).unwrap()).collect();
        assert_eq!(regions.all.len(), region_count);
        for block in again {
            // SAFETY: allocated above with this layout, and not used any more.
            unsafe { regions.release(block, layout(1)) };
        }
        for &(block, round) in blocks.iter().step_by(2) {
            // SAFETY: allocated above with this layout, and not used any more.
            unsafe { regions.release(block, layout(round)) };
        }
        assert_eq!((regions.all.len(), regions.empty_count), (1, 1));
    }

    #[test]
    fn prepared_regions_are_used_before_new_ones() {
        let mut regions = Regions::default();
        assert!(!regions.wants_spare(), "without an index no memory is needed");
        let block = regions.allocate(layout(1)).unwrap();
        let mut prepared = Vec::new();
        while regions.wants_spare() {
            let spare = Region::new().unwrap();
            spare.touch();
            prepared.push(spare.start.addr().get());
            regions.keep_spare(spare);
        }
        assert_eq!(prepared.len(), SPARES_MAX);
        let large = Layout::from_size_align(BLOCK_BYTES_MAX, 64).unwrap();
        // A region holds one such block: the first finds room beside the small one at best.
        let blocks: Vec<_> = (0..=SPARES_MAX).map(|_| regions.allocate(large).unwrap()).collect();
        assert!(prepared.iter().all(|address| regions.all.contains_key(address)));
        assert!(regions.wants_spare());
        for block in blocks {
            // SAFETY: allocated above with this layout, and not used any more.
            unsafe { regions.release(block, large) };
        }
        // SAFETY: allocated above with this layout, and not used any more.
        unsafe { regions.release(block, layout(1)) };
        assert_eq!((regions.empty_count, regions.spares.len()), (1, SPARES_MAX));
        assert!(!regions.wants_spare());
    }

    #[test]
    fn very_large_blocks_are_served_elsewhere() {
        let layout = Layout::from_size_align(BLOCK_BYTES_MAX + 1, 8).unwrap();
        assert!(!may_lie_in_region(layout));
        let memory = Memory::new();
        let block = memory.allocate(layout).unwrap();
        assert!(memory.regions().all.is_empty());
        // SAFETY: allocated above with this layout.
        unsafe { memory.deallocate(block.cast(), layout) };
    }

    #[test]
    fn small_indexes_do_without_regions() {
        let memory = Memory::new();
        let layout = Layout::from_size_align(PLAIN_BYTES_MAX / 4, 64).unwrap();
        let blocks: Vec<_> = (0..6).map(|_| memory.allocate(layout).unwrap()).collect();
        assert_eq!(memory.regions().plain_bytes, PLAIN_BYTES_MAX);
        assert_eq!(memory.regions().all.len(), 1);
        for (freed, block) in blocks.into_iter().enumerate() {
            // SAFETY: allocated above with this layout, and not used any more.
            unsafe { memory.deallocate(block.cast(), layout) };
            let plain_count = 3usize.saturating_sub(freed);
            assert_eq!(memory.regions().plain_bytes, plain_count * layout.size());
        }
        let regions = memory.regions();
        assert_eq!((regions.all.len(), regions.empty_count), (1, 1));
    }

    /// Nodes are freed by the epoch, which other tests may hold back for a while.
    #[test]
    fn memory_goes_with_the_last_node() {
        let memory = Memory::new();
        let held = Arc::downgrade(&memory.0);
        let index = crate::IntIndex::new(&memory);
        (0..20_000).for_each(|key| assert!(index.insert(key * 7 % 20_000, key).is_none()));
        assert!(!memory.regions().all.is_empty());
        drop((memory, index));
        let begun = std::time::Instant::now();
        while held.upgrade().is_some() {
            assert!(begun.elapsed().as_secs() < 60, "a node was not freed");
            crossbeam_epoch::pin().flush();
            std::thread::yield_now();
        }
    }

    /// A lookup finds both in the first line of a leaf.
    #[test]
    fn a_box_has_address_and_length_before_its_memory() {
        let mut slots = allocator_api2::vec::Vec::new_in(Memory::new());
        slots.extend([1u64, 2, 3]);
        let slots: HugeBox<[u64]> = slots.into_boxed_slice();
        let words = std::ptr::from_ref(&slots).cast::<[usize; 2]>();
        // SAFETY: a box is longer than two words, aligned as a word, and all of it is initialised.
        let words = unsafe { *words };
        assert_eq!(words, [slots.as_ptr().addr(), 3]);
    }
}
