use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::store::{Dbid, Error};

/// A folder of databases that nobody else has.
pub(super) struct Folder {
    dir: PathBuf,
    /// Held for the lock on it.
    lock: Mutex<Option<File>>,
}

impl Folder {
    /// Takes it, and makes it where it is missing.
    pub(super) fn take(dir: &Path) -> Result<Self, Error> {
        let failed = |what: &str, error: io::Error| Error::Io(format!("{what} {}: {error}", dir.display()));
        fs::create_dir_all(dir).map_err(|error| failed("cannot make the folder", error))?;
        let lock = File::options().create(true).truncate(false).write(true).open(dir.join(".lock"));
        let lock = lock.map_err(|error| failed("cannot write to the folder", error))?;
        match lock.try_lock() {
            Ok(()) => {
                remove_passing(dir);
                Ok(Self { dir: dir.to_owned(), lock: Mutex::new(Some(lock)) })
            }
            Err(TryLockError::WouldBlock) => {
                Err(Error::Unavailable(format!("another server has the folder {}", dir.display())))
            }
            Err(TryLockError::Error(error)) => Err(failed("cannot lock the folder", error)),
        }
    }

    /// The file of a database.
    pub(super) fn file(&self, dbid: &Dbid) -> PathBuf {
        self.dir.join(format!("{dbid}.db"))
    }

    /// A name for a file on its way in or out, which no database can have.
    pub(super) fn passing(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{PASSING}{number}"))
    }

    /// The databases that have a file.
    pub(super) fn list(&self) -> io::Result<Vec<Dbid>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let dbid = name.to_str().and_then(|name| name.strip_suffix(".db"));
            found.extend(dbid.and_then(|dbid| Dbid::new(dbid).ok()));
        }
        Ok(found)
    }

    /// Lets others have it.
    pub(super) fn release(&self) {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// What the names of passing files begin with. The id of a database does not begin with a point.
const PASSING: &str = ".passing-";

/// Removes what a process left behind that was killed.
fn remove_passing(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PASSING)) {
            // It takes room, and does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes the name of a file durable.
pub(super) fn sync(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
