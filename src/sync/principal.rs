//! To whom a database belongs, so that no change leaves it under another one's name.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::error::Error;
use super::quarantine;
use super::replica::{Replica, set_setting, setting, unset};
use crate::crr::Ordinal;

/// Whom the database belongs to.
const OWNER: &str = "sync.principal";
/// Who is signed in, while that is another one.
const SIGNED_IN: &str = "sync.signed_in";

/// What becomes of changes that the upstream lacks when another principal comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnsent {
    /// They wait for their own.
    Keep,
    /// They are never sent.
    Discard,
}

impl Replica {
    /// Whom the database belongs to: the first principal that was named, or the one that took it over since.
    pub fn principal(&self) -> Result<Option<String>, Error> {
        owner(&self.conn)
    }

    /// Who is signed in, where that is not the one whom the database belongs to: then nothing may be sent.
    pub fn other_principal(&self) -> Result<Option<String>, Error> {
        setting(&self.conn, SIGNED_IN)
    }

    /// Notes who is signed in. A database of another one goes over to `principal` if nothing of it waits to be sent, or if
    /// that is to be discarded. Otherwise it keeps its owner. Returns whether the database is `principal`'s.
    pub fn sign_in(&mut self, principal: &str, unsent: WhenUnsent) -> Result<bool, Error> {
        // A write between the question what waits and the answer would go under the wrong name.
        let transaction = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
        let is_theirs = self.take_over(&transaction, principal, unsent)?;
        if is_theirs {
            unset(&transaction, SIGNED_IN)?;
        } else {
            set_setting(&transaction, SIGNED_IN, &principal)?;
        }
        transaction.commit()?;
        Ok(is_theirs)
    }

    /// Gives the database to `principal`, whose credentials came for it, if nothing of its owner's waits to be sent. Otherwise
    /// nothing is noted, since the credentials of the owner may come next, and `principal` is given back.
    pub fn adopt(&mut self, principal: &str) -> Result<Option<String>, Error> {
        let transaction = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
        let is_theirs = self.take_over(&transaction, principal, WhenUnsent::Keep)?;
        transaction.commit()?;
        Ok((!is_theirs).then(|| principal.to_owned()))
    }

    fn take_over(&self, conn: &Connection, principal: &str, unsent: WhenUnsent) -> Result<bool, Error> {
        match owner(conn)? {
            Some(owner) if owner == principal => return Ok(true),
            Some(_) if unsent == WhenUnsent::Discard => {
                let peer = match self.upstream()? {
                    Some(upstream) => self.engine.ordinal_or_new(conn, upstream)?,
                    None => Ordinal::SELF,
                };
                quarantine::discard(conn, &self.engine, peer, &self.unsent_transactions()?)?;
            }
            Some(_) if self.has_unsent()? || quarantine::is_any(conn)? => return Ok(false),
            _ => {}
        }
        set_setting(conn, OWNER, &principal)?;
        Ok(true)
    }
}

/// Whom the database belongs to.
pub(super) fn owner(conn: &Connection) -> Result<Option<String>, Error> {
    setting(conn, OWNER)
}
