//! gzip and zstd: inputs are known by their first bytes, outputs get what their name asks for.

use std::ffi::OsStr;
use std::io::{self, BufReader, Cursor, Read, Write};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

/// First byte of a gzip stream, and its second.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// How a zstd frame begins; frames that readers skip are not at the start of what tools write.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What the input holds once it is unpacked. Reads no further than it must to know: a pipe may
/// deliver a byte now and the next one in an hour.
pub fn unpacked(mut input: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut first = Vec::new();
    for marker in [GZIP.as_slice(), &ZSTD] {
        while first.len() < marker.len() && marker.starts_with(&first) {
            let read = input.by_ref().take(1).read_to_end(&mut first)?;
            if read == 0 {
                break;
            }
        }
    }
    let all = Cursor::new(first.clone()).chain(input);
    Ok(match first.as_slice() {
        first if first == GZIP => Box::new(MultiGzDecoder::new(BufReader::new(all))),
        first if first == ZSTD => Box::new(zstd::Decoder::new(all)?),
        _ => Box::new(all),
    })
}

/// Packs what is written to it, or passes it on.
pub enum Packed<W: Write> {
    /// As it is.
    Plain(W),
    /// As gzip.
    Gzip(GzEncoder<W>),
    /// As zstd.
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Packed<W> {
    /// Packs as a file of this name is expected to be.
    pub fn for_name(name: &Path, target: W) -> io::Result<Self> {
        Ok(match name.extension().and_then(OsStr::to_str) {
            Some("gz") => Self::Gzip(GzEncoder::new(target, flate2::Compression::default())),
            Some("zst") => {
                let mut encoder = zstd::Encoder::new(target, zstd::DEFAULT_COMPRESSION_LEVEL)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
            _ => Self::Plain(target),
        })
    }

    /// Writes the end, and gives the target back.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(target) => Ok(target),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Packed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(target) => target.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(target) => target.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(name: &str, text: &[u8]) -> Vec<u8> {
        let mut packed = Packed::for_name(Path::new(name), Vec::new()).unwrap();
        packed.write_all(text).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        for text in ["", "a", "{\"k\":1}\n", "(", "\u{1f}", &"longer ".repeat(100_000)] {
            for name in ["x", "x.ndjson", "x.gz", "x.ndjson.zst"] {
                let packed = packed(name, text.as_bytes());
                let is_plain = packed == text.as_bytes();
                assert_eq!(is_plain, !name.contains("gz") && !name.contains("zst"), "{name}");
                let mut read = String::new();
                unpacked(Cursor::new(packed)).unwrap().read_to_string(&mut read).unwrap();
                assert_eq!(read, text, "{name}");
            }
        }
    }

    #[test]
    fn packed_parts_may_follow_each_other() {
        for name in ["x.gz", "x.zst"] {
            let parts = [packed(name, b"one, "), packed(name, b"two")].concat();
            let mut read = String::new();
            unpacked(Cursor::new(parts)).unwrap().read_to_string(&mut read).unwrap();
            assert_eq!(read, "one, two");
        }
    }

    #[test]
    fn what_was_cut_off_is_an_error() {
        for name in ["x.gz", "x.zst"] {
            let whole = packed(name, "longer ".repeat(1000).as_bytes());
            let cut = whole[..whole.len() - 1].to_vec();
            let mut read = Vec::new();
            assert!(unpacked(Cursor::new(cut)).unwrap().read_to_end(&mut read).is_err(), "{name}");
        }
    }
}
