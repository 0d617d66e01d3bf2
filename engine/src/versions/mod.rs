//! What readers see.

pub(crate) mod pins;
pub(crate) mod walk;
