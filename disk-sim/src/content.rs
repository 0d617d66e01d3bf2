//! [`FileState`]: what readers of a file see, what a loss of power leaves, and what lies between
//! the two.
//!
//! ```text
//!   submit -> in flight -> write --> cache image --> make_durable --> durable image
//!               |                      | dirty pages: in the cache only; a crash keeps any part of
//!               |                      |   them, and the kernel may steal them: write them back at
//!               |                      |   any time
//!               |                      + lost sectors ([`Loss`]): a flush failed, and no later one
//!               |                      |   brings them to the device, although readers see them
//!               + a crash keeps any part of them; a kill leaves them to land at any later moment
//! ```

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::image::{Image, PAGE, Page, page_range};
use crate::lies::{Landing, Lies};
use crate::loss::Loss;
use crate::random::{Bias, Random};
use uarr_uring::FileMap;
use uarr_uring::PAGE_BYTES;
use uarr_uring::parts::{AnonymousFile, Appender, MapOptions, Watermarks};

/// A device writes sectors whole; nothing larger.
pub(super) const SECTOR_BYTES: usize = 512;

/// What readers see. A mapped file lives in a memory file of the kernel, because a map needs one.
#[derive(Debug)]
enum Cache {
    Pages(Image),
    Mapped { memory: AnonymousFile, flushed: Vec<u64> },
}

/// One file: cached and durable content.
#[derive(Debug)]
pub(super) struct FileState {
    cache: Cache,
    durable: Image,
    dirty: BTreeSet<u64>,
    loss: Loss,
    /// A background write-back has failed, and no flush has reported it yet: its error number.
    untold: Option<i32>,
    in_flight: Vec<InFlight>,
}

/// A log write between submission and completion: nobody reads it yet, a crash may leave any part
/// of it.
#[derive(Clone, Debug)]
struct InFlight {
    ticket: u64,
    offset: u64,
    bytes: Vec<u8>,
    /// Whether it holds the lock of its directory.
    is_fenced: bool,
}

/// What a crash may do to a sector that was being written.
enum Fate {
    Old,
    New,
    Garbage(u64),
}

impl FileState {
    /// A file whose cached content is all durable.
    pub fn new(content: Image) -> Self {
        Self {
            cache: Cache::Pages(content.clone()),
            durable: content,
            dirty: BTreeSet::new(),
            loss: Loss::default(),
            untold: None,
            in_flight: Vec::new(),
        }
    }

    /// The file as the next process finds it when this one is killed: what was written is in the
    /// cache, log writes in flight go on, and nothing more is durable than before.
    pub fn after_kill(&mut self, random: &mut Random) -> io::Result<Self> {
        self.note_published();
        let mut content = match &self.cache {
            Cache::Pages(image) => image.clone(),
            Cache::Mapped { memory, .. } => mapped_image(memory)?,
        };
        let mut loss = self.loss.clone();
        // The kernel may have dropped clean pages: they then read as the device has them. If it
        // dropped the file altogether, it has forgotten what it did not report, too.
        let forgets = random.below(4) == 0;
        for page_index in self.loss.pages() {
            if forgets || random.flip() {
                let (mut page, durable) = (content.page(page_index), self.durable.page(page_index));
                loss.restore(page_index, &mut page, &durable);
                content.set_page(page_index, page);
            }
        }
        if forgets {
            loss.forget();
        }
        Ok(Self {
            cache: Cache::Pages(content),
            durable: self.durable.clone(),
            dirty: self.dirty.clone(),
            loss,
            untold: self.untold.filter(|_| !forgets),
            in_flight: self.in_flight.clone(),
        })
    }

    /// A log write was submitted.
    pub fn submit(&mut self, (ticket, is_fenced): (u64, bool), offset: u64, bytes: Vec<u8>) {
        self.in_flight.push(InFlight { ticket, offset, bytes, is_fenced });
    }

    /// A log write is over, whatever came of it.
    pub fn end_flight(&mut self, ticket: u64) {
        self.in_flight.retain(|write| write.ticket != ticket);
    }

    /// Tickets of the log writes in flight, and whether they hold the lock.
    pub fn in_flight(&self) -> Vec<(u64, bool)> {
        self.in_flight.iter().map(|write| (write.ticket, write.is_fenced)).collect()
    }

    /// A log write that is not waited for any more ends: all of it is written, or some sectors are.
    pub fn land(&mut self, ticket: u64, random: &mut Random) -> io::Result<()> {
        let Some(index) = self.in_flight.iter().position(|write| write.ticket == ticket) else {
            return Ok(());
        };
        let InFlight { offset, bytes, .. } = self.in_flight.remove(index);
        let bias = if random.flip() { Bias::Always } else { random.bias() };
        for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if random.chance(bias) {
                self.write(sector, offset + (index * SECTOR_BYTES) as u64)?;
            }
        }
        Ok(())
    }

    /// The kernel writes some dirty page back, or part of it, without being asked.
    pub fn steal(&mut self, random: &mut Random) -> io::Result<()> {
        self.note_published();
        if self.durable.len() != self.len() && random.flip() {
            self.durable.grow_to(self.len());
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
        let mut cached = self.cached_page(page_index)?;
        self.loss.restore(page_index, &mut cached, &page);
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

    pub fn len(&self) -> u64 {
        match &self.cache {
            Cache::Pages(image) => image.len(),
            Cache::Mapped { memory, .. } => memory.file_bytes(),
        }
    }

    pub fn is_mapped(&self) -> bool {
        matches!(&self.cache, Cache::Mapped { memory, .. } if memory.is_mapped())
    }

    pub fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.cache {
            Cache::Pages(image) => Ok(image.read(buffer, offset)),
            Cache::Mapped { memory, .. } => {
                let count = buffer.len().min(memory.file_bytes().saturating_sub(offset) as usize);
                memory.read_at(&mut buffer[..count], offset)?;
                Ok(count)
            }
        }
    }

    /// Writes into the cache. `InvalidInput` over published bytes of a map.
    pub fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let len = bytes.len() as u64;
        match &mut self.cache {
            Cache::Pages(image) => image.write(bytes, offset),
            Cache::Mapped { memory, .. } => memory.write_at(bytes, offset)?,
        }
        self.dirty.extend(page_range(offset, len));
        self.loss.rewrite(offset..offset + len);
        Ok(())
    }

    /// What was written there is lost, although readers see it.
    pub fn lose(&mut self, range: Range<u64>) {
        range.step_by(SECTOR_BYTES).for_each(|offset| self.loss.lose_sector(offset));
    }

    /// Gives the content of a range up: zeros, in pages that no earlier failure decides about.
    pub fn renew(&mut self, offset: u64, len: u64) -> io::Result<()> {
        for page_index in page_range(offset, len) {
            let start = offset.max(page_index * PAGE);
            let end = (offset + len).min((page_index + 1) * PAGE);
            if self.cached_page(page_index)?.iter().any(|byte| *byte != 0) {
                self.write(&[0; PAGE_BYTES][..(end - start) as usize], start)?;
            } else {
                self.dirty.insert(page_index);
            }
        }
        self.loss.renew(offset..offset + len);
        Ok(())
    }

    /// The file is `len` bytes long at least; new ones are zeros.
    pub fn grow_to(&mut self, len: u64) -> io::Result<()> {
        match &mut self.cache {
            Cache::Pages(image) => image.grow_to(len),
            Cache::Mapped { memory, .. } => memory.grow_to(len)?,
        }
        Ok(())
    }

    fn cached_page(&self, page_index: u64) -> io::Result<Arc<Page>> {
        match &self.cache {
            Cache::Pages(image) => Ok(image.page(page_index)),
            Cache::Mapped { .. } => {
                let mut page = [0; PAGE_BYTES];
                self.read(&mut page, page_index * PAGE)?;
                Ok(Arc::new(page))
            }
        }
    }

    /// Notes as dirty the pages that were published through the map since the last time.
    fn note_published(&mut self) {
        let Cache::Mapped { memory, flushed } = &mut self.cache else { return };
        let Some(marks) = memory.marks() else { return };
        for (chunk_index, flushed) in flushed.iter_mut().enumerate() {
            let published = marks.published_bytes(chunk_index);
            if published > *flushed {
                let start = chunk_index as u64 * marks.chunk_bytes() + *flushed;
                let pages = page_range(start, published - *flushed);
                // The kernel takes down whole pages as changed.
                self.loss.rewrite(pages.start * PAGE..pages.end * PAGE);
                self.dirty.extend(pages);
                *flushed = published;
            }
        }
    }

    /// Brings everything that is dirty to the device, and reports a write-back that had failed
    /// before.
    pub fn make_durable(&mut self, lies: &mut Lies) -> io::Result<()> {
        self.note_published();
        self.durable.grow_to(self.len());
        for page_index in std::mem::take(&mut self.dirty) {
            if self.loss.is_blocked(page_index) {
                self.loss.lose_page(page_index);
                continue;
            }
            let mut page = self.cached_page(page_index)?;
            self.loss.restore(page_index, &mut page, &self.durable.page(page_index));
            let landing = if lies.misplaces() && *page != *self.durable.page(page_index) {
                lies.landing()
            } else {
                Landing::InPlace
            };
            match landing {
                Landing::InPlace => self.durable.set_page(page_index, page),
                Landing::Nowhere => {}
                Landing::Elsewhere { salt } => {
                    let other = elsewhere(salt, page_index, self.len().div_ceil(PAGE));
                    self.durable.set_page(other, page);
                }
            }
        }
        match self.untold.take() {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }

    /// Brings a range to the device, and as much of the file's length as it needs.
    pub fn make_range_durable(
        &mut self,
        offset: u64,
        len: usize,
        lies: &mut Lies,
    ) -> io::Result<()> {
        let mut bytes = vec![0; len];
        let count = self.read(&mut bytes, offset)?;
        match if lies.misplaces() { lies.landing() } else { Landing::InPlace } {
            Landing::InPlace => self.durable.write(&bytes[..count], offset),
            Landing::Nowhere => {}
            Landing::Elsewhere { salt } => {
                let units = (self.len() - count as u64) / SECTOR_BYTES as u64;
                let other = elsewhere(salt, offset / SECTOR_BYTES as u64, units.max(2));
                self.durable.write(&bytes[..count], other * SECTOR_BYTES as u64);
            }
        }
        for page_index in page_range(offset, len as u64) {
            if *self.durable.page(page_index) == *self.cached_page(page_index)? {
                self.dirty.remove(&page_index);
            }
        }
        Ok(())
    }

    /// A write-back has failed: some pages are on the device, the
    /// others count as clean, but are lost.
    fn fail_write_back(&mut self, random: &mut Random) -> io::Result<()> {
        self.note_published();
        let bias = random.bias();
        for page_index in std::mem::take(&mut self.dirty) {
            let durable = self.durable.page(page_index);
            if !self.loss.is_blocked(page_index) && random.chance(bias) {
                let mut page = self.cached_page(page_index)?;
                self.loss.restore(page_index, &mut page, &durable);
                self.durable.grow_to(self.len());
                self.durable.set_page(page_index, page);
                continue;
            }
            self.loss.lose_page(page_index);
            // Space that was never written, as far as anyone can see.
            if durable.iter().all(|byte| *byte == 0) && random.flip() {
                self.loss.block(page_index);
            }
        }
        Ok(())
    }

    /// The flush of a cached file has failed, and says so.
    pub fn fail_flush(&mut self, random: &mut Random) -> io::Result<()> {
        self.untold = None;
        self.fail_write_back(random)
    }

    /// The kernel writes a mapped file back unasked, and fails: the next flush reports it.
    pub fn fail_unasked(&mut self, errno: i32, random: &mut Random) -> io::Result<()> {
        self.note_published();
        if matches!(self.cache, Cache::Mapped { .. }) && !self.dirty.is_empty() {
            self.fail_write_back(random)?;
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
        for page_index in self.dirty.clone() {
            let start = page_index * PAGE;
            let old = self.durable.page(page_index);
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
                    _ => self.loss.lose_sector(offset),
                }
            }
        }
        Ok(())
    }

    /// What a loss of power leaves at the least.
    pub fn durable(&self) -> &Image {
        &self.durable
    }

    /// What a loss of power may leave: any sectors, or any pages, that were not durable survive.
    pub fn survivors(&mut self, random: &mut Random, garbles: bool) -> io::Result<Image> {
        self.note_published();
        let bias = random.bias();
        let unit_bytes = if random.flip() { SECTOR_BYTES } else { PAGE_BYTES };
        // Most devices write a sector or do not; some leave the one that was being written
        // unreadable.
        let garbles = garbles && random.below(4) == 0;
        let is_mapped = matches!(self.cache, Cache::Mapped { .. });
        let mut image = self.durable.clone();
        if self.len() != image.len() && random.chance(bias) {
            image.grow_to(self.len());
        }
        let lost: BTreeSet<_> = self.loss.pages().collect();
        for &page_index in self.dirty.union(&lost) {
            if self.loss.is_blocked(page_index) {
                continue;
            }
            let cached = self.cached_page(page_index)?;
            let mut page = image.page(page_index);
            for start in (0..PAGE_BYTES).step_by(unit_bytes) {
                let unit = start..start + unit_bytes;
                if page[unit.clone()] == cached[unit.clone()] {
                    continue;
                }
                match fate(random, bias, garbles) {
                    Fate::Old => {}
                    Fate::New => {
                        Arc::make_mut(&mut page)[unit.clone()].copy_from_slice(&cached[unit]);
                    }
                    Fate::Garbage(salt) => {
                        // The kernel writes whole pages back; direct writes touch their own sectors
                        // only.
                        for sector in unit.step_by(SECTOR_BYTES) {
                            let sector = sector..sector + SECTOR_BYTES;
                            if is_mapped || page[sector.clone()] != cached[sector.clone()] {
                                fill_garbage(&mut Arc::make_mut(&mut page)[sector], salt);
                            }
                        }
                    }
                }
            }
            image.set_page(page_index, page);
        }
        for write in &self.in_flight {
            let sectors = write.bytes.chunks(unit_bytes.min(write.bytes.len()));
            let mut offset = write.offset;
            for sector in sectors {
                match fate(random, bias, garbles) {
                    Fate::Old => {}
                    Fate::New => image.write(sector, offset),
                    Fate::Garbage(salt) => {
                        let mut garbage = sector.to_vec();
                        fill_garbage(&mut garbage, salt);
                        image.write(&garbage, offset);
                    }
                }
                offset += sector.len() as u64;
            }
        }
        Ok(image)
    }

    /// Maps the file, moving its content into a memory file of the kernel first.
    pub fn map(
        &mut self,
        options: MapOptions,
        readable: &[u64],
        filter: impl FnOnce(&mut AnonymousFile) -> io::Result<()>,
    ) -> io::Result<(FileMap, Appender)> {
        self.note_published();
        if let Cache::Pages(image) = &self.cache {
            let mut memory = image_file(image)?;
            filter(&mut memory)?;
            self.cache = Cache::Mapped { memory, flushed: Vec::new() };
        }
        let Cache::Mapped { memory, flushed } = &mut self.cache else {
            unreachable!("it was moved into a memory file")
        };
        let mapped = memory.map(options, readable)?;
        let chunk_count = memory.marks().map_or(0, Watermarks::chunk_count);
        *flushed = readable.to_vec();
        flushed.resize(chunk_count, 0);
        Ok(mapped)
    }
}

fn image_file(image: &Image) -> io::Result<AnonymousFile> {
    let mut memory = AnonymousFile::new()?;
    memory.grow_to(image.len())?;
    for (page_index, page) in image.pages() {
        let inside = (image.len() - page_index * PAGE).min(PAGE) as usize;
        memory.write_at(&page[..inside], page_index * PAGE)?;
    }
    Ok(memory)
}

/// The content of a memory file. Pages of zeros cost nothing.
fn mapped_image(memory: &AnonymousFile) -> io::Result<Image> {
    let mut bytes = vec![0; memory.file_bytes() as usize];
    memory.read_at(&mut bytes, 0)?;
    let mut image = Image::default();
    image.grow_to(memory.file_bytes());
    image.write(&bytes, 0);
    Ok(image)
}

fn fate(random: &mut Random, bias: Bias, garbles: bool) -> Fate {
    if !random.chance(bias) {
        Fate::Old
    } else if garbles && random.below(4) == 0 {
        Fate::Garbage(random.next())
    } else {
        Fate::New
    }
}

fn fill_garbage(bytes: &mut [u8], salt: u64) {
    let mut random = Random::new(salt);
    bytes.fill_with(|| random.next() as u8);
}

/// A place other than `place` below `count`, which is 2 at least.
fn elsewhere(salt: u64, place: u64, count: u64) -> u64 {
    let other = salt % count.max(2);
    if other == place { (other + 1) % count.max(2) } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(image: &Image) -> Vec<u8> {
        let mut bytes = vec![0; image.len() as usize];
        assert_eq!(image.read(&mut bytes, 0), bytes.len());
        bytes
    }

    #[test]
    fn only_a_flush_makes_durable() {
        let mut file = FileState::new(Image::default());
        file.write(b"abc", 4095).unwrap();
        assert_eq!(file.durable().len(), 0);
        file.make_durable(&mut Lies::default()).unwrap();
        assert_eq!(&all(file.durable())[4095..], b"abc");
        file.write(b"xyz", 0).unwrap();
        file.make_range_durable(1, 1, &mut Lies::default()).unwrap();
        assert_eq!(&all(file.durable())[..3], b"\0y\0");
        assert!(file.dirty.contains(&0));
        file.make_range_durable(0, 3, &mut Lies::default()).unwrap();
        assert!(file.dirty.is_empty());
    }

    /// A file of two pages, of which the first was written and the second only allocated, and a
    /// write to both.
    fn written_twice() -> FileState {
        let mut file = FileState::new(Image::default());
        file.grow_to(2 * PAGE).unwrap();
        file.write(b"old", 0).unwrap();
        file.make_durable(&mut Lies::default()).unwrap();
        file.write(b"new", 0).unwrap();
        file.write(b"new", PAGE).unwrap();
        file
    }

    /// What both pages begin with.
    fn heads(image: &Image) -> [u8; 2] {
        let bytes = all(image);
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
                &[2 * PAGE],
                |_| Ok(()),
            )
            .unwrap();
        file.dirty.insert(0);
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
        let mut file = FileState::new(Image::default());
        file.grow_to(8192).unwrap();
        file.make_durable(&mut Lies::default()).unwrap();
        file.write(&[1; 8192], 0).unwrap();
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let image = file.survivors(&mut Random::new(seed), false).unwrap();
            seen.insert(all(&image).chunks(512).map(|sector| sector[0]).collect::<Vec<_>>());
        }
        assert!(seen.contains([0; 16].as_slice()));
        assert!(seen.contains([1; 16].as_slice()));
        assert!(seen.len() > 40);
    }

    #[test]
    fn a_crash_keeps_any_part_of_what_is_in_flight() {
        let mut file = FileState::new(Image::default());
        file.grow_to(1024).unwrap();
        file.make_durable(&mut Lies::default()).unwrap();
        file.submit((1, false), 0, vec![1; 1024]);
        assert_eq!(file.len(), 1024);
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let image = file.survivors(&mut Random::new(seed), false).unwrap();
            seen.insert((all(&image)[0], all(&image)[1023]));
            let mut killed = file.after_kill(&mut Random::new(seed)).unwrap();
            killed.land(1, &mut Random::new(seed)).unwrap();
            assert_eq!(all(killed.durable()), [0; 1024]);
        }
        assert_eq!(seen.len(), 4);
        file.end_flight(1);
        let image = file.survivors(&mut Random::new(1), false).unwrap();
        assert_eq!(all(&image), [0; 1024]);
    }

    #[test]
    fn stolen_pages_are_durable() {
        let mut file = FileState::new(Image::default());
        file.write(&[1; 8192], 0).unwrap();
        let mut random = Random::new(4);
        for _ in 0..100 {
            file.steal(&mut random).unwrap();
        }
        assert_eq!(all(file.durable()), [1; 8192]);
    }
}
