//! Sessions of users: each ends half an hour after its last use, and a user may have a few.
//!
//! ```text
//! cargo run --release -p uarr --example session-store -- DIR
//! ```
//! A record `session:TOKEN` holds what the session knows and expires; each use moves its end. What
//! has ended is not found any more, and its space comes back without anything to be called.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use uarr::{Db, Expires, Expiry, Increment, Result, uarr};

/// How long a session lives unused.
const UNUSED: Duration = Duration::from_secs(1800);
/// Attempts to log in, a user and minute.
const ATTEMPTS_MAX: i64 = 5;

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).ok_or("usage: session-store DIR")?;
    run(Path::new(&dir))
}

fn run(dir: &Path) -> std::result::Result<(), Box<dyn Error>> {
    let db = Db::open(dir)?;
    let sessions = Sessions { db: &db, unused: UNUSED };
    for number in 0..20 {
        sessions.begin(&format!("{number}"), "ada")?;
    }
    println!("{} has 20 sessions", sessions.user("7")?.ok_or("it has begun")?);
    sessions.end("7")?;
    println!("session 7 has ended: {}", sessions.user("7")?.is_none());
    // Sessions that nobody uses, as they are half an hour later.
    let unused = Sessions { db: &db, unused: Duration::ZERO };
    for number in 10..20 {
        unused.user(&format!("{number}"))?;
    }
    println!("{} are left", sessions.count()?);
    let attempts = (0..8).map(|_| sessions.may_log_in("bob")).collect::<Result<Vec<_>>>()?;
    println!("{} of 8 attempts are allowed", attempts.iter().filter(|allowed| **allowed).count());
    db.close()?;
    Ok(())
}

/// All sessions of a service.
struct Sessions<'db> {
    db: &'db Db,
    unused: Duration,
}

impl Sessions<'_> {
    /// Begins session `token`; false: there is one already.
    fn begin(&self, token: &str, user: &str) -> Result<bool> {
        let session = uarr!({ "user": user, "page": "/" }).expires_in(self.unused);
        Ok(self.db.insert(key(token), session)?.is_written())
    }

    /// Whose session it is; `None`: it has ended. It has been used now.
    fn user(&self, token: &str) -> Result<Option<String>> {
        if self.db.touch(key(token), Expiry::In(self.unused))?.is_none() {
            return Ok(None);
        }
        let Some(session) = self.db.get(key(token))? else { return Ok(None) };
        let user = session.path("user")?.and_then(|user| user.as_str().map(str::to_owned));
        Ok(user)
    }

    /// The user logs out.
    fn end(&self, token: &str) -> Result<()> {
        self.db.delete(key(token)).map(drop)
    }

    /// Sessions that have not ended.
    fn count(&self) -> Result<usize> {
        self.db.prefix("session:")?.try_fold(0, |count, session| session.map(|_| count + 1))
    }

    /// Whether `user` may try to log in: so many times a minute.
    fn may_log_in(&self, user: &str) -> Result<bool> {
        let attempt = Increment::by(1).max(ATTEMPTS_MAX);
        let attempt = attempt.expiring(Expiry::In(Duration::from_secs(60)));
        Ok(self.db.increment(format!("attempts:{user}"), attempt)?.commit.is_some())
    }
}

fn key(token: &str) -> String {
    format!("session:{token}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_end_unused_and_by_hand() {
        let dir = tempfile::tempdir().unwrap();
        run(dir.path()).unwrap();
        let db = Db::open(dir.path()).unwrap();
        let sessions = Sessions { db: &db, unused: UNUSED };
        // Of twenty one was ended, and ten were not used any more.
        assert_eq!(sessions.count().unwrap(), 9);
        assert_eq!(sessions.user("3").unwrap().as_deref(), Some("ada"));
        assert_eq!(sessions.user("7").unwrap(), None);
        assert_eq!(sessions.user("12").unwrap(), None);
        assert!(!sessions.begin("3", "bob").unwrap(), "it is ada's");
        assert!(sessions.begin("12", "bob").unwrap(), "it is free again");
        assert!(!sessions.may_log_in("bob").unwrap());
        assert!(sessions.may_log_in("eve").unwrap());
    }
}
