//! Creating and opening a database.

pub(crate) mod create;
pub(crate) mod data_file;
pub(crate) mod decision;
pub(crate) mod enterer;
pub(crate) mod found;
pub(crate) mod frames;
pub(crate) mod gathered;
pub(crate) mod lander;
pub(crate) mod open;
pub(crate) mod recover;
pub(crate) mod relog;
pub(crate) mod replay;
pub(crate) mod replaying;
pub(crate) mod start;
pub(crate) mod tail;
