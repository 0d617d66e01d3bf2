//! RocksDB and SQLite behind one key-value trait, compiled apart from everything else.
