//! Where keys are read that the index does not hold.

/// Gives the key that a payload (record address) stands for.
///
/// The same payload always gives the same key for as long as the index or a reader may hold it, and
/// different keys have different payloads. A source that breaks this, or records that cannot be
/// read, cost what is asked of their own keys, never the order or the presence of others.
pub trait KeySource {
    /// Why a record cannot be read. Lookups of its key end with it.
    type Error;

    /// The key of the record at `payload`.
    fn key(&self, payload: u64) -> Result<&[u8], Self::Error>;

    /// The error for a record that can be read, but has another key than the one it was entered
    /// with. With `None` a lookup that meets such a record in place of its own finds nothing.
    fn misnamed(&self, payload: u64) -> Option<Self::Error> {
        let _ = payload;
        None
    }

    /// The key that the record at `payload` seems to have although it is damaged, if that can be
    /// known. The index believes it only where the hash of that key leads to `payload`, and only to
    /// keep its order.
    fn seeming_key(&self, payload: u64) -> Option<&[u8]> {
        let _ = payload;
        None
    }
}
