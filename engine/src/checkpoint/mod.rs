//! What a checkpoint writes: index images and the superblock.

pub(crate) mod chunk_table;
pub(crate) mod image;
pub(crate) mod image_search;
pub(crate) mod image_walk;
pub(crate) mod image_write;
pub(crate) mod root;
