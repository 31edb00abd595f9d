use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::store::Dbid;

/// What the readers of a database share, for all databases that have any.
pub(in crate::http) struct Shared<T>(Arc<Mutex<HashMap<Dbid, Weak<T>>>>);

impl<T: Default> Shared<T> {
    /// That of one database. It goes with the last reader.
    pub(super) fn of(&self, dbid: &Dbid) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = all.get(dbid).and_then(Weak::upgrade) {
            return shared;
        }
        all.retain(|_, shared| shared.strong_count() > 0);
        let shared = Arc::new(T::default());
        all.insert(dbid.clone(), Arc::downgrade(&shared));
        shared
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}
