//! A database whose file is open.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::connection;
use super::file_id::FileId;
use super::readers::{Owner, Readers, Use};
use super::run::run;
use super::settings::Settings;
use super::slots::Slot;
use super::store::Place;
use crate::store::Error;
use crate::sync::Replica;

/// The connections to one file. They are closed when it is dropped, the writer last: that writes back the log.
pub(super) struct Opened {
    path: PathBuf,
    file: FileId,
    /// Whether the path was seen to lead to another file.
    lost: AtomicBool,
    settings: Settings,
    readers: Arc<Readers>,
    owner: Owner,
    /// None after it was closed.
    pub(super) writer: Arc<Mutex<Option<Replica>>>,
    /// One for each read that may run.
    pub(super) turns: Arc<Semaphore>,
    /// Held by the one that follows queries.
    pub(super) following: Arc<Mutex<()>>,
    /// The size of the log from which on it is cut.
    cut_at: AtomicU64,
    _place: Place,
}

impl Opened {
    /// Opens the file of `slot`. `place` is the right to have one open.
    pub(super) fn open(
        slot: &Slot,
        create: bool,
        settings: &Settings,
        readers: &Arc<Readers>,
        place: Place,
    ) -> Result<Self, Error> {
        let replica = connection::writer(&slot.path, create, settings)?;
        let file = FileId::of(&slot.path).map_err(|_| lost())?;
        slot.update(&replica)?;
        Ok(Self {
            path: slot.path.clone(),
            file,
            lost: AtomicBool::new(false),
            settings: settings.clone(),
            readers: readers.clone(),
            owner: readers.owner(),
            writer: Arc::new(Mutex::new(Some(replica))),
            turns: Arc::new(Semaphore::new(turns(settings))),
            following: Arc::default(),
            cut_at: AtomicU64::new(settings.wal),
            _place: place,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `f` on a connection that reads. The caller has a turn, and a place among the readers.
    pub(super) fn read<T>(&self, kind: Use, f: impl FnOnce(&mut Replica) -> T) -> Result<T, Error> {
        let mut reader = match self.readers.take(self.owner, kind) {
            Some(reader) => reader,
            None => connection::reader(&self.path, &self.settings)?,
        };
        // A connection on which something went wrong is not kept.
        let value = reader.read(f)?;
        self.check_place()?;
        self.readers.give_back(self.owner, kind, reader);
        Ok(value)
    }

    /// Fails if the path leads to another file than the one that is open, or to none. What was written is nowhere then.
    pub(super) fn check_place(&self) -> Result<(), Error> {
        if FileId::of(&self.path).is_ok_and(|file| file == self.file) {
            return Ok(());
        }
        self.lost.store(true, Ordering::Release);
        Err(lost())
    }

    /// Whether the file was seen to be gone.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Whether the log is so long that it shall be cut. SQLite writes it back by itself, but begins it anew only at a moment
    /// when nobody reads; where reads overlap there is none.
    pub(super) fn has_long_log(&self) -> bool {
        let length = self.log_length();
        if length < self.settings.wal {
            self.cut_at.store(self.settings.wal, Ordering::Relaxed);
        }
        length > self.cut_at.load(Ordering::Relaxed)
    }

    /// Keeps reads from beginning, and returns when none runs any more.
    pub(super) async fn stop_reads(&self) -> Option<OwnedSemaphorePermit> {
        let all = u32::try_from(turns(&self.settings)).unwrap_or(u32::MAX);
        self.turns.clone().acquire_many_owned(all).await.ok()
    }

    /// Writes back the log and cuts it.
    pub(super) fn cut_log(&self, writer: &Replica) {
        let conn = writer.connection();
        // Whoever reads now is a backup or another program, and can take long.
        let cut = conn.busy_timeout(Duration::ZERO).and_then(|()| {
            let busy = conn.query_row("PRAGMA main.wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
            conn.busy_timeout(self.settings.busy)?;
            busy
        });
        if !matches!(cut, Ok(false)) {
            tracing::debug!(path = %self.path.display(), ?cut, "the log could not be cut");
            self.cut_at.store(self.log_length().saturating_add(self.settings.wal), Ordering::Relaxed);
        }
    }

    fn log_length(&self) -> u64 {
        let mut path = self.path.clone().into_os_string();
        path.push("-wal");
        std::fs::metadata(path).map_or(0, |metadata| metadata.len())
    }

    /// Closes the connections, after the call and the reads that run. Others find it closed.
    pub(super) async fn close(&self) -> Result<(), Error> {
        let writer = self.writer.lock().await.take();
        let _reads = self.stop_reads().await;
        self.turns.close();
        let (readers, owner) = (self.readers.clone(), self.owner);
        let close = move || {
            readers.close(owner);
            writer.map_or(Ok(()), Replica::close)
        };
        let closed = run(close).await?;
        closed.map_err(|error| connection::failure(&self.path, error))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.readers.close(self.owner);
    }
}

fn turns(settings: &Settings) -> usize {
    settings.readers_each.max(1)
}

fn lost() -> Error {
    Error::Unavailable("its file was removed or replaced while it was open".into())
}
