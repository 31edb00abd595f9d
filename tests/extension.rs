//! The loadable extension in a plain SQLite. `scripts/test-native` builds it and says where it is, in `CRSQL_EXTENSION`.
#![cfg(not(any(target_family = "wasm", feature = "loadable-extension")))]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::thread;

use rusqlite::{Connection, OpenFlags, ffi};

const SCHEMA: &str = "CREATE TABLE todo (id PRIMARY KEY NOT NULL, text); SELECT crsql_as_crr('todo');";

fn path() -> String {
    std::env::var("CRSQL_EXTENSION").expect("CRSQL_EXTENSION is not set. Run: scripts/test-native")
}

/// Loads the extension by its C interface: rusqlite's feature for it cannot stand beside `loadable-extension`.
fn load(conn: &Connection) {
    let path = CString::new(path()).unwrap();
    let mut message = ptr::null_mut();
    // SAFETY: the handle is open, and the file is the extension of this package.
    unsafe {
        ffi::sqlite3_enable_load_extension(conn.handle(), 1);
        let code = ffi::sqlite3_load_extension(
            conn.handle(),
            path.as_ptr(),
            c"sqlite3_crsqlite_init".as_ptr(),
            &raw mut message,
        );
        assert!(message.is_null(), "{:?}", CStr::from_ptr(message));
        assert_eq!(code, ffi::SQLITE_OK);
    }
}

fn database() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    load(&conn);
    conn.execute_batch(SCHEMA).unwrap();
    conn
}

fn texts(conn: &Connection) -> Vec<String> {
    let mut select = conn.prepare("SELECT text FROM todo ORDER BY id").unwrap();
    select.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Carries all changes from one database to another, in one transaction.
fn sync(from: &Connection, to: &Connection) {
    to.execute_batch("BEGIN").unwrap();
    let mut insert = to.prepare("INSERT INTO crsql_changes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)").unwrap();
    let mut select = from.prepare("SELECT * FROM crsql_changes").unwrap();
    let mut changes = select.query([]).unwrap();
    while let Some(change) = changes.next().unwrap() {
        let values = (0..9).map(|i| change.get::<_, rusqlite::types::Value>(i).unwrap());
        insert.execute(rusqlite::params_from_iter(values)).unwrap();
    }
    to.execute_batch("COMMIT").unwrap();
}

#[test]
fn two_databases_exchange_what_was_written_to_them() {
    let (a, b) = (database(), database());
    a.execute_batch("INSERT INTO todo VALUES (1, 'from a')").unwrap();
    b.execute_batch("INSERT INTO todo VALUES (2, 'from b')").unwrap();
    sync(&a, &b);
    sync(&b, &a);
    assert_eq!(texts(&a), ["from a", "from b"]);
    assert_eq!(texts(&b), texts(&a));
}

#[test]
fn a_connection_closes_with_and_without_finalize() {
    for last in ["SELECT crsql_finalize()", "SELECT 1"] {
        let conn = database();
        conn.execute_batch("INSERT INTO todo VALUES (1, 'x')").unwrap();
        conn.query_row(last, [], |_| Ok(())).unwrap();
        conn.close().unwrap();
    }
}

#[test]
fn a_database_is_read_by_a_read_only_connection() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let conn = Connection::open(&path).unwrap();
    load(&conn);
    conn.execute_batch(SCHEMA).unwrap();
    conn.execute_batch("INSERT INTO todo VALUES (1, 'x')").unwrap();
    conn.close().unwrap();
    let conn = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    load(&conn);
    let version: i64 = conn.query_row("SELECT max(db_version) FROM crsql_changes", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 1);
}

#[test]
fn many_threads_load_it_at_once() {
    let threads: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(|| {
                let conn = database();
                for i in 0..50 {
                    conn.execute("INSERT INTO todo VALUES (?, 'x')", [i]).unwrap();
                }
                conn.query_row("SELECT count(*) FROM crsql_changes", [], |row| row.get::<_, i64>(0)).unwrap()
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), 50);
    }
}

/// SQLite 3.37 is played by the table of functions of this one, in which the function that tells the version is another.
#[cfg(target_os = "linux")]
#[test]
fn a_host_that_is_too_old_is_refused() {
    type Entry = unsafe extern "C" fn(*mut ffi::sqlite3, *mut *mut c_char, *const c_void) -> c_int;
    unsafe extern "C" {
        fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
        fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    }
    const RTLD_NOW: c_int = 2;
    /// As many as the two that matter are among, and fewer than the table has.
    const FUNCTIONS: usize = 200;
    static TABLE: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::new(Vec::new());

    unsafe extern "C" fn keep(
        _: *mut ffi::sqlite3,
        _: *mut *mut c_char,
        api: *const ffi::sqlite3_api_routines,
    ) -> c_int {
        // SAFETY: the table is a struct of that many functions, and more.
        let functions = unsafe { std::slice::from_raw_parts(api.cast::<usize>(), FUNCTIONS) };
        *TABLE.lock().unwrap() = functions.to_vec();
        ffi::SQLITE_OK
    }
    unsafe extern "C" fn version() -> c_int {
        3_037_002
    }

    // SAFETY: `keep` is an entry point of an extension.
    unsafe { ffi::sqlite3_auto_extension(Some(keep)) };
    let conn = Connection::open_in_memory().unwrap();
    // SAFETY: as above.
    unsafe { ffi::sqlite3_cancel_auto_extension(Some(keep)) };
    let mut table = std::mem::take(&mut *TABLE.lock().unwrap());
    let newest = ffi::sqlite3_libversion_number as *const () as usize;
    *table.iter_mut().find(|function| **function == newest).unwrap() = version as *const () as usize;

    let file = CString::new(path() + ".so").unwrap();
    let mut message = ptr::null_mut();
    // SAFETY: the file is the extension of this package, its entry point is of this type, and the message ends in NUL.
    unsafe {
        let entry = dlsym(dlopen(file.as_ptr(), RTLD_NOW), c"sqlite3_crsqlite_init".as_ptr());
        assert!(!entry.is_null());
        let entry: Entry = std::mem::transmute(entry);
        assert_eq!(entry(conn.handle(), &raw mut message, table.as_ptr().cast()), ffi::SQLITE_ERROR);
        assert_eq!(CStr::from_ptr(message), c"crsql-sync needs SQLite 3.38 or newer");
        ffi::sqlite3_free(message.cast());
    }
    assert!(conn.prepare("SELECT crsql_site_id()").is_err());
}
