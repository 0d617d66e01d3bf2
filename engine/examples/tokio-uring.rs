//! The engine under tokio-uring: a runtime on one thread with a ring of its own, beside the
//! engine's.
//!
//! ```text
//! cargo run --release -p uarr --example tokio-uring -- DIR
//! ```
//! Files are read through the runtime's ring and stored through the engine's; both wait without
//! blocking the thread. Reads from the engine are memory accesses and need no ring.
#![expect(clippy::disallowed_methods, reason = "an example reads files")]

use std::error::Error;
use std::path::{Path, PathBuf};

use tokio_uring::fs::File;
use uarr::Db;

const BLOCK_BYTES: usize = 64 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).ok_or("usage: tokio-uring DIR")?;
    let dir = PathBuf::from(dir);
    tokio_uring::start(async {
        let db = Db::open_async(&dir).await?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
        let mut tasks = Vec::new();
        for entry in std::fs::read_dir(source)? {
            tasks.push(tokio_uring::spawn(store(db.clone(), entry?.path())));
        }
        let mut bytes = 0;
        for task in tasks {
            bytes += task.await??;
        }
        println!("{} files, {bytes} bytes, in {} groups", db.len(), db.stats().group_count);
        for record in db.prefix("c")? {
            let record = record?;
            println!("{:>8} {}", record.len(), String::from_utf8_lossy(record.key()));
        }
        db.close_async().await?;
        Ok(())
    })
}

/// Stores a file under its name; returns its length when it is durable.
async fn store(db: Db, path: PathBuf) -> Result<usize, Box<dyn Error>> {
    let name = path.file_name().ok_or("files have names")?.to_string_lossy().into_owned();
    let file = File::open(&path).await?;
    let mut content = Vec::new();
    let mut buffer = vec![0; BLOCK_BYTES];
    loop {
        let (read, filled) = file.read_at(buffer, content.len() as u64).await;
        buffer = filled;
        match read? {
            0 => break,
            count => content.extend_from_slice(&buffer[..count]),
        }
    }
    file.close().await?;
    let commit = db.put_async(&name, &content).await?;
    assert!(commit.is_durable);
    Ok(content.len())
}
