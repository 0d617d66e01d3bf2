//! An io_uring direct-I/O storage engine: durable group commits, zero-copy reads, a learned index.
