//! The SQLite file system over an [`Image`]: one main database file for each connection, everything else scratch.
//!
//! Invariants:
//! - A main database is reachable only through the connection that [`connect`] made for it: `ATTACH` finds no file, and
//!   no second connection gets at the same image. So there is nothing to lock.
//! - Between transactions the image is exactly the committed state: pages are not spilled to the file before a commit,
//!   and the rollback journal, in memory, undoes a commit that fails half way.
//! - There is no WAL: a write-ahead log would be a second file, which nobody stores.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::CString;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rsqlite_vfs::{
    AccessMode, FileKind, LockLevel, MemChunksFile, OpenOptions, OpenRequest, OpenedFile, OsCallback, SQLiteIoMethods,
    SQLiteVfs, SyncOptions, VfsError, VfsErrorCode, VfsFile, VfsResult, VfsStore, ffi,
};
use rusqlite::{Connection, OpenFlags};

use super::image::Image;

/// Opens a connection whose main database is `image`.
pub(crate) fn connect(image: &Rc<RefCell<Image>>) -> rusqlite::Result<Connection> {
    NAMESPACE.with(|namespace| {
        let vfs = namespace.registered()?;
        let name = namespace.offer(image);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        // Without locks SQLite knows that it cannot have WAL. It must know: `PRAGMA journal_mode = WAL` first marks the
        // file and only then tries to open the log, so refusing that would leave a file that nobody can open.
        let uri = format!("file:{name}?nolock=1");
        let opened = Connection::open_with_flags_and_vfs(uri, flags, vfs.as_c_str());
        namespace.0.offered.borrow_mut().remove(&name);
        let conn = opened?;
        configure(&conn)?;
        Ok(conn)
    })
}

/// The settings on which the invariants above rest. Durability is the store's work, so SQLite need not sync. The file is in
/// memory, so a page of it is copied as fast as it is found in a cache: a large one would be a second copy.
fn configure(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF;
         PRAGMA cache_spill = OFF; PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY",
    )
}

thread_local! {
    /// SQLite's list of file systems is global while images belong to a thread, so each thread registers its own. In
    /// the browser there is one thread.
    static NAMESPACE: Namespace = Namespace::default();
}

#[derive(Clone, Default)]
struct Namespace(Rc<Files>);

#[derive(Default)]
struct Files {
    vfs_name: RefCell<Option<CString>>,
    /// Images between [`connect`]'s call of SQLite and SQLite's opening of the file.
    offered: RefCell<HashMap<String, Rc<RefCell<Image>>>>,
    /// Named journals and temporary files.
    scratch: RefCell<HashMap<String, Rc<RefCell<MemChunksFile>>>>,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

fn unique(what: &str) -> String {
    format!("crsql-sync-{what}-{}", COUNTER.fetch_add(1, Ordering::Relaxed))
}

impl Namespace {
    fn registered(&self) -> rusqlite::Result<CString> {
        let mut registered = self.0.vfs_name.borrow_mut();
        if let Some(name) = &*registered {
            return Ok(name.clone());
        }
        let name = unique("vfs");
        // SAFETY: `FileSystem` and `Methods` keep the default constructor, file layout and callbacks, and agree on the
        // app data, which the registration keeps alive for ever. The name is new, and only this thread opens
        // connections with it, so the `Rc`s inside are never shared between threads.
        let registration = unsafe { rsqlite_vfs::register_vfs::<Methods, FileSystem>(&name, self.clone(), false) }
            .map_err(|error| failure(&error.to_string()))?;
        registration.into_raw();
        let name = CString::new(name).map_err(|_| failure("the name of the file system has a zero byte"))?;
        Ok(registered.insert(name).clone())
    }

    fn offer(&self, image: &Rc<RefCell<Image>>) -> String {
        let name = unique("db");
        self.0.offered.borrow_mut().insert(name.clone(), Rc::clone(image));
        name
    }
}

fn failure(message: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(ffi::SQLITE_CANTOPEN), Some(message.to_owned()))
}

fn refused(message: &'static str) -> VfsError {
    VfsError::new(VfsErrorCode::CantOpen, message.into())
}

struct Methods;

impl SQLiteIoMethods for Methods {
    type Store = FileSystem;
}

struct FileSystem;

impl VfsStore for FileSystem {
    type File = File;
    type AppData = Namespace;

    fn open_file(data: &Namespace, request: OpenRequest<'_>) -> VfsResult<OpenedFile<File>> {
        let options = request.options;
        let file = match (options.kind(), request.filename) {
            (Some(FileKind::MainDb), Some(name)) => {
                let image = data.0.offered.borrow_mut().remove(name.path());
                File::Main(image.ok_or_else(|| refused("no database of this name can be opened here"))?)
            }
            (Some(FileKind::MainDb | FileKind::Wal), _) => {
                return Err(refused("this store keeps its own log, instead of SQLite's WAL"));
            }
            (_, None) => File::Scratch(Rc::default()),
            (_, Some(name)) => match data.0.scratch.borrow_mut().entry(name.path().to_owned()) {
                Entry::Occupied(_) if options.exclusive() => {
                    return Err(refused("the file exists"));
                }
                Entry::Occupied(entry) => File::Scratch(Rc::clone(entry.get())),
                Entry::Vacant(_) if !options.create() => {
                    return Err(refused("the file does not exist"));
                }
                Entry::Vacant(entry) => File::Scratch(Rc::clone(entry.insert(Rc::default()))),
            },
        };
        Ok(OpenedFile { file, access: options.access() })
    }

    fn close_file(data: &Namespace, name: Option<&str>, file: File, options: OpenOptions) -> VfsResult<()> {
        if let (Some(name), File::Scratch(file), true) = (name, file, options.delete_on_close()) {
            let mut files = data.0.scratch.borrow_mut();
            if files.get(name).is_some_and(|named| Rc::ptr_eq(named, &file)) {
                files.remove(name);
            }
        }
        Ok(())
    }

    fn access(data: &Namespace, name: &str, _mode: AccessMode) -> VfsResult<bool> {
        Ok(data.0.scratch.borrow().contains_key(name))
    }

    fn full_pathname(_data: &Namespace, name: &str) -> VfsResult<String> {
        Ok(name.to_owned())
    }

    fn delete_file(data: &Namespace, name: &str, _sync_dir: bool) -> VfsResult<()> {
        data.0.scratch.borrow_mut().remove(name);
        Ok(())
    }
}

impl SQLiteVfs<Methods> for FileSystem {
    type Os = DefaultOs;

    fn os(_data: &Namespace) -> &DefaultOs {
        &DefaultOs
    }
}

enum File {
    Main(Rc<RefCell<Image>>),
    Scratch(Rc<RefCell<MemChunksFile>>),
}

/// A connection is used between awaits only, so nothing else borrows the image while SQLite runs. Should it happen all
/// the same, SQLite reports an I/O error and rolls back.
fn busy<E>(_: E) -> VfsError {
    VfsError::new(VfsErrorCode::Io, "the file is in use".into())
}

fn full<E: std::error::Error>(error: E) -> VfsError {
    VfsError::new(VfsErrorCode::Full, error.to_string().into())
}

impl VfsFile for File {
    fn read(&mut self, buffer: &mut [u8], offset: u64) -> VfsResult<usize> {
        match self {
            Self::Main(image) => Ok(image.try_borrow().map_err(busy)?.read(buffer, offset)),
            Self::Scratch(file) => file.try_borrow_mut().map_err(busy)?.read(buffer, offset),
        }
    }

    fn write(&mut self, bytes: &[u8], offset: u64) -> VfsResult<()> {
        match self {
            Self::Main(image) => image.try_borrow_mut().map_err(busy)?.write(bytes, offset).map_err(full),
            Self::Scratch(file) => file.try_borrow_mut().map_err(busy)?.write(bytes, offset),
        }
    }

    fn truncate(&mut self, size: u64) -> VfsResult<()> {
        match self {
            Self::Main(image) => image.try_borrow_mut().map_err(busy)?.set_size(size).map_err(full),
            Self::Scratch(file) => file.try_borrow_mut().map_err(busy)?.truncate(size),
        }
    }

    fn size(&self) -> VfsResult<u64> {
        match self {
            Self::Main(image) => Ok(image.try_borrow().map_err(busy)?.size()),
            Self::Scratch(file) => file.try_borrow().map_err(busy)?.size(),
        }
    }

    fn sync(&mut self, _options: SyncOptions) -> VfsResult<()> {
        Ok(())
    }

    fn lock(&mut self, _level: LockLevel) -> VfsResult<()> {
        Ok(())
    }

    fn unlock(&mut self, _level: LockLevel) -> VfsResult<()> {
        Ok(())
    }

    fn check_reserved_lock(&self) -> VfsResult<bool> {
        Ok(false)
    }
}

/// Time, randomness and sleep as SQLite's default file system has them on this platform.
struct DefaultOs;

impl OsCallback for DefaultOs {
    fn sleep(&self, duration: Duration) {
        let micros = i32::try_from(duration.as_micros()).unwrap_or(i32::MAX);
        // SAFETY: the default file system stays registered for ever, and is called with itself as the argument.
        unsafe {
            let vfs = ffi::sqlite3_vfs_find(std::ptr::null());
            if let Some(sleep) = vfs.as_ref().and_then(|vfs| vfs.xSleep) {
                sleep(vfs, micros);
            }
        }
    }

    fn random(&self, buffer: &mut [u8]) -> usize {
        let len = i32::try_from(buffer.len()).unwrap_or(i32::MAX);
        // SAFETY: as above; the callback writes at most `len` bytes, all of them within `buffer`.
        unsafe {
            let vfs = ffi::sqlite3_vfs_find(std::ptr::null());
            vfs.as_ref()
                .and_then(|vfs| vfs.xRandomness)
                .map_or(0, |random| random(vfs, len, buffer.as_mut_ptr().cast()))
                .max(0) as usize
        }
    }

    fn epoch_timestamp_in_ms(&self) -> VfsResult<i64> {
        /// The Unix epoch as a Julian day, in milliseconds: the unit of `xCurrentTimeInt64`.
        const EPOCH: i64 = 210_866_760_000_000;
        let mut now = 0;
        // SAFETY: as above; `now` is valid for the callback to write to.
        let code = unsafe {
            let vfs = ffi::sqlite3_vfs_find(std::ptr::null());
            vfs.as_ref().and_then(|vfs| vfs.xCurrentTimeInt64).map(|time| time(vfs, &mut now))
        };
        match code {
            Some(ffi::SQLITE_OK) => Ok(now - EPOCH),
            _ => Err(VfsError::new(VfsErrorCode::Error, "no clock".into())),
        }
    }
}

#[cfg(test)]
mod tests;
