//! Versions of the peers that cannot say it themselves: those of Cargo.lock, which they are built
//! from.

use std::path::Path;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("Cargo.lock");
    println!("cargo:rerun-if-changed={}", path.display());
    let lock = std::fs::read_to_string(path).unwrap_or_default();
    for name in ["redb", "fjall"] {
        let head = format!("name = \"{name}\"\nversion = \"");
        let version = lock.split_once(&head).and_then(|(_, rest)| rest.split('"').next());
        let version = version.unwrap_or("unknown");
        println!("cargo:rustc-env=PEER_VERSION_{}={version}", name.to_uppercase());
    }
}
