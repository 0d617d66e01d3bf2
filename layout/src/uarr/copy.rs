//! Writing a value of one record into another.
//!
//! Invariant: the copy of a valid value is its canonical encoding in the new record; a damaged one
//! is an error, never a guess.

use super::encode::Encoder;
use super::error::{BuildError, Error};
use super::number::BigInt;
use super::reference::UArrRef;
use super::spec::{FLAG_CRC, FLAG_SORTED};
use super::view::{Budget, View};

/// Why a value could not be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyError {
    /// The source was not validated and is damaged.
    Damaged(Error),
    /// The target cannot hold it.
    Build(BuildError),
}

impl std::fmt::Display for CopyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged(error) => write!(f, "the source is damaged: {error}"),
            Self::Build(error) => write!(f, "the target cannot hold the value: {error}"),
        }
    }
}

impl std::error::Error for CopyError {}

impl From<Error> for CopyError {
    fn from(error: Error) -> Self {
        Self::Damaged(error)
    }
}

impl From<BuildError> for CopyError {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

impl Encoder {
    /// Writes the value of another record.
    ///
    /// # Panics
    /// If the record was not validated and is damaged: [`try_copy`](Self::try_copy) returns an
    /// error instead.
    pub fn copy(&mut self, value: &UArrRef<'_>) {
        let copied = self.try_copy(value);
        assert!(copied.is_ok(), "only intact records are copied: {copied:?}");
    }

    /// Writes the value of another record, which need not be valid. After an error the record
    /// under construction must be given up with [`start`](Self::start).
    ///
    /// # Errors
    /// The rule that the source breaks.
    pub fn try_copy(&mut self, value: &UArrRef<'_>) -> Result<(), Error> {
        self.copy_value(value, &mut Budget::new(value))
    }

    /// A record of its own for `value`, with the flags of `record_flags`.
    ///
    /// # Errors
    /// What is wrong with the source or does not fit.
    pub(crate) fn reencode(&mut self, value: &UArrRef<'_>, flags: u16) -> Result<(), CopyError> {
        self.set_flags(flags & (FLAG_CRC | FLAG_SORTED));
        self.start();
        self.try_copy(value)?;
        self.finish()?;
        Ok(())
    }

    fn copy_value(&mut self, value: &UArrRef<'_>, budget: &mut Budget) -> Result<(), Error> {
        budget.pay(value)?;
        match value.view()? {
            View::Null => self.null(),
            View::Undefined => self.undefined(),
            View::Bool(flag) => self.bool(flag),
            View::Int(number) => self.int(number),
            View::Uint(number) => self.uint(number),
            View::F64(number) => self.f64(number),
            View::Time(nanoseconds) => self.time(nanoseconds),
            View::Duration(nanoseconds) => self.duration(nanoseconds),
            View::Node(id) => self.node(id),
            View::NodeName(name) => self.node_name(name),
            View::Str(text) => self.str(text),
            View::Bytes(bytes) => self.bytes(bytes),
            View::BigInt(bytes) => self.big_int(&BigInt::from_le_bytes(bytes)),
            View::Id128(bytes) => self.id128(bytes),
            View::Decimal(number) => self.decimal(number),
            View::Array(array) => self.array_bytes(array.len(), array.bytes(), array.tag()),
            View::List(items) => {
                budget.enter(value)?;
                self.begin_list();
                for item in items {
                    self.copy_value(&item, budget)?;
                }
                self.end_list();
                budget.leave();
            }
            View::Object(mut entries) => {
                budget.enter(value)?;
                self.begin_object();
                while let Some(entry) = entries.try_next() {
                    let (name, field) = entry?;
                    self.name(name);
                    self.copy_value(&field, budget)?;
                }
                self.end_object();
                budget.leave();
            }
        }
        Ok(())
    }
}

impl UArrRef<'_> {
    /// This value as a record of its own, with the flags of the record it lies in.
    ///
    /// # Errors
    /// What is wrong with a record that was not validated.
    pub fn to_buf(&self) -> Result<super::UArrBuf, CopyError> {
        let bytes = self.record_bytes();
        let flags = bytes.get(10).map_or(0, |low| u16::from(*low));
        let mut encoder = Encoder::new();
        encoder.reencode(self, flags)?;
        Ok(encoder.take())
    }
}
