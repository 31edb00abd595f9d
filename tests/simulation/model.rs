//! What everybody together wrote: the names of rows and columns, every write, and which of two writes wins.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crsql_sync::crr::{Change, SENTINEL, Seq, SiteId, Version};
use crsql_sync::sync::Clock;
use rusqlite::types::Value;

/// A transaction: its author, and the author's number for it.
pub type Transaction = (SiteId, Version);

/// A row, by a number.
pub type RowId = usize;

/// A column, by a number; `None` for the sentinel.
pub type Column = Option<u8>;

/// What one transaction wrote to one cell, or what a copy shows in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    pub row: RowId,
    pub column: Column,
    pub cl: i64,
    pub col_version: i64,
    pub val: Value,
    pub by: Transaction,
    pub seq: Seq,
}

impl Write {
    /// Whether `self` wins over `other`, a write to the same row: where both are known, it is as if `other` had never been.
    pub fn beats(&self, other: &Self) -> bool {
        match self.cl.cmp(&other.cl) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal if other.is_birth() && self.column.is_some() => true,
            Ordering::Equal => self.column == other.column && self.cell_order(other) == Ordering::Greater,
        }
    }

    /// Whether it only says that the row is alive. Each of the row's cells says so too, and one that comes first makes the
    /// sentinel its own: then copies do not agree on its author.
    pub fn is_birth(&self) -> bool {
        self.column.is_none() && self.cl % 2 == 1
    }

    /// The order of two writes to one cell, in the same life of its row.
    pub fn cell_order(&self, other: &Self) -> Ordering {
        if self.column.is_none() {
            return self.by.0.cmp(&other.by.0);
        }
        (self.col_version.cmp(&other.col_version))
            .then_with(|| compare(&self.val, &other.val))
            .then_with(|| self.by.0.cmp(&other.by.0))
    }
}

/// The order of values in a merge.
fn compare(a: &Value, b: &Value) -> Ordering {
    let class = |value: &Value| match value {
        Value::Null => 0,
        Value::Blob(_) => 1,
        Value::Text(_) => 2,
        Value::Real(_) => 3,
        Value::Integer(_) => 4,
    };
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Real(a), Value::Real(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Blob(a), Value::Blob(b)) => a.cmp(b),
        _ => class(a).cmp(&class(b)),
    }
}

/// What a copy shows of a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowState {
    pub cl: i64,
    /// One for each column that has a clock, the sentinel first, then in the order of columns.
    pub cells: Vec<Write>,
}

impl RowState {
    /// Whether a copy that shows this has merged `write`, or one that beats it.
    pub fn has(&self, write: &Write) -> bool {
        match self.cl.cmp(&write.cl) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal if write.is_birth() && self.has_cells() => true,
            Ordering::Equal => {
                let cell = self.cells.iter().find(|cell| cell.column == write.column);
                cell.is_some_and(|cell| cell.cell_order(write) != Ordering::Less)
            }
        }
    }
}

impl RowState {
    fn has_cells(&self) -> bool {
        self.cells.iter().any(|cell| cell.column.is_some())
    }

    /// That in which copies must agree. A cell of `col_version` 0 is left over from a life of the row that is over: its new
    /// life began where the column was not known. Who heard of the end of the old one has no such cell.
    pub fn agreed(&self) -> Self {
        let agreed = |cell: &&Write| cell.col_version > 0 && !(cell.is_birth() && self.has_cells());
        Self { cl: self.cl, cells: self.cells.iter().filter(agreed).cloned().collect() }
    }
}

/// What a copy shows of every row that anybody has.
pub type State = Vec<RowState>;

/// A table's name, its rows by key, and its columns.
type Table = (Arc<str>, HashMap<Arc<[u8]>, RowId>, Vec<Arc<str>>);

/// Names of rows and columns. All copies of a history share them.
#[derive(Default)]
pub struct Names {
    tables: Vec<Table>,
    rows: usize,
}

impl Names {
    pub fn write(&mut self, change: &Change) -> Write {
        let table = match self.tables.iter().position(|(name, ..)| *name == change.table) {
            Some(table) => table,
            None => {
                self.tables.push((change.table.clone(), HashMap::new(), Vec::new()));
                self.tables.len() - 1
            }
        };
        let (_, rows, columns) = &mut self.tables[table];
        let row = match rows.get(&change.pk) {
            Some(row) => *row,
            None => {
                rows.insert(change.pk.clone(), self.rows);
                self.rows += 1;
                self.rows - 1
            }
        };
        let column = (&*change.cid != SENTINEL).then(|| {
            let known = columns.iter().position(|name| *name == change.cid);
            let column = known.unwrap_or_else(|| {
                columns.push(change.cid.clone());
                columns.len() - 1
            });
            column as u8
        });
        Write {
            row,
            column,
            cl: change.cl.get(),
            col_version: change.col_version.get(),
            val: change.val.clone(),
            by: (change.site, change.version),
            seq: change.seq,
        }
    }

    /// The state that changes from the beginning make up.
    pub fn state(&mut self, changes: &[Change]) -> State {
        let mut state = State::new();
        for change in changes {
            let write = self.write(change);
            if state.len() <= write.row {
                state.resize(write.row + 1, RowState::default());
            }
            let row = &mut state[write.row];
            row.cl = write.cl;
            row.cells.push(write);
        }
        for row in &mut state {
            row.cells.sort_by_key(|cell| cell.column);
        }
        state
    }

    pub fn describe(&self, write: &Write) -> String {
        let named = self.tables.iter().flat_map(|(table, rows, columns)| {
            rows.iter().filter(|(_, row)| **row == write.row).map(move |(pk, _)| (table, pk, columns))
        });
        let Some((table, pk, columns)) = named.into_iter().next() else { return format!("{write:?}") };
        let column = write.column.map_or("sentinel", |column| &columns[usize::from(column)]);
        let (pk, by) = (hex::encode(pk), short(write.by));
        let (cl, col_version, seq) = (write.cl, write.col_version, write.seq);
        format!("{table} {pk} {column} = {:?} (cl {cl}, col_version {col_version}) of {by} seq {seq}", write.val)
    }
}

/// A transaction for people.
pub fn short((site, version): Transaction) -> String {
    format!("{}.{version}", &site.to_string()[..4])
}

/// Every write of the history.
#[derive(Default)]
pub struct Model {
    transactions: BTreeMap<Transaction, Vec<Write>>,
    /// The same, by row.
    rows: Vec<Vec<Write>>,
}

impl Model {
    /// Notes a transaction that was committed.
    pub fn add(&mut self, by: Transaction, writes: Vec<Write>) {
        for write in &writes {
            assert_eq!(write.by, by, "a transaction holds what another one wrote");
            if self.rows.len() <= write.row {
                self.rows.resize(write.row + 1, Vec::new());
            }
            self.rows[write.row].push(write.clone());
        }
        let before = self.transactions.insert(by, writes);
        assert!(before.is_none(), "{} was given to two transactions", short(by));
    }

    pub fn transactions(&self) -> impl Iterator<Item = (Transaction, &[Write])> {
        self.transactions.iter().map(|(by, writes)| (*by, &**writes))
    }

    /// Those that beat a write.
    fn beaters<'a>(&'a self, write: &'a Write) -> impl Iterator<Item = &'a Write> {
        self.rows[write.row].iter().filter(|other| other.beats(write))
    }

    /// The rule for a claim: the first write of a claimed transaction that is neither there, nor beaten by what is there or
    /// by what is not claimed.
    pub fn false_claim(&self, state: &State, clock: &Clock) -> Option<&Write> {
        let claimed = self.transactions.iter().filter(|((site, version), _)| clock.contains(*site, *version));
        claimed.flat_map(|(_, writes)| writes).find(|write| {
            !has(state, write) && self.beaters(write).all(|beater| clock.contains(beater.by.0, beater.by.1))
        })
    }

    /// A transaction that is half visible: a write that is shown, and one of the same transaction that is not, though nobody
    /// ever wrote what beats it.
    pub fn half_visible<'a>(&'a self, state: &'a State, clock: &Clock) -> Option<(&'a Write, &'a Write)> {
        let shown = state.iter().flat_map(|row| &row.cells);
        let mut last = None;
        for shown in shown.filter(|shown| !clock.contains(shown.by.0, shown.by.1)) {
            if last.replace(shown.by) == Some(shown.by) {
                continue;
            }
            let Some(writes) = self.transactions.get(&shown.by) else { continue };
            if writes.contains(shown)
                && let Some(hidden) =
                    writes.iter().find(|write| !has(state, write) && self.beaters(write).next().is_none())
            {
                return Some((shown, hidden));
            }
        }
        None
    }

    /// Something that a copy shows and nobody wrote.
    pub fn invented<'a>(&self, state: &'a State) -> Option<&'a Write> {
        let mut shown = state.iter().flat_map(|row| &row.cells).filter(|cell| !cell.is_birth());
        shown.find(|shown| !self.transactions.get(&shown.by).is_some_and(|writes| writes.contains(shown)))
    }

    /// The rows that transactions wrote to which are not in `clock`.
    pub fn rows_not_in(&self, clock: &Clock) -> Vec<RowId> {
        let lost = self.transactions.iter().filter(|((site, version), _)| !clock.contains(*site, *version));
        lost.flat_map(|(_, writes)| writes).map(|write| write.row).collect()
    }
}

fn has(state: &State, write: &Write) -> bool {
    state.get(write.row).is_some_and(|row| row.has(write))
}
