//! `crsql-sync sql`: statements in, rows out.
//!
//! Standard input is carried out as it arrives: what is complete at the end of a line is run and answered before the
//! next line is read, so that a program can hold a conversation with one connection through a pair of pipes.

use std::ffi::CString;
use std::io::{self, BufRead, BufWriter, Write};
use std::time::Duration;

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Connection, ffi};

use super::{Failure, cli, rows};
use crate::crr::Engine;

/// How long to wait for another program to finish a transaction.
const BUSY: Duration = Duration::from_secs(5);

/// Runs the statements one after another and prints their rows; the first error ends the run.
pub(super) fn run(options: &cli::Sql) -> Result<(), Failure> {
    let conn = Connection::open(&options.file)?;
    // As in the sqlite3 shell, whatever this build's default is.
    conn.execute_batch("PRAGMA foreign_keys = OFF")?;
    conn.busy_timeout(BUSY)?;
    let _engine = Engine::install(&conn)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let result = match &options.sql {
        Some(sql) => execute(&conn, sql, options.json, &mut out),
        None => converse(&conn, &mut io::stdin().lock(), options.json, &mut out),
    };
    // What was printed before an error was true.
    let flushed = out.flush();
    match result {
        Err(Stop::ReaderGone) => Ok(()),
        Err(Stop::Failed(error)) => Err(error),
        Ok(()) => Ok(flushed?),
    }
}

/// Runs what is complete whenever a line ends, and at the end what is left.
fn converse(conn: &Connection, input: &mut impl BufRead, json: bool, out: &mut impl Write) -> Result<(), Stop> {
    let mut sql = String::new();
    loop {
        let start = sql.len();
        let ended = input.read_line(&mut sql)? == 0;
        let may_be_complete = sql.get(start..).is_some_and(|line| line.contains(';'));
        if ended || (may_be_complete && is_complete(&sql)) {
            execute(conn, &sql, json, out)?;
            out.flush()?;
            sql.clear();
        }
        if ended {
            return Ok(());
        }
    }
}

/// Whether `sql` ends with the end of a statement. The semicolons in a trigger, a string or a comment are none.
fn is_complete(sql: &str) -> bool {
    // SAFETY: the text ends with a zero and lives through the call.
    CString::new(sql).is_ok_and(|sql| unsafe { ffi::sqlite3_complete(sql.as_ptr()) } == 1)
}

/// Why a run ended early.
enum Stop {
    /// Nobody reads the output any more, as in `crsql-sync sql … | head`.
    ReaderGone,
    Failed(Failure),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::ReaderGone } else { Self::Failed(error.into()) }
    }
}

fn execute(conn: &Connection, sql: &str, json: bool, out: &mut impl Write) -> Result<(), Stop> {
    let mut batch = Batch::new(conn, sql);
    while let Some(mut statement) = batch.next()? {
        let columns = statement.column_count();
        let mut found = statement.raw_query();
        while let Some(row) = found.next()? {
            let values = (0..columns).map(|column| row.get_ref(column)).collect::<Result<Vec<_>, _>>()?;
            if json {
                rows::write_json(out, &values)?;
            } else {
                rows::write_list(out, &values)?;
            }
        }
    }
    Ok(())
}
