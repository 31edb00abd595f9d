//! The sites that a transaction or a reader has met, so that it looks each up once.

use std::collections::HashMap;

use rusqlite::Connection;

use super::{Result, SiteId, catalog};

/// Sites and their ordinals. Good until the transaction ends, or goes back to a savepoint.
#[derive(Debug, Default)]
pub(super) struct SiteCache {
    ordinals: HashMap<SiteId, i64>,
    sites: HashMap<i64, SiteId>,
    /// The one that was asked for last; usually the next is the same.
    last: Option<(i64, SiteId)>,
}

impl SiteCache {
    /// The ordinal of `site`, and whether it got it only now.
    pub(super) fn ordinal(&mut self, conn: &Connection, site: SiteId) -> Result<(i64, bool)> {
        if let Some((ordinal, _)) = self.last.filter(|(_, last)| *last == site) {
            return Ok((ordinal, false));
        }
        let known = match self.ordinals.get(&site) {
            Some(&ordinal) => Some(ordinal),
            None => catalog::ordinal(conn, site)?,
        };
        let (ordinal, is_new) = match known {
            Some(ordinal) => (ordinal, false),
            None => (catalog::add_site(conn, site)?, true),
        };
        self.ordinals.insert(site, ordinal);
        self.last = Some((ordinal, site));
        Ok((ordinal, is_new))
    }

    /// The site that has `ordinal`.
    pub(super) fn site(&mut self, conn: &Connection, ordinal: i64) -> Result<SiteId> {
        if let Some((_, site)) = self.last.filter(|(last, _)| *last == ordinal) {
            return Ok(site);
        }
        let site = match self.sites.get(&ordinal) {
            Some(&site) => site,
            None => catalog::site(conn, ordinal)?,
        };
        self.sites.insert(ordinal, site);
        self.last = Some((ordinal, site));
        Ok(site)
    }
}
