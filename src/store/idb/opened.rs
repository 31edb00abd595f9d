//! One open database: the replica on its image, and the writer behind it.
//!
//! Calls run one after the other without an await inside, so the image is at a commit whenever the writer looks at it.
//! There is one write at a time; what commits meanwhile goes into the next one together.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use futures_timer::Delay;
use futures_util::future::{Either, ready};
use tokio::sync::watch;
use wasm_bindgen_futures::spawn_local;

use super::connection::Connection;
use super::failure::Failure;
use super::image::{Image, Snapshot};
use super::lock::{self, Held};
use super::log::{Generation, Limits, Log, Restore, Write};
use super::stored::{STORES, Stored};
use super::vfs;
use crate::crr::Version;
use crate::store::Error;
use crate::sync::Replica;

/// How long to wait for another instance to let go of the database. During an update of the worker the old one ends
/// within this time, unless it has streams open.
const PATIENCE: Duration = Duration::from_secs(5);
/// A checkpoint that is due waits for this long a pause.
const PAUSE: Duration = Duration::from_millis(200);

/// How far the disk is. Once `end` is set it stays.
#[derive(Clone, Default)]
struct Progress {
    durable: Generation,
    end: Option<Failure>,
}

/// Where commits go.
enum Storage {
    Stored(Stored),
    /// The browser gives us none: what is written is gone with the worker.
    Memory,
}

/// A database in memory, and its storage.
pub(super) struct Opened {
    // Dropped in this order: the connection to SQLite before its image, the storage before the lock.
    replica: RefCell<Option<Replica>>,
    image: Rc<RefCell<Image>>,
    log: RefCell<Log>,
    storage: RefCell<Option<Storage>>,
    lock: RefCell<Option<Held>>,
    progress: watch::Sender<Progress>,
    versions: watch::Sender<Version>,
    is_writing: Cell<bool>,
    is_checkpoint_planned: Cell<bool>,
    is_retiring: Cell<bool>,
}

impl Opened {
    /// Waits for the lock and loads what is stored. Durable versions are told to `versions` from then on.
    pub(super) async fn open(name: &str, create: bool, versions: watch::Sender<Version>) -> Result<Rc<Self>, Error> {
        let owner: Rc<Owner> = Rc::default();
        let held = lock::acquire(name, PATIENCE, {
            let owner = Rc::clone(&owner);
            move || owner.tell(News::Taken)
        })
        .await?;
        let connection = match Connection::open(name, create.then_some(STORES)).await {
            Err(Failure::Refused(_)) if !create => return Err(Error::NotFound),
            Err(Failure::Refused(why)) => {
                tracing::warn!("the browser gives no storage ({why}): {name} is in memory, and gone with the worker");
                let (image, log) =
                    Restore::new(None, Limits::default()).and_then(Restore::finish).map_err(Failure::from)?;
                return Self::start(Storage::Memory, image, log, None, versions);
            }
            connection => connection?,
        };
        connection.on_lost({
            let owner = Rc::clone(&owner);
            move |is_closed| owner.tell(if is_closed { News::Closed } else { News::Wanted })
        });
        let (stored, image, log) = Stored::load(connection).await?;
        let opened = Self::start(Storage::Stored(stored), image, log, Some(held), versions)?;
        owner.set(&opened);
        Ok(opened)
    }

    fn start(
        storage: Storage,
        image: Image,
        log: Log,
        lock: Option<Held>,
        versions: watch::Sender<Version>,
    ) -> Result<Rc<Self>, Error> {
        let progress = Progress { durable: log.current(&image), end: None };
        let image = Rc::new(RefCell::new(image));
        let conn = vfs::connect(&image).map_err(crate::sync::Error::from)?;
        let replica = Replica::open(conn)?;
        versions.send_replace(replica.version()?);
        let opened = Rc::new(Self {
            replica: RefCell::new(Some(replica)),
            image,
            log: RefCell::new(log),
            storage: RefCell::new(Some(storage)),
            lock: RefCell::new(lock),
            progress: watch::Sender::new(progress),
            versions,
            is_writing: Cell::new(false),
            is_checkpoint_planned: Cell::new(false),
            is_retiring: Cell::new(false),
        });
        opened.start_writing();
        Ok(opened)
    }

    /// Whether commits are stored, and not in memory only.
    pub(super) fn is_stored(&self) -> bool {
        !matches!(*self.storage.borrow(), Some(Storage::Memory))
    }

    /// Whether calls can still be made.
    pub(super) fn is_open(&self) -> bool {
        !self.is_retiring.get() && self.replica.try_borrow().is_ok_and(|replica| replica.is_some())
    }

    /// Runs `f` with the replica. What it found may be told once the generation that is returned is durable.
    pub(super) fn run<T>(self: &Rc<Self>, f: impl FnOnce(&mut Replica) -> T) -> Result<(T, Generation), Error> {
        // It stays borrowed when an earlier call panicked.
        let mut replica = self.replica.try_borrow_mut().map_err(|_| Failure::Closed)?;
        let Some(replica) = replica.as_mut().filter(|_| !self.is_retiring.get()) else {
            return Err(self.end_or_closed().into());
        };
        let found = f(replica);
        if !replica.connection().is_autocommit() {
            // Storing half a transaction would be worse than losing one that nobody committed.
            replica.connection().execute_batch("ROLLBACK").map_err(crate::sync::Error::from)?;
        }
        let generation = self.log.borrow().current(&self.image.borrow());
        self.start_writing();
        Ok((found, generation))
    }

    /// Resolves when `generation` is durable.
    pub(super) async fn durable(&self, generation: Generation) -> Result<(), Failure> {
        let mut progress = self.progress.subscribe();
        let reached = progress.wait_for(|p| p.durable >= generation || p.end.is_some()).await;
        match reached {
            Ok(progress) if progress.durable >= generation => Ok(()),
            Ok(progress) => Err(progress.end.clone().unwrap_or(Failure::Closed)),
            Err(_) => Err(Failure::Closed),
        }
    }

    /// The file as the calls until now have left it. It may be told once the generation beside it is durable.
    pub(super) fn snapshot(&self) -> (Snapshot, Generation) {
        let image = self.image.borrow();
        (image.snapshot(), self.log.borrow().current(&image))
    }

    /// Puts a whole file in the place of storage in which there is no database yet, as one transaction, and lets go of it:
    /// the next call opens what is stored then.
    pub(super) async fn replace(self: Rc<Self>, mut image: Image) -> Result<(), Error> {
        let (exists, generation) = self.run(|replica| replica.exists())?;
        if exists {
            return Err(Error::Exists);
        }
        if !self.is_stored() {
            return Err(Failure::Refused("it keeps nothing that could be imported".into()).into());
        }
        // Before anyone else has a turn: what they wrote would be gone.
        self.is_retiring.set(true);
        self.durable(generation).await?;
        let write = self.log.borrow_mut().checkpoint(&mut image);
        let outcome = match self.write(&write, &image) {
            Ok(written) => written.await,
            Err(failure) => Err(failure),
        };
        self.end(Failure::Closed);
        Ok(outcome?)
    }

    /// Takes no more calls, makes everything durable and lets go of the database.
    pub(super) async fn retire(&self) {
        self.is_retiring.set(true);
        let generation = self.log.borrow().current(&self.image.borrow());
        let _ = self.durable(generation).await;
        self.end(Failure::Closed);
    }

    /// Makes whoever watches the version ask for the database again: what is stored may be another one by now, or none.
    fn have_watchers_look(&self) {
        self.versions.send_modify(|_| ());
    }

    /// Fails everyone who waits, and lets go of the database.
    fn end(&self, failure: Failure) {
        self.progress.send_if_modified(|progress| {
            let is_first = progress.end.is_none();
            if is_first {
                failure.tell();
            }
            progress.end.get_or_insert(failure);
            is_first
        });
        if let Ok(mut replica) = self.replica.try_borrow_mut() {
            replica.take();
        }
        self.storage.borrow_mut().take();
        self.lock.borrow_mut().take();
    }

    fn end_or_closed(&self) -> Failure {
        self.progress.borrow().end.clone().unwrap_or(Failure::Closed)
    }

    fn start_writing(self: &Rc<Self>) {
        if !self.is_writing.get() && self.image.borrow().is_dirty() {
            self.is_writing.set(true);
            spawn_local(Rc::clone(self).write_all());
        }
    }

    /// Runs until nothing is dirty. It belongs to no call: a caller that goes away takes no commit with it.
    async fn write_all(self: Rc<Self>) {
        loop {
            let write = self.log.borrow_mut().prepare(&mut self.image.borrow_mut());
            let Some(write) = write else { break };
            if let Err(failure) = self.execute(write).await {
                return self.end(failure);
            }
        }
        self.is_writing.set(false);
        self.plan_checkpoint();
    }

    async fn execute(&self, write: Write) -> Result<(), Failure> {
        let version = self.version()?;
        let written = self.write(&write, &self.image.borrow())?;
        written.await?;
        self.progress.send_modify(|progress| progress.durable = write.generation());
        self.versions.send_if_modified(|told| std::mem::replace(told, version) != version);
        Ok(())
    }

    /// Begins a write. What it takes of `image` is taken when this returns; the future tells when it is durable.
    fn write(
        &self,
        write: &Write,
        image: &Image,
    ) -> Result<impl Future<Output = Result<(), Failure>> + use<>, Failure> {
        match &*self.storage.borrow() {
            Some(Storage::Stored(stored)) => Ok(Either::Left(stored.execute(write, image)?)),
            Some(Storage::Memory) => Ok(Either::Right(ready(Ok(())))),
            None => Err(self.end_or_closed()),
        }
    }

    /// The version of the state that is about to be written.
    fn version(&self) -> Result<Version, Failure> {
        match self.replica.try_borrow().as_deref() {
            Ok(Some(replica)) => replica.version().map_err(|error| Failure::Other(error.to_string())),
            _ => Err(self.end_or_closed()),
        }
    }

    fn plan_checkpoint(self: &Rc<Self>) {
        if !self.log.borrow().is_checkpoint_due() || self.is_checkpoint_planned.replace(true) {
            return;
        }
        let this = Rc::downgrade(self);
        spawn_local(async move {
            Delay::new(PAUSE).await;
            if let Some(this) = this.upgrade() {
                this.is_checkpoint_planned.set(false);
                this.checkpoint().await;
            }
        });
    }

    /// Empties the log, unless the database is busy: then the writer plans another one when it is done.
    async fn checkpoint(self: &Rc<Self>) {
        if self.is_writing.get() || !self.is_open() {
            return;
        }
        self.is_writing.set(true);
        let write = self.log.borrow_mut().checkpoint(&mut self.image.borrow_mut());
        if let Err(failure) = self.execute(write).await {
            return self.end(failure);
        }
        Rc::clone(self).write_all().await;
    }
}

/// What the browser has to say about an open database, or about one that is just being opened.
#[derive(Clone, Copy)]
enum News {
    /// Another context took the lock by force.
    Taken,
    /// The connection is closed.
    Closed,
    /// Somebody wants to delete or upgrade the database, and waits for its connections to be closed.
    Wanted,
}

/// Passes news on; what comes before there is someone to hear it is kept.
#[derive(Default)]
struct Owner {
    opened: RefCell<Weak<Opened>>,
    early: Cell<Option<News>>,
}

impl Owner {
    fn set(&self, opened: &Rc<Opened>) {
        self.opened.replace(Rc::downgrade(opened));
        if let Some(news) = self.early.take() {
            self.tell(news);
        }
    }

    fn tell(&self, news: News) {
        match (self.opened.borrow().upgrade(), news) {
            (Some(opened), News::Taken) => opened.end(Failure::Taken),
            (Some(opened), News::Closed) => {
                opened.end(Failure::Closed);
                opened.have_watchers_look();
            }
            (Some(opened), News::Wanted) => spawn_local(async move {
                opened.retire().await;
                opened.have_watchers_look();
            }),
            (None, news) => self.early.set(Some(news)),
        }
    }
}
