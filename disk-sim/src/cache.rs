//! [`Cache`]: what readers of a file see.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use uarr_uring::parts::{AnonymousFile, Appender, Chunks, MapOptions};
use uarr_uring::{FileMap, MappedChunk, PAGE_BYTES};

use crate::view::{PAGE, Page, View, page_range};

/// The bytes of a file in the kernel's cache.
#[derive(Debug)]
pub(crate) enum Cache {
    Pages(View),
    /// The file was mapped, and lives in a memory file since, because a map needs one.
    Mapped {
        memory: AnonymousFile,
        /// Which chunk each place had, and how many of its published bytes were noted as changed.
        noted: Vec<(Option<u64>, u64)>,
    },
}

impl Cache {
    pub fn len(&self) -> u64 {
        match self {
            Self::Pages(view) => view.len(),
            Self::Mapped { memory, .. } => memory.file_bytes(),
        }
    }

    /// Whether a map of the file lives.
    pub fn is_mapped(&self) -> bool {
        matches!(self, Self::Mapped { memory, .. } if memory.is_mapped())
    }

    /// Whether the file was mapped at any time: the kernel writes whole pages of it back.
    pub fn was_mapped(&self) -> bool {
        matches!(self, Self::Mapped { .. })
    }

    /// Reads up to the end; returns the bytes read.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Pages(view) => Ok(view.read(buffer, offset)),
            Self::Mapped { memory, .. } => {
                let count = buffer.len().min(memory.file_bytes().saturating_sub(offset) as usize);
                memory.read_at(&mut buffer[..count], offset)?;
                Ok(count)
            }
        }
    }

    /// Writes, extending the file as needed. `InvalidInput` over published bytes of a map.
    pub fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Pages(view) => view.write(bytes, offset),
            Self::Mapped { memory, .. } => memory.write_at(bytes, offset)?,
        }
        Ok(())
    }

    /// Extends with zeroes what is shorter.
    pub fn grow_to(&mut self, len: u64) -> io::Result<()> {
        match self {
            Self::Pages(view) => view.grow_to(len),
            Self::Mapped { memory, .. } => memory.grow_to(len)?,
        }
        Ok(())
    }

    /// The pages of `range` that may be other than zeros.
    pub fn pages_in(&self, range: Range<u64>) -> Vec<u64> {
        match self {
            Self::Pages(view) => view.pages().range(range).map(|(index, _)| *index).collect(),
            Self::Mapped { .. } => range.collect(),
        }
    }

    pub fn page(&self, page_index: u64) -> io::Result<Arc<Page>> {
        match self {
            Self::Pages(view) => Ok(view.page(page_index)),
            Self::Mapped { .. } => {
                let mut page = [0; PAGE_BYTES];
                self.read(&mut page, page_index * PAGE)?;
                Ok(Arc::new(page))
            }
        }
    }

    /// A copy of all bytes. Pages of zeros cost nothing.
    pub fn view(&self) -> io::Result<View> {
        match self {
            Self::Pages(view) => Ok(view.clone()),
            Self::Mapped { memory, .. } => {
                let mut bytes = vec![0; memory.file_bytes() as usize];
                memory.read_at(&mut bytes, 0)?;
                let mut view = View::default();
                view.grow_to(memory.file_bytes());
                view.write(&bytes, 0);
                Ok(view)
            }
        }
    }

    /// The pages that were published through the map since the last time.
    pub fn take_published(&mut self) -> Vec<Range<u64>> {
        let Self::Mapped { memory, noted } = self else { return Vec::new() };
        let Some(chunks) = memory.chunks() else { return Vec::new() };
        let mut published_pages = Vec::new();
        for (place, noted) in (0..).zip(noted.iter_mut()) {
            let Some(owner) = chunks.owner(place) else { continue };
            let published = chunks.published_bytes(place);
            // The chunk was closed in between, so its bytes no longer matter.
            if chunks.owner(place) != Some(owner) {
                continue;
            }
            let before = if noted.0 == Some(owner) { noted.1 } else { 0 };
            assert!(published >= before, "watermarks only grow");
            if published > before {
                let start = place * chunks.chunk_bytes() + before;
                published_pages.push(page_range(start, published - before));
            }
            *noted = (Some(owner), published);
        }
        published_pages
    }

    /// Maps the file, which begins with `chunks`; `filter` sees its content before the first map
    /// does.
    pub fn map(
        &mut self,
        options: MapOptions,
        chunks: &[MappedChunk],
        filter: impl FnOnce(&mut AnonymousFile) -> io::Result<()>,
    ) -> io::Result<(FileMap, Appender)> {
        if let Self::Pages(view) = self {
            let mut memory = memory_file(view)?;
            filter(&mut memory)?;
            *self = Self::Mapped { memory, noted: Vec::new() };
        }
        let Self::Mapped { memory, noted } = self else {
            unreachable!("it was moved into a memory file")
        };
        let mapped = memory.map(options, chunks)?;
        *noted = vec![(None, 0); memory.chunks().map_or(0, Chunks::place_count)];
        for chunk in chunks {
            noted[chunk.place as usize] = (Some(chunk.number), chunk.published_bytes);
        }
        Ok(mapped)
    }
}

fn memory_file(view: &View) -> io::Result<AnonymousFile> {
    let mut memory = AnonymousFile::new()?;
    memory.grow_to(view.len())?;
    for (page_index, page) in view.pages() {
        let inside = (view.len() - page_index * PAGE).min(PAGE) as usize;
        memory.write_at(&page[..inside], page_index * PAGE)?;
    }
    Ok(memory)
}
