//! What RocksDB writes about itself to the file `LOG` of each database it opens.

/// Version and means of checksums, from the text of a `LOG`.
pub fn facts(log: &str, settings: &str) -> (String, String) {
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
    (version, format!("{crc}, {settings}"))
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
            assert_eq!(facts(&log(crc), "x"), ("11.8.1".to_owned(), shown.to_owned()));
        }
        assert_eq!(facts("", "x"), ("unknown".to_owned(), "CRC unknown, x".to_owned()));
    }
}
