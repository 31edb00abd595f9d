//! `crsql_fract_as_ordered`: the triggers and the view of a table whose rows stand in lists.
//!
//! List columns are compared by IS, so the rows whose list is NULL are one list. Keys are compared by bytes, whatever
//! the collation of their column.

use rusqlite::Connection;

use super::super::catalog::end_savepoint;
use super::super::quote::{identifier, join, list};
use super::super::{Error, Result};
use crate::crr::sort::sort_by_key;

/// Orders the table `names[0]` by its column `names[1]`, within lists told apart by the other columns. What an earlier
/// call made is replaced. All or nothing, and the caller's transaction lives on.
pub(in super::super) fn as_ordered(conn: &Connection, names: &[String]) -> Result<()> {
    let [table, order, lists @ ..] = names else {
        return Err(Error::Order("Must provide at least 2 arguments -- the table name and the column to order by"));
    };
    let ordered = Ordered::load(conn, table, order, lists)?;
    conn.execute_batch("SAVEPOINT crsql_as_ordered")?;
    let outcome = drop_all(conn, table).and_then(|()| ordered.create(conn));
    end_savepoint(conn, "crsql_as_ordered", outcome)
}

/// Drops the triggers and the view of the table called `name`, if it has them.
pub(in super::super) fn drop_all(conn: &Connection, name: &str) -> Result<()> {
    Ok(conn.execute_batch(&format!(
        "DROP TRIGGER IF EXISTS main.{}; DROP TRIGGER IF EXISTS main.{}; DROP VIEW IF EXISTS main.{};",
        pend_trigger(name),
        move_trigger(name),
        view(name),
    ))?)
}

fn pend_trigger(name: &str) -> String {
    identifier(&format!("__crsql_{name}_fractindex_pend_trig"))
}

fn move_trigger(name: &str) -> String {
    identifier(&format!("__crsql_{name}_fractindex_ezmove"))
}

fn view(name: &str) -> String {
    identifier(&format!("{name}_fractindex"))
}

/// What the statements are built from; all names but the table's are quoted.
struct Ordered<'a> {
    name: &'a str,
    order: String,
    lists: Vec<String>,
    /// The columns of the primary key, and their `after_` columns in the view.
    pks: Vec<(String, String)>,
    /// The columns that can be written, without the order.
    columns: Vec<String>,
    all: Vec<String>,
}

impl<'a> Ordered<'a> {
    fn load(conn: &Connection, name: &'a str, order: &str, lists: &[String]) -> Result<Self> {
        let mut info = conn.prepare("SELECT name, pk, hidden FROM pragma_table_xinfo(?, 'main') ORDER BY cid")?;
        let columns: Vec<(String, i64, i64)> = info
            .query_map([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let has = |wanted: &String| columns.iter().any(|(column, ..)| column.eq_ignore_ascii_case(wanted));
        if !has(&order.to_owned()) || !lists.iter().all(has) {
            return Err(Error::Order("all columns are not present in the base table"));
        }
        let mut pks: Vec<_> = columns.iter().filter(|(_, pk, _)| *pk > 0).collect();
        if pks.is_empty() {
            return Err(Error::Order("a table needs a primary key to be ordered"));
        }
        sort_by_key(&mut pks, |(_, pk, _)| *pk);
        let writable = columns.iter().filter(|(column, _, hidden)| *hidden == 0 && !column.eq_ignore_ascii_case(order));
        Ok(Self {
            name,
            order: identifier(order),
            lists: lists.iter().map(|column| identifier(column)).collect(),
            pks: pks.iter().map(|(pk, ..)| (identifier(pk), identifier(&format!("after_{pk}")))).collect(),
            columns: writable.map(|(column, ..)| identifier(column)).collect(),
            all: columns.iter().map(|(column, ..)| identifier(column)).collect(),
        })
    }

    fn create(&self, conn: &Connection) -> Result<()> {
        let table = identifier(self.name);
        let view = view(self.name);
        let pending = format!("CAST(NEW.{} AS INTEGER) IN (-1, 1)", self.order);
        let all = list(&self.all);
        let afters = list(self.pks.iter().map(|(_, after)| format!("NULL AS {after}")));
        let settle = self.settle();
        let make_room = self.make_room();
        let place = self.place();
        conn.execute_batch(&format!(
            "CREATE TRIGGER main.{} AFTER INSERT ON {table} WHEN {pending} BEGIN {settle} END;
             CREATE TRIGGER main.{} AFTER UPDATE OF {order} ON {table} WHEN {pending} BEGIN {settle} END;
             CREATE VIEW main.{view} AS SELECT {all}, {afters} FROM {table};
             CREATE TRIGGER main.{} INSTEAD OF INSERT ON {view} BEGIN
               {make_room}
               INSERT INTO {table} ({}) VALUES ({});
             END;
             CREATE TRIGGER main.{} INSTEAD OF UPDATE ON {view} BEGIN
               {make_room}
               UPDATE {table} SET {} WHERE {};
             END;",
            pend_trigger(self.name),
            move_trigger(self.name),
            identifier(&format!("{}_fractindex_insert_trig", self.name)),
            list(self.columns.iter().chain([&self.order])),
            list(self.columns.iter().map(|column| format!("NEW.{column}")).chain([place.clone()])),
            identifier(&format!("{}_fractindex_update_trig", self.name)),
            list(
                self.columns
                    .iter()
                    .map(|column| format!("{column} = NEW.{column}"))
                    .chain([format!("{} = {place}", self.order)])
            ),
            self.row("OLD"),
            order = self.order,
        ))?;
        Ok(())
    }

    /// Condition: the row of the base table with the primary key of `which`.
    fn row(&self, which: &str) -> String {
        join(self.pks.iter().map(|(pk, _)| format!("{pk} IS {which}.{pk}")), " AND ")
    }

    /// Condition: a row of the list of NEW.
    fn same_list(&self) -> String {
        join(self.lists.iter().map(|column| format!("{column} IS NEW.{column} AND ")), "")
    }

    /// The least or greatest key of NEW's list, without those that are still to be given one.
    fn end(&self, function: &str) -> String {
        format!(
            "(SELECT {function}({order} COLLATE BINARY) FROM {} WHERE {} CAST({order} AS INTEGER) NOT IN (-1, 1))",
            identifier(self.name),
            self.same_list(),
            order = self.order,
        )
    }

    /// Gives a row at -1 or 1 its key.
    fn settle(&self) -> String {
        format!(
            "UPDATE {} SET {order} = CASE CAST(NEW.{order} AS INTEGER)
               WHEN -1 THEN crsql_fract_key_between(NULL, {})
               ELSE crsql_fract_key_between({}, NULL) END
             WHERE {};",
            identifier(self.name),
            self.end("min"),
            self.end("max"),
            self.row("NEW"),
            order = self.order,
        )
    }

    /// Condition: the row that NEW shall stand behind.
    fn is_anchor(&self) -> String {
        let by_pk = join(self.pks.iter().map(|(pk, after)| format!("{pk} = NEW.{after}")), " AND ");
        format!("{} {by_pk}", self.same_list())
    }

    /// The key of that row, NULL when NEW's list has no such row.
    fn anchor(&self) -> String {
        format!("(SELECT {} FROM {} WHERE {})", self.order, identifier(self.name), self.is_anchor())
    }

    /// Moves the anchor down a little when it shares its key with other rows: nothing fits between equal keys.
    fn make_room(&self) -> String {
        let (table, same_list, anchor) = (identifier(self.name), self.same_list(), self.anchor());
        format!(
            "UPDATE {table} SET {order} = crsql_fract_key_between(
               (SELECT max({order} COLLATE BINARY) FROM {table} WHERE {same_list} {order} COLLATE BINARY < {anchor}
                  AND CAST({order} AS INTEGER) NOT IN (-1, 1)), {order})
             WHERE {} AND (SELECT count(*) FROM {table} WHERE {same_list} {order} COLLATE BINARY = {anchor}) > 1;",
            self.is_anchor(),
            order = self.order,
        )
    }

    /// The key behind the anchor, or -1 for the front.
    fn place(&self) -> String {
        let anchor = self.anchor();
        format!(
            "CASE WHEN {anchor} IS NULL THEN -1 ELSE crsql_fract_key_between({anchor},
               (SELECT min({order} COLLATE BINARY) FROM {} WHERE {} {order} COLLATE BINARY > {anchor})) END",
            identifier(self.name),
            self.same_list(),
            order = self.order,
        )
    }
}
