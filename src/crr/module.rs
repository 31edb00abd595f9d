//! Virtual tables with methods that rusqlite's modules do not offer.

use std::ffi::{CStr, c_void};

use rusqlite::vtab::{VTabConfig, VTabConnection};
use rusqlite::{Connection, Error, ffi};

use super::state::Shared;

/// A module that is the same for all connections.
pub(super) struct StaticModule(pub(super) ffi::sqlite3_module);

// SAFETY: SQLite only reads a module, and nothing writes to one that is static.
unsafe impl Sync for StaticModule {}

/// What tables of the engine do when they are connected: they are fit for triggers and views of any schema, and get the
/// engine that they were registered with.
pub(super) fn connect(db: &mut VTabConnection, engine: Option<&Shared>) -> rusqlite::Result<Shared> {
    db.config(VTabConfig::Innocuous)?;
    Ok(engine.ok_or_else(|| Error::ModuleError("no engine".into()))?.clone())
}

/// Registers a module whose tables get `shared` as their `Aux`.
pub(super) fn register<Aux: Send + Sync + 'static>(
    conn: &Connection,
    name: &CStr,
    module: &'static StaticModule,
    shared: Aux,
) -> rusqlite::Result<()> {
    extern "C" fn drop_shared<Aux>(shared: *mut c_void) {
        // SAFETY: the pointer is the box given to sqlite3_create_module_v2 below, and SQLite calls this once.
        drop(unsafe { Box::from_raw(shared.cast::<Aux>()) });
    }
    let aux = Box::into_raw(Box::new(shared));
    // SAFETY: the handle is open, the module is static, and SQLite takes the box over even when it fails.
    let code = unsafe {
        ffi::sqlite3_create_module_v2(
            conn.handle(),
            name.as_ptr(),
            &raw const module.0,
            aux.cast(),
            Some(drop_shared::<Aux>),
        )
    };
    if code != ffi::SQLITE_OK {
        return Err(Error::SqliteFailure(ffi::Error::new(code), None));
    }
    Ok(())
}
