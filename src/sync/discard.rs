//! Giving up, for good, what is held back from the upstream.
//!
//! What is discarded is never sent. Its rows are *taken back* as soon as the upstream says what it has in their place: what nobody
//! has overwritten of it goes, and what the upstream has is merged, in one transaction. So there is no moment at which this copy
//! lacks what it claims, and none at which a new write to such a row does not know what it has to beat. Then nothing is left of
//! the transaction, and as one that wrote nothing it holds up no cursor any more.
//!
//! Only a copy that alone has a transaction can take it back: one of its own, which no other peer has acknowledged. The others
//! stay where they are, and are held back for ever.

use std::ops::ControlFlow;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::clock::Clock;
use super::error::{ApplyError, DiscardError, Error};
use super::ranges::{Range, Ranges};
use super::replica::Replica;
use super::verify::{self, Probe};
use super::{apply, peers, quarantine, unlogged};
use crate::crr::sort::sort;
use crate::crr::{Engine, Ordinal, SiteId, Version, WholeRow};

impl Replica {
    /// Gives up transactions that are held back from the upstream. Those that are not are passed over.
    ///
    /// # Errors
    /// Where one of them cannot be taken back, since this copy is not the only one that has it. Then nothing is given up.
    pub fn discard(&mut self, transactions: &Clock) -> Result<(), DiscardError> {
        let upstream = self.upstream()?;
        let transaction =
            Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate).map_err(Error::from)?;
        let (conn, engine) = (&transaction, &self.engine);
        let peer = match upstream {
            Some(upstream) => engine.ordinal_or_new(conn, upstream).map_err(Error::from)?,
            None => Ordinal::SELF,
        };
        let held_back = quarantine::held_back_by(conn, engine, peer)?.intersection(transactions);
        let relayed = relayed(conn, upstream)?;
        for (site, versions) in held_back.iter() {
            if site != engine.site_id() {
                return Err(DiscardError::Foreign { site });
            }
            match versions.iter().next() {
                Some(range) if range.first <= relayed => return Err(DiscardError::Relayed { version: range.first }),
                _ => {}
            }
        }
        quarantine::give_up(conn, engine, peer, &held_back)?;
        transaction.commit().map_err(Error::from)?;
        Ok(())
    }

    /// What to [ask](verify) the upstream `peer` for before what was discarded can be taken back: the rows that it wrote, as many as
    /// fit. `None` where there is nothing to take back; what was discarded then is no longer held back.
    pub fn ask_for_discarded(&mut self, peer: SiteId) -> Result<Option<Probe>, Error> {
        let transaction = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
        let discarded = discarded(&transaction, &self.engine, peer)?;
        let places: Vec<_> =
            written_by(&transaction, &self.engine, &discarded)?.into_iter().map(|(at, _)| at).collect();
        if places.is_empty() {
            quarantine::release_all(&transaction, &self.engine, peer, &discarded)?;
            transaction.commit()?;
            return Ok(None);
        }
        Ok(Some(self.probe_for(places)))
    }

    /// Takes back the rows that the upstream was [asked](Self::ask_for_discarded) for, as far as it answered, and merges what it has
    /// in their place. Returns how many rows.
    pub fn take_back(&mut self, asked: &Probe, answer: &Probe) -> Result<usize, ApplyError> {
        if let Some(repair) = &answer.repair {
            self.validate(repair)?;
        }
        let transaction =
            Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate).map_err(Error::from)?;
        let (conn, engine) = (&transaction, &self.engine);
        let discarded = discarded(conn, engine, answer.from)?;
        let mut asked = asked.wants.clone();
        sort(&mut asked);
        let is_answered =
            |place| asked.binary_search(&place).is_ok() && !answer.nodes.iter().any(|node| node.prefix.contains(place));
        let mut taken_back = 0;
        for (place, row) in written_by(conn, engine, &discarded)? {
            if let (true, Some(change)) = (is_answered(place), row.changes.first()) {
                let is_of = |version| discarded.contains(version);
                engine.take_back(conn, &row.table, &change.pk, &is_of).map_err(Error::from)?;
                taken_back += 1;
            }
        }
        if let Some(repair) = &answer.repair {
            apply::apply(conn, engine, self.schema.as_ref(), repair, None)?;
        }
        unlogged::note(conn)?;
        transaction.commit().map_err(Error::from)?;
        Ok(taken_back)
    }
}

/// Up to which version others than the upstream have what this copy wrote.
fn relayed(conn: &Connection, upstream: Option<SiteId>) -> Result<Version, Error> {
    let others = peers::all(conn)?.into_iter().filter(|peer| Some(peer.site) != upstream);
    Ok(others.map(|peer| peer.acknowledged).max().unwrap_or(Version::ZERO))
}

/// The transactions of this copy's own that were discarded, and that it alone has.
fn discarded(conn: &Connection, engine: &Engine, upstream: SiteId) -> Result<Ranges<Version>, Error> {
    let relayed = relayed(conn, Some(upstream))?;
    let relayed = Range::new(Version::MIN, relayed).map(Ranges::from).unwrap_or_default();
    Ok(quarantine::discarded(conn, engine, upstream)?.difference(&relayed))
}

/// The first rows that still have something of these transactions of this copy's own, as many as can be asked for at once, each with
/// its place.
fn written_by(conn: &Connection, engine: &Engine, versions: &Ranges<Version>) -> Result<Vec<(u64, WholeRow)>, Error> {
    let Some(first) = versions.iter().next().map(|range| range.first) else { return Ok(Vec::new()) };
    let own = engine.site_id();
    let mut rows = Vec::new();
    engine.rows_since(conn, Version::or_zero(first.get() - 1)?, &mut |row| {
        if row.changes.iter().any(|change| change.site == own && versions.contains(change.version)) {
            rows.push(row);
        }
        if rows.len() < verify::MOST_WANTED { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    rows.into_iter().map(|row| Ok((verify::place(&row)?, row))).collect()
}
