//! The databases that somebody has or that are open.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::{Mutex, watch};

use super::opened::Opened;
use crate::crr::Version;
use crate::store::{Dbid, Error};
use crate::sync::Replica;

/// One database that was asked for, whether it is open just now or not.
pub(super) struct Slot {
    pub(super) dbid: Dbid,
    pub(super) path: PathBuf,
    pub(super) versions: watch::Sender<Version>,
    /// Whether a schema was recorded.
    pub(super) exists: AtomicBool,
    /// Held while opening, so that it is opened once.
    pub(super) opened: Mutex<Option<Arc<Opened>>>,
    /// When it was used last.
    used: std::sync::Mutex<Instant>,
}

impl Slot {
    /// Takes over what `replica` says, which is durable, and tells whoever watches.
    pub(super) fn update(&self, replica: &Replica) -> Result<(), Error> {
        self.exists.store(replica.exists(), Ordering::Release);
        let version = replica.version()?;
        self.versions.send_if_modified(|old| std::mem::replace(old, version) != version);
        Ok(())
    }

    /// Notes that it is being used.
    pub(super) fn use_now(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is open, unless a call is using it: calls take their share under the same lock.
    fn take_idle(&self) -> Option<Arc<Opened>> {
        let mut opened = self.opened.try_lock().ok()?;
        opened.take_if(|opened| Arc::strong_count(opened) == 1)
    }
}

#[derive(Default)]
pub(super) struct Slots {
    /// All that somebody has.
    known: HashMap<Dbid, Weak<Slot>>,
    /// Those that are open.
    open: HashMap<Dbid, Arc<Slot>>,
    /// The number of known ones at which those are looked for that nobody has any more.
    prune_at: usize,
}

impl Slots {
    /// The place of a database.
    pub(super) fn get(&mut self, dbid: &Dbid, path: impl FnOnce() -> PathBuf) -> Arc<Slot> {
        if let Some(slot) = self.known.get(dbid).and_then(Weak::upgrade) {
            return slot;
        }
        if self.known.len() >= self.prune_at {
            self.known.retain(|_, slot| slot.strong_count() > 0);
            self.prune_at = 2 * self.known.len() + 64;
        }
        let slot = Arc::new(Slot {
            dbid: dbid.clone(),
            path: path(),
            versions: watch::Sender::new(Version::ZERO),
            exists: AtomicBool::new(false),
            opened: Mutex::default(),
            used: std::sync::Mutex::new(Instant::now()),
        });
        self.known.insert(dbid.clone(), Arc::downgrade(&slot));
        slot
    }

    /// Notes that `slot` is open.
    pub(super) fn opened(&mut self, slot: &Arc<Slot>) {
        self.open.insert(slot.dbid.clone(), slot.clone());
    }

    /// The ids of those that are open.
    pub(super) fn open_ids(&self) -> Vec<Dbid> {
        self.open.keys().cloned().collect()
    }

    /// Takes, of the databases that are open, that no call is using and that were not used after `until`, the one that was used
    /// longest ago.
    pub(super) fn take_idle(&mut self, until: Instant) -> Option<Arc<Opened>> {
        let mut by_age: Vec<_> = self.open.values().map(|slot| (slot.used(), slot.clone())).collect();
        by_age.retain(|(used, _)| *used <= until);
        by_age.sort_unstable_by_key(|(used, _)| *used);
        by_age.into_iter().find_map(|(_, slot)| {
            let opened = slot.take_idle()?;
            self.open.remove(&slot.dbid);
            Some(opened)
        })
    }

    /// Takes all that are open.
    pub(super) fn take_all(&mut self) -> Vec<Arc<Slot>> {
        self.open.drain().map(|(_, slot)| slot).collect()
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.known.values().filter(|slot| slot.strong_count() > 0).count(), self.open.len())
    }
}
