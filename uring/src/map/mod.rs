//! A file mapped once, for its whole future: [`FileMap`] for readers, [`Appender`] for the writer.
//!
//! The file is divided into places of equal size. A chunk is a number, used once, that has a place;
//! addresses name chunks. Each chunk has a watermark: the number of its bytes, from its start, that
//! are published. When a chunk is closed, and no reader looks at it any more, its place is free for
//! another one.
//!
//! ```text
//!   place 0: chunk 4           place 1: chunk 9           place 2: free (no space)
//!   |ppppppppppppppppppppp....|pppppppp...................|                       |
//!                         ^ watermark  ^ watermark                                 ^ end of the
//!                                                                                    map
//!   p published: never written again, readable by all    . unpublished: the appender's alone
//! ```
//!
//! Why `&[u8]` into a shared map is sound:
//! 1. Only bytes below a watermark are ever given out as a slice, for as long as a [`MapPin`] lives
//!    ([`DataMap::bytes`](crate::DataMap::bytes)), or a [`Held`] that was made under one.
//! 2. Only [`Appender::append`] writes through the map, and [`Appender::append_written`] to the
//!    file below it, and only at or above the watermark of an open chunk. There is one appender per
//!    map, it is not `Clone`, and it writes with `&mut self`; so no two writes race, and no write
//!    touches a byte that a slice may cover: no two chunks have the same place.
//! 3. The appender stores the new watermark with release ordering after the bytes, a reader loads
//!    it with acquire ordering before it looks at them: the bytes are complete when they are seen.
//!    A chunk's place is stored before its number, which a reader loads first.
//! 4. The watermark of a chunk only grows, and the chunk keeps its place and its slot until both
//!    are free: its number was taken from the slot first; then each pin that there was had to end,
//!    and later ones find no chunk there; then no word of a hold named the place. A hold stores its
//!    word under the pin that found the bytes, so it is seen. The map and its chunks live as long
//!    as any [`FileMap`], and a hold borrows from one.
//! 5. Published bytes lie inside the file: watermarks are checked against its length, the map is
//!    longer than the file only above it, and nothing truncates a file ([`crate::SystemFile`] has
//!    no call for it; growth that fails gives back only what it took itself). Before the appender
//!    writes to a place, this has real space of its own: it is allocated first, even where the file
//!    is long enough, since a copy may have holes or share its space; and a place loses its space
//!    only while no chunk has it, or that of units in which the chunk has published nothing: then
//!    it is allocated again before the next append. So no access ends in SIGBUS.
//! 6. A file has one map at a time, and the handle it was mapped through refuses to write over
//!    published bytes. What remains is another handle, or another process that ignores the
//!    directory's lock: as with every map of a file, keeping those away is up to the owner of the
//!    directory.
//!
//! A read error of the device under a mapped page kills the process with SIGBUS, as with every map.
//!
//! | module | what it holds |
//! |---|---|
//! | `chunks` | which place each chunk has, and how much of it is published |
//! | `options` | what a map is made for |
//! | `mapping` | the address space |
//! | `pin` | the wait for readers that are at work |
//! | `hold` | bytes that readers keep |
//! | `closed` | a chunk on its way out |
//! | `span` | where bytes may be appended |
//! | `file_map` | the readers' side |
//! | `appender` | the writer's side, and how a file is mapped |
//! | `anonymous` | a file in memory to be mapped |

mod anonymous;
mod appender;
mod chunks;
mod closed;
mod file_map;
mod hold;
mod mapping;
mod options;
mod pin;
mod span;

pub use anonymous::AnonymousFile;
pub use appender::Appender;
pub(crate) use appender::map_file;
pub use chunks::{CHUNK_SPAN, Chunks, MappedChunk};
pub use closed::ClosedChunk;
pub use file_map::FileMap;
pub use hold::{Held, Pinned};
pub use options::MapOptions;
pub use pin::{Grace, MapPin};
