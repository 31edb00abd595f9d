//! `crsql-sync import`: a file of cr-sqlite becomes a file of this project.
//!
//! The source is only read. The work happens in a file beside the destination, which takes its name when it is whole
//! and on the disk: at any moment the destination is absent or complete. What an interrupted run left is cleared by the
//! next one.

use std::io::{self, IsTerminal, Write};

use rusqlite::Connection;
use serde_json::json;

use super::unfinished::{Unfinished, taken};
use super::{Failure, cli, copy};
use crate::crr::import::{Imported, Progress, import};

/// Imports, and prints what was done.
pub(super) fn run(options: &cli::Import) -> Result<(), Failure> {
    let (source, destination) = (&options.source, &options.destination);
    let free = || match taken(destination) {
        Some(file) => Err(format!("{} exists already", file.display())),
        None => Ok(()),
    };
    free()?;
    let source = copy::open(source)?;
    let work = Unfinished::begin(destination, "-importing")?;
    // A run that ended just now may have put its result in place before it let go of the file.
    free()?;
    let mut reporter = Reporter::new(options.json);
    let imported = fill(&work, &source, &mut reporter)?;
    free()?;
    work.finish(destination)?;
    reporter.finished(&imported)
}

/// Copies the source as it is at one moment, and converts the copy.
fn fill(work: &Unfinished, source: &Connection, reporter: &mut Reporter) -> Result<Imported, Failure> {
    let mut conn = Connection::open(work.path())?;
    copy::copy(source, &mut conn, &mut |done, total| reporter.copied(done, total))?;
    let wal = conn.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0))? == "wal";
    // Nothing needs to be undone: a file that is not finished is thrown away.
    conn.query_row("PRAGMA journal_mode = OFF", [], |_| Ok(()))?;
    conn.execute_batch("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; PRAGMA cache_size = -65536")?;
    copy::check(&conn)?;
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let imported = import(&conn, &mut |progress| reporter.converted(progress))?;
    conn.execute_batch("COMMIT")?;
    if wal {
        conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    }
    conn.close().map_err(|(_, error)| error)?;
    Ok(imported)
}

/// Tells how far it is: a line that changes on a terminal, a line a step elsewhere, JSON for programs.
struct Reporter {
    json: bool,
    terminal: bool,
}

impl Reporter {
    fn new(json: bool) -> Self {
        Self { json, terminal: io::stderr().is_terminal() }
    }

    fn copied(&self, done: u64, total: u64) {
        if self.json {
            eprintln!("{}", json!({ "copied": { "bytes": done, "of": total } }));
        } else {
            self.line(&format!("copied {done} of {total} bytes"), done == total);
        }
    }

    fn converted(&self, Progress { table, done, total }: Progress<'_>) {
        if self.json {
            eprintln!("{}", json!({ "converted": { "table": table, "rows": done, "of": total } }));
        } else {
            self.line(&format!("{table}: {done} of {total} rows"), done == total);
        }
    }

    fn line(&self, text: &str, last: bool) {
        if self.terminal {
            eprint!("\r\x1b[K{text}{}", if last { "\n" } else { "" });
        } else if last {
            eprintln!("{text}");
        }
    }

    fn finished(&self, imported: &Imported) -> Result<(), Failure> {
        let Imported { site, version, tables, rows, tombstones, irregular } = imported;
        let counts = [
            ("dangling_rows", irregular.dangling_rows, "clocks of rows that are gone were left out"),
            ("dangling_cells", irregular.dangling_cells, "clocks of columns or cells that are gone were left out"),
            ("ghosts", irregular.ghosts, "clocks of a second spelling of a primary key were left out"),
            ("revived", irregular.revived, "rows that were marked as deleted are alive again"),
            ("untracked", irregular.untracked, "rows have no clock: they replicate from their next change on"),
            ("version_zero", irregular.version_zero, "changes of version 0 count to version 1"),
            ("out_of_range", irregular.out_of_range, "numbers that were out of range are the nearest that are not"),
            ("invalid_keys", irregular.invalid_keys, "deleted rows with keys that are none were left out"),
            ("unknown_authors", irregular.unknown_authors, "changes of unknown authors count to this copy"),
        ];
        let mut out = io::stdout().lock();
        if self.json {
            let counts: serde_json::Map<_, _> =
                counts.iter().map(|(key, n, _)| ((*key).to_owned(), json!(n))).collect();
            let mut report = json!({
                "site": site.to_string(), "version": version.get(), "tables": tables, "rows": rows,
                "tombstones": tombstones, "skipped_tables": irregular.skipped_tables,
            });
            if let Some(report) = report.as_object_mut() {
                report.extend(counts);
            }
            writeln!(out, "{report}")?;
            return Ok(());
        }
        writeln!(out, "site {site} at version {version}: {tables} tables, {rows} rows, {tombstones} deleted rows")?;
        for table in &irregular.skipped_tables {
            writeln!(out, "table {table} is gone, or its primary key is another: its clocks were left out")?;
        }
        for (_, n, text) in counts.iter().filter(|(_, n, _)| *n > 0) {
            writeln!(out, "{n} {text}")?;
        }
        Ok(())
    }
}
