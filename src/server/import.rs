//! `crsql-sync import`: a file of cr-sqlite becomes a file of this project.
//!
//! The source is only read. The work happens in a file beside the destination, which takes its name when it is whole
//! and on the disk: at any moment the destination is absent or complete. What an interrupted run left is cleared by the
//! next one.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use super::{Failure, cli};
use crate::crr::import::{Imported, Progress, import};

/// How long to wait for another program to finish a transaction.
const BUSY: Duration = Duration::from_secs(5);
/// How many pages to copy between two reports.
const PAGES: i32 = 4096;

/// Imports, and prints what was done.
pub(super) fn run(options: &cli::Import) -> Result<(), Failure> {
    let (source, destination) = (&options.source, &options.destination);
    let free = || match taken(destination) {
        Some(file) => Err(format!("{} exists already", file.display())),
        None => Ok(()),
    };
    free()?;
    let source =
        Connection::open_with_flags(source, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|error| format!("cannot open {}: {error}", source.display()))?;
    source.busy_timeout(BUSY)?;
    let work = Work::begin(destination)?;
    // A run that ended just now may have put its result in place before it let go of the file.
    free()?;
    let mut reporter = Reporter::new(options.json);
    let imported = work.fill(&source, &mut reporter)?;
    free()?;
    work.finish(destination)?;
    reporter.finished(&imported)
}

/// A file that stands where the destination or its journal shall be.
fn taken(destination: &Path) -> Option<PathBuf> {
    ["", "-wal", "-journal"]
        .map(|suffix| beside(destination, suffix))
        .into_iter()
        .find(|file| file.symlink_metadata().is_ok())
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(suffix);
    name.into()
}

/// The unfinished file. Dropped, it goes away.
struct Work {
    path: PathBuf,
    /// Locked, so that two imports never share it; the lock ends with the process.
    file: File,
    finished: bool,
}

impl Work {
    fn begin(destination: &Path) -> Result<Self, Failure> {
        let path = beside(destination, "-importing");
        let failed = |error: io::Error| format!("cannot write {}: {error}", path.display());
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!("another import to {} is under way", destination.display()).into());
            }
            Err(TryLockError::Error(error)) => return Err(failed(error).into()),
        }
        let work = Self { path: path.clone(), file, finished: false };
        work.file.set_len(0).map_err(failed)?;
        work.clear_journals();
        Ok(work)
    }

    fn clear_journals(&self) {
        for suffix in ["-wal", "-shm", "-journal"] {
            _ = fs::remove_file(beside(&self.path, suffix));
        }
    }

    /// Copies the source as it is at one moment, and converts the copy.
    fn fill(&self, source: &Connection, reporter: &mut Reporter) -> Result<Imported, Failure> {
        let mut conn = Connection::open(&self.path)?;
        copy(source, &mut conn, reporter)?;
        let wal = conn.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0))? == "wal";
        // Nothing needs to be undone: a file that is not finished is thrown away.
        conn.query_row("PRAGMA journal_mode = OFF", [], |_| Ok(()))?;
        conn.execute_batch("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; PRAGMA cache_size = -65536")?;
        let damage: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if damage != "ok" {
            return Err(format!("the database is damaged: {damage}").into());
        }
        conn.execute_batch("BEGIN IMMEDIATE")?;
        let imported = import(&conn, &mut |progress| reporter.converted(progress))?;
        conn.execute_batch("COMMIT")?;
        if wal {
            conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        }
        conn.close().map_err(|(_, error)| error)?;
        Ok(imported)
    }

    /// Gives the file its name, once it is on the disk.
    fn finish(mut self, destination: &Path) -> Result<(), Failure> {
        self.file.sync_all()?;
        self.clear_journals();
        fs::rename(&self.path, destination)?;
        self.finished = true;
        let folder = destination.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
        Ok(())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.finished {
            self.clear_journals();
            _ = fs::remove_file(&self.path);
        }
    }
}

fn copy(source: &Connection, target: &mut Connection, reporter: &mut Reporter) -> Result<(), Failure> {
    // A read transaction of our own keeps the source at one moment, whoever writes to it meanwhile.
    source.execute_batch("BEGIN")?;
    source.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
    let page = u64::from(source.query_row("PRAGMA page_size", [], |row| row.get::<_, u32>(0))?);
    let backup = Backup::new(source, target)?;
    loop {
        let step = backup.step(PAGES)?;
        let progress = backup.progress();
        let bytes = |pages: i32| u64::try_from(pages).unwrap_or_default() * page;
        reporter.copied(bytes(progress.pagecount - progress.remaining), bytes(progress.pagecount));
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
