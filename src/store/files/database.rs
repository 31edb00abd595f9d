use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{OwnedMutexGuard, watch};

use super::backup::{self, Progress};
use super::readers::Use;
use super::run::run;
use super::slots::Slot;
use super::store::{Held, Shared, closed};
use super::transfer::Export;
use crate::crr::Version;
use crate::store::{Dbid, Error, Kept};
use crate::sync::Replica;

/// One database. The handle keeps no file open: calls open it when it is not.
#[derive(Clone)]
pub struct Database {
    slot: Arc<Slot>,
    shared: Arc<Shared>,
}

impl Database {
    pub(super) fn new(slot: Arc<Slot>, shared: Arc<Shared>) -> Self {
        Self { slot, shared }
    }

    /// Its id.
    pub fn dbid(&self) -> &Dbid {
        &self.slot.dbid
    }

    pub(super) fn exists(&self) -> bool {
        self.slot.exists.load(Ordering::Acquire)
    }

    /// Runs `f` with the replica, alone. Resolves after everything that was committed so far is durable.
    pub async fn call<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Replica) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let held = self.shared.open(&self.slot, false).await?;
        let mut writer = held.writer.clone().lock_owned().await;
        let slot = self.slot.clone();
        let work = move || {
            let replica = writer.as_mut().ok_or_else(closed)?;
            let value = f(replica);
            held.check_place()?;
            slot.update(replica)?;
            let long_log = held.has_long_log().then_some((held, writer));
            Ok::<_, Error>((value, long_log))
        };
        let (value, long_log) = run(work).await??;
        if let Some((held, writer)) = long_log {
            let reads = held.stop_reads().await;
            let cut = move || {
                if let Some(replica) = &*writer {
                    held.cut_log(replica);
                }
                drop(reads);
            };
            // Whatever comes of it, what the call did is done.
            let _ = run(cut).await;
        }
        Ok(value)
    }

    /// Runs `f` on one snapshot of what is durable, beside calls and other reads. It cannot write.
    pub async fn read<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Replica) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let held = self.shared.open(&self.slot, false).await?;
        self.read_with(held, Use::Read, None, f).await
    }

    /// Runs `f` to read, as [`read`](Self::read) does, but one after the other and with the same replica each time, as long as that
    /// is kept: so what it remembers of the queries of subscriptions is there again.
    pub async fn follow<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Replica) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let held = self.shared.open(&self.slot, false).await?;
        let following = held.following.clone().lock_owned().await;
        self.read_with(held, Use::Follow, Some(following), f).await
    }

    async fn read_with<T: Send + 'static>(
        &self,
        held: Held,
        kind: Use,
        following: Option<OwnedMutexGuard<()>>,
        f: impl FnOnce(&mut Replica) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = held.turns.clone().acquire_owned().await;
        let turn = turn.map_err(|_| closed())?;
        let place = self.shared.readers.place().await.ok_or_else(closed)?;
        let work = move || {
            let value = held.read(kind, f);
            drop((place, turn, following));
            value
        };
        run(work).await?
    }

    /// Copies the database, as it is at one moment, to a new file, while writes go on: their log is not written back until
    /// the copy is made. `progress` is told of every step. The file appears when it is complete and durable. Closing the store
    /// breaks it off.
    pub async fn backup_to(
        &self,
        path: impl AsRef<Path>,
        progress: impl FnMut(Progress) + Send + 'static,
    ) -> Result<(), Error> {
        let held = self.shared.open(&self.slot, false).await?;
        let (shared, target) = (self.shared.clone(), path.as_ref().to_owned());
        let copy = move || backup::copy(held.path(), &target, &shared, progress);
        run(copy).await?
    }

    /// The database as a file, as it is now. A copy is made first, which takes as much room on the disk.
    pub async fn export(&self) -> Result<Export, Error> {
        let held = self.shared.open(&self.slot, false).await?;
        let shared = self.shared.clone();
        run(move || Export::new(&held, &shared)).await?
    }

    /// Where the database is kept.
    pub async fn kept(&self) -> Result<Kept, Error> {
        Ok(Kept::Persisted)
    }

    /// The newest durable local version.
    pub fn watch(&self) -> watch::Receiver<Version> {
        self.slot.versions.subscribe()
    }
}
