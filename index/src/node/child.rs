//! The pointer to a node, with the node's kind in it.

/// Marks the pointer of an inner node; nodes are aligned to 64 bytes.
const INNER_TAG: usize = 1;

/// An owning pointer to a node, with the node's kind in its lowest bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Child(*mut ());

impl Child {
    /// The pointer to a leaf at `address`.
    pub(super) fn leaf_at(address: *mut ()) -> Self {
        assert!(address.addr() & INNER_TAG == 0, "nodes are aligned");
        Self(address)
    }

    /// The pointer to an inner node at `address`.
    pub(super) fn inner_at(address: *mut ()) -> Self {
        assert!(address.addr() & INNER_TAG == 0, "nodes are aligned");
        Self(address.map_addr(|a| a | INNER_TAG))
    }

    /// The word that stands for the pointer.
    #[inline]
    pub(super) fn to_raw(self) -> *mut () {
        self.0
    }

    /// The pointer that `raw` stands for.
    #[inline]
    pub(super) fn from_raw(raw: *mut ()) -> Self {
        Self(raw)
    }

    #[inline]
    pub(crate) fn is_inner(self) -> bool {
        self.0.addr() & INNER_TAG != 0
    }

    #[inline]
    pub(super) fn untagged(self) -> *mut () {
        self.0.map_addr(|a| a & !INNER_TAG)
    }

    /// The first byte of the node, to prefetch.
    #[inline]
    pub(crate) fn address(self) -> *const u8 {
        self.untagged().cast_const().cast()
    }
}
