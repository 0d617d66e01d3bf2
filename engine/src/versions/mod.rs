//! What readers see.

pub(crate) mod clock;
pub(crate) mod moving;
pub(crate) mod needed;
pub(crate) mod open_table;
pub(crate) mod pins;
pub(crate) mod records;
pub(crate) mod retained;
pub(crate) mod visible;
pub(crate) mod walk;
