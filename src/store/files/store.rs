use std::ops::Deref;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_timer::Delay;
use futures_util::future::{Either, select};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::database::Database;
use super::folder::Folder;
use super::memory::limit_caches;
use super::opened::Opened;
use super::readers::Readers;
use super::run::run;
use super::settings::Settings;
use super::slots::{Slot, Slots};
use super::transfer::Import;
use crate::store::{Dbid, Error};

/// The databases of one folder.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

/// What a store's handles share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) readers: Arc<Readers>,
    slots: Mutex<Slots>,
    /// One for each database that may be open.
    places: Arc<Semaphore>,
    /// Told when a place is free, or a call has ended and its database may be idle.
    freed: Arc<Notify>,
    closed: AtomicBool,
    /// The last to go: others may have the folder when nothing in it is open any more.
    pub(super) folder: Folder,
}

impl Store {
    /// Takes the folder, which is made where it is missing. Another store that has it is [`Error::Unavailable`].
    pub fn at(dir: impl AsRef<Path>) -> Result<Self, Error> {
        Self::with(dir, Settings::default())
    }

    /// Takes the folder with other settings than the default.
    pub fn with(dir: impl AsRef<Path>, settings: Settings) -> Result<Self, Error> {
        let shared = Shared {
            readers: Arc::new(Readers::new(settings.readers)),
            slots: Mutex::default(),
            places: Arc::new(Semaphore::new(settings.open_databases.max(1))),
            freed: Arc::new(Notify::new()),
            closed: AtomicBool::new(false),
            folder: Folder::take(dir.as_ref())?,
            settings,
        };
        limit_caches(shared.settings.memory);
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The database of that id, or [`Error::NotFound`]; never creates anything.
    pub async fn open(&self, dbid: &Dbid) -> Result<Database, Error> {
        let database = self.database(dbid, false).await?;
        if database.exists() { Ok(database) } else { Err(Error::NotFound) }
    }

    /// The database of that id; where there is none, its storage, in which a schema is still to be recorded.
    pub async fn open_or_create(&self, dbid: &Dbid) -> Result<Database, Error> {
        self.database(dbid, true).await
    }

    /// The ids of the databases that are open now.
    pub fn opened(&self) -> Vec<Dbid> {
        self.shared.slots().open_ids()
    }

    /// Begins to make a database of that id from a file. Where there is one already, that is [`Error::Exists`].
    pub async fn import(&self, dbid: &Dbid) -> Result<Import, Error> {
        match self.open(dbid).await {
            Ok(_) => return Err(Error::Exists),
            Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
        let slot = self.shared.slots().get(dbid, || self.shared.folder.file(dbid));
        let shared = self.shared.clone();
        run(move || Import::new(slot, shared)).await?
    }

    async fn database(&self, dbid: &Dbid, create: bool) -> Result<Database, Error> {
        let slot = self.shared.slots().get(dbid, || self.shared.folder.file(dbid));
        self.shared.open(&slot, create).await?;
        Ok(Database::new(slot, self.shared.clone()))
    }

    /// The ids of the databases in the folder, also of those whose creation failed.
    pub async fn list(&self) -> Result<Vec<Dbid>, Error> {
        let shared = self.shared.clone();
        let found = run(move || shared.folder.list()).await?;
        found.map_err(|error| Error::Io(error.to_string()))
    }

    /// Closes what was not used for `time`, databases and connections that only read, and returns how many databases that were.
    /// Their handles stay good. A host that has a timer gives back their memory and files by this: otherwise they stay open until
    /// others need the place.
    pub async fn close_idle(&self, time: Duration) -> usize {
        let Some(until) = Instant::now().checked_sub(time) else { return 0 };
        let readers = self.shared.readers.clone();
        let _ = spawn_blocking(move || readers.close_idle(until)).await;
        let mut count = 0;
        while let Some(idle) = self.shared.take_idle(until) {
            let _ = spawn_blocking(move || drop(idle)).await;
            count += 1;
        }
        count
    }

    /// Ends the work of all handles: calls that began, or wait for their turn, run to their end, and others are
    /// [`Error::Unavailable`] from now on. Then writes back the logs, and lets others have the folder. Returns the first
    /// failure; what was answered is durable also then.
    pub async fn close(&self) -> Result<(), Error> {
        let shared = &self.shared;
        shared.closed.store(true, Ordering::SeqCst);
        let slots = shared.slots().take_all();
        let mut outcome = Ok(());
        for slot in slots {
            let opened = slot.opened.lock().await.take();
            if let Some(opened) = opened {
                outcome = outcome.and(opened.close().await);
            }
        }
        // What was being opened meanwhile, or was lost, goes by itself.
        let all = u32::try_from(shared.settings.open_databases.max(1)).unwrap_or(u32::MAX);
        let _all = shared.places.acquire_many(all).await;
        shared.folder.release();
        outcome
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Shared {
    /// The connections of a database, which is opened where it is not.
    pub(super) async fn open(self: &Arc<Self>, slot: &Arc<Slot>, create: bool) -> Result<Held, Error> {
        let begun = Instant::now();
        let mut opened = slot.opened.lock().await;
        slot.use_now();
        if let Some(opened) = opened.as_ref().filter(|opened| !opened.is_lost()) {
            return Ok(self.hold(opened));
        }
        if let Some(lost) = opened.take() {
            let _ = spawn_blocking(move || drop(lost)).await;
        }
        // From the beginning on: who waited for somebody else to open it waited for a place as well.
        let patience = Delay::new(self.settings.patience.saturating_sub(begun.elapsed()));
        let place = self.place(patience).await?;
        let (shared, slot_too) = (self.clone(), slot.clone());
        let open = move || Opened::open(&slot_too, create, &shared.settings, &shared.readers, place);
        let new = run(open).await??;
        let new = Arc::new(new);
        self.slots().opened(slot);
        if self.is_closed() {
            // Whoever closes the store may have looked before.
            let _ = spawn_blocking(move || drop(new)).await;
            return Err(closed());
        }
        Ok(self.hold(opened.insert(new)))
    }

    fn hold(self: &Arc<Self>, opened: &Arc<Opened>) -> Held {
        Held { opened: opened.clone(), _freed: Freed(self.freed.clone()), _store: self.clone() }
    }

    /// The right to have one more database open. Where there is none left, the one that was used longest ago is closed;
    /// where a call runs on each, one of them is waited for.
    async fn place(&self, mut patience: Delay) -> Result<Place, Error> {
        loop {
            if self.is_closed() {
                return Err(closed());
            }
            let mut freed = pin!(self.freed.notified());
            // From here on: what is freed while we look is not missed.
            freed.as_mut().enable();
            if let Ok(permit) = self.places.clone().try_acquire_owned() {
                return Ok(Place { _permit: permit, _freed: Freed(self.freed.clone()) });
            }
            let idle = self.take_idle(Instant::now());
            if let Some(idle) = idle {
                // Closing a database writes its log back.
                let _ = spawn_blocking(move || drop(idle)).await;
            } else if let Either::Right(_) = select(freed, &mut patience).await {
                return Err(Error::Unavailable("too many databases are in use".into()));
            }
        }
    }

    fn take_idle(&self, until: Instant) -> Option<Arc<Opened>> {
        self.slots().take_idle(until)
    }

    #[cfg(test)]
    pub(super) fn free_places(&self) -> usize {
        self.places.available_permits()
    }

    /// Whether no work may begin any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(super) fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to have a database open.
pub(super) struct Place {
    // Before the one that tells of it.
    _permit: OwnedSemaphorePermit,
    _freed: Freed,
}

/// An open database while a call uses it: it is not closed meanwhile, and nobody else has the folder.
pub(super) struct Held {
    // Before the one that tells of it.
    opened: Arc<Opened>,
    _freed: Freed,
    _store: Arc<Shared>,
}

impl Deref for Held {
    type Target = Opened;

    fn deref(&self) -> &Opened {
        &self.opened
    }
}

/// Tells, in the end, whoever waits for a place.
struct Freed(Arc<Notify>);

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

pub(super) fn closed() -> Error {
    Error::Unavailable("the store is closed".into())
}
