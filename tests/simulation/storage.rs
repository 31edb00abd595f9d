//! Databases in memory whose committed bytes can be seen, kept and opened again.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::rc::Rc;
use std::sync::Mutex;

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, ffi};

/// All bytes of a database.
pub type Image = Rc<[u8]>;

/// Opens an image. `seed` decides what is random in SQLite: site ids.
pub fn open(image: &[u8], seed: u64) -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    let length = i64::try_from(image.len()).unwrap();
    // SAFETY: the handle is open; the bytes are SQLite's own, of that length, and SQLite frees them.
    let code = unsafe {
        let bytes = ffi::sqlite3_malloc64(image.len() as u64).cast::<u8>();
        assert!(!bytes.is_null());
        bytes.copy_from_nonoverlapping(image.as_ptr(), image.len());
        let flags = ffi::SQLITE_DESERIALIZE_FREEONCLOSE | ffi::SQLITE_DESERIALIZE_RESIZEABLE;
        ffi::sqlite3_deserialize(conn.handle(), c"main".as_ptr(), bytes, length, length, flags as _)
    };
    assert_eq!(code, ffi::SQLITE_OK);
    be_predictable(&conn, seed);
    conn
}

/// Puts a function of the seed in the place of SQLite's `randomblob`.
pub fn be_predictable(conn: &Connection, seed: u64) {
    let random = Mutex::new(fastrand::Rng::with_seed(seed));
    conn.create_scalar_function("randomblob", 1, FunctionFlags::SQLITE_UTF8, move |context| {
        let mut bytes = vec![0; context.get::<i64>(0)? as usize];
        random.lock().unwrap().fill(&mut bytes);
        Ok(bytes)
    })
    .unwrap();
}

/// The bytes of a database that was opened from an image, as they are committed. No statement may be running.
pub fn bytes(conn: &Connection) -> &[u8] {
    let mut length = 0;
    // SAFETY: the handle is open. The bytes stay where they are until the next write.
    unsafe {
        let bytes =
            ffi::sqlite3_serialize(conn.handle(), c"main".as_ptr(), &mut length, ffi::SQLITE_SERIALIZE_NOCOPY as _);
        assert!(!bytes.is_null());
        std::slice::from_raw_parts(bytes, usize::try_from(length).unwrap())
    }
}

/// All bytes of a database that was made in memory.
pub fn copy(conn: &Connection) -> Image {
    let mut length = 0;
    // SAFETY: the handle is open; what SQLite returns has this length, and is freed after it was copied.
    unsafe {
        let bytes = ffi::sqlite3_serialize(conn.handle(), c"main".as_ptr(), &mut length, 0);
        assert!(!bytes.is_null());
        let image = std::slice::from_raw_parts(bytes, usize::try_from(length).unwrap()).into();
        ffi::sqlite3_free(bytes.cast());
        image
    }
}

/// Where a failure strikes.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// After so many times [`STEP`] steps of SQLite's machine.
    After(u32),
    /// At the first commit, or a later one: work that takes several of them must not leave a part of itself.
    AtCommit(u32),
}

const STEP: c_int = 20;

/// Runs `work` on a connection that fails.
pub fn with_fault<T, C>(
    on: &mut C,
    conn: impl Fn(&C) -> &Connection,
    fault: Fault,
    work: impl FnOnce(&mut C) -> T,
) -> T {
    unsafe extern "C" fn burn(left: *mut c_void) -> c_int {
        // SAFETY: it is the cell below, which outlives the call.
        let left = unsafe { &*left.cast::<Cell<u32>>() };
        left.set(left.get().saturating_sub(1));
        c_int::from(left.get() == 0)
    }
    // SAFETY: until it is opened again
    let handle = unsafe { conn(on).handle() };
    let (Fault::After(times) | Fault::AtCommit(times)) = fault;
    let mut counter = Box::new(Cell::new(times));
    let left = (&raw mut *counter).cast();
    // SAFETY: the handle is open until after the hooks are taken away again, and the counter lives as long.
    unsafe {
        match fault {
            Fault::After(_) => ffi::sqlite3_progress_handler(handle, STEP, Some(burn), left),
            Fault::AtCommit(_) => _ = ffi::sqlite3_commit_hook(handle, Some(burn), left),
        }
    }
    let result = work(on);
    // SAFETY: as above.
    unsafe {
        ffi::sqlite3_progress_handler(handle, 0, None, std::ptr::null_mut());
        ffi::sqlite3_commit_hook(handle, None, std::ptr::null_mut());
    }
    result
}
