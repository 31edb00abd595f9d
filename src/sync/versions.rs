//! Reading batches by versions: the transactions that an asker names, whoever wrote them.
//!
//! A batch of this kind moves no cursor, and what it covers holds for everybody. So all changes that this copy still has of
//! a transaction that it covers are in it, wherever they stand.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::batch::{Batch, Partial, Protocol, SchemaHash};
use super::clock::Clock;
use super::cursor::Cursor;
use super::error::Error;
use super::ledger::Ledger;
use super::partials::Piece;
use super::ranges::{Range, Ranges};
use super::replica::Replica;
use super::request::{Page, size_of};
use crate::crr::{Change, Seq, SiteId, Version, Window};

/// Which transactions are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// These, as far as they are held.
    Versions(Clock),
    /// All that are held, but for these.
    AllBut(Clock),
}

/// What is asked for by versions.
#[derive(Clone, Debug)]
pub struct VersionsRequest {
    /// The transactions.
    pub wanted: Wanted,
    /// Transactions of which the asker has pieces, and the positions that it lacks. They come first.
    pub pieces: Vec<Piece>,
    /// What the asker has received of this copy's local versions: what it lacks is not among them. A cursor that cannot
    /// be right is passed over.
    pub since: Option<Cursor>,
    /// The asker, whose own transactions are not sent.
    pub exclude: Option<SiteId>,
    /// The schema of the asker. One that has another is sent the text of ours.
    pub schema: Option<SchemaHash>,
    /// How much to take at once.
    pub page: Page,
}

impl VersionsRequest {
    /// A request for `wanted`.
    pub fn new(wanted: Wanted) -> Self {
        Self { wanted, pieces: Vec::new(), since: None, exclude: None, schema: None, page: Page::default() }
    }
}

impl Replica {
    /// The transactions that are asked for and held, the newest first, as many as a page takes. A version of which nothing
    /// is left is covered without changes, once all that have some fit in the page. One that alone is over the limit
    /// comes in pieces.
    ///
    /// `more` is true when some of them did not fit: ask again for what is not covered yet.
    pub fn request_versions(&mut self, request: &VersionsRequest) -> Result<Batch, Error> {
        let snapshot = self.conn.transaction()?;
        let ledger = Ledger::new(&snapshot, &self.engine);
        let site = self.engine.site_id();
        let at = self.engine.db_version(&snapshot)?;
        let mut wanted = match &request.wanted {
            Wanted::Versions(versions) => ledger.held_of(versions)?,
            Wanted::AllBut(known) => ledger.clock()?.difference(&ledger.common(known)?),
        };
        if let Some(asker) = request.exclude {
            wanted.remove(asker);
        }
        let mut pieces = BTreeMap::new();
        for piece in &request.pieces {
            let of = Clock::from_iter([(piece.site, Ranges::from(Range::one(piece.version)))]);
            if ledger.held_of(&of)? == of {
                pieces.insert((piece.site, piece.version), &piece.seqs);
                wanted = wanted.difference(&of);
            }
        }
        let since = request.since.filter(|since| since.site == site && since.version <= at);
        let since = since.map_or(Version::ZERO, |since| since.version);

        let mut answer = Answer::new(request.page, &pieces);
        if !pieces.is_empty() {
            let window = Window { since, until: at, exclude: request.exclude, newest_first: true };
            self.engine.changes(&snapshot, window, &mut |_, change| {
                answer.take_piece(change);
                ControlFlow::Continue(())
            })?;
        }
        let mut partial = answer.finish_pieces();
        let mut stopped = None;
        if !wanted.is_empty() {
            let window = Window { since, until: at, exclude: request.exclude, newest_first: true };
            self.engine.changes(&snapshot, window, &mut |version, change| {
                if !wanted.contains(change.site, change.version) || answer.take(change).is_continue() {
                    return ControlFlow::Continue(());
                }
                stopped = Some(version);
                ControlFlow::Break(())
            })?;
        }
        let mut covers = wanted;
        if let Some(stopped) = stopped {
            // Whatever is left of the chosen transactions under older versions, and behind the place of the cut.
            covers = answer.transactions();
            let rest = Window { since, until: stopped, exclude: request.exclude, newest_first: true };
            self.engine.changes(&snapshot, rest, &mut |version, change| {
                if covers.contains(change.site, change.version) {
                    answer.complete(change, version == stopped);
                }
                ControlFlow::Continue(())
            })?;
            if let Some(cut) = answer.cut() {
                covers = Clock::default();
                partial.push(cut);
            }
        }
        let more = stopped.is_some() || answer.is_short_of_pieces;
        let changes = answer.changes;
        drop(snapshot);
        let mut batch = Batch {
            protocol: Protocol,
            from: site,
            schema: None,
            schema_text: None,
            since: None,
            start: None,
            end: None,
            covers,
            partial,
            more,
            next: None,
            have: None,
            changes,
        };
        self.name_schema(&mut batch, request.schema.as_ref());
        Ok(batch)
    }
}

/// The changes of a page.
struct Answer<'a> {
    page: Page,
    changes: Vec<Change>,
    bytes: usize,
    /// Where the transaction that came last begins.
    inner: usize,
    /// How many of the changes are of pieces that were asked for.
    of_pieces: usize,
    pieces: &'a BTreeMap<(SiteId, Version), &'a Ranges<Seq>>,
    /// The newest position of each of those transactions, and up to where it is in the page where it is cut.
    ends: BTreeMap<(SiteId, Version), Seq>,
    is_short_of_pieces: bool,
    /// Where the one transaction in the page is cut.
    cut: Option<Cut>,
}

/// A transaction that does not fit in a page.
struct Cut {
    /// Its last position in the page, and its last one at all.
    last: Seq,
    last_seq: Seq,
}

impl<'a> Answer<'a> {
    fn new(page: Page, pieces: &'a BTreeMap<(SiteId, Version), &'a Ranges<Seq>>) -> Self {
        Self {
            page,
            changes: Vec::new(),
            bytes: 0,
            inner: 0,
            of_pieces: 0,
            pieces,
            ends: BTreeMap::new(),
            is_short_of_pieces: false,
            cut: None,
        }
    }

    fn is_full(&self, size: usize) -> bool {
        !self.changes.is_empty() && (self.changes.len() >= self.page.changes || self.bytes + size > self.page.bytes)
    }

    fn push(&mut self, change: Change) {
        self.bytes += size_of(&change);
        self.changes.push(change);
    }

    /// Takes a change of a piece that is asked for. All are taken: `finish_pieces` sees to the limit.
    fn take_piece(&mut self, change: Change) {
        let of = (change.site, change.version);
        let Some(seqs) = self.pieces.get(&of) else { return };
        let end = self.ends.entry(of).or_insert(change.seq);
        *end = change.seq.max(*end);
        if seqs.contains(change.seq) {
            self.push(change);
        }
    }

    /// The pieces that fit, and what they cover.
    fn finish_pieces(&mut self) -> Vec<Partial> {
        let mut partial = Vec::new();
        let mut changes = std::mem::take(&mut self.changes);
        changes.sort_by_key(|change| (change.site, change.version, change.seq));
        self.bytes = 0;
        let mut changes = changes.into_iter().peekable();
        for (&(site, version), seqs) in self.pieces {
            if self.is_short_of_pieces {
                break;
            }
            let mut cut = None;
            while let Some(change) = changes.next_if(|change| (change.site, change.version) == (site, version)) {
                let goes_on = self.changes.last().is_some_and(|last| last.seq == change.seq);
                if self.is_full(size_of(&change)) && !goes_on {
                    cut = Some(change.seq);
                    break;
                }
                self.push(change);
            }
            let Some(beginning) = seqs.iter().next_back().map(|range| range.first) else { continue };
            let last_seq = self.ends.get(&(site, version)).copied().unwrap_or(beginning).max(beginning);
            let end = match cut {
                None => Some(last_seq),
                Some(cut) => Seq::new(cut.get() - 1).ok(),
            };
            self.is_short_of_pieces = cut.is_some();
            let covered = end.and_then(|end| Range::new(Seq::ZERO, end).ok());
            let seqs = covered.map(|covered| seqs.intersection(&covered.into())).unwrap_or_default();
            if !seqs.is_empty() {
                partial.push(Partial { site, version, seqs, last_seq });
            }
        }
        self.inner = self.changes.len();
        self.of_pieces = self.changes.len();
        partial
    }

    /// Takes a change of a wanted transaction. Breaks when the page is full; what it has then is whole, or one transaction.
    fn take(&mut self, change: Change) -> ControlFlow<()> {
        let last = self.changes.get(self.of_pieces..).and_then(<[Change]>::last);
        if last.is_none_or(|last| (last.site, last.version) != (change.site, change.version)) {
            self.inner = self.changes.len();
        }
        let same_seq =
            self.changes.get(self.inner..).and_then(<[Change]>::last).is_some_and(|last| last.seq == change.seq);
        if !self.is_full(size_of(&change)) || (self.inner == 0 && same_seq) {
            self.push(change);
            return ControlFlow::Continue(());
        }
        if self.inner > 0 {
            self.changes.truncate(self.inner);
        } else if let Some(last) = self.changes.last() {
            self.cut = Some(Cut { last: last.seq, last_seq: change.seq });
        }
        ControlFlow::Break(())
    }

    /// The transactions that are in the page, besides pieces that were asked for.
    fn transactions(&self) -> Clock {
        let of_pieces = self.of_pieces;
        let changes = self.changes.get(of_pieces..).unwrap_or_default();
        changes.iter().map(|change| (change.site, Ranges::from(Range::one(change.version)))).collect()
    }

    /// Sees another change of a chosen transaction. Those of the version at which the page was full are in it, or behind
    /// the cut.
    fn complete(&mut self, change: Change, is_of_the_last_version: bool) {
        if let Some(cut) = &mut self.cut {
            cut.last_seq = change.seq.max(cut.last_seq);
        }
        let is_behind = self.cut.as_ref().is_some_and(|cut| change.seq > cut.last);
        if !is_of_the_last_version && !is_behind {
            self.push(change);
        }
    }

    /// The piece of the one transaction in the page, if it was cut.
    fn cut(&self) -> Option<Partial> {
        let (cut, first) = (self.cut.as_ref()?, self.changes.first()?);
        let seqs = Range::new(Seq::ZERO, cut.last).ok()?.into();
        Some(Partial { site: first.site, version: first.version, seqs, last_seq: cut.last_seq })
    }
}
