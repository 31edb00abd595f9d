//! Reading batches.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::batch::{Batch, Partial, SchemaHash};
use super::clock::Clock;
use super::cursor::{Cursor, Origin, Place, Since};
use super::error::{Error, RequestError};
use super::ledger::Ledger;
use super::peers;
use super::ranges::Range;
use super::replica::Replica;
use super::tables::Tables;
use crate::crr::{Change, Engine, Seq, SiteId, Version, Window};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// What the asker has.
    pub since: Since,
    /// Where to stop at the latest; `None` for the newest version.
    pub until: Option<Cursor>,
    /// The asker: leave out what this site wrote, and what came from it.
    pub exclude: Option<SiteId>,
    /// What the asker holds otherwise: leave out those transactions as well.
    pub known: Option<Arc<Clock>>,
    /// The schema of the asker. One that has another is sent the text of ours.
    pub schema: Option<SchemaHash>,
    /// Leave out the changes of all tables but these. Such a batch claims nothing, tells nothing of the schema, and comes
    /// from a [site of its own](Tables::view_of).
    pub tables: Option<Tables>,
    /// How much to take at once.
    pub page: Page,
}

impl Request {
    /// Everything after `since`.
    pub fn after(since: Since) -> Self {
        Self { since, until: None, exclude: None, known: None, schema: None, tables: None, page: Page::default() }
    }
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
    /// inside it, after a transaction if it can be, or else inside one, of which the page then brings a piece. What is
    /// excluded is not sent, but `end` moves over it.
    ///
    /// Whoever is sent some tables only holds no transaction of which it could be sure that it is whole; so the batch then
    /// covers nothing, and pieces are not told from transactions.
    pub fn request_changes(&mut self, request: &Request) -> Result<Batch, RequestError> {
        // One snapshot: the rows, the version, the claims and what is excluded belong together.
        let snapshot = self.conn.savepoint().map_err(Error::from)?;
        let ledger = Ledger::new(&snapshot, &self.engine);
        let site = self.engine.site_id();
        let site = request.tables.as_ref().map_or(site, |tables| tables.view_of(site));
        let at = Cursor { site, version: self.engine.db_version(&snapshot).map_err(Error::from)? };
        let (start, within) = locate(request.since, at)?;
        let until = match request.until {
            Some(until) if until.site != site => return Err(RequestError::CursorUnknown { at }),
            Some(until) => until.version.min(at.version).max(start),
            None => at.version,
        };
        let known = request.known.as_deref().map(|known| ledger.common(known)).transpose()?;
        let wanted = |change: &Change| {
            Some(change.site) != request.exclude
                && request.tables.as_ref().is_none_or(|tables| tables.contains(&change.table))
                && known.as_ref().is_none_or(|known| !known.contains(change.site, change.version))
        };
        let mut page = Filling::new(request.page, start, within);
        let mut windows = match request.exclude {
            Some(peer) => peers::windows_without(&snapshot, peer, start, until)?,
            None if until > start => vec![(start, until)],
            None => Vec::new(),
        };
        if let (Some(held), Some((since, _))) = (within, windows.first_mut())
            && *since == start
        {
            let cut = Cut::load(&mut self.cut, &snapshot, &self.engine, start, at.version)?;
            let rest = cut.after(held).filter(|change| wanted(change));
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
            let window = Window { since, until, exclude: request.exclude, newest_first: false };
            let mut take = |version, change| {
                if wanted(&change) { page.take(version, change) } else { ControlFlow::Continue(()) }
            };
            self.engine.changes(&snapshot, window, &mut take).map_err(Error::from)?;
        }
        let last_seq = match page.stop.as_ref().and_then(|stop| Some((stop.version, stop.inside()?))) {
            None => None,
            Some((version, inside)) => {
                let cut = Cut::load(&mut self.cut, &snapshot, &self.engine, before(version), at.version)?;
                Some(cut.last_seq(inside))
            }
        };

        let more = page.stop.is_some();
        let mut partial = page.pieces(within.filter(|_| until > start), last_seq);
        let (end, mut next, changes) = page.finish(site, until);
        if within.is_some() && end == start && !more {
            // `until` lies before what is held already.
            next = request.since;
        }
        let mut covers = ledger.changed(start, end, request.exclude)?;
        if let Some(known) = &known {
            covers = covers.difference(known);
        }
        if request.tables.is_some() {
            (covers, partial) = (Clock::default(), Vec::new());
        }
        drop(snapshot);
        let mut batch = Batch {
            since: within.map(|_| request.since),
            start: Some(start),
            end: Some(end),
            covers,
            partial,
            more,
            next: Some(next),
            changes,
            ..Batch::empty(site)
        };
        self.name_schema(&mut batch, request.schema.as_ref().filter(|_| request.tables.is_none()));
        Ok(batch)
    }

    /// The changes after `request.since` for nobody in particular, and the peers that they concern: any other one would be
    /// answered the same if it were excluded. So what is read once can be sent to many.
    pub fn request_changes_for_all(&mut self, request: &Request) -> Result<(Batch, BTreeSet<SiteId>), RequestError> {
        let batch = self.request_changes(&Request { exclude: None, ..request.clone() })?;
        let mut concerned = BTreeSet::new();
        concerned.extend(batch.changes.iter().map(|change| change.site));
        concerned.extend(batch.covers.iter().map(|(site, _)| site));
        let start = batch.start.unwrap_or(Version::ZERO);
        let until = match batch.next {
            Some(Since::Within(place)) => place.cursor.version,
            _ => batch.end.unwrap_or(start),
        };
        concerned.extend(peers::sources(&self.conn, start, until)?);
        concerned.extend(Ledger::new(&self.conn, &self.engine).sources(start, until)?);
        Ok((batch, concerned))
    }

    /// Says which schema the rows of a batch are of, to a peer that has `theirs`.
    pub(super) fn name_schema(&self, batch: &mut Batch, theirs: Option<&SchemaHash>) {
        if let Some(ours) = self.schema() {
            batch.schema = Some(ours.hash().clone());
            batch.schema_text = theirs.filter(|theirs| *theirs != ours.hash()).map(|_| ours.text().to_owned());
        }
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
        let window = Window { since: start, until: version, exclude: None, newest_first: false };
        engine.changes(conn, window, &mut |_, change| {
            changes.push(change);
            ControlFlow::Continue(())
        })?;
        Ok(kept.insert(Self { version, at, changes }))
    }

    /// The last position of a transaction.
    fn last_seq(&self, of: Origin) -> Seq {
        let end = self.changes.partition_point(|change| (change.site, change.version) <= (of.site, of.version));
        let last = end.checked_sub(1).and_then(|last| self.changes.get(last));
        last.map_or(of.seq, |last| last.seq.max(of.seq))
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
    /// The author's transaction that `changes` ends in, and where it begins.
    transaction: Option<(SiteId, Version)>,
    inner: usize,
    /// Where to go on, once a limit was met.
    stop: Option<Stop>,
}

/// The limit was met in version `version`.
struct Stop {
    version: Version,
    /// What is in the page of that version; `None` when nothing of it is.
    last: Option<Origin>,
}

impl Stop {
    /// The last change in the page, where that is inside a transaction.
    fn inside(&self) -> Option<Origin> {
        self.last.filter(|last| last.seq != Seq::MAX)
    }
}

impl Filling {
    /// A page that begins after `start`, or inside the version after that.
    fn new(limit: Page, start: Version, within: Option<Origin>) -> Self {
        let transaction = within.map(|held| (held.site, held.version));
        Self { limit, changes: Vec::new(), bytes: 0, current: start, boundary: 0, transaction, inner: 0, stop: None }
    }

    fn take(&mut self, version: Version, change: Change) -> ControlFlow<()> {
        let origin = Origin::of(&change);
        if version != self.current {
            self.current = version;
            self.boundary = self.changes.len();
        }
        if self.transaction != Some((origin.site, origin.version)) || self.boundary == self.changes.len() {
            self.transaction = Some((origin.site, origin.version));
            self.inner = self.changes.len();
        }
        let size = size_of(&change);
        let full = self.changes.len() >= self.limit.changes || self.bytes + size > self.limit.bytes;
        if let Some(last) = self.changes.last().map(Origin::of).filter(|_| full) {
            if self.boundary > 0 {
                self.changes.truncate(self.boundary);
                self.stop = Some(Stop { version, last: None });
                return ControlFlow::Break(());
            }
            if self.inner > 0 {
                self.changes.truncate(self.inner);
                let last = self.changes.last().map(|last| Origin { seq: Seq::MAX, ..Origin::of(last) });
                self.stop = Some(Stop { version, last });
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

    /// The pieces of transactions in the page: the one that it begins inside of, after `held`, and the one that it stops
    /// inside of, whose last position is `last_seq`.
    fn pieces(&self, held: Option<Origin>, last_seq: Option<Seq>) -> Vec<Partial> {
        let stop = self.stop.as_ref().and_then(Stop::inside);
        let mut pieces = Vec::new();
        let mut add = |origin: Origin, first: Seq, last: Seq, last_seq: Seq| {
            if let Ok(range) = Range::new(first, last) {
                let Origin { site, version, .. } = origin;
                pieces.push(Partial { site, version, seqs: range.into(), last_seq: last_seq.max(last) });
            }
        };
        let is_same = |a: Origin, b: Origin| (a.site, a.version) == (b.site, b.version);
        let rest_of = held.filter(|held| held.seq != Seq::MAX).and_then(|held| Some((held, held.seq.next().ok()?)));
        match (rest_of, stop) {
            (Some((held, first)), Some(stop)) if is_same(held, stop) => {
                add(stop, first, stop.seq, last_seq.unwrap_or(stop.seq));
            }
            (rest_of, stop) => {
                if let Some((held, first)) = rest_of {
                    let of_held = self.changes.iter().map(Origin::of).filter(|origin| is_same(*origin, held));
                    let last = of_held.map(|origin| origin.seq).fold(first, Seq::max);
                    add(held, first, last, last);
                }
                if let Some(stop) = stop {
                    add(stop, Seq::ZERO, stop.seq, last_seq.unwrap_or(stop.seq));
                }
            }
        }
        // A change that came to this copy later than the rest of its transaction stands under another version.
        for piece in &mut pieces {
            let of_it = |change: &&Change| (change.site, change.version) == (piece.site, piece.version);
            self.changes.iter().filter(of_it).for_each(|change| piece.seqs.insert(Range::one(change.seq)));
        }
        pieces
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
pub(super) fn size_of(change: &Change) -> usize {
    let value = match &change.val {
        Value::Null => 4,
        Value::Integer(_) | Value::Real(_) => 20,
        Value::Text(text) => text.len(),
        Value::Blob(blob) => 2 * blob.len() + 12,
    };
    // The site, four counters and the punctuation are 80 bytes at least.
    change.table.len() + 2 * change.pk.len() + change.cid.len() + value + 80
}
