//! [`Image`]: the bytes of a file as one observer sees them; and [`FileState`]: what readers see,
//! what a loss of power leaves, and what lies between the two.
//!
//! ```text
//!   write --> cache image --> make_durable --> durable image
//!               | dirty pages: in the cache only; a crash keeps any part of them
//!               + lost pages: their flush failed; no later flush brings them to the device
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::random::Random;
use crate::buffer::PAGE_BYTES;
use crate::error::invalid_input;
use crate::map::{Appender, FileMap, MapOptions, Watermarks, map_file};

const PAGE: u64 = PAGE_BYTES as u64;
/// A device writes sectors whole; nothing larger.
const SECTOR_BYTES: usize = 512;

type Page = [u8; PAGE_BYTES];

/// Sparse file content. Cloning shares the pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    len: u64,
    pages: BTreeMap<u64, Arc<Page>>,
}

impl Image {
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Reads up to the end; returns the bytes read.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let count = buffer.len().min(self.len.saturating_sub(offset) as usize);
        for (page_index, part, within) in pieces(offset, count) {
            match self.pages.get(&page_index) {
                Some(page) => buffer[part].copy_from_slice(&page[within]),
                None => buffer[part].fill(0),
            }
        }
        count
    }

    /// Writes, extending the image as needed.
    pub fn write(&mut self, bytes: &[u8], offset: u64) {
        self.len = self.len.max(offset + bytes.len() as u64);
        for (page_index, part, within) in pieces(offset, bytes.len()) {
            let page = self.pages.entry(page_index).or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            Arc::make_mut(page)[within].copy_from_slice(&bytes[part]);
        }
    }

    /// Cuts, or extends with zeroes.
    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.split_off(&len.div_ceil(PAGE));
            let tail = (len % PAGE) as usize;
            if tail > 0
                && let Some(page) = self.pages.get_mut(&(len / PAGE))
            {
                Arc::make_mut(page)[tail..].fill(0);
            }
        }
        self.len = len;
    }

    fn page(&self, page_index: u64) -> Arc<Page> {
        self.pages.get(&page_index).cloned().unwrap_or_else(|| Arc::new([0; PAGE_BYTES]))
    }

    /// Sets a page; what of it lies beyond the end is zeroed, as it reads once the file grows.
    fn set_page(&mut self, page_index: u64, mut page: Arc<Page>) {
        let inside = self.len.saturating_sub(page_index * PAGE).min(PAGE) as usize;
        if inside == 0 {
            return;
        }
        if page[inside..].iter().any(|&byte| byte != 0) {
            Arc::make_mut(&mut page)[inside..].fill(0);
        }
        self.pages.insert(page_index, page);
    }
}

/// The pages that `offset .. offset + len` touches: page, range of the caller's bytes, range in the
/// page.
fn pieces(
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
        let piece = (at / PAGE, done..done + count, within..within + count);
        done += count;
        Some(piece)
    })
}

fn page_range(offset: u64, len: u64) -> std::ops::Range<u64> {
    offset / PAGE..(offset + len).div_ceil(PAGE)
}

/// What readers see. A mapped file lives in a memory file of the kernel, because a map needs one.
#[derive(Debug)]
enum Cache {
    Pages(Image),
    Mapped { memory: File, len: u64, marks: Arc<Watermarks>, flushed: Vec<u64> },
}

/// One file: cached and durable content.
#[derive(Debug)]
pub(super) struct FileState {
    cache: Cache,
    durable: Image,
    dirty: BTreeSet<u64>,
    lost: BTreeSet<u64>,
}

impl FileState {
    /// A file whose cached content is all durable.
    pub fn new(content: Image) -> Self {
        Self {
            cache: Cache::Pages(content.clone()),
            durable: content,
            dirty: BTreeSet::new(),
            lost: BTreeSet::new(),
        }
    }

    pub fn len(&self) -> u64 {
        match &self.cache {
            Cache::Pages(image) => image.len(),
            Cache::Mapped { len, .. } => *len,
        }
    }

    pub fn is_mapped(&self) -> bool {
        // One count is the file's own; any other is a reader's or the writer's.
        matches!(&self.cache, Cache::Mapped { marks, .. } if Arc::strong_count(marks) > 1)
    }

    pub fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.cache {
            Cache::Pages(image) => Ok(image.read(buffer, offset)),
            Cache::Mapped { memory, len, .. } => {
                let count = buffer.len().min(len.saturating_sub(offset) as usize);
                memory.read_exact_at(&mut buffer[..count], offset)?;
                Ok(count)
            }
        }
    }

    /// Writes into the cache. `InvalidInput` over published bytes of a map.
    pub fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let len = bytes.len() as u64;
        let mapped = self.is_mapped();
        match &mut self.cache {
            Cache::Pages(image) => image.write(bytes, offset),
            Cache::Mapped { marks, .. } if mapped && marks.intersects(offset, len) => {
                return Err(invalid_input("write over published bytes of a mapped file"));
            }
            Cache::Mapped { memory, len: file_len, .. } => {
                memory.write_all_at(bytes, offset)?;
                *file_len = (*file_len).max(offset + len);
            }
        }
        for page_index in page_range(offset, len) {
            self.dirty.insert(page_index);
            self.lost.remove(&page_index);
        }
        Ok(())
    }

    pub fn set_len(&mut self, len: u64) -> io::Result<()> {
        // What is cut off must not come back when the file grows again.
        let cut = len / PAGE..;
        self.dirty.extend(self.durable.pages.range(cut).map(|(&page_index, _)| page_index));
        match &mut self.cache {
            Cache::Pages(image) => image.set_len(len),
            Cache::Mapped { memory, len: file_len, .. } => {
                memory.set_len(len)?;
                *file_len = len;
            }
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
        let Cache::Mapped { marks, flushed, .. } = &mut self.cache else { return };
        for (chunk_index, flushed) in flushed.iter_mut().enumerate() {
            let published = marks.published_bytes(chunk_index);
            if published > *flushed {
                let start = chunk_index as u64 * marks.chunk_bytes() + *flushed;
                self.dirty.extend(page_range(start, published - *flushed));
                *flushed = published;
            }
        }
    }

    /// Brings everything that is dirty to the device.
    pub fn make_durable(&mut self) -> io::Result<()> {
        self.note_published();
        self.durable.set_len(self.len());
        for page_index in std::mem::take(&mut self.dirty) {
            let page = self.cached_page(page_index)?;
            self.durable.set_page(page_index, page);
        }
        Ok(())
    }

    /// Brings a range to the device, and as much of the file's length as it needs.
    pub fn make_range_durable(&mut self, offset: u64, len: usize) -> io::Result<()> {
        let mut bytes = vec![0; len];
        let count = self.read(&mut bytes, offset)?;
        self.durable.write(&bytes[..count], offset);
        for page_index in page_range(offset, len as u64) {
            if *self.durable.page(page_index) == *self.cached_page(page_index)? {
                self.dirty.remove(&page_index);
            }
        }
        Ok(())
    }

    /// A flush has failed: what was dirty counts as clean, but is not on the device.
    pub fn lose_all(&mut self) {
        self.note_published();
        self.lost.append(&mut self.dirty);
    }

    /// A write, or its flush, has failed: as [`FileState::lose_all`], for a range.
    pub fn lose_range(&mut self, offset: u64, len: u64) {
        for page_index in page_range(offset, len) {
            self.dirty.remove(&page_index);
            self.lost.insert(page_index);
        }
    }

    /// What a loss of power leaves at the least.
    pub fn durable(&self) -> &Image {
        &self.durable
    }

    /// What a loss of power may leave: any sectors, or any pages, that were not durable survive.
    pub fn survivors(&mut self, random: &mut Random) -> io::Result<Image> {
        self.note_published();
        let bias = random.bias();
        let unit_bytes = if random.flip() { SECTOR_BYTES } else { PAGE_BYTES };
        let mut image = self.durable.clone();
        if self.len() != image.len() && random.chance(bias) {
            image.set_len(self.len());
        }
        for &page_index in self.dirty.union(&self.lost) {
            let cached = self.cached_page(page_index)?;
            let mut page = image.page(page_index);
            for start in (0..PAGE_BYTES).step_by(unit_bytes) {
                if random.chance(bias) {
                    let unit = start..start + unit_bytes;
                    Arc::make_mut(&mut page)[unit.clone()].copy_from_slice(&cached[unit]);
                }
            }
            image.set_page(page_index, page);
        }
        Ok(image)
    }

    /// Maps the file, moving its content into a memory file of the kernel first.
    pub fn map(
        &mut self,
        options: MapOptions,
        readable: &[u64],
    ) -> io::Result<(FileMap, Appender)> {
        self.note_published();
        let memory = match &self.cache {
            Cache::Pages(image) => image_file(image)?,
            Cache::Mapped { memory, .. } => memory.try_clone()?,
        };
        let len = self.len();
        let (map, appender, marks) = map_file(&memory, options, readable)?;
        let mut flushed = readable.to_vec();
        flushed.resize(marks.chunk_count(), 0);
        self.cache = Cache::Mapped { memory, len, marks, flushed };
        Ok((map, appender))
    }
}

fn image_file(image: &Image) -> io::Result<File> {
    // SAFETY: the name is a string that ends in NUL and outlives the call.
    let fd = unsafe { libc::memfd_create(c"uarr-memory".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was made just now, is valid, and belongs to nobody else.
    let memory = unsafe { File::from_raw_fd(fd) };
    for (page_index, page) in &image.pages {
        memory.write_all_at(page.as_slice(), page_index * PAGE)?;
    }
    memory.set_len(image.len())?;
    Ok(memory)
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
    fn an_image_is_a_growing_array_of_bytes() {
        let mut image = Image::default();
        let mut model: Vec<u8> = Vec::new();
        let mut random = Random::new(1);
        for step in 0..2000_u32 {
            let offset = random.below(20_000) as usize;
            let len = random.below(9000) as usize;
            if random.below(10) == 0 {
                image.set_len(offset as u64);
                model.resize(offset, 0);
            } else if len > 0 {
                let bytes = vec![step as u8; len];
                image.write(&bytes, offset as u64);
                model.resize(model.len().max(offset + len), 0);
                model[offset..offset + len].copy_from_slice(&bytes);
            }
        }
        assert_eq!(image.len(), model.len() as u64);
        assert!(all(&image) == model);
    }

    #[test]
    fn only_a_flush_makes_durable() {
        let mut file = FileState::new(Image::default());
        file.write(b"abc", 4095).unwrap();
        assert_eq!(file.durable().len(), 0);
        file.make_durable().unwrap();
        assert_eq!(&all(file.durable())[4095..], b"abc");
        file.write(b"xyz", 0).unwrap();
        file.make_range_durable(1, 1).unwrap();
        assert_eq!(&all(file.durable())[..3], b"\0y\0");
        assert!(file.dirty.contains(&0));
        file.make_range_durable(0, 3).unwrap();
        assert!(file.dirty.is_empty());
    }

    #[test]
    fn what_was_cut_off_stays_away() {
        let mut file = FileState::new(Image::default());
        file.write(&[7; 9000], 0).unwrap();
        file.make_durable().unwrap();
        file.set_len(100).unwrap();
        file.set_len(9000).unwrap();
        assert_eq!(all(file.durable()), [7; 9000]);
        file.make_durable().unwrap();
        let bytes = all(file.durable());
        assert!(bytes[..100].iter().all(|&byte| byte == 7));
        assert!(bytes[100..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_failed_flush_loses_for_good() {
        let mut file = FileState::new(Image::default());
        file.set_len(4096).unwrap();
        file.make_durable().unwrap();
        file.write(b"abc", 0).unwrap();
        file.lose_all();
        file.make_durable().unwrap();
        assert_eq!(&all(file.durable())[..3], b"\0\0\0");
        let kept = (0..40).filter(|&seed| {
            all(&file.survivors(&mut Random::new(seed)).unwrap()).starts_with(b"abc")
        });
        assert!((1..40).contains(&kept.count()), "lost pages survive by chance only");
    }

    #[test]
    fn sectors_survive_independently() {
        let mut file = FileState::new(Image::default());
        file.set_len(8192).unwrap();
        file.make_durable().unwrap();
        file.write(&[1; 8192], 0).unwrap();
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let image = file.survivors(&mut Random::new(seed)).unwrap();
            seen.insert(all(&image).chunks(512).map(|sector| sector[0]).collect::<Vec<_>>());
        }
        assert!(seen.contains([0; 16].as_slice()));
        assert!(seen.contains([1; 16].as_slice()));
        assert!(seen.len() > 40);
    }
}
