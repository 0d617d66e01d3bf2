//! What the index promises, seen from outside.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod byte_model;
mod flood;
mod int_model;
mod keys;
mod machine;
mod real_keys;
mod stress;
mod walks;
