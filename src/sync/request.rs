//! Reading batches.

use std::ops::ControlFlow;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::batch::{Batch, Coverage, Protocol};
use super::cursor::{Cursor, Origin, Place, Since};
use super::error::{Error, RequestError};
use super::peers;
use super::replica::Replica;
use crate::crr::{Change, Engine, SiteId, Version, Window};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// What the asker has.
    pub since: Since,
    /// Where to stop at the latest; `None` for the newest version.
    pub until: Option<Cursor>,
    /// Leave out what this site wrote, and what came from it.
    pub exclude: Option<SiteId>,
    /// How much to take at once.
    pub page: Page,
}

/// The size at which a batch is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Changes.
    pub changes: usize,
    /// Bytes, about as JSON takes them.
    pub bytes: usize,
}

impl Default for Page {
    fn default() -> Self {
        Self { changes: 10_000, bytes: 4 << 20 }
    }
}

impl Replica {
    /// The changes after `request.since`, as many as a page takes.
    ///
    /// A page ends with a local version's end, unless one version alone is over the limit: then `next` names the place
    /// inside it. What is excluded is not sent, but `end` moves over it.
    pub fn request_changes(&mut self, request: &Request) -> Result<Batch, RequestError> {
        // One snapshot: the rows, the version and what is excluded belong together.
        let snapshot = self.conn.transaction().map_err(Error::from)?;
        let site = self.engine.site_id();
        let at = Cursor { site, version: self.engine.db_version(&snapshot).map_err(Error::from)? };
        let (start, within) = locate(request.since, at)?;
        let until = match request.until {
            Some(until) if until.site != site => return Err(RequestError::CursorUnknown { at }),
            Some(until) => until.version.min(at.version).max(start),
            None => at.version,
        };
        let window = Window { since: start, until, exclude: request.exclude };
        let mut page = Filling::new(request.page, start, within);
        page.fill(&snapshot, &self.engine, window)?;
        drop(snapshot);

        let (end, next, changes) = page.finish(site, until);
        Ok(Batch {
            protocol: Protocol,
            from: site,
            schema: self.schema().map(|schema| schema.hash().clone()),
            since: within.map(|_| request.since),
            start: Some(start),
            end: Some(end),
            covers: Coverage::of(site, start, end),
            more: next != Since::After(Cursor { site, version: until }),
            next: Some(next),
            have: None,
            changes,
        })
    }
}

/// The version after which to read, and what is held of the one after it.
fn locate(since: Since, at: Cursor) -> Result<(Version, Option<Origin>), RequestError> {
    let (cursor, within) = match since {
        Since::Beginning => return Ok((Version::ZERO, None)),
        Since::After(cursor) => (cursor, None),
        Since::Within(Place { cursor, last }) => (cursor, Some(last)),
    };
    if cursor.site != at.site {
        return Err(RequestError::CursorUnknown { at });
    }
    if cursor.version > at.version {
        return Err(RequestError::CursorAhead { at });
    }
    Ok((if within.is_some() { before(cursor.version) } else { cursor.version }, within))
}

/// The version before one that is not zero.
fn before(version: Version) -> Version {
    Version::or_zero(version.get() - 1).unwrap_or(Version::ZERO)
}

/// A page while it is filled.
struct Filling {
    limit: Page,
    /// Of version `start + 1`, everything up to here is held.
    start: Version,
    within: Option<Origin>,
    changes: Vec<Change>,
    bytes: usize,
    /// The version that `changes` ends in, and where in `changes` it begins.
    current: Version,
    boundary: usize,
    /// Where to go on, once a limit was met.
    stop: Option<Stop>,
}

/// The limit was met in version `version`.
struct Stop {
    version: Version,
    /// What is in the page of that version; `None` when nothing of it is.
    last: Option<Origin>,
}

impl Filling {
    fn new(limit: Page, start: Version, within: Option<Origin>) -> Self {
        Self { limit, start, within, changes: Vec::new(), bytes: 0, current: start, boundary: 0, stop: None }
    }

    fn fill(&mut self, conn: &Connection, engine: &Engine, window: Window) -> Result<(), Error> {
        let windows = match window.exclude {
            Some(peer) => peers::windows_without(conn, peer, window.since, window.until)?,
            None if window.until > window.since => vec![(window.since, window.until)],
            None => Vec::new(),
        };
        for (since, until) in windows {
            engine
                .changes(conn, Window { since, until, ..window }, &mut |version, change| self.take(version, change))?;
            if self.stop.is_some() {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, version: Version, change: Change) -> ControlFlow<()> {
        let origin = Origin::of(&change);
        if self.within.is_some_and(|held| before(version) == self.start && origin <= held) {
            return ControlFlow::Continue(());
        }
        if version != self.current {
            self.current = version;
            self.boundary = self.changes.len();
        }
        let size = size_of(&change);
        let full = self.changes.len() >= self.limit.changes || self.bytes + size > self.limit.bytes;
        if let Some(last) = self.changes.last().map(Origin::of).filter(|_| full) {
            if self.boundary > 0 {
                self.changes.truncate(self.boundary);
                self.stop = Some(Stop { version, last: None });
                return ControlFlow::Break(());
            }
            // Changes of one origin stay together, since a place is named by it.
            if last != origin {
                self.stop = Some(Stop { version, last: Some(last) });
                return ControlFlow::Break(());
            }
        }
        self.bytes += size;
        self.changes.push(change);
        ControlFlow::Continue(())
    }

    /// `end`, `next` and the changes.
    fn finish(self, site: SiteId, until: Version) -> (Version, Since, Vec<Change>) {
        let cursor = |version| Cursor { site, version };
        let (end, next) = match self.stop {
            None => (until, Since::After(cursor(until))),
            Some(Stop { version, last: None }) => (before(version), Since::After(cursor(before(version)))),
            Some(Stop { version, last: Some(last) }) => {
                (before(version), Since::Within(Place { cursor: cursor(version), last }))
            }
        };
        (end, next, self.changes)
    }
}

/// About what a change takes as JSON.
fn size_of(change: &Change) -> usize {
    let value = match &change.val {
        Value::Null => 4,
        Value::Integer(_) | Value::Real(_) => 20,
        Value::Text(text) => text.len(),
        Value::Blob(blob) => 2 * blob.len() + 12,
    };
    // The site, four counters and the punctuation are 80 bytes at least.
    change.table.len() + 2 * change.pk.len() + change.cid.len() + value + 80
}
