//! The items of a copy, kept in the database, and their sums.
//!
//! - `crsql_sync_prints`: the print of each row under its place. Rows are named by their numbers in this copy, so that each is
//!   one entry, also where the places of two are the same, and is found again.
//! - `crsql_sync_sums`: number and sum of the prints under each prefix of up to `depth` digits, by the prefix's
//!   [number](Prefix::number). What lies deeper is summed up when it is asked for, over a hundred prints or so.
//! - `crsql_sync_verified`: one row, which says of what these are true. Without it nothing is known.
//!
//! They are made by the first comparison, and brought up to date by each: the engine's log names the rows that were
//! touched since. That holds for whatever the engine tracks. After a change of the schema they are made anew, and also when as
//! many versions went by as there are rows: so what was changed behind the engine's back is found in time, at
//! the cost of one row read a version.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use rusqlite::{Connection, OptionalExtension};

use super::prefix::Prefix;
use super::probe::{Item, Node, Sum};
use super::row;
use crate::crr::sort::sort;
use crate::crr::{Engine, RowId, Version, WholeRow};
use crate::sync::error::Error;
use crate::sync::layout::has_table;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS crsql_sync_prints (
        place INTEGER NOT NULL, tbl INTEGER NOT NULL, number INTEGER NOT NULL, print BLOB NOT NULL,
        PRIMARY KEY (place, tbl, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS crsql_sync_sums (
        prefix INTEGER PRIMARY KEY, count INTEGER NOT NULL, sum BLOB NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS crsql_sync_verified (
        id INTEGER PRIMARY KEY CHECK (id = 0), version INTEGER NOT NULL, made INTEGER NOT NULL,
        schema INTEGER NOT NULL, depth INTEGER NOT NULL
    ) STRICT;";

/// How many rows there are under the deepest prefixes that have sums, on average, before there are deeper ones.
const CROWD: u64 = 128;

/// The deepest that there ever are.
const MAX_DEPTH: u8 = 12;

/// After how many versions everything is read again at the earliest.
const SOONEST: i64 = 1 << 16;

/// How many prints are sorted before they are written, since places are random.
const SORTED: usize = 1 << 16;

/// What the tables are true of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    /// The newest local version.
    version: i64,
    /// The one when all rows were read.
    made: i64,
    /// SQLite's number of the schema.
    schema: i64,
    depth: u8,
}

/// The items of a copy as it is now.
pub(super) struct Prints<'c> {
    pub(super) conn: &'c Connection,
    pub(super) engine: &'c Engine,
    depth: u8,
}

/// Forgets all of them.
pub(super) fn forget(conn: &Connection) -> Result<(), Error> {
    if !has_table(conn, "crsql_sync_verified")? {
        return Ok(());
    }
    conn.execute_batch("DELETE FROM crsql_sync_verified; DELETE FROM crsql_sync_sums; DELETE FROM crsql_sync_prints;")?;
    Ok(())
}

impl<'c> Prints<'c> {
    /// Brings them up to date. The caller holds a write transaction.
    pub(super) fn up_to_date(conn: &'c Connection, engine: &'c Engine) -> Result<Self, Error> {
        conn.execute_batch(TABLES)?;
        let version = engine.db_version(conn)?.get();
        let schema = conn.pragma_query_value(None, "schema_version", |row| row.get(0))?;
        let mut prints = Self { conn, engine, depth: 0 };
        let known = prints.load()?.filter(|known| known.schema == schema && known.version <= version);
        let known = match known {
            Some(known) if prints.is_recent(&known, version)? => Some(known),
            _ => None,
        };
        let made = match known {
            Some(known) => {
                prints.depth = known.depth;
                if known.version < version {
                    prints.follow(Version::or_zero(known.version)?)?;
                }
                known.made
            }
            None => {
                prints.make()?;
                version
            }
        };
        let now = Mark { version, made, schema, depth: prints.depth };
        if known != Some(now) {
            prints.store(now)?;
        }
        Ok(prints)
    }

    /// Number and sum of the items under a prefix.
    pub(super) fn sum(&self, prefix: Prefix) -> Result<Sum, Error> {
        if prefix.depth() > self.depth {
            let mut sum = Sum::default();
            self.each_print(prefix, &mut |_, print| {
                sum.add(print);
                Ok(ControlFlow::Continue(()))
            })?;
            return Ok(sum);
        }
        let mut read = self.conn.prepare_cached("SELECT count, sum FROM crsql_sync_sums WHERE prefix = ?")?;
        Ok(read.query_row([prefix.number()], |row| sum_of(row, 0)).optional()?.unwrap_or_default())
    }

    /// The sums of the sixteen longer prefixes, in order.
    pub(super) fn children(&self, prefix: Prefix) -> Result<Vec<Node>, Error> {
        let mut nodes: Vec<Node> = prefix.children().map(|prefix| Node { prefix, sum: Sum::default() }).collect();
        if prefix.depth() < self.depth {
            for node in &mut nodes {
                node.sum = self.sum(node.prefix)?;
            }
        } else {
            // All at once, by one pass over the prints.
            self.each_print(prefix, &mut |place, print| {
                if let Some(node) = nodes.iter_mut().find(|node| node.prefix.contains(place)) {
                    node.sum.add(print);
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(nodes)
    }

    /// The items under a prefix.
    pub(super) fn items(&self, prefix: Prefix) -> Result<Vec<Item>, Error> {
        let mut items = Vec::new();
        self.each_item(prefix, &mut |item| {
            items.push(item);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(items)
    }

    /// Visits the items under a prefix in order, until `visit` breaks. Rows of one place are one item.
    pub(super) fn each_item(
        &self,
        prefix: Prefix,
        visit: &mut dyn FnMut(Item) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let mut item: Option<Item> = None;
        let mut going = ControlFlow::Continue(());
        self.each_print(prefix, &mut |place, Sum { sum: print, .. }| {
            match &mut item {
                Some(last) if last.place == place => last.print = last.print.wrapping_add(print),
                last => {
                    if let Some(done) = last.replace(Item { place, print }) {
                        going = visit(done)?;
                    }
                }
            }
            Ok(going)
        })?;
        if let (Some(last), ControlFlow::Continue(())) = (item, going) {
            _ = visit(last)?;
        }
        Ok(())
    }

    /// The rows of a place, each with its print.
    pub(super) fn rows(&self, place: u64) -> Result<Vec<(RowId, u128)>, Error> {
        let mut read = self.conn.prepare_cached("SELECT tbl, number, print FROM crsql_sync_prints WHERE place = ?")?;
        let rows = read.query_map([stored(place)], |row| {
            let id = RowId { table: row.get(0)?, number: row.get(1)? };
            Ok((id, u128::from_be_bytes(row.get(2)?)))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Visits the prints under a prefix in the order of their places, until `visit` breaks.
    fn each_print(
        &self,
        prefix: Prefix,
        visit: &mut dyn FnMut(u64, Sum) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let mut read = self
            .conn
            .prepare_cached("SELECT place, print FROM crsql_sync_prints WHERE place BETWEEN ? AND ? ORDER BY place")?;
        let mut rows = read.query((stored(prefix.first()), stored(prefix.last())))?;
        while let Some(row) = rows.next()? {
            let print = Sum { count: 1, sum: u128::from_be_bytes(row.get(1)?) };
            if visit(place_of(row.get(0)?), print)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Makes them from all rows.
    fn make(&mut self) -> Result<(), Error> {
        forget(self.conn)?;
        let mut sorted = Vec::new();
        let mut outcome = Ok(());
        self.engine.rows(self.conn, &mut |row| {
            outcome = row::item(&row).map_err(Error::from).and_then(|item| {
                sorted.push((stored(item.place), row.id, item.print));
                if sorted.len() == SORTED { self.write(&mut sorted) } else { Ok(()) }
            });
            going_on(&outcome)
        })?;
        outcome?;
        self.write(&mut sorted)?;
        self.sum_up()
    }

    /// Writes prints in the order in which they are stored.
    fn write(&self, prints: &mut Vec<(i64, RowId, u128)>) -> Result<(), Error> {
        sort(prints);
        let mut write = self
            .conn
            .prepare_cached("INSERT INTO crsql_sync_prints (place, tbl, number, print) VALUES (?, ?, ?, ?)")?;
        for (place, id, print) in prints.drain(..) {
            write.execute((place, id.table, id.number, print.to_be_bytes()))?;
        }
        Ok(())
    }

    /// Brings them up to date with what was touched after `since`.
    fn follow(&mut self, since: Version) -> Result<(), Error> {
        let mut sums = BTreeMap::new();
        let mut outcome = Ok(());
        self.engine.rows_since(self.conn, since, &mut |row| {
            outcome = self.replace(&row, &mut sums);
            going_on(&outcome)
        })?;
        outcome?;
        for (prefix, change) in sums {
            self.add_to_sum(prefix, change)?;
        }
        if depth_for(self.sum(Prefix::ROOT)?.count) > self.depth { self.sum_up() } else { Ok(()) }
    }

    /// Writes the print of a row over the one before, and adds the difference to the sums.
    fn replace(&self, row: &WholeRow, sums: &mut BTreeMap<i64, Sum>) -> Result<(), Error> {
        let Item { place, print } = row::item(row)?;
        let key = (stored(place), row.id.table, row.id.number);
        let mut find = self
            .conn
            .prepare_cached("SELECT print FROM crsql_sync_prints WHERE place = ? AND tbl = ? AND number = ?")?;
        let before = find.query_row(key, |row| row.get(0)).optional()?.map(u128::from_be_bytes);
        if before == Some(print) {
            return Ok(());
        }
        self.conn
            .prepare_cached(
                "INSERT INTO crsql_sync_prints (place, tbl, number, print) VALUES (?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET print = excluded.print",
            )?
            .execute((key.0, key.1, key.2, print.to_be_bytes()))?;
        for depth in 0..=self.depth {
            let sum = sums.entry(Prefix::at(place, depth).number()).or_default();
            sum.add(Sum { count: 1, sum: print });
            if let Some(before) = before {
                sum.subtract(Sum { count: 1, sum: before });
            }
        }
        Ok(())
    }

    fn add_to_sum(&self, prefix: i64, change: Sum) -> Result<(), Error> {
        let mut read = self.conn.prepare_cached("SELECT count, sum FROM crsql_sync_sums WHERE prefix = ?")?;
        let mut sum = read.query_row([prefix], |row| sum_of(row, 0)).optional()?.unwrap_or_default();
        sum.add(change);
        self.store_sum(prefix, sum)
    }

    fn store_sum(&self, prefix: i64, sum: Sum) -> Result<(), Error> {
        self.conn
            .prepare_cached(
                "INSERT INTO crsql_sync_sums (prefix, count, sum) VALUES (?, ?, ?)
                 ON CONFLICT DO UPDATE SET count = excluded.count, sum = excluded.sum",
            )?
            .execute((prefix, sum.count.cast_signed(), sum.sum.to_be_bytes()))?;
        Ok(())
    }

    /// Makes the sums anew from the prints, as deep as their number asks for.
    fn sum_up(&mut self) -> Result<(), Error> {
        self.conn.execute("DELETE FROM crsql_sync_sums", [])?;
        let count: i64 = self.conn.query_row("SELECT count(*) FROM crsql_sync_prints", [], |row| row.get(0))?;
        self.depth = depth_for(count.cast_unsigned());
        let mut sums = BTreeMap::<i64, Sum>::new();
        self.each_print(Prefix::ROOT, &mut |place, print| {
            for depth in 0..=self.depth {
                sums.entry(Prefix::at(place, depth).number()).or_default().add(print);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        sums.into_iter().try_for_each(|(prefix, sum)| self.store_sum(prefix, sum))
    }

    /// Whether too few versions went by for all rows to be read again.
    fn is_recent(&self, known: &Mark, version: i64) -> Result<bool, Error> {
        let went_by = version.saturating_sub(known.made);
        Ok(went_by < SOONEST || went_by.cast_unsigned() < self.sum(Prefix::ROOT)?.count)
    }

    fn load(&self) -> Result<Option<Mark>, Error> {
        let mut read = self.conn.prepare_cached("SELECT version, made, schema, depth FROM crsql_sync_verified")?;
        let known = read.query_row([], |row| {
            Ok(Mark { version: row.get(0)?, made: row.get(1)?, schema: row.get(2)?, depth: row.get(3)? })
        });
        let known = known.optional()?;
        match known {
            Some(known) if known.depth > MAX_DEPTH => Err(Error::Corrupt("the prints have too many sums")),
            known => Ok(known),
        }
    }

    fn store(&self, now: Mark) -> Result<(), Error> {
        self.conn
            .prepare_cached(
                "INSERT OR REPLACE INTO crsql_sync_verified (id, version, made, schema, depth) VALUES (0, ?, ?, ?, ?)",
            )?
            .execute((now.version, now.made, now.schema, now.depth))?;
        Ok(())
    }
}

/// A place as SQLite's integer, which has a sign. The order stays.
fn stored(place: u64) -> i64 {
    (place ^ 1 << 63).cast_signed()
}

fn place_of(stored: i64) -> u64 {
    stored.cast_unsigned() ^ 1 << 63
}

/// The depth of the sums for so many rows.
fn depth_for(count: u64) -> u8 {
    (0..MAX_DEPTH).find(|depth| count >> (4 * depth) <= CROWD).unwrap_or(MAX_DEPTH)
}

fn sum_of(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Sum> {
    Ok(Sum { count: row.get::<_, i64>(first)?.cast_unsigned(), sum: u128::from_be_bytes(row.get(first + 1)?) })
}

fn going_on(outcome: &Result<(), Error>) -> ControlFlow<()> {
    if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_sums_are_of_a_hundred_rows_or_so() {
        for (count, depth) in [(0, 0), (128, 0), (2000, 1), (100_000, 3), (8_000_000, 4), (u64::MAX, MAX_DEPTH)] {
            assert_eq!(depth_for(count), depth, "{count}");
        }
    }
}
