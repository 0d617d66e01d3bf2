//! The log: where groups go, and how they are read back. Knows no records.

pub(crate) mod builder;
pub(crate) mod chain;
pub(crate) mod pool;
pub(crate) mod position;
pub(crate) mod reader;
pub(crate) mod rest;
pub(crate) mod room;
pub(crate) mod segment;
pub(crate) mod segments;
pub(crate) mod strategy;
pub(crate) mod writer;
pub(crate) mod zeros;
