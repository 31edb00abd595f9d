//! Reading batches.

use std::ops::ControlFlow;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::batch::{Batch, Protocol};
use super::clock::Clock;
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
        let mut page = Filling::new(request.page, start);
        let mut windows = match request.exclude {
            Some(peer) => peers::windows_without(&snapshot, peer, start, until)?,
            None if until > start => vec![(start, until)],
            None => Vec::new(),
        };
        if let (Some(held), Some((since, _))) = (within, windows.first_mut())
            && *since == start
        {
            let cut = Cut::load(&mut self.cut, &snapshot, &self.engine, start, at.version)?;
            let rest = cut.after(held).filter(|change| Some(change.site) != request.exclude);
            let all = rest.cloned().try_for_each(|change| page.take(cut.version, change)).is_continue();
            *since = cut.version;
            if all {
                self.cut = None;
            }
        }
        for (since, until) in windows {
            if page.stop.is_some() {
                break;
            }
            let window = Window { since, until, exclude: request.exclude };
            self.engine
                .changes(&snapshot, window, &mut |version, change| page.take(version, change))
                .map_err(Error::from)?;
        }
        drop(snapshot);

        let more = page.stop.is_some();
        let (end, mut next, changes) = page.finish(site, until);
        if within.is_some() && end == start && !more {
            // `until` lies before what is held already.
            next = request.since;
        }
        Ok(Batch {
            protocol: Protocol,
            from: site,
            schema: self.schema().map(|schema| schema.hash().clone()),
            schema_text: None,
            partial: Vec::new(),
            since: within.map(|_| request.since),
            start: Some(start),
            end: Some(end),
            covers: Clock::after(site, start, end),
            more,
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

/// A version that is too large for one batch, kept between the requests for its pieces: reading it anew for each would
/// take time that grows with the square of its size.
pub(super) struct Cut {
    version: Version,
    /// The newest version when it was read.
    at: Version,
    changes: Vec<Change>,
}

impl Cut {
    /// The version after `start`, from `kept` if it is that and nothing was written since.
    fn load<'a>(
        kept: &'a mut Option<Self>,
        conn: &Connection,
        engine: &Engine,
        start: Version,
        at: Version,
    ) -> Result<&'a Self, Error> {
        let version = start.next()?;
        if let Some(old) = kept.take().filter(|cut| (cut.version, cut.at) == (version, at)) {
            return Ok(kept.insert(old));
        }
        let mut changes = Vec::new();
        let window = Window { since: start, until: version, exclude: None };
        engine.changes(conn, window, &mut |_, change| {
            changes.push(change);
            ControlFlow::Continue(())
        })?;
        Ok(kept.insert(Self { version, at, changes }))
    }

    /// What comes after `held`.
    fn after(&self, held: Origin) -> impl Iterator<Item = &Change> {
        let from = self.changes.partition_point(|change| Origin::of(change) <= held);
        self.changes.get(from..).unwrap_or_default().iter()
    }
}

/// A page while it is filled.
struct Filling {
    limit: Page,
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
    fn new(limit: Page, start: Version) -> Self {
        Self { limit, changes: Vec::new(), bytes: 0, current: start, boundary: 0, stop: None }
    }

    fn take(&mut self, version: Version, change: Change) -> ControlFlow<()> {
        let origin = Origin::of(&change);
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
