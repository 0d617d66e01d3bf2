//! Pieces of images that say something else, with right checksums, for readers of a disk.

use std::sync::Arc;

use uarr_disk_sim::ReadFilter;
use uarr_layout::geometry::PIECE_HEADER_BYTES;
use uarr_layout::image::{PieceHeader, PieceKind};

/// What is to stand in a piece: its bytes, and how many entries they are.
pub(super) type Edited = (Vec<u8>, usize);

/// `edit` gets the number of the image and what is used of each piece of `kind`, and says what is
/// to stand there instead; what has no room is left as it is.
pub(super) fn pieces_are(
    kind: PieceKind,
    edit: impl Fn(u64, &[u8]) -> Option<Edited> + Send + Sync + 'static,
) -> ReadFilter {
    Arc::new(move |path, bytes| {
        if path.starts_with("index/") {
            let _ = edit_pieces(bytes, kind, &edit);
        }
    })
}

fn edit_pieces(
    mut bytes: &mut [u8],
    wanted: PieceKind,
    edit: &impl Fn(u64, &[u8]) -> Option<Edited>,
) -> Option<()> {
    loop {
        let mut header = PieceHeader::peek(bytes).ok()?;
        let piece_bytes = header.piece_bytes.get() as usize;
        let (piece, rest) = bytes.split_at_mut_checked(piece_bytes)?;
        let (image, offset) = (header.image.get(), header.offset.get());
        let (kind, used) = header.verify(piece, &header.database, image, offset).ok()?;
        if kind == wanted {
            let (edited, count) = edit(image, used)?;
            if PIECE_HEADER_BYTES + edited.len() <= piece_bytes {
                header.used_bytes = (edited.len() as u32).into();
                header.entry_count = (count as u32).into();
                piece[PIECE_HEADER_BYTES..].fill(0);
                piece[PIECE_HEADER_BYTES..][..edited.len()].copy_from_slice(&edited);
                header.store(piece);
            }
        }
        bytes = rest;
    }
}
