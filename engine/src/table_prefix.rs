//! [`TablePrefix`]: what the stored keys of a table begin with.
//!
//! ```text
//! default table   the key
//! other table     ff 04   number u32, big-endian   kind u8   0   the key
//! ```
//! The key stands there as a default table of the same kind stores it ([`crate::key_form`]). Byte
//! keys without order have a number of their own, [`UNORDERED`]: an index is made of the prefix
//! alone.
//!
//! Invariant: no key of a default table, of whatever kind, is longer than [`PREFIX_BYTES`] and
//! begins with `ff 04`; so a stored key says which table it is of.

/// Bytes in front of the keys of a table.
pub(crate) const PREFIX_BYTES: usize = 8;
/// Number of the first table that a caller makes; the engine keeps those below.
pub(crate) const FIRST_NUMBER: u32 = 16;
/// In place of the number of a kind: byte keys, without order.
pub(crate) const UNORDERED: u8 = 3;
const MARK: [u8; 2] = [0xff, 0x04];

/// What the stored keys of a table but the default one begin with: its number, and the number of
/// the kind of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TablePrefix([u8; PREFIX_BYTES]);

impl TablePrefix {
    /// Of table `number`, with keys of kind `kind`.
    pub const fn new(number: u32, kind: u8) -> Self {
        let [a, b, c, d] = number.to_be_bytes();
        Self([MARK[0], MARK[1], a, b, c, d, kind, 0])
    }

    /// That of the stored key `key`, if this is one of a table but the default one.
    #[inline]
    pub fn of(key: &[u8]) -> Option<Self> {
        let (prefix, own) = key.split_first_chunk::<PREFIX_BYTES>()?;
        (prefix[..2] == MARK && !own.is_empty()).then_some(Self(*prefix))
    }

    /// Number of the table.
    pub fn number(self) -> u32 {
        u32::from_be_bytes([self.0[2], self.0[3], self.0[4], self.0[5]])
    }

    /// Number of the kind of its keys; `None`: no table begins so.
    pub fn kind_number(self) -> Option<u8> {
        (self.number() != 0 && self.0[7] == 0).then_some(self.0[6])
    }

    /// Whether the keys of the table have an order.
    pub fn is_ordered(self) -> bool {
        self.0[6] != UNORDERED
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
