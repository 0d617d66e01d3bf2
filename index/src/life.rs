//! Notices a reader in a node that was freed: in debug builds, in tests, and in loom's models.
//!
//! Each node has a [`Life`], which each thread that comes to the node checks, and which ends when
//! the epoch frees the node. Freed nodes are filled with a pattern as well, so that a reader in one
//! does not go on as if nothing had happened. Release builds keep nothing and check nothing.

/// What freed nodes are filled with.
#[cfg(debug_assertions)]
pub(crate) const FREED_BYTE: u8 = 0xDB;

/// `FREED_BYTE` all over: no payload, head or key that is worth reading.
#[cfg(debug_assertions)]
pub(crate) const FREED_WORD: u64 = u64::from_ne_bytes([FREED_BYTE; 8]);

#[cfg(debug_assertions)]
const ALIVE: u64 = 0x0a11_fe00_0a11_fe00;

/// Part of a node: from its making until it is freed.
pub(crate) struct Life {
    // Not loom's: every step over it would be one more to explore.
    #[cfg(debug_assertions)]
    word: std::sync::atomic::AtomicU64,
    /// Read by the threads in the node, written by the end: loom fails if they are not ordered.
    #[cfg(loom)]
    cell: loom::cell::UnsafeCell<()>,
}

impl Life {
    pub(crate) fn begin() -> Self {
        Self {
            #[cfg(debug_assertions)]
            word: std::sync::atomic::AtomicU64::new(ALIVE),
            #[cfg(loom)]
            cell: loom::cell::UnsafeCell::new(()),
        }
    }

    /// Panics if the node was freed.
    #[inline]
    pub(crate) fn check(&self) {
        #[cfg(debug_assertions)]
        {
            let word = self.word.load(std::sync::atomic::Ordering::Relaxed);
            // Not in release builds: one more cache line for each level of a lookup.
            debug_assert!(word == ALIVE, "a node is used that was freed");
        }
        #[cfg(loom)]
        self.cell.with(|_| ());
    }
}

#[cfg(any(debug_assertions, loom))]
impl Drop for Life {
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        self.word.store(FREED_WORD, std::sync::atomic::Ordering::Relaxed);
        #[cfg(loom)]
        self.cell.with_mut(|_| ());
    }
}

#[cfg(all(test, debug_assertions, not(loom)))]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a node is used that was freed")]
    fn a_life_that_ended_is_noticed() {
        let life = Life::begin();
        life.check();
        life.word.store(FREED_WORD, std::sync::atomic::Ordering::Relaxed);
        life.check();
    }
}
