//! [`SharedView`]: what all handles of one opening share.

use std::path::PathBuf;
use std::sync::Arc;

use uarr_uring::Storage;

use crate::error::Result;
use crate::options::Options;
use crate::read_only::opening::look;
use crate::read_only::view::{DamagedImages, View};
use crate::sync::{Rank, Ranked, lock};

/// See [`self`].
pub(crate) struct SharedView<S: Storage> {
    current: Ranked<Current<S>>,
}

struct Current<S: Storage> {
    view: Arc<View<S>>,
    /// Whether anybody has been shown something of it.
    has_shown: bool,
}

impl<S: Storage> SharedView<S> {
    pub fn open(of: (Arc<S>, PathBuf, Options)) -> Result<Self> {
        let view = Arc::new(look(of, DamagedImages::new())?);
        Ok(Self { current: Ranked::new(Rank::Leaf, Current { view, has_shown: false }) })
    }

    pub fn view(&self) -> Arc<View<S>> {
        Arc::clone(&lock(&self.current).view)
    }

    /// What `read` reads, if no writer has overtaken it meanwhile. Where it meets damage of the
    /// image, the one before it serves, as it would when the database is opened.
    pub fn read<T>(&self, read: impl Fn(&View<S>) -> Result<T>) -> Result<T> {
        loop {
            let view = self.view();
            match view.confirmed(read(&view)) {
                Ok(found) if self.is_shown(&view) => return Ok(found),
                // Another thread has met damage meanwhile.
                Ok(_) => {}
                Err(error) => {
                    let Some(other) = view.without_image(&error) else { return Err(error) };
                    self.replace(&view, other?)?;
                }
            }
        }
    }

    /// Notes that something of `view` is shown, if it still is what there is to show.
    fn is_shown(&self, view: &Arc<View<S>>) -> bool {
        let mut current = lock(&self.current);
        let is_current = Arc::ptr_eq(&current.view, view);
        current.has_shown |= is_current;
        is_current
    }

    /// Shows another view from now on, unless another thread was first. Beside a writer it may be
    /// of a later state, which will do as long as nothing was shown.
    fn replace(&self, view: &Arc<View<S>>, other: View<S>) -> Result<()> {
        let mut current = lock(&self.current);
        if Arc::ptr_eq(&current.view, view) {
            if current.has_shown && other.log.end.lsn != view.log.end.lsn {
                return Err(view.overtaken());
            }
            current.view = Arc::new(other);
        }
        Ok(())
    }
}
