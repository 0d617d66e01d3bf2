//! The verbs of a database that begin transactions, and those that run one until it is committed.

use uarr_uring::Storage;

use crate::api::db::Db;
use crate::api::transaction::Transaction;
use crate::error::{Error, ErrorKind, Result};

impl<S: Storage> Db<S> {
    /// Begins a transaction, to be committed by hand; see [`Transaction`], and [`Db::transaction`],
    /// which runs one again if need be.
    ///
    /// If none was open for a while, it waits for what is on its way to the device.
    ///
    /// Errors: what the database is poisoned by, if it has to wait. Of a closed database it reads,
    /// and only a commit fails.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// let mut tx = db.begin()?;
    /// if !tx.contains("lock")? {
    ///     tx.put("lock", b"mine")?;
    /// }
    /// db.put("lock", b"theirs")?;
    /// let refused = tx.commit().unwrap_err();
    /// assert_eq!(refused.kind(), uarr::ErrorKind::Conflict);
    /// # Ok(())
    /// # }
    /// ```
    pub fn begin(&self) -> Result<Transaction<S>> {
        let begun = self.core().committer.begin_transaction()?;
        Ok(Transaction::new(self, begun))
    }

    /// As [`Db::begin`], for tasks.
    pub async fn begin_async(&self) -> Result<Transaction<S>> {
        let begun = self.core().committer.begin_transaction_async().await?;
        Ok(Transaction::new(self, begun))
    }

    /// Runs `body` in a transaction and commits it, and does so again as long as others come in
    /// between. So `body` may run several times: what it does besides must allow that. If it
    /// returns an error, nothing is written.
    ///
    /// When it runs again it also reads what others have committed and what is not durable yet.
    /// Neither its result nor its error comes back before that is; but a crash may take away what
    /// it has read, and so the reason for what it does besides.
    ///
    /// Durability and errors as for [`Db::put`]; also `InvalidArgument` if `body` has put another
    /// transaction in the place of the one it was given.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// use uarr::Transaction;
    ///
    /// # db.batch().put("ada", [100]).put("bob", [0]).commit()?;
    /// fn balance(tx: &Transaction, name: &str) -> uarr::Result<u8> {
    ///     Ok(tx.get(name)?.map_or(0, |record| record[0]))
    /// }
    ///
    /// let is_done = db.transaction(|tx| {
    ///     let (from, to) = (balance(tx, "ada")?, balance(tx, "bob")?);
    ///     let Some(rest) = from.checked_sub(30) else { return Ok(false) };
    ///     tx.put("ada", [rest])?;
    ///     tx.put("bob", [to + 30])?;
    ///     Ok::<_, uarr::Error>(true)
    /// })?;
    /// assert!(is_done);
    /// assert_eq!(db.get("bob")?.ok_or("not found")?, [30]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn transaction<T, E: From<Error>>(
        &self,
        mut body: impl FnMut(&mut Transaction<S>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let mut transaction = self.begin()?;
        loop {
            let number = transaction.number;
            let outcome = body(&mut transaction);
            // Whether its caller has to wait is known of the given transaction alone.
            transaction.check_in_place(number)?;
            let ended = match outcome {
                Ok(_) => transaction.commit_writes().map(drop),
                // The error may follow from records that are not durable yet.
                Err(_) => transaction.tell_read(),
            };
            match ended {
                Ok(()) => return outcome,
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            }
            let conflict_lsn = transaction.conflict_lsn();
            drop(transaction);
            let begun = self.core().committer.begin_transaction_behind(conflict_lsn)?;
            transaction = Transaction::new(self, begun);
        }
    }

    /// As [`Db::transaction`], for tasks: neither the commit nor a wait blocks.
    pub async fn transaction_async<T, E: From<Error>>(
        &self,
        mut body: impl AsyncFnMut(&mut Transaction<S>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let mut transaction = self.begin_async().await?;
        loop {
            let number = transaction.number;
            let outcome = body(&mut transaction).await;
            transaction.check_in_place(number)?;
            let ended = match outcome {
                Ok(_) => transaction.commit_writes_async().await.map(drop),
                Err(_) => transaction.tell_read_async().await,
            };
            match ended {
                Ok(()) => return outcome,
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            }
            let conflict_lsn = transaction.conflict_lsn();
            drop(transaction);
            let committer = &self.core().committer;
            let begun = committer.begin_transaction_behind_async(conflict_lsn).await?;
            transaction = Transaction::new(self, begun);
        }
    }
}
