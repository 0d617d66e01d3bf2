//! Patches: a change of a value that is logged instead of the value; and touches, which change no
//! value and are logged as puts of it.
//!
//! 1. The caller reads the newest version of the key, the *base*, applies the patch to a copy and
//!    so knows the *result*: its length decides where the record goes. It holds no lock meanwhile.
//! 2. Under the staging lock: is the base still the newest version, staged ones included? Then the
//!    frame is staged. Its payload is the patch, with the base's LSN and length and checksum of
//!    the result.
//! 3. If not, the caller takes a turn ([`crate::commit::turns`]): it waits until the newest version
//!    is in the data file, while no other writer stages one, and begins again. So it does the work
//!    twice at most.
//!
//! The record in the data file is the whole result, a record like any other. Only replay computes
//! it again, from the version before it, and it must arrive at the same checksum.
//!
//! The result expires when the base does; of a touch, when that says.
//!
//! The log gets a put in place of a patch that is no shorter than its result, or that builds upon
//! an earlier change of the same batch.

use std::collections::BTreeMap;

use uarr_layout::frame::{Frame, FrameKind};
use uarr_layout::patch::PatchHeader;
use uarr_layout::uarr::{UArrBuf, UArrRef, apply};
use uarr_uring::{MapPin, Storage};
use zerocopy::IntoBytes;

use crate::commit::changes::{Change, ChangeKind, Stop};
use crate::commit::committer::Committer;
use crate::commit::premise::{Base, Expected};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{KeyKind, KeyRef};
use crate::limits::{BATCH_BYTES_MAX, check_value};

/// Bytes of a key that messages show.
const SHOWN_KEY_BYTES: usize = 64;

/// What a change becomes in the log.
pub(crate) struct Logged {
    what: What,
    /// When its record expires, in ms since 1970; 0: never.
    expires_ms: u64,
}

enum What {
    /// A put or a deletion, as given.
    Given,
    /// A put of this value.
    Whole(Box<[u8]>),
    /// A patch with this payload, which leads to this value.
    Patch { payload: Vec<u8>, result: UArrBuf },
}

impl Logged {
    pub fn frame<'a>(&'a self, change: &Change<'a>) -> Frame<'a> {
        let frame = match &self.what {
            What::Given => {
                let kind = change.kind.given().expect("a patch or touch needs its base");
                Frame::new(kind, 0, change.key, change.bytes)
            }
            What::Whole(result) => Frame::new(FrameKind::Put, 0, change.key, result),
            What::Patch { payload, result } => Frame::new_patch(0, change.key, payload, result),
        };
        frame.expiring(self.expires_ms)
    }

    /// The value that the change leads to; `None` if that removes the key.
    fn value<'a>(&'a self, change: &Change<'a>) -> Option<&'a [u8]> {
        match &self.what {
            What::Given => (change.kind == ChangeKind::Put).then_some(change.bytes),
            What::Whole(result) => Some(result),
            What::Patch { result, .. } => Some(result),
        }
    }

    /// Bytes that the change needs besides those its caller gave.
    fn added_bytes(&self) -> usize {
        match &self.what {
            What::Given => 0,
            What::Whole(result) => result.len(),
            What::Patch { result, .. } => result.len(),
        }
    }
}

impl<S: Storage> Committer<S> {
    /// What each of `changes` becomes in the log. The versions they build upon go to `bases`.
    pub fn logged<'a>(
        &self,
        changes: &[Change<'a>],
        bases: &mut Vec<Base<'a>>,
    ) -> Result<Vec<Logged>, Stop<'_>> {
        assert!(!changes.is_empty(), "an empty batch is not committed");
        let mut newest = BTreeMap::new();
        let mut logged: Vec<Logged> = Vec::with_capacity(changes.len());
        let mut added_bytes = 0;
        for (index, change) in changes.iter().enumerate() {
            let earlier = newest.insert(change.key, index);
            if let Some(expected) = change.condition {
                if earlier.is_some() {
                    return Err(self.second_change(change.key).into());
                }
                bases.push(Base { key: change.key, expected });
            }
            let step = match (change.kind.given(), earlier) {
                (Some(_), _) => Some(Logged { what: What::Given, expires_ms: change.expires_ms }),
                (None, Some(earlier)) => {
                    let base = logged[earlier].value(&changes[earlier]);
                    let expires_ms = logged[earlier].expires_ms;
                    let base = base.filter(|_| !self.records.clock.has_passed(expires_ms));
                    base.map(|base| self.rewritten(change, base, expires_ms)).transpose()?
                }
                (None, None) => self.upon_newest(change, bases)?,
            };
            let Some(step) = step else {
                return Err(match change.kind {
                    ChangeKind::Touch => Stop::Refused { change: index, found: None },
                    _ => self.missing(change.key).into(),
                });
            };
            added_bytes += step.added_bytes();
            if added_bytes > BATCH_BYTES_MAX {
                return Err(Stop::Error(Error::invalid(format!(
                    "patches and touches of a batch lead to at most {BATCH_BYTES_MAX} bytes of \
                     values"
                ))));
            }
            logged.push(step);
        }
        assert_eq!(logged.len(), changes.len());
        Ok(logged)
    }

    /// A patch or touch of the newest version that is applied; `None`: there is none.
    fn upon_newest<'a>(
        &self,
        change: &Change<'a>,
        bases: &mut Vec<Base<'a>>,
    ) -> Result<Option<Logged>> {
        let pin = MapPin::enter();
        let reader = self.records.reader(&pin);
        let newest = self.records.newest(change.key, reader)?;
        let base = newest.map(|locator| reader.record_verified(locator)).transpose()?;
        let base = base.filter(|base| self.records.is_live(*base));
        let expected = Expected::of(base.map(|base| base.header.lsn.get()));
        bases.push(Base { key: change.key, expected });
        let Some(base) = base else { return Ok(None) };
        if change.kind == ChangeKind::Touch {
            return self.rewritten(change, base.value(), base.expires_ms()).map(Some);
        }
        let (result, expires_ms) = (self.patched(change, base.value())?, base.expires_ms());
        let what = if size_of::<PatchHeader>() + change.bytes.len() >= result.len() {
            What::Whole(result.to_vec().into())
        } else {
            let header = PatchHeader::new(base.header.lsn.get(), change.key, &result);
            What::Patch { payload: [header.as_bytes(), change.bytes].concat(), result }
        };
        Ok(Some(Logged { what, expires_ms }))
    }

    /// A put of what `change` makes of `base`, which expires at `expires_ms`.
    fn rewritten(&self, change: &Change<'_>, base: &[u8], expires_ms: u64) -> Result<Logged> {
        let (value, expires_ms) = match change.kind {
            ChangeKind::Touch => (base.into(), change.expires_ms),
            _ => (self.patched(change, base)?.to_vec().into(), expires_ms),
        };
        Ok(Logged { what: What::Whole(value), expires_ms })
    }

    /// The value that the patch in `change` makes of `base`.
    fn patched(&self, change: &Change<'_>, base: &[u8]) -> Result<UArrBuf> {
        assert_eq!(change.kind, ChangeKind::Patch);
        let key = || self.shown_key(change.key);
        UArrRef::validate(base).map_err(|error| {
            let key = key();
            Error::invalid(format!(
                "the value of {key} cannot be patched, it is no UArr record: {error}"
            ))
        })?;
        let result = apply(base, change.bytes).map_err(|error| {
            Error::invalid(format!("the patch does not fit the value of {}: {error}", key()))
        })?;
        check_value(&result)?;
        Ok(result)
    }

    fn second_change(&self, key: &[u8]) -> Error {
        let key = self.shown_key(key);
        Error::invalid(format!(
            "a change of {key} has a condition, and the batch changes it before; conditions are \
             for the first change of a key"
        ))
    }

    fn missing(&self, key: &[u8]) -> Error {
        let key = self.shown_key(key);
        let message = format!("there is no record of {key} that could be patched; put one first");
        Error::new(ErrorKind::KeyNotFound, message)
    }

    /// `key` as messages name it.
    pub fn shown_key(&self, key: &[u8]) -> String {
        shown_key(self.records.key_kind(), key)
    }
}

fn shown_key(kind: KeyKind, key: &[u8]) -> String {
    match kind.decode(key) {
        KeyRef::U64(number) => format!("key {number}"),
        KeyRef::I64(number) => format!("key {number}"),
        KeyRef::Bytes(key) if key.len() > SHOWN_KEY_BYTES => {
            format!("key '{}..' of {} bytes", key[..SHOWN_KEY_BYTES].escape_ascii(), key.len())
        }
        KeyRef::Bytes(key) => format!("key '{}'", key.escape_ascii()),
    }
}
