use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use send_wrapper::SendWrapper;
use tokio::sync::{Mutex, oneshot, watch};
use wasm_bindgen_futures::spawn_local;

use super::connection;
use super::failure::Failure;
use super::image::Image;
use super::opened::Opened;
use super::transfer::{Export, Import};
use crate::crr::Version;
use crate::store::{Dbid, Error, Kept};
use crate::sync::Replica;

// The module has one thread, so nothing in it ever moves to another: `SendWrapper` is `Send` for the sake of the code
// that all hosts share, and would panic on a second thread rather than race.

/// The databases that this origin keeps under one name.
#[derive(Clone)]
pub struct Store(SendWrapper<Rc<Shared>>);

struct Shared {
    name: String,
    slots: RefCell<HashMap<Dbid, Rc<Slot>>>,
}

/// What a call does, and what it found.
type Call = Box<dyn FnOnce(&mut Replica) -> Found>;
type Found = Box<dyn Any + Send>;

/// One database that was asked for, whether it is open just now or not.
pub(super) struct Slot {
    dbid: Dbid,
    name: String,
    /// Held while opening, so that it is opened once.
    opened: Mutex<Option<Rc<Opened>>>,
    versions: watch::Sender<Version>,
}

impl Store {
    /// `name` keeps the databases of several workers of one origin apart; it is part of their IndexedDB names.
    pub fn new(name: &str) -> Self {
        Self(SendWrapper::new(Rc::new(Shared { name: name.to_owned(), slots: RefCell::default() })))
    }

    /// The database of that id, or [`Error::NotFound`]; never creates anything.
    pub fn open(&self, dbid: &Dbid) -> impl Future<Output = Result<Database, Error>> + Send + use<> {
        self.get(dbid, false)
    }

    /// The database of that id; where there is none, its storage, in which a schema is still to be recorded.
    pub fn open_or_create(&self, dbid: &Dbid) -> impl Future<Output = Result<Database, Error>> + Send + use<> {
        self.get(dbid, true)
    }

    fn get(&self, dbid: &Dbid, create: bool) -> impl Future<Output = Result<Database, Error>> + Send + use<> {
        let (shared, slot) = (Rc::clone(&self.0), self.0.slot(dbid));
        SendWrapper::new(async move {
            let outcome = async {
                let opened = slot.ready(create).await?;
                let exists = create || opened.run(|replica| replica.exists())?.0;
                // A database whose creation did not come to its schema is not there yet.
                if exists { Ok(()) } else { Err(Error::NotFound) }
            };
            let outcome = outcome.await;
            if outcome.is_err() {
                shared.forget(&slot);
            }
            outcome.map(|()| Database(SendWrapper::new(slot)))
        })
    }

    /// Begins to make a database of that id from a file. Where there is one already, that is [`Error::Exists`].
    pub fn import(&self, dbid: &Dbid) -> impl Future<Output = Result<Import, Error>> + Send + use<> {
        let (there, slot) = (self.open(dbid), self.0.slot(dbid));
        SendWrapper::new(async move {
            match there.await {
                Ok(_) => Err(Error::Exists),
                Err(Error::NotFound) => Ok(Import::new(slot)),
                Err(error) => Err(error),
            }
        })
    }

    /// The ids of all stored databases, open or not.
    pub fn list(&self) -> impl Future<Output = Result<Vec<Dbid>, Error>> + Send + use<> {
        let prefix = format!("{}/", self.0.name);
        SendWrapper::new(async move {
            let names = connection::names().await?;
            let dbids = names.iter().filter_map(|name| Dbid::new(name.strip_prefix(&prefix)?).ok());
            Ok(dbids.collect())
        })
    }

    /// Whether a database is in memory.
    pub fn is_open(&self, dbid: &Dbid) -> bool {
        let slots = self.0.slots.borrow();
        slots.get(dbid).is_some_and(|slot| slot.is_open())
    }

    /// Makes everything durable and lets go of a database, so that it takes no memory and another worker can have it. A
    /// later call takes it back.
    pub fn release(&self, dbid: &Dbid) -> impl Future<Output = ()> + Send + use<> {
        let slot = self.0.slots.borrow().get(dbid).cloned();
        SendWrapper::new(async move {
            if let Some(slot) = slot {
                slot.release().await;
            }
        })
    }

    /// Lets go of a database, as [`release`](Self::release) does, unless somebody has it or is about to.
    pub fn release_unused(&self, dbid: &Dbid) -> impl Future<Output = ()> + Send + use<> {
        // One is the map's, one is ours.
        let unused = |slot: &Rc<Slot>| Rc::strong_count(slot) == 2;
        let slot = self.0.slots.borrow().get(dbid).cloned().filter(unused);
        SendWrapper::new(async move {
            if let Some(slot) = slot {
                slot.release().await;
            }
        })
    }

    /// Lets go of every database.
    pub fn release_all(&self) -> impl Future<Output = ()> + Send + use<> {
        let slots: Vec<_> = self.0.slots.borrow().values().cloned().collect();
        SendWrapper::new(async move {
            join_all(slots.iter().map(|slot| slot.release())).await;
        })
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl Shared {
    fn slot(&self, dbid: &Dbid) -> Rc<Slot> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry(dbid.clone()).or_insert_with(|| {
            Rc::new(Slot {
                dbid: dbid.clone(),
                name: format!("{}/{dbid}", self.name),
                opened: Mutex::default(),
                versions: watch::Sender::new(Version::ZERO),
            })
        });
        Rc::clone(slot)
    }

    /// Drops a slot that nobody else uses, so that asking for names that do not exist costs no memory.
    fn forget(&self, slot: &Rc<Slot>) {
        if Rc::strong_count(slot) == 2 {
            self.slots.borrow_mut().remove(&slot.dbid);
        }
    }
}

/// How often a call takes a database that was let go just before its turn.
const TURNS: usize = 3;

impl Slot {
    /// The open database, for a caller that goes on without an await. It may be let go between its opening and the
    /// caller's turn; then it is opened again.
    async fn ready(self: &Rc<Self>, create: bool) -> Result<Rc<Opened>, Error> {
        for _ in 0..TURNS {
            let opened = self.opened(create).await?;
            if opened.is_open() {
                return Ok(opened);
            }
        }
        Err(Failure::Closed.into())
    }

    /// The open database.
    async fn opened(self: &Rc<Self>, create: bool) -> Result<Rc<Opened>, Error> {
        if let Some(opened) = open_one(&*self.opened.lock().await) {
            return Ok(opened);
        }
        let slot = Rc::clone(self);
        detached(async move { slot.open(create).await }).await
    }

    async fn open(&self, create: bool) -> Result<Rc<Opened>, Error> {
        let mut slot = self.opened.lock().await;
        if let Some(opened) = open_one(&slot) {
            return Ok(opened);
        }
        // What it was is let go first: it may hold the lock.
        slot.take();
        let opened = Opened::open(&self.name, create, self.versions.clone()).await?;
        Ok(Rc::clone(slot.insert(opened)))
    }

    /// Makes a whole file the database, where there is none yet.
    pub(super) async fn fill(self: &Rc<Self>, image: Image) -> Result<(), Error> {
        detached(self.ready(true).await?.replace(image)).await
    }

    fn is_open(&self) -> bool {
        // It is locked while it is being opened.
        let opened = self.opened.try_lock();
        opened.is_ok_and(|opened| open_one(&opened).is_some())
    }

    /// Runs a call. Resolves after everything that was committed so far is durable.
    fn run(self: Rc<Self>, call: Call) -> BoxFuture<'static, Result<Found, Error>> {
        Box::pin(SendWrapper::new(async move {
            let opened = self.ready(false).await?;
            let (found, generation) = opened.run(call)?;
            opened.durable(generation).await?;
            Ok(found)
        }))
    }

    async fn release(&self) {
        // One that is in memory only has nowhere to come back from.
        let opened = self.opened.lock().await.take_if(|opened| opened.is_stored());
        if let Some(opened) = opened {
            opened.retire().await;
        }
    }
}

/// What a call found, as what it is.
fn downcast<T: 'static>(found: Result<Found, Error>) -> Result<T, Error> {
    found?.downcast().map(|found| *found).map_err(|_| Failure::Closed.into())
}

/// Runs a task that belongs to no call: a caller that goes away half way would leave behind what nobody closes.
async fn detached<T: 'static>(task: impl Future<Output = Result<T, Error>> + 'static) -> Result<T, Error> {
    let (sender, receiver) = oneshot::channel();
    spawn_local(async move {
        // Nobody may be waiting any more.
        let _ = sender.send(task.await);
    });
    receiver.await.unwrap_or_else(|_| Err(Failure::Closed.into()))
}

fn open_one(slot: &Option<Rc<Opened>>) -> Option<Rc<Opened>> {
    slot.as_ref().filter(|opened| opened.is_open()).cloned()
}

/// One database. It stays usable when its storage is lost: the call that was under way fails, and the next one opens
/// what is stored again.
#[derive(Clone)]
pub struct Database(SendWrapper<Rc<Slot>>);

impl Database {
    /// Its id.
    pub fn dbid(&self) -> &Dbid {
        &self.0.dbid
    }

    /// Runs `f` with the replica, alone. Resolves after everything that was committed so far is durable.
    pub fn call<T, F>(&self, f: F) -> impl Future<Output = Result<T, Error>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&mut Replica) -> T + Send + 'static,
    {
        // The same code runs every call; only this much is made anew for each kind.
        let call: Call = Box::new(|replica| Box::new(f(replica)));
        Rc::clone(&self.0).run(call).map(downcast)
    }

    /// Runs `f` to read. There is one connection here, so this waits for calls as a call does; natively it does not.
    pub fn read<T, F>(&self, f: F) -> impl Future<Output = Result<T, Error>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&mut Replica) -> T + Send + 'static,
    {
        self.call(f)
    }

    /// Runs `f` to read, one after the other and with the same replica each time. Here that is what a call does.
    pub fn follow<T, F>(&self, f: F) -> impl Future<Output = Result<T, Error>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&mut Replica) -> T + Send + 'static,
    {
        self.call(f)
    }

    /// The database as a file, as it is now; what is in it is durable.
    pub fn export(&self) -> impl Future<Output = Result<Export, Error>> + Send + use<> {
        let slot = Rc::clone(&self.0);
        SendWrapper::new(async move {
            let opened = slot.ready(false).await?;
            let (snapshot, generation) = opened.snapshot();
            opened.durable(generation).await?;
            Ok(Export::new(snapshot))
        })
    }

    /// Where the database is kept.
    pub fn kept(&self) -> impl Future<Output = Result<Kept, Error>> + Send + use<> {
        let slot = Rc::clone(&self.0);
        SendWrapper::new(async move {
            let is_stored = slot.ready(false).await?.is_stored();
            Ok(match is_stored {
                false => Kept::Memory,
                true if connection::is_persisted().await => Kept::Persisted,
                true => Kept::BestEffort,
            })
        })
    }

    /// The newest durable local version.
    pub fn watch(&self) -> watch::Receiver<Version> {
        self.0.versions.subscribe()
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.0.dbid).finish()
    }
}
