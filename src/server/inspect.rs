//! `crsql-sync inspect`: what a database holds, of whom, and whether it agrees with itself.

use std::io::{self, Write};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use super::{Failure, cli};
use crate::sync::{Clock, Replica};

/// Prints what is known of a database, and checks it if asked to.
pub(super) fn run(options: &cli::Inspect) -> Result<(), Failure> {
    let file = &options.file;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn =
        Connection::open_with_flags(file, flags).map_err(|error| format!("cannot open {}: {error}", file.display()))?;
    if !Replica::is_one(&conn)? {
        return Err(format!("{} was never opened by a server or a worker: it has no ledger", file.display()).into());
    }
    let mut replica = Replica::open(conn)?;
    let mut document = document(&replica)?;
    let wrong = options.check.then(|| check(&mut replica)).transpose()?;
    if let (Some(wrong), Some(document)) = (&wrong, document.as_object_mut()) {
        document.insert("wrong".into(), json!(wrong));
    }
    let mut out = io::stdout().lock();
    if options.json {
        writeln!(out, "{document}")?;
    } else {
        print(&document, &mut out)?;
    }
    match wrong {
        Some(wrong) if !wrong.is_empty() => {
            Err(format!("{} things are wrong with {}", wrong.len(), file.display()).into())
        }
        _ => Ok(()),
    }
}

/// What is wrong with the file, the engine's tables and the ledger.
fn check(replica: &mut Replica) -> Result<Vec<String>, Failure> {
    let conn = replica.connection();
    let mut statement = conn.prepare("PRAGMA integrity_check")?;
    let mut wrong: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    wrong.retain(|line| line != "ok");
    drop(statement);
    wrong.extend(replica.check()?);
    Ok(wrong)
}

fn document(replica: &Replica) -> Result<Value, Failure> {
    let status = replica.status()?;
    let pieces = replica.pieces()?;
    let peers = status.peers.iter().map(|peer| {
        json!({ "site": peer.site.to_string(), "received": peer.received.get(), "acknowledged": peer.acknowledged.get() })
    });
    Ok(json!({
        "site": status.at.site.to_string(),
        "version": status.at.version.get(),
        "schema": status.schema.as_ref().map(|schema| schema.as_str()),
        "bytes": status.bytes,
        "complete": status.is_complete(),
        "clock": replica.clock()?,
        "gaps": status.missing,
        "pieces": pieces,
        "waiting": status.waiting,
        "peers": peers.collect::<Vec<_>>(),
    }))
}

/// For people: one line for each thing.
fn print(document: &Value, out: &mut impl Write) -> Result<(), Failure> {
    for name in ["site", "version", "schema", "bytes", "complete", "waiting"] {
        let value = document.get(name).unwrap_or(&Value::Null);
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        writeln!(out, "{name:9} {text}")?;
    }
    for (name, title) in [("clock", "holds"), ("gaps", "lacks")] {
        let clock: Clock = serde_json::from_value(document.get(name).cloned().unwrap_or_default())
            .map_err(|error| error.to_string())?;
        for (site, versions) in clock.iter() {
            let ranges = versions.iter().map(|range| format!("{}-{}", range.first, range.last));
            writeln!(out, "{title:9} {site} {}", ranges.collect::<Vec<_>>().join(", "))?;
        }
    }
    let list = |name: &str| document.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    for piece in list("pieces") {
        writeln!(out, "partial   {piece}")?;
    }
    for peer in list("peers") {
        let text = |name: &str| peer.get(name).map(|value| value.to_string().replace('"', "")).unwrap_or_default();
        writeln!(
            out,
            "peer      {} received {} acknowledged {}",
            text("site"),
            text("received"),
            text("acknowledged")
        )?;
    }
    for line in list("wrong") {
        writeln!(out, "wrong     {}", line.as_str().unwrap_or_default())?;
    }
    Ok(())
}
