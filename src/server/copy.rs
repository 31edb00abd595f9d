//! Copies of a database that others may be writing to meanwhile.

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::Failure;

/// How long to wait for another program to finish a transaction.
const BUSY: Duration = Duration::from_secs(5);
/// How many pages to copy between two reports.
const PAGES: i32 = 4096;

/// Opens a database to copy it. It is only read, so the lock that a server has on its folder does not matter.
pub(super) fn open(file: &Path) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn =
        Connection::open_with_flags(file, flags).map_err(|error| format!("cannot open {}: {error}", file.display()))?;
    conn.busy_timeout(BUSY)?;
    Ok(conn)
}

/// Copies a database as it is at one moment. `progress` is told of bytes: how many are copied, of how many.
pub(super) fn copy(
    source: &Connection,
    target: &mut Connection,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Failure> {
    // A read transaction of our own keeps the source at one moment, whoever writes to it meanwhile.
    source.execute_batch("BEGIN")?;
    source.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
    let page = u64::from(source.query_row("PRAGMA page_size", [], |row| row.get::<_, u32>(0))?);
    let backup = Backup::new(source, target)?;
    loop {
        let step = backup.step(PAGES)?;
        let copied = backup.progress();
        let bytes = |pages: i32| u64::try_from(pages).unwrap_or_default() * page;
        progress(bytes(copied.pagecount - copied.remaining), bytes(copied.pagecount));
        match step {
            StepResult::Done => break,
            StepResult::More => {}
            _ => return Err("the database is busy: another program keeps it locked".into()),
        }
    }
    drop(backup);
    source.execute_batch("COMMIT")?;
    Ok(())
}

/// Refuses a database that is damaged.
pub(super) fn check(conn: &Connection) -> Result<(), Failure> {
    let damage: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if damage == "ok" { Ok(()) } else { Err(format!("the database is damaged: {damage}").into()) }
}
