//! A copy of a database that is in use.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::store::{Shared, closed};
use super::{connection, folder};
use crate::store::Error;
use crate::sync;

/// How many pages are copied between two words of progress.
const STEP: std::ffi::c_int = 256;

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The pages of the database.
    pub pages: u64,
    /// Those that are still to be copied.
    pub remaining: u64,
}

/// Copies `source` to `target`, a new file, which appears when it is complete and durable.
pub(super) fn copy(source: &Path, target: &Path, store: &Shared, progress: impl FnMut(Progress)) -> Result<(), Error> {
    if target.symlink_metadata().is_ok() {
        return Err(Error::Io(format!("{} exists already", target.display())));
    }
    let partial = partial(target)?;
    // Left behind by a process that was killed, if it is there.
    let _ = fs::remove_file(&partial);
    let copied = copy_pages(source, &partial, store, progress).and_then(|()| {
        let moved = fs::rename(&partial, target).and_then(|()| folder::sync(target));
        moved.map_err(|error| Error::Io(format!("{}: {error}", target.display())))
    });
    if copied.is_err() {
        let _ = fs::remove_file(&partial);
    }
    copied
}

fn copy_pages(source: &Path, target: &Path, store: &Shared, mut progress: impl FnMut(Progress)) -> Result<(), Error> {
    let failed = |error: sync::Error| connection::failure(source, error);
    let source = connection::read_only(source, &store.settings).map_err(failed)?;
    // One snapshot: without it, SQLite begins the copy anew with every commit.
    let hold = || source.execute_batch("BEGIN; SELECT 1 FROM sqlite_schema");
    hold().map_err(|error| failed(error.into()))?;
    let mut copy = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut target = Connection::open_with_flags(target, flags)?;
        let backup = Backup::new(&source, &mut target)?;
        loop {
            let step = backup.step(STEP)?;
            let at = backup.progress();
            let count = |pages| u64::try_from(pages).unwrap_or_default();
            progress(Progress { pages: count(at.pagecount), remaining: count(at.remaining) });
            match step {
                StepResult::Done => break,
                StepResult::More if store.is_closed() => return Ok(Some(closed())),
                StepResult::More => {}
                _ => return Ok(Some(Error::Unavailable("another program is using the copy".into()))),
            }
        }
        drop(backup);
        target.close().map_err(|(_, error)| error)?;
        Ok(None)
    };
    copy().map_err(|error| failed(sync::Error::Sqlite(error)))?.map_or(Ok(()), Err)
}

/// The name of a copy that is not complete.
fn partial(target: &Path) -> Result<PathBuf, Error> {
    let name =
        target.file_name().ok_or_else(|| Error::Io(format!("{} is not the name of a file", target.display())))?;
    let mut partial = OsString::from(".");
    partial.push(name);
    partial.push(".partial");
    Ok(target.with_file_name(partial))
}
