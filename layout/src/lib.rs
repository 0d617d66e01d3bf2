//! Bytes of the uarr storage engine: UArr values and the structures on disk.
