//! Going on under a new site id, after a database was copied or restored.

use rusqlite::{Connection, TransactionBehavior};

use super::error::Error;
use super::layout;
use super::ledger::Ledger;
use super::quarantine;
use super::replica::Replica;
use crate::crr::renew::{Renewed, renew};

impl Replica {
    /// Opens a database that is a copy of another one, or was restored from a copy of itself, and gives it a site id of its
    /// own. To its peers it is a new one: they ask it for everything, but for what they hold already, and find in it the
    /// transactions that the old site wrote, under the old site's name.
    ///
    /// What it has received of its peers is still there, and so it is not asked for again. The engine must not be installed on
    /// `conn` yet.
    pub fn open_copy(mut conn: Connection) -> Result<Self, Error> {
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let renewed = renew(&transaction)?;
        if layout::is_any(&transaction)? {
            layout::create(&transaction)?;
            hand_over(&transaction, &renewed)?;
        }
        transaction.commit()?;
        Self::open(conn)
    }
}

/// Makes the transactions that were this copy's own those of the old site.
fn hand_over(conn: &Connection, renewed: &Renewed) -> Result<(), Error> {
    Ledger::hand_over(conn, renewed.old.1, renewed.version)?;
    quarantine::hand_over(conn, renewed.old.1)?;
    // What peers have acknowledged, they have of the old site.
    conn.execute("DELETE FROM crsql_tracked_peers WHERE tag = 0 AND event = 1", [])?;
    Ok(())
}
