//! Keys as peers get them.

/// A key. Those of one database are all of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKey<'k> {
    /// A number.
    Number(u64),
    /// Text.
    Text(&'k [u8]),
}

impl From<u64> for PeerKey<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl<'k> PeerKey<'k> {
    /// Its bytes, for peers that know nothing else: a number is big-endian, so they have its order.
    #[inline]
    pub(crate) const fn bytes(self) -> KeyBytes<'k> {
        match self {
            Self::Number(number) => KeyBytes::Number(number.to_be_bytes()),
            Self::Text(text) => KeyBytes::Text(text),
        }
    }

    /// The key of the same kind that has these bytes.
    #[inline]
    pub(crate) fn of_bytes(self, bytes: &[u8]) -> PeerKey<'_> {
        match self {
            Self::Number(_) => {
                let bytes = bytes.try_into().expect("all numbers are 8 bytes long");
                PeerKey::Number(u64::from_be_bytes(bytes))
            }
            Self::Text(_) => PeerKey::Text(bytes),
        }
    }
}

/// See [`PeerKey::bytes`].
pub(crate) enum KeyBytes<'k> {
    Number([u8; 8]),
    Text(&'k [u8]),
}

impl AsRef<[u8]> for KeyBytes<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Number(bytes) => bytes,
            Self::Text(text) => text,
        }
    }
}
