//! The replicated tables of a database, each found by number or name in one step, and described when it is first asked for:
//! a thousand that nobody uses cost no more than the reading of their names.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use rusqlite::Connection;

use super::Result;
use super::table::{Table, TableId};

#[derive(Default)]
pub(super) struct Tables {
    /// In the order of their numbers.
    in_order: Vec<Entry>,
    by_id: HashMap<TableId, usize>,
    by_name: HashMap<Arc<str>, usize>,
}

struct Entry {
    id: TableId,
    names: Names,
    /// `None` where there is no such table after all.
    table: OnceLock<Option<Arc<Table>>>,
}

/// What a table is called.
pub(super) struct Names {
    pub(super) name: Arc<str>,
    /// What its clocks, tombstones and triggers are called after: the name that it had when it was replicated, until a rename
    /// is settled.
    pub(super) stored_as: Arc<str>,
}

impl Tables {
    /// Reads their names. SQLite moves triggers along with a table, so the one that carries the insert trigger is the table,
    /// whatever it is called by now; one that was dropped without telling the engine is passed over.
    pub(super) fn load(conn: &Connection) -> Result<Self> {
        // SQLite makes an index for the join, so that the time does not grow with the square.
        let mut known = conn.prepare_cached(
            "SELECT t.id, t.name, m.tbl_name FROM main.crsql_tables t
             CROSS JOIN main.sqlite_master m ON m.type = 'trigger' AND m.name = t.name || '__crsql_itrig' ORDER BY t.id",
        )?;
        let known = known.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let mut all = Self::default();
        for table in known {
            let (id, stored_as, owner): (i64, String, String) = table?;
            let name = if owner.eq_ignore_ascii_case(&stored_as) { &stored_as } else { &owner };
            all.add(TableId(id), Names { name: name.as_str().into(), stored_as: stored_as.as_str().into() });
        }
        Ok(all)
    }

    fn add(&mut self, id: TableId, names: Names) {
        self.by_id.insert(id, self.in_order.len());
        self.by_name.insert(names.name.clone(), self.in_order.len());
        self.in_order.push(Entry { id, names, table: OnceLock::new() });
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Names> {
        self.in_order.iter().map(|entry| &entry.names)
    }

    /// All of them, in the order of their numbers.
    pub(super) fn all(&self, conn: &Connection) -> Result<Vec<Arc<Table>>> {
        (0..self.in_order.len()).filter_map(|at| self.at(conn, at).transpose()).collect()
    }

    pub(super) fn get(&self, conn: &Connection, id: TableId) -> Result<Option<Arc<Table>>> {
        self.position(id).map_or(Ok(None), |at| self.at(conn, at))
    }

    /// A table's place in the order.
    pub(super) fn position(&self, id: TableId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// Whether there is a table with exactly this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The table with exactly this name.
    pub(super) fn named(&self, conn: &Connection, name: &str) -> Result<Option<Arc<Table>>> {
        self.by_name.get(name).map_or(Ok(None), |&at| self.at(conn, at))
    }

    fn at(&self, conn: &Connection, at: usize) -> Result<Option<Arc<Table>>> {
        let Some(Entry { id, names, table }) = self.in_order.get(at) else { return Ok(None) };
        if let Some(described) = table.get() {
            return Ok(described.clone());
        }
        let described = Table::describe(conn, *id, &names.name, &names.stored_as)?.map(Arc::new);
        Ok(table.get_or_init(|| described).clone())
    }
}
