//! A database as a file: on its way out, and on its way in. Either lies in the store's folder meanwhile, under a name that
//! no database can have, and goes when it is not needed any more.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags};

use super::run::run;
use super::slots::Slot;
use super::store::{Held, Shared};
use super::{backup, folder};
use crate::store::{Error, transfer};
use crate::sync::Created;

/// How much is read at once.
const PIECE: usize = 256 << 10;

/// A file that goes when it is dropped, with what SQLite put beside it.
struct Passing(PathBuf);

impl Passing {
    fn new(shared: &Shared) -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        Self(shared.folder.passing(COUNTER.fetch_add(1, Ordering::Relaxed)))
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        Connection::open_with_flags(&self.0, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // What cannot be removed now is when the folder is taken the next time.
        let _ = fs::remove_file(&self.0);
        remove_journals(&self.0);
    }
}

/// The bytes of a database as it was at one moment, a file that any SQLite reads.
pub struct Export {
    // Closed before it is removed.
    file: Option<File>,
    left: u64,
    _passing: Passing,
}

impl Export {
    /// Copies the database. Writes go on meanwhile.
    pub(super) fn new(held: &Held, shared: &Shared) -> Result<Self, Error> {
        let passing = Passing::new(shared);
        backup::copy(held.path(), &passing.0, shared, |_| {})?;
        // Without its log it would be half of a database, so it has none.
        let conn = passing.open().map_err(crate::sync::Error::from)?;
        conn.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(crate::sync::Error::from)?;
        conn.close().map_err(|(_, error)| crate::sync::Error::from(error))?;
        let file = File::open(&passing.0).map_err(failed)?;
        let left = file.metadata().map_err(failed)?.len();
        Ok(Self { file: Some(file), left, _passing: passing })
    }

    /// How many bytes are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes, until none are left.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(mut file) = self.file.take() else { return Ok(None) };
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE);
        let read = move || {
            let mut bytes = vec![0; wanted];
            file.read_exact(&mut bytes).map(|()| (file, bytes))
        };
        let (file, bytes) = run(read).await?.map_err(failed)?;
        self.left -= bytes.len() as u64;
        self.file = (self.left > 0).then_some(file);
        Ok((!bytes.is_empty()).then(|| bytes.into()))
    }
}

/// A database that is being made from a file. There is none before it is [finished](Self::finish).
pub struct Import {
    file: Option<File>,
    passing: Passing,
    slot: Arc<Slot>,
    shared: Arc<Shared>,
}

impl Import {
    pub(super) fn new(slot: Arc<Slot>, shared: Arc<Shared>) -> Result<Self, Error> {
        let passing = Passing::new(&shared);
        let file = File::create_new(&passing.0).map_err(failed)?;
        Ok(Self { file: Some(file), passing, slot, shared })
    }

    /// Takes the next bytes.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let Some(mut file) = self.file.take() else {
            return Err(Error::Io("an earlier part of the file could not be written".into()));
        };
        let write = move || file.write_all(&bytes).map(|()| file);
        self.file = Some(run(write).await?.map_err(failed)?);
        Ok(())
    }

    /// Makes the file the database: all of it is durable then, or nothing of it is there. One that is damaged or no
    /// replica's is [`Error::InvalidFile`], and where there is a database by now, [`Error::Exists`].
    pub async fn finish(self) -> Result<Created, Error> {
        let Self { file, passing, slot, shared } = self;
        // SQLite opens it anew.
        drop(file);
        let passing = run(move || {
            let conn = passing.open().map_err(|error| Error::InvalidFile(error.to_string()))?;
            let created = transfer::adopt(conn)?;
            File::open(&passing.0).and_then(|file| file.sync_all()).map_err(failed)?;
            Ok::<_, Error>((passing, created))
        });
        let (passing, created) = passing.await??;
        match shared.open(&slot, false).await {
            Ok(_) if slot.exists.load(Ordering::Acquire) => return Err(Error::Exists),
            Ok(_) | Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
        // From here on nobody opens what is there: a file without a schema, if any. Calls on it have come to their end.
        let mut opened = slot.opened.lock().await;
        if let Some(opened) = opened.take() {
            opened.close().await?;
        }
        if slot.exists.load(Ordering::Acquire) {
            return Err(Error::Exists);
        }
        let target = slot.path.clone();
        let place = move || {
            remove_journals(&target);
            fs::rename(&passing.0, &target).and_then(|()| folder::sync(&target)).map_err(failed)
        };
        run(place).await??;
        Ok(created)
    }
}

/// Removes what belongs to a database file, and would be taken for a part of another one that has its name.
fn remove_journals(database: &Path) {
    for suffix in ["-wal", "-shm", "-journal"] {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        let _ = fs::remove_file(name);
    }
}

fn failed(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::StorageFull,
        _ => Error::Io(error.to_string()),
    }
}
