//! What a database remembers of its upstream and of the link there.

use rusqlite::{Connection, TransactionBehavior};

use super::error::Error;
use super::queries::held;
use super::replica::{Replica, set_setting, setting, unset};
use super::{by_name, quarantine};
use crate::crr::{Ordinal, SiteId};

/// The site of the upstream.
const UPSTREAM: &str = "sync.upstream";
/// Present while the link to the upstream is stopped by hand.
const PAUSED: &str = "sync.paused";
/// When this copy and the upstream last had the same, in milliseconds since 1970.
const SYNCED_AT: &str = "sync.synced_at";
/// Until when the upstream asked to be left alone, in milliseconds since 1970.
const NOT_BEFORE: &str = "sync.not_before";

/// Present where this copy holds the rows of its subscriptions only.
const PARTIAL: &str = "sync.is_partial";

impl Replica {
    /// Whether this copy holds the rows of its subscriptions only, and not everything that its upstream has.
    pub fn is_partial(&self) -> Result<bool, Error> {
        Ok(setting::<bool>(&self.conn, PARTIAL)?.unwrap_or(false))
    }

    /// The upstream's site, from the last time it answered.
    pub fn upstream(&self) -> Result<Option<SiteId>, Error> {
        site(&self.conn)
    }

    /// Records the upstream's site. What was exchanged with another one counts for nothing with this one.
    pub fn set_upstream(&mut self, site: SiteId) -> Result<(), Error> {
        let before = self.upstream()?;
        if before == Some(site) {
            return Ok(());
        }
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(before) = before {
            held::move_to(&transaction, before, site)?;
        }
        let before = match before {
            Some(before) => self.engine.ordinal_or_new(&transaction, before)?,
            None => Ordinal::SELF,
        };
        let site_ordinal = self.engine.ordinal_or_new(&transaction, site)?;
        quarantine::carry_over(&transaction, before, site_ordinal)?;
        by_name::forget(&transaction)?;
        set_setting(&transaction, UPSTREAM, &site.as_bytes())?;
        transaction.commit()?;
        Ok(())
    }

    /// Whether the link to the upstream is stopped by hand.
    pub fn is_paused(&self) -> Result<bool, Error> {
        Ok(setting::<bool>(&self.conn, PAUSED)?.unwrap_or(false))
    }

    /// Records whether it is.
    pub fn set_paused(&mut self, paused: bool) -> Result<(), Error> {
        if paused { set_setting(&self.conn, PAUSED, &true) } else { unset(&self.conn, PAUSED) }
    }

    /// When this copy and the upstream last were known to have the same, in milliseconds since 1970.
    pub fn synced_at(&self) -> Result<Option<i64>, Error> {
        setting(&self.conn, SYNCED_AT)
    }

    /// Records it.
    pub fn set_synced_at(&mut self, at: i64) -> Result<(), Error> {
        set_setting(&self.conn, SYNCED_AT, &at)
    }

    /// Until when the upstream asked to be left alone, in milliseconds since 1970.
    pub fn not_before(&self) -> Result<Option<i64>, Error> {
        setting(&self.conn, NOT_BEFORE)
    }

    /// Records it, or that it does not count any more.
    pub fn set_not_before(&mut self, at: Option<i64>) -> Result<(), Error> {
        match at {
            Some(at) => set_setting(&self.conn, NOT_BEFORE, &at),
            None => unset(&self.conn, NOT_BEFORE),
        }
    }
}

/// Makes the copy a partial one. For one that has nothing yet: what a full copy claims does not fit one that forgets rows.
pub(super) fn set_partial(conn: &Connection) -> Result<(), Error> {
    set_setting(conn, PARTIAL, &true)
}

/// The upstream's site.
pub(super) fn site(conn: &Connection) -> Result<Option<SiteId>, Error> {
    match setting::<Vec<u8>>(conn, UPSTREAM)? {
        Some(bytes) => Ok(Some(SiteId::from_slice(&bytes)?)),
        None => Ok(None),
    }
}
