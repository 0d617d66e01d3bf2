//! The index image of a database that is not open.

use uarr_layout::chunk::ChunkEntry;
use uarr_layout::image::{PIECE_BYTES_MAX, PieceHeader, PieceKind};
use uarr_layout::{DatabaseId, Defect};
use uarr_uring::{Storage, StorageFile};
use zerocopy::FromBytes;

use crate::error::{Error, Result};
use crate::files::{image_path, list_images};
use crate::rescue::inspector::Inspector;
use crate::structure::{MISSING, Structure};

/// An index image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Number of its checkpoint.
    pub checkpoint: u64,
    /// Its path in the database directory.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its pieces, as far as they can be read.
    pub pieces: Vec<Piece>,
    /// Entries of the whole pieces.
    pub entry_count: u64,
    /// The chunks of the data file.
    pub chunks: Vec<ChunkEntry>,
    /// Why it cannot be used: the first damage.
    pub damage: Option<Error>,
}

/// A piece of an index image, as written.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Where in the image it starts.
    pub offset: u64,
    /// What it holds.
    pub kind: PieceKind,
    /// Bytes to the next piece.
    pub bytes: u64,
    /// Bytes of it that mean something.
    pub used_bytes: u64,
    /// Number of its entries.
    pub entry_count: u64,
}

impl Image {
    fn is_whole(&self) -> bool {
        self.pieces.last().is_some_and(|piece| piece.kind == PieceKind::End)
    }

    fn add(&mut self, piece: Piece, expected: Option<u64>) {
        let has_entries = !matches!(piece.kind, PieceKind::End | PieceKind::Chunks);
        self.entry_count += if has_entries { piece.entry_count } else { 0 };
        self.pieces.push(piece);
        if let Some(expected) = expected
            && self.is_whole()
            && expected != self.entry_count
        {
            let defect = Defect::Position { expected, found: self.entry_count };
            self.damage = Some(Structure::entry_count(self.checkpoint).defect(defect));
        }
    }
}

/// The piece at `offset` of image `image`, and the chunks that it lists.
fn read_piece(
    bytes: &[u8],
    database: &DatabaseId,
    image: u64,
    offset: u64,
) -> std::result::Result<(Piece, Vec<ChunkEntry>), Defect> {
    let header = PieceHeader::peek(bytes)?;
    let (kind, used) = header.verify(bytes, database, image, offset)?;
    let piece = Piece {
        offset,
        kind,
        bytes: header.piece_bytes.get().into(),
        used_bytes: used.len() as u64,
        entry_count: header.entry_count.get().into(),
    };
    let chunks = match kind {
        PieceKind::Chunks => <[ChunkEntry]>::ref_from_bytes(used).map_err(|_| Defect::Length)?,
        _ => &[],
    };
    Ok((piece, chunks.to_vec()))
}

impl<S: Storage> Inspector<S> {
    /// The index image of the newest checkpoint; `None` before the first one. If the superblock is
    /// lost, the image with the highest number.
    pub fn image(&self) -> Result<Option<Image>> {
        match self.named_images()?.first() {
            Some((checkpoint, expected)) => self.read_image(*checkpoint, *expected).map(Some),
            None => Ok(None),
        }
    }

    /// Numbers of the images of the kept checkpoints, the newest first, and how many entries they
    /// have. If the superblock is lost, those of all that there are.
    pub(in crate::rescue) fn named_images(&self) -> Result<Vec<(u64, Option<u64>)>> {
        let Some(root) = self.superblock() else {
            let numbers = list_images(&self.storage)?.into_iter().rev();
            return Ok(numbers.map(|number| (number, None)).collect());
        };
        let named = root.checkpoints.iter().filter(|kept| kept.number.get() > 0);
        Ok(named.map(|kept| (kept.number.get(), Some(kept.entry_count.get()))).collect())
    }

    /// The image of checkpoint `checkpoint`, as far as it can be read.
    pub(in crate::rescue) fn read_image(
        &self,
        checkpoint: u64,
        expected: Option<u64>,
    ) -> Result<Image> {
        let (database, _) = self.identity()?;
        let file = image_path(checkpoint);
        let (bytes, entry_count) = (0, 0);
        let (pieces, chunks) = (Vec::new(), Vec::new());
        let mut image =
            Image { checkpoint, file, bytes, pieces, entry_count, chunks, damage: None };
        let Some(opened) = self.open_file(&image.file)? else {
            image.damage = Some(Structure::image(checkpoint).damage(MISSING));
            return Ok(image);
        };
        let failed = |error| Error::io("cannot read an index image", error);
        image.bytes = opened.len().map_err(failed)?;
        let mut buffer = vec![0; PIECE_BYTES_MAX];
        let mut offset = 0;
        while image.damage.is_none() && !image.is_whole() {
            let read = opened.read_at(&mut buffer, offset).map_err(failed)?;
            match read_piece(&buffer[..read], &database, checkpoint, offset) {
                Ok((piece, chunks)) => {
                    offset += piece.bytes;
                    image.chunks.extend(chunks);
                    image.add(piece, expected);
                }
                Err(defect) => {
                    image.damage = Some(Structure::image(checkpoint).at(offset).defect(defect));
                }
            }
        }
        Ok(image)
    }
}
