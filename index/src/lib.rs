//! An ALEX-style learned ordered index with readers that never wait.
