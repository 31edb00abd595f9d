//! Whether the ledger agrees with itself and with the clocks.

use super::error::Error;
use super::ledger::Ledger;
use super::partials;
use super::replica::Replica;

impl Replica {
    /// Reads everything, and returns what is wrong, in sentences; nothing in a database that is as it should be.
    ///
    /// Of the ledger: its gaps are disjoint and below what was heard, no entry is from the future, and no transaction
    /// that waits for its pieces counts as held. Of the engine: clocks, log, sites and version agree.
    pub fn check(&mut self) -> Result<Vec<String>, Error> {
        // One snapshot.
        let snapshot = self.conn.savepoint()?;
        let ledger = Ledger::new(&snapshot, &self.engine);
        let mut wrong = ledger.check()?;
        for piece in partials::lacking(&snapshot, &self.engine)? {
            let Some(site) = self.engine.ordinal(&snapshot, piece.site)? else { continue };
            if ledger.held(site)?.contains(piece.version) {
                wrong.push(format!(
                    "transaction {} of {} waits for pieces and counts as held",
                    piece.version, piece.site
                ));
            }
        }
        wrong.extend(self.engine.check(&snapshot)?);
        Ok(wrong)
    }
}
