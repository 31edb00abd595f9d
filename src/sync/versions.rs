//! Reading batches by versions: the transactions that an asker names, whoever wrote them.
//!
//! A batch of this kind moves no cursor, and what it covers holds for everybody. So all changes that this copy still has of
//! a transaction that it covers are in it, wherever they stand.

use std::ops::ControlFlow;

use super::batch::{Batch, Partial, SchemaHash};
use super::clock::Clock;
use super::cursor::Cursor;
use super::error::Error;
use super::ledger::Ledger;
use super::partials::Piece;
use super::ranges::{Range, Ranges};
use super::replica::Replica;
use super::request::{Page, size_of};
use crate::crr::sort::sort_by_key;
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
        let snapshot = self.conn.savepoint()?;
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
        let mut pieces = Vec::new();
        for piece in &request.pieces {
            let of = Clock::from_iter([(piece.site, Ranges::from(Range::one(piece.version)))]);
            if ledger.held_of(&of)? == of {
                pieces.push(Asked::new((piece.site, piece.version), &piece.seqs));
                wanted = wanted.difference(&of);
            }
        }
        sort_by_key(&mut pieces, |asked| asked.of);
        pieces.dedup_by_key(|asked| asked.of);
        let since = request.since.filter(|since| since.site == site && since.version <= at);
        let since = since.map_or(Version::ZERO, |since| since.version);

        let window = |until| Window { since, until, exclude: request.exclude, newest_first: true };
        let mut answer = Answer { page: request.page, ..Answer::default() };
        if !pieces.is_empty() {
            self.engine.changes(&snapshot, window(at), &mut |_, change| answer.take_piece(&mut pieces, change))?;
            answer.finish_pieces(pieces);
        }
        let mut stopped = None;
        if !wanted.is_empty() {
            self.engine.changes(&snapshot, window(at), &mut |version, change| {
                if !wanted.contains(change.site, change.version) || answer.take(change).is_continue() {
                    return ControlFlow::Continue(());
                }
                stopped = Some(version);
                ControlFlow::Break(())
            })?;
        }
        let mut covers = wanted;
        if let Some(too_large) = answer.too_large {
            let all = Range::new(Seq::ZERO, Seq::MAX).map(Ranges::from).unwrap_or_default();
            let mut pieces = vec![Asked::new(too_large, &all)];
            answer = Answer { page: request.page, ..Answer::default() };
            self.engine.changes(&snapshot, window(at), &mut |_, change| answer.take_piece(&mut pieces, change))?;
            answer.finish_pieces(pieces);
            covers = Clock::default();
        } else if let Some(stopped) = stopped {
            // Whatever is left of the chosen transactions under older versions.
            covers = answer.transactions();
            self.engine.changes(&snapshot, window(stopped), &mut |version, change| {
                if covers.contains(change.site, change.version) {
                    answer.complete(change, version == stopped);
                }
                ControlFlow::Continue(())
            })?;
        }
        let more = stopped.is_some() || answer.is_short_of_pieces;
        let Answer { changes, partial, .. } = answer;
        drop(snapshot);
        let mut batch = Batch { covers, partial, more, changes, ..Batch::empty(site) };
        self.name_schema(&mut batch, request.schema.as_ref());
        Ok(batch)
    }
}

/// An author's transaction.
type Transaction = (SiteId, Version);

/// A transaction of which pieces are asked for.
struct Asked<'a> {
    of: Transaction,
    /// The positions.
    seqs: &'a Ranges<Seq>,
    /// The newest position that the transaction has here.
    end: Option<Seq>,
}

impl<'a> Asked<'a> {
    fn new(of: Transaction, seqs: &'a Ranges<Seq>) -> Self {
        Self { of, seqs, end: None }
    }
}

/// A page while it is filled.
#[derive(Default)]
struct Answer {
    page: Page,
    changes: Vec<Change>,
    bytes: usize,
    /// How many of the changes are of pieces that were asked for.
    of_pieces: usize,
    partial: Vec<Partial>,
    is_short_of_pieces: bool,
    /// The transaction that was left out because the page was full.
    left_out: Option<Transaction>,
    /// The transaction that does not fit in an empty page.
    too_large: Option<Transaction>,
}

impl Answer {
    fn is_full(&self, size: usize) -> bool {
        !self.changes.is_empty() && (self.changes.len() >= self.page.changes || self.bytes + size > self.page.bytes)
    }

    fn push(&mut self, change: Change) {
        self.bytes += size_of(&change);
        self.changes.push(change);
    }

    /// Takes a change of a piece that is asked for. All are taken: `finish_pieces` sees to the limit.
    fn take_piece(&mut self, pieces: &mut [Asked<'_>], change: Change) -> ControlFlow<()> {
        let known = pieces.binary_search_by_key(&(change.site, change.version), |asked| asked.of);
        if let Some(piece) = known.ok().and_then(|at| pieces.get_mut(at)) {
            piece.end = piece.end.max(Some(change.seq));
            if piece.seqs.contains(change.seq) {
                self.push(change);
            }
        }
        ControlFlow::Continue(())
    }

    /// Keeps the changes that fit, and says what they cover.
    fn finish_pieces(&mut self, pieces: Vec<Asked<'_>>) {
        let mut changes = std::mem::take(&mut self.changes);
        sort_by_key(&mut changes, |change| (change.site, change.version, change.seq));
        self.bytes = 0;
        let mut changes = changes.into_iter().peekable();
        for Asked { of: (site, version), seqs, end } in pieces {
            if self.is_short_of_pieces {
                break;
            }
            let mut cut = None;
            let first = self.changes.len();
            while let Some(change) = changes.next_if(|change| (change.site, change.version) == (site, version)) {
                // Changes of one position stay together.
                let goes_on =
                    self.changes.get(first..).and_then(<[_]>::last).is_some_and(|last| last.seq == change.seq);
                if self.is_full(size_of(&change)) && !goes_on {
                    cut = Some(change.seq);
                    break;
                }
                self.push(change);
            }
            let Some(beginning) = seqs.iter().next_back().map(|range| range.first) else { continue };
            let last_seq = end.map_or(beginning, |end| end.max(beginning));
            let end = match cut {
                None => Some(last_seq),
                Some(cut) => Seq::new(cut.get() - 1).ok(),
            };
            self.is_short_of_pieces = cut.is_some();
            let covered = end.and_then(|end| Range::new(Seq::ZERO, end).ok());
            let seqs = covered.map(|covered| seqs.intersection(&covered.into())).unwrap_or_default();
            if !seqs.is_empty() {
                self.partial.push(Partial { site, version, seqs, last_seq });
            }
        }
        self.of_pieces = self.changes.len();
    }

    /// Takes a change of a wanted transaction. Breaks when the page is full.
    fn take(&mut self, change: Change) -> ControlFlow<()> {
        let of = (change.site, change.version);
        if !self.is_full(size_of(&change)) {
            self.push(change);
            return ControlFlow::Continue(());
        }
        // All of it, what came under newer versions included.
        let mut rest = self.changes.split_off(self.of_pieces);
        rest.retain(|change| (change.site, change.version) != of);
        self.changes.append(&mut rest);
        if self.changes.is_empty() {
            self.too_large = Some(of);
        }
        self.left_out = Some(of);
        ControlFlow::Break(())
    }

    /// The transactions that are in the page, besides pieces that were asked for.
    fn transactions(&self) -> Clock {
        let changes = self.changes.get(self.of_pieces..).unwrap_or_default();
        changes.iter().map(|change| (change.site, Ranges::from(Range::one(change.version)))).collect()
    }

    /// Sees another change of a chosen transaction. Of the version at which the page was full it has those that stand
    /// before the transaction that was left out.
    fn complete(&mut self, change: Change, is_of_the_last_version: bool) {
        if !is_of_the_last_version || self.left_out < Some((change.site, change.version)) {
            self.push(change);
        }
    }
}
