//! The connections that read, of all databases: opened when they are needed, kept while there is room.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::sync::Replica;

/// Whose connection it is: one opening of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner(u64);

/// The connections that nobody is reading with, and the right to have others.
pub(super) struct Readers {
    /// The one that was used last comes last.
    idle: Mutex<VecDeque<Idle>>,
    /// One for each that is in use.
    places: Arc<Semaphore>,
    owners: AtomicU64,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Any read.
    Read,
    /// Those that follow queries: what these read is kept in memory with the connection, so they all take the same one.
    Follow,
}

/// A connection that nobody is reading with.
struct Idle {
    owner: Owner,
    kind: Use,
    replica: Replica,
    since: Instant,
}

impl Readers {
    /// At most `limit` connections.
    pub(super) fn new(limit: usize) -> Self {
        Self { idle: Mutex::default(), places: Arc::new(Semaphore::new(limit.max(1))), owners: AtomicU64::new(0) }
    }

    /// A new owner.
    pub(super) fn owner(&self) -> Owner {
        Owner(self.owners.fetch_add(1, Ordering::Relaxed))
    }

    /// Waits for the right to one connection.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().acquire_owned().await.ok()
    }

    /// An idle connection of `owner`'s for that use, or else room for a new one. The caller has a place.
    pub(super) fn take(&self, owner: Owner, kind: Use) -> Option<Replica> {
        let mut idle = self.idle();
        if let Some(at) = idle.iter().rposition(|other| other.owner == owner && other.kind == kind) {
            return idle.remove(at).map(|found| found.replica);
        }
        let excess = idle.len().saturating_sub(self.places.available_permits());
        let excess: Vec<_> = idle.drain(..excess).collect();
        drop(idle);
        // Closed while nobody else waits for it.
        drop(excess);
        None
    }

    /// Keeps a connection. The caller still has its place.
    pub(super) fn give_back(&self, owner: Owner, kind: Use, replica: Replica) {
        self.idle().push_back(Idle { owner, kind, replica, since: Instant::now() });
    }

    /// Closes the idle connections of `owner`.
    pub(super) fn close(&self, owner: Owner) {
        self.close_where(|idle| idle.owner == owner);
    }

    /// Closes those that nobody has used after `until`.
    pub(super) fn close_idle(&self, until: Instant) {
        self.close_where(|idle| idle.since <= until);
    }

    fn close_where(&self, is_meant: impl Fn(&Idle) -> bool) {
        let mut idle = self.idle();
        let (closed, kept) = idle.drain(..).partition(|idle| is_meant(idle));
        *idle = kept;
        drop(idle);
        // Closed while nobody else waits for it.
        drop::<VecDeque<_>>(closed);
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.idle().len()
    }
}
