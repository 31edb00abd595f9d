//! One file a database: `DIR/DBID.db`.
//!
//! A folder belongs to one [`Store`] at a time, over all processes: it holds a lock on `DIR/.lock`. Each database has one
//! connection, in WAL mode and with `synchronous = FULL`, so that a commit has reached the disk when it returns. Calls
//! queue for the connection in order, and run on tokio's threads for blocking work; one that began runs to its end, also
//! when nobody waits for it any more. Databases stay open while there is room, the most recently used ones longest.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::{OnceCell, watch};
use tokio::task::spawn_blocking;

use super::{Dbid, Error};
use crate::crr::Version;
use crate::sync::{self, Replica};

/// How many databases a store keeps open that nobody is using.
const OPEN_DATABASES: usize = 256;
/// How long a statement waits for another process, such as `crsql-sync sql`, to finish a transaction.
const BUSY: Duration = Duration::from_secs(5);

/// The databases of one folder.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    /// Held for the lock on it.
    _lock: File,
    open: Mutex<Open>,
}

/// The open databases, and when each was last asked for.
#[derive(Default)]
struct Open {
    databases: HashMap<Dbid, (Arc<OnceCell<Database>>, u64)>,
    clock: u64,
}

impl Store {
    /// Takes the folder, which is made where it is missing. Another store that has it is [`Error::Unavailable`].
    pub fn at(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let dir = dir.as_ref().to_owned();
        let failed = |what: &str, error: std::io::Error| Error::Io(format!("{what} {}: {error}", dir.display()));
        fs::create_dir_all(&dir).map_err(|error| failed("cannot make the folder", error))?;
        let lock = File::options().create(true).truncate(false).write(true).open(dir.join(".lock"));
        let lock = lock.map_err(|error| failed("cannot write to the folder", error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = format!("another server has the folder {}", dir.display());
                return Err(Error::Unavailable(reason));
            }
            Err(TryLockError::Error(error)) => return Err(failed("cannot lock the folder", error)),
        }
        Ok(Self { shared: Arc::new(Shared { dir, _lock: lock, open: Mutex::default() }) })
    }

    /// The database of that id, or [`Error::NotFound`]; never creates anything.
    pub async fn open(&self, dbid: &Dbid) -> Result<Database, Error> {
        let database = self.database(dbid, OpenFlags::empty()).await?;
        if database.inner.exists.load(Ordering::Acquire) { Ok(database) } else { Err(Error::NotFound) }
    }

    /// The database of that id; where there is none, its storage, in which a schema is still to be recorded.
    pub async fn open_or_create(&self, dbid: &Dbid) -> Result<Database, Error> {
        self.database(dbid, OpenFlags::SQLITE_OPEN_CREATE).await
    }

    /// The ids of the databases in the folder, also of those whose creation failed.
    pub async fn list(&self) -> Result<Vec<Dbid>, Error> {
        let dir = self.shared.dir.clone();
        let list = move || -> std::io::Result<Vec<Dbid>> {
            let mut found = Vec::new();
            for entry in fs::read_dir(dir)? {
                let name = entry?.file_name();
                let dbid = name.to_str().and_then(|name| name.strip_suffix(".db"));
                found.extend(dbid.and_then(|dbid| Dbid::new(dbid).ok()));
            }
            Ok(found)
        };
        let found = spawn_blocking(list).await.map_err(|error| Error::Io(error.to_string()))?;
        found.map_err(|error| Error::Io(error.to_string()))
    }

    /// The ids of the databases that are open now.
    pub fn opened(&self) -> Vec<Dbid> {
        let open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.databases.iter().filter(|(_, (cell, _))| cell.initialized()).map(|(dbid, _)| dbid.clone()).collect()
    }

    async fn database(&self, dbid: &Dbid, create: OpenFlags) -> Result<Database, Error> {
        let (cell, idle) = self.slot(dbid);
        if !idle.is_empty() {
            // Closing a database writes its log back.
            spawn_blocking(move || drop(idle));
        }
        let open = || async {
            let path = self.shared.dir.join(format!("{dbid}.db"));
            let replica = spawn_blocking(move || open(&path, create)).await;
            let replica = replica.map_err(|error| Error::Io(error.to_string()))??;
            Database::new(dbid.clone(), replica)
        };
        let opened = cell.get_or_try_init(open).await.cloned();
        if opened.is_err() {
            let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
            // Unless another caller is opening it at this moment, the place is free again.
            if open.databases.get(dbid).is_some_and(|(cell, _)| !cell.initialized() && Arc::strong_count(cell) <= 2) {
                open.databases.remove(dbid);
            }
        }
        opened
    }

    /// The place of a database among the open ones, and the ones that had to make room for it.
    fn slot(&self, dbid: &Dbid) -> (Arc<OnceCell<Database>>, Vec<Arc<OnceCell<Database>>>) {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clock += 1;
        let now = open.clock;
        let mut idle = Vec::new();
        if open.databases.len() >= OPEN_DATABASES && !open.databases.contains_key(dbid) {
            let oldest =
                open.databases.iter().filter(|(_, (cell, _))| is_idle(cell)).min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(dbid, _)| dbid.clone()) {
                idle.extend(open.databases.remove(&oldest).map(|(cell, _)| cell));
            }
        }
        let (cell, used) = open.databases.entry(dbid.clone()).or_default();
        *used = now;
        (cell.clone(), idle)
    }
}

/// Whether nobody but the store has the database.
fn is_idle(cell: &Arc<OnceCell<Database>>) -> bool {
    Arc::strong_count(cell) == 1 && cell.get().is_some_and(|database| Arc::strong_count(&database.inner) == 1)
}

fn open(path: &Path, create: OpenFlags) -> Result<Replica, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
    let conn = Connection::open_with_flags(path, flags).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen) if !path.exists() => Error::NotFound,
        _ => Error::from(sync::Error::from(error)),
    })?;
    let prepare = || {
        conn.busy_timeout(BUSY)?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "FULL")
    };
    prepare().map_err(sync::Error::from)?;
    Ok(Replica::open(conn)?)
}

/// One open database.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    dbid: Dbid,
    replica: Arc<tokio::sync::Mutex<Replica>>,
    version: watch::Sender<Version>,
    exists: AtomicBool,
}

impl Database {
    fn new(dbid: Dbid, replica: Replica) -> Result<Self, Error> {
        let version = watch::Sender::new(replica.version()?);
        let exists = AtomicBool::new(replica.exists());
        let replica = Arc::new(tokio::sync::Mutex::new(replica));
        Ok(Self { inner: Arc::new(Inner { dbid, replica, version, exists }) })
    }

    /// Its id.
    pub fn dbid(&self) -> &Dbid {
        &self.inner.dbid
    }

    /// Runs `f` with the replica, alone. Resolves after everything that was committed so far is durable.
    pub async fn call<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Replica) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let mut replica = self.inner.replica.clone().lock_owned().await;
        let inner = self.inner.clone();
        let run = move || {
            let value = f(&mut replica);
            inner.exists.store(replica.exists(), Ordering::Release);
            let version = replica.version();
            if let Ok(version) = version {
                inner.version.send_if_modified(|old| std::mem::replace(old, version) != version);
            }
            version.map(|_| value)
        };
        let done = spawn_blocking(run).await.map_err(|error| Error::Io(format!("the call was broken off: {error}")))?;
        Ok(done?)
    }

    /// The newest durable local version.
    pub fn watch(&self) -> watch::Receiver<Version> {
        self.inner.version.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Schema;

    fn dbid(text: &str) -> Dbid {
        Dbid::new(text).unwrap()
    }

    async fn create(store: &Store, id: &str) -> Database {
        let database = store.open_or_create(&dbid(id)).await.unwrap();
        let schema = Schema::parse("CREATE TABLE t (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('t')").unwrap();
        database.call(move |replica| replica.create_database_if_not_exists(&schema)).await.unwrap().unwrap();
        database
    }

    #[tokio::test]
    async fn a_folder_belongs_to_one_store_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Store::at(folder.path()).unwrap();
        assert!(matches!(Store::at(folder.path()), Err(Error::Unavailable(_))));
        drop(first);
        Store::at(folder.path()).unwrap();
    }

    #[tokio::test]
    async fn opening_what_is_not_there_creates_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path()).unwrap();
        assert!(matches!(store.open(&dbid("a")).await, Err(Error::NotFound)));
        assert!(store.list().await.unwrap().is_empty());
        assert!(store.shared.open.lock().unwrap().databases.is_empty());
    }

    #[tokio::test]
    async fn a_database_exists_from_the_commit_of_its_schema_on() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path()).unwrap();
        store.open_or_create(&dbid("a")).await.unwrap();
        assert!(matches!(store.open(&dbid("a")).await, Err(Error::NotFound)));
        create(&store, "a").await;
        store.open(&dbid("a")).await.unwrap();
    }

    #[tokio::test]
    async fn a_watcher_is_told_of_a_commit() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path()).unwrap();
        let database = create(&store, "a").await;
        let mut watch = database.watch();
        watch.mark_unchanged();
        let insert = |replica: &mut Replica| replica.connection().execute("INSERT INTO t VALUES (1, 2)", []);
        database.call(insert).await.unwrap().unwrap();
        assert!(watch.has_changed().unwrap());
        let version = database.call(|replica| replica.version().unwrap()).await.unwrap();
        assert_eq!(*watch.borrow_and_update(), version);
    }

    #[tokio::test]
    async fn more_databases_than_are_kept_open_can_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path()).unwrap();
        let kept = create(&store, "kept").await;
        for n in 0..OPEN_DATABASES + 5 {
            store.open_or_create(&dbid(&format!("n{n}"))).await.unwrap();
        }
        assert_eq!(store.shared.open.lock().unwrap().databases.len(), OPEN_DATABASES);
        let again = store.open(&dbid("kept")).await.unwrap();
        assert!(Arc::ptr_eq(&kept.inner, &again.inner));
        assert!(store.open(&dbid("n0")).await.is_err());
    }

    #[tokio::test]
    async fn a_call_that_panics_leaves_the_database_usable() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path()).unwrap();
        let database = create(&store, "a").await;
        let panics = |_: &mut Replica| -> () { panic!("on purpose") };
        assert!(matches!(database.call(panics).await, Err(Error::Io(_))));
        database.call(|replica| replica.version().unwrap()).await.unwrap();
    }
}
