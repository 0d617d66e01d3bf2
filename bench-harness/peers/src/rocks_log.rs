//! What RocksDB writes about itself to the file `LOG` of each database it opens.

use crate::PeerFacts;

/// Version and means of checksums, from the text of a `LOG`.
pub fn facts(log: &str, settings: &str) -> PeerFacts {
    let after = |name: &str| {
        let (_, value) = log.lines().find_map(|line| line.split_once(name))?;
        Some(value.trim())
    };
    let crc = match after("Fast CRC32 supported:") {
        None => "CRC unknown".to_owned(),
        Some(word) if word.starts_with("Supported") => format!("CRC by the processor ({word})"),
        Some(word) => format!("CRC IN SOFTWARE, which is slow ({word})"),
    };
    let version = after("RocksDB version:").unwrap_or("unknown").to_owned();
    PeerFacts { version, settings: format!("{crc}, {settings}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_checksums_are_those_that_rocksdb_names() {
        let log = |crc: &str| {
            format!(
                "2026/11/30-12:29:09.1 7 RocksDB version: 11.8.1\n\
                 2026/11/30-12:29:09.2 7 Fast CRC32 supported: {crc}\n"
            )
        };
        for (crc, shown) in [
            ("Supported on x86", "CRC by the processor (Supported on x86), x"),
            ("Not supported on x86", "CRC IN SOFTWARE, which is slow (Not supported on x86), x"),
        ] {
            let facts = facts(&log(crc), "x");
            assert_eq!((facts.version.as_str(), facts.settings.as_str()), ("11.8.1", shown));
        }
        let nothing = facts("", "x");
        assert_eq!(
            (nothing.version.as_str(), nothing.settings.as_str()),
            ("unknown", "CRC unknown, x")
        );
    }
}
