use std::io::{self, BufWriter, Read, Write};
use std::time::Duration;

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Connection};

use super::{Failure, cli, rows};
use crate::crr::Engine;

/// How long to wait for another program to finish a transaction.
const BUSY: Duration = Duration::from_secs(5);

/// Runs the statements one after another and prints their rows; the first error ends the run.
pub(super) fn run(options: &cli::Sql) -> Result<(), Failure> {
    let sql = match &options.sql {
        Some(sql) => sql.clone(),
        None => {
            let mut sql = String::new();
            io::stdin().read_to_string(&mut sql)?;
            sql
        }
    };
    let conn = Connection::open(&options.file)?;
    // As in the sqlite3 shell, whatever this build's default is.
    conn.execute_batch("PRAGMA foreign_keys = OFF")?;
    conn.busy_timeout(BUSY)?;
    let _engine = Engine::install(&conn)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let result = execute(&conn, &sql, options.json, &mut out);
    // What was printed before an error was true.
    let flushed = out.flush();
    match result {
        Err(Stop::ReaderGone) => Ok(()),
        Err(Stop::Failed(error)) => Err(error),
        Ok(()) => Ok(flushed?),
    }
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
