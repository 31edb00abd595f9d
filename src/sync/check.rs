//! Whether the ledger agrees with itself and with the clocks.

use std::collections::BTreeSet;

use super::error::Error;
use super::ledger::Ledger;
use super::partials;
use super::replica::Replica;

impl Replica {
    /// Reads everything, and returns what is wrong, in sentences; nothing in a database that is as it should be.
    ///
    /// Of the ledger: its gaps are disjoint and below what was heard, no entry is from the future, and no transaction that
    /// waits for its pieces shows in a clock or counts as held. Of the engine: clocks, log, sites and version agree.
    pub fn check(&mut self) -> Result<Vec<String>, Error> {
        // One snapshot.
        let snapshot = self.conn.transaction()?;
        let ledger = Ledger::new(&snapshot, &self.engine);
        let mut wrong = ledger.check()?;
        let pieces = partials::lacking(&snapshot, &self.engine)?;
        let mut waiting = BTreeSet::new();
        for piece in &pieces {
            let Some(site) = self.engine.ordinal(&snapshot, piece.site)? else { continue };
            if ledger.held(site)?.contains(piece.version) {
                wrong.push(format!(
                    "transaction {} of {} waits for pieces and counts as held",
                    piece.version, piece.site
                ));
            }
            waiting.insert((site, piece.version));
        }
        let mut visible = BTreeSet::new();
        wrong.extend(self.engine.check(&snapshot, &mut |site, version| {
            if waiting.contains(&(site, version)) {
                visible.insert((site, version));
            }
        })?);
        for (site, version) in visible {
            let site = self.engine.site(&snapshot, site)?;
            wrong.push(format!("transaction {version} of {site} waits for pieces, and a part of it is to be seen"));
        }
        Ok(wrong)
    }
}
