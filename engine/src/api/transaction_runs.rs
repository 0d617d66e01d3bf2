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
    /// It does not give up. A body that by other ways than `tx` writes what it reads comes in
    /// between itself, and one that takes long beside fast writers may never be done; to stop after
    /// some attempts use [`Db::begin`].
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
            match self.end(transaction, number, outcome.is_ok())? {
                Some(again) => transaction = again,
                None => return outcome,
            }
        }
    }

    /// Ends `transaction`, which was given to its body as the one with `number`. Another one: it
    /// conflicted.
    fn end(
        &self,
        mut transaction: Transaction<S>,
        number: u64,
        is_done: bool,
    ) -> Result<Option<Transaction<S>>> {
        // Whether its caller has to wait is known of the given transaction alone.
        transaction.check_in_place(number)?;
        let ended = match is_done {
            true => transaction.commit_writes().map(drop),
            // The error may follow from records that are not durable yet.
            false => transaction.tell_read(),
        };
        if !is_conflict(ended)? {
            return Ok(None);
        }
        let conflict_lsn = transaction.conflict_lsn();
        drop(transaction);
        let begun = self.core().committer.begin_transaction_behind(conflict_lsn)?;
        Ok(Some(Transaction::new(self, begun)))
    }

    /// As [`Db::transaction`], for tasks: neither the commit nor a wait blocks. An executor with
    /// several threads wants tasks that are `Send`: there `body` owns what it uses.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// # let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    /// # let _entered = runtime.enter();
    /// let key = String::from("visits");
    /// let task = tokio::spawn(async move {
    ///     db.transaction_async(async move |tx| {
    ///         let count = tx.get(&key)?.map_or(0, |record| record[0]);
    ///         tx.put(&key, [count + 1])
    ///     })
    ///     .await
    /// });
    /// # runtime.block_on(task)??;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transaction_async<T, E: From<Error>>(
        &self,
        mut body: impl AsyncFnMut(&mut Transaction<S>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let mut transaction = self.begin_async().await?;
        loop {
            let number = transaction.number;
            let outcome = body(&mut transaction).await;
            match self.end_async(transaction, number, outcome.is_ok()).await? {
                Some(again) => transaction = again,
                None => return outcome,
            }
        }
    }

    /// As [`Db::transaction_async`], of a body that waits for nothing. It has a loop of its own as
    /// the compiler takes no future of an asynchronous body for `Send` that borrows what it uses.
    pub(in crate::api) async fn transaction_in_task<T>(
        &self,
        mut body: impl FnMut(&mut Transaction<S>) -> Result<T>,
    ) -> Result<T> {
        let mut transaction = self.begin_async().await?;
        loop {
            let number = transaction.number;
            let outcome = body(&mut transaction);
            match self.end_async(transaction, number, outcome.is_ok()).await? {
                Some(again) => transaction = again,
                None => return outcome,
            }
        }
    }

    /// As `end`, without blocking.
    async fn end_async(
        &self,
        mut transaction: Transaction<S>,
        number: u64,
        is_done: bool,
    ) -> Result<Option<Transaction<S>>> {
        transaction.check_in_place(number)?;
        let ended = match is_done {
            true => transaction.commit_writes_async().await.map(drop),
            false => transaction.tell_read_async().await,
        };
        if !is_conflict(ended)? {
            return Ok(None);
        }
        let conflict_lsn = transaction.conflict_lsn();
        drop(transaction);
        let committer = &self.core().committer;
        let begun = committer.begin_transaction_behind_async(conflict_lsn).await?;
        Ok(Some(Transaction::new(self, begun)))
    }
}

fn is_conflict(ended: Result<()>) -> Result<bool> {
    match ended {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(true),
        Err(error) => Err(error),
    }
}
