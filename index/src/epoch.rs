//! What callers hold so that the writer frees nothing while they read several entries.

/// Keeps everything that this thread reads from any index allocated until it is dropped. Reads
/// inside of an epoch cost less each, and memory of replaced nodes waits meanwhile: hold it for a
/// request or a batch, not for a session.
///
/// ```
/// let index = uarr_index::IntIndex::new(&uarr_index::Memory::new());
/// index.insert(7, 70);
/// let _epoch = uarr_index::Epoch::enter();
/// assert_eq!((7..10).filter_map(|key| index.get(key)).sum::<u64>(), 70);
/// ```
#[must_use = "an epoch lasts until it is dropped"]
pub struct Epoch {
    _guard: crossbeam_epoch::Guard,
}

impl Epoch {
    /// Begins one. Some nanoseconds; inside of another one of this thread nearly nothing.
    pub fn enter() -> Self {
        Self { _guard: crossbeam_epoch::pin() }
    }
}
