use std::collections::BTreeSet;
use std::sync::Arc;

use web_time::SystemTime;

use crate::crr::SiteId;
use crate::http::problem::{Code, Problem};
use crate::sync::{self, Batch, Cursor, Filter, RequestKey, RowFilters, Sql, Tables};

/// The bounds of an allowance. The default is none.
///
/// ```
/// # use crsql_sync::http::{Bounds, Verdict};
/// # let site = "aa000000000000000000000000000001".parse()?;
/// let verdict = Verdict::from(Bounds::default().principal("ann").sites([site]).tables(["todo", "label"]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Bounds {
    /// Nothing may be written.
    pub read_only: bool,
    /// The sites that the caller may speak for, or `None` for all: as the claimed site, as a batch's sender, as the author of
    /// its changes, and as the one whose transactions it claims to bring. Who is bound can therefore not relay what others
    /// wrote, and `sql` only reads for it.
    pub sites: Option<BTreeSet<SiteId>>,
    /// The tables that the caller may read and write, or `None` for all. Such a caller creates and migrates nothing. What it
    /// is sent claims nothing, since it never has all of a transaction, and comes from a
    /// [site of its own](Tables::view_of).
    pub tables: Option<Tables>,
    /// The rows that the caller may read, and write by batches, or `None` for all. A filter that cannot be used denies. A cursor
    /// cannot say which rows came within a filter without having changed, so such a caller asks by queries, and is told nothing
    /// of what concerns all rows. `sql` only reads for it.
    pub rows: Option<RowFilters>,
    /// When the allowance ends. An event stream ends with it, so that its reader comes back with a new token.
    pub expires: Option<SystemTime>,
    /// Who the caller is: for the log, and so that the keys of its requests are its own.
    pub principal: Option<Arc<str>>,
    /// What `sql` runs in place of the caller's statements.
    pub queries: Option<Vec<Sql>>,
}

impl Bounds {
    /// No bounds.
    pub const NONE: Self =
        Self { read_only: false, sites: None, tables: None, rows: None, expires: None, principal: None, queries: None };

    /// Allows to read only.
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }

    /// Allows to speak for these sites only.
    pub fn sites(self, sites: impl IntoIterator<Item = SiteId>) -> Self {
        Self { sites: Some(sites.into_iter().collect()), ..self }
    }

    /// Allows to use these tables only.
    pub fn tables<S: AsRef<str>>(self, tables: impl IntoIterator<Item = S>) -> Self {
        Self { tables: Some(tables.into_iter().collect()), ..self }
    }

    /// Allows to use these rows of tables only. Tables that are not named have no filter.
    pub fn rows<S: AsRef<str>>(self, filters: impl IntoIterator<Item = (S, Filter)>) -> Self {
        Self { rows: Some(filters.into_iter().collect()), ..self }
    }

    /// Ends the allowance at a time.
    pub fn expires(self, at: SystemTime) -> Self {
        Self { expires: Some(at), ..self }
    }

    /// Says who the caller is.
    pub fn principal(self, name: impl Into<Arc<str>>) -> Self {
        Self { principal: Some(name.into()), ..self }
    }

    /// Has `sql` run these statements in place of the caller's.
    pub fn queries(self, statements: impl IntoIterator<Item = Sql>) -> Self {
        Self { queries: Some(statements.into_iter().collect()), ..self }
    }

    /// The site as which a copy shows itself to the caller.
    pub(in crate::http) fn seen(&self, site: SiteId) -> SiteId {
        sync::view_of(site, self.tables.as_ref(), self.rows.as_ref())
    }

    /// A copy's own cursor as it is shown to the caller.
    pub(in crate::http) fn seen_at(&self, at: Cursor) -> Cursor {
        Cursor { site: self.seen(at.site), ..at }
    }

    /// The key of a request, so that what was answered to one caller is not answered to another that may see less.
    pub(in crate::http) fn own_key(&self, key: RequestKey) -> RequestKey {
        let nobody = SiteId::new([0; 16]);
        let view = self.seen(nobody);
        match &self.principal {
            // One is not given what it was answered when it could see other rows.
            Some(principal) if self.rows.is_some() => key.of(&format!("{principal} {view}")),
            Some(principal) => key.of(principal),
            None if view != nobody => key.of(&view.to_string()),
            None => key,
        }
    }

    /// Refuses an allowance that has ended.
    pub(in crate::http) fn check_time(&self) -> Result<(), Problem> {
        match self.expires {
            Some(end) if end <= SystemTime::now() => Err(ended()),
            _ => Ok(()),
        }
    }

    /// Refuses a claim to be a site that the caller may not speak for.
    pub(in crate::http) fn check_claim(&self, site: Option<SiteId>) -> Result<(), Problem> {
        site.map_or(Ok(()), |site| self.check_site(site))
    }

    /// Refuses to write where only reading is allowed.
    pub(in crate::http) fn check_write(&self) -> Result<(), Problem> {
        if self.read_only { Err(forbidden("the caller may only read")) } else { Ok(()) }
    }

    /// Refuses to say which tables there are to one who may not write them all.
    pub(in crate::http) fn check_define(&self) -> Result<(), Problem> {
        self.check_write()?;
        self.check_whole()
    }

    /// Refuses what cannot be done for some tables or rows only.
    pub(in crate::http) fn check_whole(&self) -> Result<(), Problem> {
        match self.tables {
            Some(_) => Err(forbidden("the caller may use some tables only, and this is for all of them")),
            None => self.check_unfiltered(),
        }
    }

    /// Refuses what cannot be done for some rows only.
    pub(in crate::http) fn check_unfiltered(&self) -> Result<(), Problem> {
        match self.rows {
            Some(_) => Err(forbidden("the caller may use some rows only: ask for them by queries (changes/query)")),
            None => Ok(()),
        }
    }

    /// Refuses a batch that writes what the caller may not write, or has this copy claim what it may not vouch for. A claim
    /// that is false would keep this copy from ever asking for what it lacks.
    ///
    /// Where it is for a change, the caller is told so, and may send the others without it.
    pub(in crate::http) fn check_batch(&self, batch: &Batch) -> Result<(), Problem> {
        self.check_write()?;
        let covered = batch.covers.iter().map(|(site, _)| site);
        let claimed = || covered.clone().chain(batch.partial.iter().map(|partial| partial.site));
        if self.sites.is_some() {
            self.check_site(batch.from)?;
            let mut authors = batch.changes.iter().map(|change| change.site);
            if let Some(site) = authors.find(|site| !self.may_speak_for(*site)) {
                return Err(Problem::forbidden_change(foreign(site)));
            }
            claimed().try_for_each(|site| self.check_site(site))?;
        }
        if let Some(tables) = &self.tables
            && let Some(change) = batch.changes.iter().find(|change| !tables.contains(&change.table))
        {
            let detail = format!("the caller may not write the table {}", change.table);
            return Err(Problem::forbidden_change(detail));
        }
        if let Some(rows) = &self.rows {
            if let Some(change) = batch.changes.iter().find(|change| rows.is_read_only(&change.table)) {
                let detail = format!("the caller may not write the table {}", change.table);
                return Err(Problem::forbidden_change(detail));
            }
            if !batch.partial.is_empty() {
                let detail = "who may use some rows only sends whole transactions, and this one came in pieces";
                return Err(Problem::forbidden_change(detail));
            }
        }
        if self.tables.is_some() || self.rows.is_some() {
            if claimed().any(|site| site != batch.from) {
                return Err(forbidden("who may use some tables or rows only can claim no transactions but its own"));
            }
            if batch.schema_text.is_some() {
                return Err(forbidden("who may use some tables or rows only cannot bring a schema"));
            }
        }
        Ok(())
    }

    fn check_site(&self, site: SiteId) -> Result<(), Problem> {
        if self.may_speak_for(site) { Ok(()) } else { Err(forbidden(foreign(site))) }
    }

    fn may_speak_for(&self, site: SiteId) -> bool {
        self.sites.as_ref().is_none_or(|sites| sites.contains(&site))
    }
}

fn foreign(site: SiteId) -> String {
    format!("the caller may not speak for site {site}")
}

/// What ends an event stream whose reader is to come back with a new token.
pub(in crate::http) fn ended() -> Problem {
    Problem::new(Code::Unauthorized, "the allowance has ended; come back with a new token")
}

fn forbidden(detail: impl Into<String>) -> Problem {
    Problem::new(Code::Forbidden, detail)
}
