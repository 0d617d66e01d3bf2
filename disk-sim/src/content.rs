//! [`FileState`]: what readers of a file see, what a loss of power leaves, and what lies between
//! the two.
//!
//! ```text
//!   submit -> in flight -> write --> cache --> make_durable --> device
//!               |                      | dirty pages: in the cache only; a crash keeps any part of
//!               |                      |   them, and the kernel may steal them
//!               |                      + lost sectors: a flush failed, and no later one brings
//!               |                          them to the device, although readers see them
//!               + a crash keeps any part of them; a kill leaves them to land at any later moment
//! ```

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uarr_uring::parts::{AnonymousFile, Appender, MapOptions};
use uarr_uring::{FileMap, MappedChunk, PAGE_BYTES};

use crate::cache::Cache;
use crate::device::Device;
use crate::flight::{Flight, Ticket};
use crate::lies::Lies;
use crate::random::{Bias, Random};
use crate::remains::{Parts, survivors};
use crate::view::{PAGE, SECTOR_BYTES, View, page_range};

/// A file, under any name.
pub(crate) type Inode = Arc<Mutex<FileState>>;

/// The content of a file, for a moment.
pub(crate) fn lock(inode: &Inode) -> MutexGuard<'_, FileState> {
    inode.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One file: what is cached, durable, and on its way.
#[derive(Debug)]
pub(crate) struct FileState {
    cache: Cache,
    device: Device,
    flight: Flight,
    /// Pages that have no space.
    holes: BTreeSet<u64>,
    /// A background write-back has failed, and no flush has reported it yet: its error number.
    untold: Option<i32>,
}

impl FileState {
    /// A file whose cached content is all durable.
    pub fn new(content: View) -> Self {
        Self {
            cache: Cache::Pages(content.clone()),
            device: Device::new(content),
            flight: Flight::default(),
            holes: BTreeSet::new(),
            untold: None,
        }
    }

    /// What a loss of power has left of `before`. Pages whose old content came back have space.
    pub fn with_holes(content: View, before: &Self) -> Self {
        let len = content.len();
        let is_hole =
            |page: &&u64| (**page + 1) * PAGE <= len && !content.pages().contains_key(*page);
        let holes = before.holes.iter().filter(is_hole).copied().collect();
        Self { holes, ..Self::new(content) }
    }

    /// A new file.
    pub fn empty() -> Inode {
        Self::new(View::default()).into_inode()
    }

    pub fn into_inode(self) -> Inode {
        Arc::new(Mutex::new(self))
    }

    pub fn len(&self) -> u64 {
        self.cache.len()
    }

    pub fn is_mapped(&self) -> bool {
        self.cache.is_mapped()
    }

    /// What it takes on the device.
    pub fn allocated_bytes(&self) -> u64 {
        self.len() - self.holes.len() as u64 * PAGE
    }

    /// What of `range` has no space; all that lies between the end of the file and its own end.
    pub fn missing_bytes(&self, range: Range<u64>) -> u64 {
        let beyond = range.end.saturating_sub(self.len());
        beyond
            + self.holes.range(page_range(range.start, range.end - range.start)).count() as u64
                * PAGE
    }

    pub fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.cache.read(buffer, offset)
    }

    /// Writes into the cache. `InvalidInput` over published bytes of a map.
    pub fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.cache.write(bytes, offset)?;
        self.fill_holes(offset..offset + bytes.len() as u64);
        self.device.note_write(offset..offset + bytes.len() as u64);
        Ok(())
    }

    /// The pages that meet `range` have space from now on.
    fn fill_holes(&mut self, range: Range<u64>) {
        let pages = page_range(range.start, range.end - range.start);
        self.holes.extract_if(pages, |_| true).for_each(drop);
    }

    /// Where the bytes end that from `offset` on have space.
    pub fn whole_end(&self, offset: u64) -> u64 {
        let first = self.holes.range(offset / PAGE..).next();
        first.map_or(self.len(), |page| (page * PAGE).max(offset).min(self.len()))
    }

    /// Each byte of `range` has space from now on; what is beyond the end of the file is zeros.
    pub fn allocate(&mut self, range: Range<u64>) -> io::Result<()> {
        self.cache.grow_to(range.end)?;
        self.fill_holes(range);
        Ok(())
    }

    /// Makes zeros of a range, and takes the space of the whole pages in it away. A loss of power
    /// may bring back what was durable there.
    pub fn punch(&mut self, range: Range<u64>) -> io::Result<()> {
        self.renew(range.start, range.end - range.start)?;
        self.holes.extend(range.start.div_ceil(PAGE)..range.end / PAGE);
        Ok(())
    }

    /// Loses what was written there, although readers see it.
    pub fn lose(&mut self, range: Range<u64>) {
        self.device.lose(range);
    }

    /// Discards the content of a range: it becomes zeros, and earlier failures no longer affect its
    /// pages.
    pub fn renew(&mut self, offset: u64, len: u64) -> io::Result<()> {
        for page_index in self.cache.pages_in(page_range(offset, len)) {
            let start = offset.max(page_index * PAGE);
            let end = (offset + len).min((page_index + 1) * PAGE);
            if self.cache.page(page_index)?.iter().any(|byte| *byte != 0) {
                self.write(&[0; PAGE_BYTES][..(end - start) as usize], start)?;
            }
        }
        self.device.renew(offset..offset + len);
        Ok(())
    }

    /// Maps the file; `filter` sees its content before the first map does.
    pub fn map(
        &mut self,
        options: MapOptions,
        chunks: &[MappedChunk],
        filter: impl FnOnce(&mut AnonymousFile) -> io::Result<()>,
    ) -> io::Result<(FileMap, Appender)> {
        self.note_published();
        self.cache.map(options, chunks, filter)
    }

    /// Notes as dirty the pages that were published through the map since the last time.
    fn note_published(&mut self) {
        for pages in self.cache.take_published() {
            // The kernel notes whole pages as changed.
            self.device.note_write(pages.start * PAGE..pages.end * PAGE);
        }
    }

    /// A log write was submitted.
    pub fn submit(&mut self, ticket: Ticket, offset: u64, bytes: Vec<u8>) {
        self.flight.begin(ticket, offset, bytes);
    }

    /// A log write is over, durable or failed.
    pub fn end_flight(&mut self, number: u64) {
        self.flight.end(number);
    }

    /// The log writes in flight.
    pub fn in_flight(&self) -> Vec<Ticket> {
        self.flight.tickets().collect()
    }

    /// A log write without a waiter ends: all of it is written, or some sectors are.
    pub fn land(&mut self, number: u64, random: &mut Random) -> io::Result<()> {
        let Some(write) = self.flight.end(number) else { return Ok(()) };
        let bias = if random.flip() { Bias::Always } else { random.bias() };
        for (index, sector) in write.bytes.chunks(SECTOR_BYTES).enumerate() {
            if random.chance(bias) {
                self.write(sector, write.offset + (index * SECTOR_BYTES) as u64)?;
            }
        }
        Ok(())
    }

    /// The kernel writes some dirty page back, or part of it, without being asked.
    pub fn steal(&mut self, random: &mut Random) -> io::Result<()> {
        self.note_published();
        self.device.steal(&self.cache, random)
    }

    /// Brings everything that is dirty to the device, and reports a write-back that had failed
    /// before.
    pub fn make_durable(&mut self, lies: &mut Lies) -> io::Result<()> {
        self.note_published();
        self.device.flush(&self.cache, lies)?;
        self.told()
    }

    /// Reports a write-back that had failed before, once.
    pub fn told(&mut self) -> io::Result<()> {
        match self.untold.take() {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }

    /// Brings a range to the device, and as much of the file's length as it needs.
    pub fn make_range_durable(&mut self, range: Range<u64>, lies: &mut Lies) -> io::Result<()> {
        self.device.flush_range(&self.cache, range, lies)
    }

    /// The flush of a cached file has failed, and says so.
    pub fn fail_flush(&mut self, random: &mut Random) -> io::Result<()> {
        self.untold = None;
        self.note_published();
        self.device.fail_write_back(&self.cache, random)
    }

    /// The kernel writes a mapped file back unasked, and fails: the next flush reports it.
    pub fn fail_unasked(&mut self, errno: i32, random: &mut Random) -> io::Result<()> {
        self.note_published();
        if self.cache.was_mapped() && !self.device.dirty_pages().is_empty() {
            self.device.fail_write_back(&self.cache, random)?;
            self.untold = Some(errno);
        }
        Ok(())
    }

    /// A write past the page cache, or its flush, has failed. Each sector in the range that is not
    /// durable
    /// - is still in the device's cache, where a later flush finds it;
    /// - or was given up, and readers see the old content from now on;
    /// - or is lost: readers see it, and no later flush brings it to the medium.
    pub fn drop_some(&mut self, range: Range<u64>, random: &mut Random) -> io::Result<()> {
        let only = random.below(6).checked_sub(3);
        for page_index in self.device.dirty_pages().clone() {
            let start = page_index * PAGE;
            let old = self.device.durable().page(page_index);
            for sector in (0..PAGE_BYTES).step_by(SECTOR_BYTES) {
                let offset = start + sector as u64;
                if !range.contains(&offset) || offset >= self.len() {
                    continue;
                }
                match only.unwrap_or_else(|| random.below(3)) {
                    0 => {}
                    1 => {
                        let len = SECTOR_BYTES.min((self.len() - offset) as usize);
                        self.write(&old[sector..sector + len], offset)?;
                    }
                    _ => self.device.lose(offset..offset + 1),
                }
            }
        }
        Ok(())
    }

    /// The file as the next process finds it when this one is killed: what was written is in the
    /// cache, log writes in flight go on, and nothing more is durable than before.
    pub fn after_kill(&mut self, random: &mut Random) -> io::Result<Self> {
        self.note_published();
        let mut content = self.cache.view()?;
        let mut device = self.device.clone();
        let forgets = device.drop_clean(&mut content, random);
        Ok(Self {
            cache: Cache::Pages(content),
            device,
            flight: self.flight.clone(),
            holes: self.holes.clone(),
            untold: self.untold.filter(|_| !forgets),
        })
    }

    /// What a loss of power leaves at the least.
    pub fn durable(&self) -> &View {
        self.device.durable()
    }

    /// What a loss of power may leave: any sectors, or any pages, that were not durable survive.
    pub fn survivors(&mut self, random: &mut Random, hostile: bool) -> io::Result<View> {
        self.note_published();
        let Self { cache, device, flight, .. } = self;
        survivors(Parts { cache, device, flight }, random, hostile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_flush_makes_durable() {
        let mut file = FileState::new(View::default());
        file.write(b"abc", 4095).unwrap();
        assert_eq!(file.durable().len(), 0);
        file.make_durable(&mut Lies::default()).unwrap();
        assert_eq!(&file.durable().to_vec()[4095..], b"abc");
        file.write(b"xyz", 0).unwrap();
        file.make_range_durable(1..2, &mut Lies::default()).unwrap();
        assert_eq!(&file.durable().to_vec()[..3], b"\0y\0");
        assert!(file.device.dirty_pages().contains(&0));
        file.make_range_durable(0..3, &mut Lies::default()).unwrap();
        assert!(file.device.dirty_pages().is_empty());
    }

    /// A file of two pages, of which the first was written and the second only allocated, and a
    /// write to both.
    fn written_twice() -> FileState {
        let mut file = FileState::new(View::default());
        file.allocate(0..2 * PAGE).unwrap();
        file.write(b"old", 0).unwrap();
        file.make_durable(&mut Lies::default()).unwrap();
        file.write(b"new", 0).unwrap();
        file.write(b"new", PAGE).unwrap();
        file
    }

    /// What both pages begin with.
    fn heads(view: &View) -> [u8; 2] {
        let bytes = view.to_vec();
        [bytes[0], bytes[PAGE_BYTES]]
    }

    #[test]
    fn what_a_failed_flush_has_lost_no_later_one_brings() {
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let mut file = written_twice();
            file.fail_flush(&mut Random::new(seed)).unwrap();
            file.make_durable(&mut Lies::default()).unwrap();
            let lost = heads(file.durable());
            let kept = (0..20).any(|seed| {
                heads(&file.survivors(&mut Random::new(seed), false).unwrap()) == [b'n'; 2]
            });
            for page in [0, PAGE] {
                file.write(b"new", page).unwrap();
            }
            file.make_durable(&mut Lies::default()).unwrap();
            let rewritten = heads(file.durable());
            file.renew(0, 2 * PAGE).unwrap();
            file.write(b"new", 0).unwrap();
            file.write(b"new", PAGE).unwrap();
            file.make_durable(&mut Lies::default()).unwrap();
            assert_eq!(heads(file.durable()), [b'n'; 2]);
            seen.insert((lost, rewritten, kept));
        }
        let new = [b'n'; 2];
        for lost in [[b'o', 0], [b'n', 0], [b'o', b'n'], new] {
            assert!(seen.contains(&(lost, new, true)), "{lost:?}");
        }
        // A page that was never written does not become so by writing it again.
        assert!(seen.contains(&([b'o', 0], [b'n', 0], false)));
        assert!(seen.iter().all(|(_, rewritten, _)| rewritten[0] == b'n'));
    }

    #[test]
    fn a_write_back_that_nobody_asked_for_is_told_by_one_flush() {
        let mut file = written_twice();
        let mut random = Random::new(7);
        file.fail_unasked(libc::EIO, &mut random).unwrap();
        file.make_durable(&mut Lies::default()).unwrap();
        let (_map, _appender) = file
            .map(
                MapOptions {
                    reserve_bytes: 1 << 16,
                    chunk_bytes: 1 << 16,
                    file_bytes: 2 * PAGE,
                    writable: true,
                    huge_pages: false,
                    prefaults: false,
                },
                &[MappedChunk { number: 0, place: 0, published_bytes: 2 * PAGE, continues: false }],
                |_| Ok(()),
            )
            .unwrap();
        file.device.note_write(0..1);
        file.fail_unasked(libc::ENOSPC, &mut random).unwrap();
        let killed = (0..20).map(|seed| file.after_kill(&mut Random::new(seed)).unwrap());
        let told = killed.filter(|file| file.untold.is_some());
        assert!((1..20).contains(&told.count()), "the next process may hear of it or not");
        let told = file.make_durable(&mut Lies::default()).unwrap_err();
        assert_eq!(told.raw_os_error(), Some(libc::ENOSPC));
        file.make_durable(&mut Lies::default()).unwrap();
    }

    #[test]
    fn sectors_survive_independently() {
        let mut file = FileState::new(View::default());
        file.allocate(0..8192).unwrap();
        file.make_durable(&mut Lies::default()).unwrap();
        file.write(&[1; 8192], 0).unwrap();
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let view = file.survivors(&mut Random::new(seed), false).unwrap();
            seen.insert(view.to_vec().chunks(512).map(|sector| sector[0]).collect::<Vec<_>>());
        }
        assert!(seen.contains([0; 16].as_slice()));
        assert!(seen.contains([1; 16].as_slice()));
        assert!(seen.len() > 40);
    }

    #[test]
    fn a_crash_keeps_any_part_of_what_is_in_flight() {
        let mut file = FileState::new(View::default());
        file.allocate(0..1024).unwrap();
        file.make_durable(&mut Lies::default()).unwrap();
        file.submit(Ticket { number: 1, is_fenced: false }, 0, vec![1; 1024]);
        assert_eq!(file.len(), 1024);
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let view = file.survivors(&mut Random::new(seed), false).unwrap();
            seen.insert((view.to_vec()[0], view.to_vec()[1023]));
            let mut killed = file.after_kill(&mut Random::new(seed)).unwrap();
            killed.land(1, &mut Random::new(seed)).unwrap();
            assert_eq!(killed.durable().to_vec(), [0; 1024]);
        }
        assert_eq!(seen.len(), 4);
        file.end_flight(1);
        let view = file.survivors(&mut Random::new(1), false).unwrap();
        assert_eq!(view.to_vec(), [0; 1024]);
    }

    #[test]
    fn stolen_pages_are_durable() {
        let mut file = FileState::new(View::default());
        file.write(&[1; 8192], 0).unwrap();
        let mut random = Random::new(4);
        for _ in 0..100 {
            file.steal(&mut random).unwrap();
        }
        assert_eq!(file.durable().to_vec(), [1; 8192]);
    }
}
