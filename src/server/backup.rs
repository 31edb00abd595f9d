//! `crsql-sync backup` and `crsql-sync restore`: copies of databases, and databases from copies.
//!
//! A backup is the database as it was at one moment, in a file that needs no other: it may be made while a server writes. A
//! restored database goes on under a new site id. Under the old one it would give the numbers of transactions that its peers
//! have seen since the backup to other transactions, and its peers would take them for the ones they hold.
//!
//! Either way a file has its name only when it is whole and on the disk.

use std::fs::{self, File, TryLockError};
use std::io::{self, IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::json;

use super::unfinished::{Unfinished, clear_journals, folder, taken};
use super::{Failure, cli, copy};
use crate::store::Dbid;
use crate::sync::Replica;

/// Copies a database, or each one of a folder.
pub(super) fn backup(options: &cli::Copy) -> Result<(), Failure> {
    transfer(options, "backed up", |conn| Ok(conn.close().map_err(|(_, error)| error)?))
}

/// Puts a copy in place, or each one of a folder.
pub(super) fn restore(options: &cli::Copy) -> Result<(), Failure> {
    transfer(options, "restored", |conn| {
        if !Replica::is_one(&conn)? {
            return Err("it is no copy of a database that a server or a worker had".into());
        }
        Ok(Replica::open_copy(conn)?.close()?)
    })
}

/// Copies what there is, one database after another. `finish` has the last word on each copy, and closes it.
fn transfer(
    options: &cli::Copy,
    done: &str,
    finish: impl Fn(Connection) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let target = if options.source.is_dir() { &*options.destination } else { folder(&options.destination) };
    // Held to the end, so that no server starts meanwhile.
    let _lock = lock(target)?;
    let pairs = pairs(&options.source, &options.destination)?;
    if !options.force
        && let Some(file) = pairs.iter().find_map(|(_, destination)| taken(destination))
    {
        return Err(format!("{} exists already; --force replaces it", file.display()).into());
    }
    let reporter = Reporter { json: options.json, terminal: stderr().is_terminal(), done };
    for (source, destination) in &pairs {
        let bytes =
            one(source, destination, &reporter, &finish).map_err(|error| format!("{}: {error}", source.display()))?;
        reporter.finished(destination, bytes)?;
    }
    Ok(())
}

fn one(
    source: &Path,
    destination: &Path,
    reporter: &Reporter<'_>,
    finish: &impl Fn(Connection) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let original = copy::open(source)?;
    let work = Unfinished::begin(destination, "-unfinished")?;
    let mut conn = Connection::open(work.path())?;
    copy::copy(&original, &mut conn, &mut |done, total| reporter.copied(source, done, total))?;
    // One file, whatever the original has beside it. What opens it for writing chooses anew.
    conn.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    copy::check(&conn)?;
    finish(conn)?;
    let bytes = work.path().metadata()?.len();
    // The log of what stood there would be taken for one of the new database.
    clear_journals(destination);
    work.finish(destination)?;
    Ok(bytes)
}

/// Which file is copied to which.
fn pairs(source: &Path, destination: &Path) -> Result<Vec<(PathBuf, PathBuf)>, Failure> {
    if !source.is_dir() {
        return Ok(vec![(source.to_owned(), destination.to_owned())]);
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(source).map_err(|error| format!("{}: {error}", source.display()))? {
        let name = entry?.file_name();
        let dbid = name.to_str().and_then(|name| name.strip_suffix(".db"));
        if dbid.is_some_and(|dbid| Dbid::new(dbid).is_ok()) {
            names.push(name);
        }
    }
    names.sort();
    fs::create_dir_all(destination).map_err(|error| format!("{}: {error}", destination.display()))?;
    Ok(names.into_iter().map(|name| (source.join(&name), destination.join(&name))).collect())
}

/// Takes the folder as a server would, or finds that one has it. A folder that never had a server has nothing to take.
fn lock(folder: &Path) -> Result<Option<File>, Failure> {
    let file = match File::options().write(true).open(folder.join(".lock")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", folder.display()).into()),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            Err(format!("a server has the folder {}: stop it first", folder.display()).into())
        }
        Err(TryLockError::Error(error)) => Err(format!("{}: {error}", folder.display()).into()),
    }
}

/// Tells how far it is on standard error, and what is done on standard output.
struct Reporter<'a> {
    json: bool,
    terminal: bool,
    done: &'a str,
}

impl Reporter<'_> {
    fn copied(&self, source: &Path, done: u64, total: u64) {
        if self.json {
            eprintln!("{}", json!({ "source": source, "bytes": done, "of": total }));
        } else if self.terminal {
            eprint!("\r\x1b[K{}: {done} of {total} bytes", source.display());
        }
    }

    fn finished(&self, destination: &Path, bytes: u64) -> Result<(), Failure> {
        if self.terminal && !self.json {
            eprint!("\r\x1b[K");
        }
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", json!({ "file": destination, "bytes": bytes }))?;
        } else {
            writeln!(out, "{} {}: {bytes} bytes", self.done, destination.display())?;
        }
        Ok(())
    }
}
