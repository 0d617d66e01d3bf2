//! [`MapOptions`]: what a map is made for.

/// What a map is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapOptions {
    /// Address space to set aside.
    pub reserve_bytes: u64,
    /// Size of a chunk, a power of two.
    pub chunk_bytes: u64,
    /// Bytes of the file. Only those that are readable at birth are taken to be really there: the
    /// file may be a copy with holes, or grow by a part of what was asked for.
    pub file_bytes: u64,
    /// Whether the file may be written through the map.
    pub writable: bool,
    /// Whether to ask for huge pages.
    pub huge_pages: bool,
    /// Whether [`crate::DataMap::prefault`] does anything.
    pub prefaults: bool,
}
