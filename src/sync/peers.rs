//! What is remembered of each peer, in the database itself.
//!
//! - `crsql_tracked_peers`, the table of cr-sqlite's network layers: event 0 is how far we have received a peer's local
//!   versions, event 1 how far a peer has acknowledged ours. A cursor never moves back, except for a
//!   peer that lost data.
//! - `crsql_sync_echoes`: which of our local versions hold what a peer sent, so that it is not sent back there. A range
//!   goes when the peer has acknowledged it.
//! - `crsql_sync_peers`: how far inside a cut version we have received, and up to which of our versions a peer that lost
//!   its data gets everything again, its own changes included.

use rusqlite::{Connection, OptionalExtension};

use super::cursor::{Cursor, Place, Since};
use super::error::Error;
use crate::crr::{SiteId, Version};

/// Which of a peer's two cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// How far we have received its versions.
    Received = 0,
    /// How far it has acknowledged ours.
    Acknowledged = 1,
}

/// A peer and its cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The peer.
    pub site: SiteId,
    /// How far we have received its versions.
    pub received: Version,
    /// How far it has acknowledged ours.
    pub acknowledged: Version,
}

pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS crsql_tracked_peers (
        site_id BLOB NOT NULL, version INTEGER NOT NULL, seq INTEGER DEFAULT 0, tag INTEGER, event INTEGER,
        PRIMARY KEY (site_id, tag, event)
    ) STRICT;
    DROP TABLE IF EXISTS crsql_sync_received;
    CREATE TABLE IF NOT EXISTS crsql_sync_echoes (
        peer BLOB NOT NULL, last INTEGER NOT NULL, first INTEGER NOT NULL, PRIMARY KEY (peer, last)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS crsql_sync_echoes_last ON crsql_sync_echoes (last);
    CREATE TABLE IF NOT EXISTS crsql_sync_peers (
        site BLOB PRIMARY KEY NOT NULL, place TEXT, resend INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID;";

/// A cursor of `peer`; zero where there is none.
pub(super) fn cursor(conn: &Connection, event: Event, peer: SiteId) -> Result<Version, Error> {
    let mut statement =
        conn.prepare_cached("SELECT version FROM crsql_tracked_peers WHERE site_id = ?1 AND tag = 0 AND event = ?2")?;
    let version = statement.query_row((peer.as_bytes(), event as i64), |row| row.get(0)).optional()?;
    version_of(version.unwrap_or(0))
}

/// Moves a cursor of `peer` forward to `version`; never back.
pub(super) fn advance(conn: &Connection, event: Event, peer: SiteId, version: Version) -> Result<(), Error> {
    let mut statement = conn.prepare_cached(
        "INSERT INTO crsql_tracked_peers (site_id, version, seq, tag, event) VALUES (?1, ?2, 0, 0, ?3)
         ON CONFLICT (site_id, tag, event) DO UPDATE SET version = max(version, excluded.version)",
    )?;
    statement.execute((peer.as_bytes(), version.get(), event as i64))?;
    if event == Event::Acknowledged {
        let mut prune = conn.prepare_cached("DELETE FROM crsql_sync_echoes WHERE peer = ?1 AND last <= ?2")?;
        prune.execute((peer.as_bytes(), version.get()))?;
    }
    Ok(())
}

/// All that have a cursor.
pub(super) fn all(conn: &Connection) -> Result<Vec<Peer>, Error> {
    let mut statement = conn.prepare_cached(
        "SELECT site_id, max(version) FILTER (WHERE event = 0), max(version) FILTER (WHERE event = 1)
         FROM crsql_tracked_peers WHERE tag = 0 AND event IN (0, 1) GROUP BY site_id",
    )?;
    let mut rows = statement.query([])?;
    let mut peers = Vec::new();
    while let Some(row) = rows.next()? {
        peers.push(Peer {
            site: SiteId::from_slice(&row.get::<_, Vec<u8>>(0)?)?,
            received: version_of(row.get::<_, Option<i64>>(1)?.unwrap_or(0))?,
            acknowledged: version_of(row.get::<_, Option<i64>>(2)?.unwrap_or(0))?,
        });
    }
    Ok(peers)
}

/// Records such a point, or that there is none.
pub(super) fn set_place(conn: &Connection, peer: SiteId, place: Option<Place>) -> Result<(), Error> {
    let text = place.map(|place| Since::Within(place).to_string());
    let sql = match text {
        Some(_) => {
            "INSERT INTO crsql_sync_peers (site, place) VALUES (?1, ?2)
             ON CONFLICT (site) DO UPDATE SET place = excluded.place"
        }
        None => "UPDATE crsql_sync_peers SET place = ?2 WHERE site = ?1",
    };
    conn.prepare_cached(sql)?.execute((peer.as_bytes(), text))?;
    Ok(())
}

/// What we hold of a peer's versions.
pub(super) fn held(conn: &Connection, peer: SiteId) -> Result<Since, Error> {
    let mut statement = conn.prepare_cached(
        "SELECT (SELECT version FROM crsql_tracked_peers WHERE site_id = ?1 AND tag = 0 AND event = 0),
                (SELECT place FROM crsql_sync_peers WHERE site = ?1)",
    )?;
    let (received, place): (Option<i64>, Option<String>) =
        statement.query_row([peer.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let received = version_of(received.unwrap_or(0))?;
    let follows = |place: &Place| received.next().is_ok_and(|next| next == place.cursor.version);
    match place.map(|place| place.parse()) {
        None => {}
        Some(Ok(Since::Within(place))) if place.cursor.site == peer && follows(&place) => {
            return Ok(Since::Within(place));
        }
        // In a version that was passed since.
        Some(Ok(Since::Within(place))) if place.cursor.site == peer => {}
        Some(_) => return Err(Error::Corrupt("a place in a version does not read as one")),
    }
    Ok(Since::After(Cursor { site: peer, version: received }))
}

/// Notes that our local version `version` holds what `peer` sent.
pub(super) fn arrived(conn: &Connection, peer: SiteId, version: Version) -> Result<(), Error> {
    let mut join = conn.prepare_cached("UPDATE crsql_sync_echoes SET last = ?2 WHERE peer = ?1 AND last = ?2 - 1")?;
    if join.execute((peer.as_bytes(), version.get()))? == 0 {
        let mut insert =
            conn.prepare_cached("INSERT INTO crsql_sync_echoes (first, last, peer) VALUES (?2, ?2, ?1)")?;
        insert.execute((peer.as_bytes(), version.get()))?;
    }
    Ok(())
}

/// The windows `(since, until]` that remain when what `peer` sent is left out.
pub(super) fn windows_without(
    conn: &Connection,
    peer: SiteId,
    since: Version,
    until: Version,
) -> Result<Vec<(Version, Version)>, Error> {
    let mut statement = conn.prepare_cached(
        "SELECT first, last FROM crsql_sync_echoes WHERE peer = ?1 AND last > ?2 AND first <= ?3 ORDER BY last",
    )?;
    let mut rows = statement.query((peer.as_bytes(), since.get(), until.get()))?;
    let mut windows = Vec::new();
    let mut from = since;
    while let Some(row) = rows.next()? {
        let before = version_of(row.get::<_, i64>(0)? - 1)?;
        if before > from {
            windows.push((from, before));
        }
        from = from.max(version_of(row.get(1)?)?);
    }
    if until > from {
        windows.push((from, until));
    }
    Ok(windows)
}

/// The peers that sent what local versions after `since` up to `until` hold.
pub(super) fn sources(conn: &Connection, since: Version, until: Version) -> Result<Vec<SiteId>, Error> {
    let mut statement =
        conn.prepare_cached("SELECT DISTINCT peer FROM crsql_sync_echoes WHERE last > ?1 AND first <= ?2")?;
    let mut rows = statement.query((since.get(), until.get()))?;
    let mut sources = Vec::new();
    while let Some(row) = rows.next()? {
        sources.push(SiteId::from_slice(&row.get::<_, Vec<u8>>(0)?)?);
    }
    Ok(sources)
}

/// Up to which of our versions `peer` gets everything again.
pub(super) fn resend(conn: &Connection, peer: SiteId) -> Result<Version, Error> {
    let mut statement = conn.prepare_cached("SELECT resend FROM crsql_sync_peers WHERE site = ?1")?;
    let version = statement.query_row([peer.as_bytes()], |row| row.get(0)).optional()?;
    version_of(version.unwrap_or(0))
}

/// Forgets both cursors of a peer that lost data, and has everything up to `at` sent to it again.
pub(super) fn forget(conn: &Connection, peer: SiteId, at: Version) -> Result<(), Error> {
    conn.execute("DELETE FROM crsql_tracked_peers WHERE site_id = ?1 AND tag = 0", [peer.as_bytes()])?;
    conn.execute("DELETE FROM crsql_sync_echoes WHERE peer = ?1", [peer.as_bytes()])?;
    conn.execute(
        "INSERT OR REPLACE INTO crsql_sync_peers (site, place, resend) VALUES (?1, NULL, ?2)",
        (peer.as_bytes(), at.get()),
    )?;
    Ok(())
}

fn version_of(number: i64) -> Result<Version, Error> {
    Version::or_zero(number).map_err(|_| Error::Corrupt("a cursor is out of range"))
}
