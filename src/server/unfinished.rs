use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::Failure;

/// A database file that is being made, beside the place where it shall be. Dropped, it goes away.
pub(super) struct Unfinished {
    path: PathBuf,
    /// Locked, so that two runs never share it; the lock ends with the process.
    file: File,
    finished: bool,
}

impl Unfinished {
    /// Begins one that has the destination's name with `suffix`. What an interrupted run left there is cleared.
    pub(super) fn begin(destination: &Path, suffix: &str) -> Result<Self, Failure> {
        let path = beside(destination, suffix);
        let failed = |error: io::Error| format!("cannot write {}: {error}", path.display());
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!("another program is making {}", destination.display()).into());
            }
            Err(TryLockError::Error(error)) => return Err(failed(error).into()),
        }
        let work = Self { path: path.clone(), file, finished: false };
        work.file.set_len(0).map_err(failed)?;
        clear_journals(&work.path);
        Ok(work)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name, once it is on the disk.
    pub(super) fn finish(mut self, destination: &Path) -> Result<(), Failure> {
        self.file.sync_all()?;
        clear_journals(&self.path);
        fs::rename(&self.path, destination)?;
        self.finished = true;
        File::open(folder(destination))?.sync_all()?;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            clear_journals(&self.path);
            _ = fs::remove_file(&self.path);
        }
    }
}

/// A file that stands where the database or its journal shall be.
pub(super) fn taken(destination: &Path) -> Option<PathBuf> {
    ["", "-wal", "-journal"]
        .map(|suffix| beside(destination, suffix))
        .into_iter()
        .find(|file| file.symlink_metadata().is_ok())
}

/// Removes what belongs to the database of this name, and would be taken for a part of another one that takes its place.
pub(super) fn clear_journals(database: &Path) {
    for suffix in ["-wal", "-shm", "-journal"] {
        _ = fs::remove_file(beside(database, suffix));
    }
}

/// The folder in which a file stands.
pub(super) fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(suffix);
    name.into()
}
