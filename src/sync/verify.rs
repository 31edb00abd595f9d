//! Comparing two copies, and repairing what differs: so that a wrong cursor, a lost batch or a bug cannot hide for ever.
//!
//! The rows of a copy are a set of *items*, each a place in a space of 64 bits (the row's name, hashed) and a *print* (its state,
//! hashed: see `verify/row.rs`). Sums of the prints under every prefix of the places are kept, so two copies that are equal see
//! it by one sum, and two that are not find what differs by asking about ever longer prefixes: range-based set
//! reconciliation (Meyer 2023; Negentropy). `verify/prints.rs` keeps the set beside the data and follows the engine's log, so
//! nothing is scanned but by the first comparison. `docs/verify.md` describes all of it for other implementations.
//!
//! Both sides do the same: a [`Probe`] comes in, another is the [answer](Replica::verify), and neither remembers anything in
//! between, since what is left to do stands in the probe. Each has the sender's root, and so ends the exchange where
//! that is also the receiver's. Otherwise it has, in order of progress, and each with a bound:
//!
//! 1. *nodes*: the sums of the sender under some prefixes. The receiver passes over those that are its own sums too. Of
//!    the others it answers all its items, if they are few; if the sender's are few, its own sum, which makes the sender list
//!    them; or else the sums of the sixteen longer prefixes.
//! 2. *lists*: all that the sender has under a prefix. The receiver sends the rows that the sender lacks, asks for those
//!    that it lacks itself, and does both with those that differ.
//! 3. *wants*: places whose rows the sender asks for.
//! 4. *repair*: a batch of whole rows. It claims nothing and moves no cursor; merging it twice changes nothing. Whoever drives the
//!    exchange applies it like any other batch, and only where its sender may write.
//!
//! What a probe has no room for goes back as nodes, so that it is asked for again. An exchange ends with a probe that
//! [asks nothing](Probe::is_empty), having passed over the whole tree, unless more than four thousand nodes were open.
//!
//! What holds:
//!
//! - Copies are said to be equal only when their roots are: number and sum of all prints.
//! - The print of a row is of exactly what merging compares. So rows whose prints differ are made equal by merging each
//!   into the other (ties go to the larger site, as this layer sets it), and no difference is ever seen that merging could
//!   not settle. Hence versions and seqs are not in it: two copies may know one write under different ones (each imported its
//!   file of the original cr-sqlite, which renumbers; or the table was replicated anew), and no merge looks at them.
//!   Cells of version 0, left by the incarnation before, are in it: their values show, copies may differ in them after all
//!   batches arrived, and the larger value wins.
//! - Claims of who holds which transactions are not looked at, and not made.
//! - A trigger of the application that changes rows while they are merged can make copies that never agree. An exchange ends
//!   nevertheless, and the next one finds the same again: give up when a whole exchange left both roots as they were.
//!
//! Verifying is for copies at rest. What is on its way by the usual batches is found to differ, and is sent twice; a row of a
//! transaction that did not arrive whole yet shows before the rest of it.
//!
//! ```
//! use crsql_sync::sync::{Page, Replica, Schema, Sql, SqlLimits};
//! # use std::time::Duration;
//! # use rusqlite::Connection;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let schema = Schema::parse("CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, title TEXT); SELECT crsql_as_crr('todo')")?;
//! # let open = || -> Result<Replica, Box<dyn std::error::Error>> {
//! #     let mut replica = Replica::open(Connection::open_in_memory()?)?;
//! #     replica.create_database_if_not_exists(&schema)?;
//! #     Ok(replica)
//! # };
//! let (mut ours, mut theirs) = (open()?, open()?);
//! # let limits = SqlLimits { rows: 1, bytes: 1, time: Duration::from_secs(9), read_only: false, tables: None };
//! theirs.sql(&[Sql { sql: "INSERT INTO todo VALUES ('1', 'milk')".into(), params: vec![] }], limits)?;
//!
//! let mut probe = ours.verify_begin()?;
//! let equal = loop {
//!     // There:
//!     if let Some(batch) = &probe.repair {
//!         theirs.apply_changes(batch)?;
//!     }
//!     let answer = theirs.verify(&probe, Page::default())?.reply;
//!     // And back here:
//!     if let Some(batch) = &answer.repair {
//!         ours.apply_changes(batch)?;
//!     }
//!     let verified = ours.verify(&answer, Page::default())?;
//!     if verified.equal || verified.reply.is_empty() {
//!         break verified.equal;
//!     }
//!     probe = verified.reply;
//! };
//! assert!(equal);
//! # Ok(())
//! # }
//! ```

mod answer;
mod prefix;
mod prints;
mod probe;
mod row;

use rusqlite::{Connection, TransactionBehavior};

use super::batch::{Batch, Protocol};
use super::error::{Error, VerifyError};
use super::replica::Replica;
use super::request::Page;
use crate::crr::WholeRow;
use answer::Answer;
pub use prefix::{InvalidPrefix, Prefix};
use prints::Prints;
pub use probe::{Item, List, Node, Probe, Sum};

/// For how many places a probe may ask.
pub(super) const MOST_WANTED: usize = probe::MAX_ITEMS;

/// What a probe said, and what to say to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// Whether both copies are equal: their roots are. Then nothing is left to say.
    pub equal: bool,
    /// What to send back. The side that answers does so always, since this tells the other whether the copies are equal; the
    /// one that began ends where they are, or where it [asks nothing](Probe::is_empty).
    pub reply: Probe,
}

impl Replica {
    /// The probe that begins an exchange with a peer: its answer says whether that is equal to this copy.
    ///
    /// The first call reads the whole database, later ones what was written since the last.
    pub fn verify_begin(&mut self) -> Result<Probe, Error> {
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let root = Prints::up_to_date(&transaction, &self.engine)?.sum(Prefix::ROOT)?;
        transaction.commit()?;
        Ok(Probe { nodes: vec![Node { prefix: Prefix::ROOT, sum: root }], ..self.probe(root) })
    }

    /// Compares a peer's probe with this copy, and answers it. Rows that it brings must have been
    /// [applied](Replica::apply_changes) before. `page` bounds the rows of the answer.
    pub fn verify(&mut self, probe: &Probe, page: Page) -> Result<Verified, VerifyError> {
        self.check_probe(probe)?;
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::from)?;
        let prints = Prints::up_to_date(&transaction, &self.engine)?;
        let root = prints.sum(Prefix::ROOT)?;
        let equal = root == probe.root;
        let mut answer = Answer::new(&prints, page);
        if !equal {
            answer.take(probe)?;
        }
        let Answer { nodes, lists, wants, rows, .. } = answer.finish()?;
        transaction.commit().map_err(Error::from)?;
        let schema = self.schema().map(|schema| schema.hash().clone());
        let repair = (!rows.is_empty()).then(|| Batch { schema, changes: rows, ..Batch::empty(self.site()) });
        Ok(Verified { equal, reply: Probe { nodes, lists, wants, repair, ..self.probe(root) } })
    }

    /// Says what is wrong with a probe, for those who must know before they apply what it brings.
    pub fn check_probe(&self, probe: &Probe) -> Result<(), VerifyError> {
        if probe.from == self.site() {
            return Err(VerifyError::InvalidProbe("`from` is this copy's own site".into()));
        }
        if let (Some(theirs), Some(ours)) = (&probe.schema, self.schema())
            && theirs != ours.hash()
        {
            return Err(VerifyError::SchemaMismatch { schema: ours.hash().clone() });
        }
        probe.check().map_err(|reason| VerifyError::InvalidProbe(reason.into()))
    }

    /// Forgets the prints that are kept, so that the next comparison reads the whole database. That finds also what was changed
    /// behind the engine's back, of which its log says nothing. It happens by itself from time to time, as versions go by.
    pub fn forget_prints(&mut self) -> Result<(), Error> {
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        prints::forget(&transaction)?;
        transaction.commit()?;
        Ok(())
    }

    /// A probe that asks for the rows at these places, up to [`MOST_WANTED`], and compares nothing: it says that its sender has
    /// nothing.
    pub(super) fn probe_for(&self, wants: Vec<u64>) -> Probe {
        Probe { wants, ..self.probe(Sum::default()) }
    }

    /// A probe that asks nothing.
    fn probe(&self, root: Sum) -> Probe {
        Probe {
            protocol: Protocol,
            from: self.site(),
            schema: self.schema().map(|schema| schema.hash().clone()),
            root,
            nodes: Vec::new(),
            lists: Vec::new(),
            wants: Vec::new(),
            repair: None,
        }
    }
}

/// Where a row stands among all rows.
pub(super) fn place(row: &WholeRow) -> Result<u64, Error> {
    Ok(row::item(row)?.place)
}

/// Forgets the prints that are kept, within the caller's transaction.
pub(super) fn forget(conn: &Connection) -> Result<(), Error> {
    prints::forget(conn)
}
