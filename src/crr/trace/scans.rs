//! What a run of a query asked the tables for, and so: which rows could have made it go otherwise.
//!
//! A scan's condition is what the table took up of the query's. A run is a function of the rows that it is handed. So a row
//! that it was not handed, and that meets none of its scans' conditions by now either, leaves the next run as it was.
//!
//! A table's filter is part of each of these conditions. What a filter reads besides its row is asked for with it: any row of those
//! tables.

use std::collections::{HashMap, HashSet};
use std::ffi::c_int;
use std::ops::Range;
use std::sync::Arc;

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};

use super::super::sort::sort_by_key;
use super::plan::{Op, Plan};
use super::traced::Traced;

/// How many scans of a table are told apart; where there are more, any of its rows counts.
const MOST: usize = 2_000;

/// How many of those that have to be tried one by one.
const MOST_LISTED: usize = 16;

/// A value as it was compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scalar {
    Null,
    Integer(i64),
    /// Its bits.
    Real(u64),
    Text(Box<[u8]>),
    Blob(Box<[u8]>),
}

impl Scalar {
    pub(super) fn of(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(integer) => Self::Integer(integer),
            ValueRef::Real(real) => Self::Real(real.to_bits()),
            ValueRef::Text(text) => Self::Text(text.into()),
            ValueRef::Blob(blob) => Self::Blob(blob.into()),
        }
    }

    /// The same for all that SQLite takes for equal, without regard to affinities and collations.
    pub(super) fn folded(self) -> Self {
        const BOUND: f64 = 9_223_372_036_854_775_808.0;
        match self {
            Self::Real(bits) => {
                let real = f64::from_bits(bits);
                let is_integer = real.fract() == 0.0 && (-BOUND..BOUND).contains(&real);
                if is_integer { Self::Integer(real as i64) } else { Self::Real(bits) }
            }
            other => other,
        }
    }

    /// What it holds; `None` for text that is not UTF-8.
    pub(super) fn to_value(&self) -> Option<Value> {
        self.as_ref().try_into().ok()
    }

    pub(super) fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Integer(integer) => ValueRef::Integer(*integer),
            Self::Real(bits) => ValueRef::Real(f64::from_bits(*bits)),
            Self::Text(text) => ValueRef::Text(text),
            Self::Blob(blob) => ValueRef::Blob(blob),
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Text(bytes) | Self::Blob(bytes) => 1 + bytes.len() / 16,
            _ => 1,
        }
    }
}

impl ToSql for Scalar {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.as_ref()))
    }
}

/// A condition without its values.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    /// Finds the row of a key if it meets the filter and the condition. Its parameters are the filter's, the key, and the condition's.
    pub(super) test: String,
    /// The values of the filter's; `None` without a filter.
    pub(super) filter: Option<Arc<[Scalar]>>,
    /// Columns that have to be equal to one of some values, in their order; the values by their places.
    equal: Vec<(c_int, Range<usize>)>,
    /// The values that can meet the condition only if they are not NULL.
    never_null: Vec<usize>,
}

impl Shape {
    /// That of a plan of which each term is given so many values, or is left out.
    pub(super) fn new(table: &Traced, plan: &Plan, counts: &[Option<usize>]) -> Self {
        let mut shape = Self {
            test: plan.test(table, counts),
            filter: table.filter.as_ref().map(|filter| filter.values.clone()),
            equal: Vec::new(),
            never_null: Vec::new(),
        };
        let mut place = 0;
        for (term, count) in plan.terms.iter().zip(counts) {
            let count = count.filter(|_| term.takes_value()).unwrap_or(0);
            let values = place..place + count;
            place += count;
            if term.op == Op::Eq {
                shape.never_null.extend(values.clone());
            }
            let is_equality = matches!(term.op, Op::Eq | Op::Is | Op::In) && count > 0;
            let is_new = shape.equal.iter().all(|(column, known)| {
                // Of several sets, one is enough.
                *column != term.column && (known.len() == 1 || count == 1)
            });
            if is_equality && is_new && table.columns.is_binary(term.column) {
                shape.equal.push((term.column, values));
            }
        }
        sort_by_key(&mut shape.equal, |(column, _)| *column);
        shape
    }
}

/// Rows that were asked for.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Scan {
    pub(super) shape: Arc<Shape>,
    pub(super) values: Vec<Scalar>,
}

impl Scan {
    /// The columns by whose values a row that meets the condition can be found; none where there are no such.
    pub(super) fn columns(&self, table: &Traced) -> Vec<c_int> {
        let is_sure = |(column, values): &(c_int, Range<usize>)| {
            // Text may be taken for a number there.
            let values = self.values.get(values.clone()).unwrap_or_default();
            !table.columns.is_number(*column) || !values.iter().any(|value| matches!(value, Scalar::Text(_)))
        };
        self.shape.equal.iter().filter(|equal| is_sure(equal)).map(|(column, _)| *column).collect()
    }

    /// The values of which a column has to be equal to one; `None` where the condition does not say.
    pub(super) fn equal_to(&self, column: c_int) -> Option<&[Scalar]> {
        let (_, values) = self.shape.equal.iter().find(|(other, _)| *other == column)?;
        self.values.get(values.clone())
    }

    /// The values that such columns have in rows that meet the condition.
    pub(super) fn tuples(&self, columns: &[c_int]) -> Vec<Box<[Scalar]>> {
        let of = |column: &c_int| self.equal_to(*column).unwrap_or_default();
        let count = columns.iter().map(|column| of(column).len()).max().unwrap_or(0);
        // There is one set at most, and all others have one value.
        let at = |values: &[Scalar], i| values.get(i).or(values.first()).cloned().unwrap_or(Scalar::Null).folded();
        (0..count).map(|i| columns.iter().map(|column| at(of(column), i)).collect()).collect()
    }

    fn weight(&self) -> usize {
        1 + self.values.iter().map(Scalar::weight).sum::<usize>()
    }
}

/// What the runs of a query asked for, by tables.
#[derive(Debug, Default)]
pub struct Scans {
    pub(super) tables: HashMap<i64, OfTable>,
    /// A filter says what changes of tables do not tell.
    are_unsure: bool,
}

#[derive(Debug)]
pub(super) struct OfTable {
    pub(super) table: Arc<Traced>,
    /// What its filter reads is asked for too.
    is_scanned: bool,
    /// `None` for any row.
    pub(super) scans: Option<HashSet<Arc<Scan>>>,
    listed: usize,
    weight: usize,
}

impl Scans {
    pub(super) fn add(&mut self, table: &Arc<Traced>, shape: &Arc<Shape>, values: impl FnOnce() -> Vec<Scalar>) {
        let mut of_table = self.tables.entry(table.id).or_insert_with(|| OfTable::new(table));
        if let (false, Some(filter)) = (of_table.is_scanned, &table.filter) {
            of_table.is_scanned = true;
            self.are_unsure |= filter.depends_on.is_none();
            for other in filter.depends_on.iter().flatten() {
                self.tables.entry(other.id).or_insert_with(|| OfTable::new(other)).forget_conditions();
            }
            of_table = self.tables.entry(table.id).or_insert_with(|| OfTable::new(table));
        }
        let Some(scans) = &mut of_table.scans else { return };
        let scan = Scan { shape: shape.clone(), values: values() };
        let is_never_met = shape.never_null.iter().any(|&place| scan.values.get(place) == Some(&Scalar::Null));
        if is_never_met || scans.contains(&scan) {
            return;
        }
        of_table.weight += scan.weight();
        of_table.listed += usize::from(scan.columns(table).is_empty());
        scans.insert(Arc::new(scan));
        if of_table.weight > MOST || of_table.listed > MOST_LISTED {
            of_table.forget_conditions();
        }
    }

    /// What it takes to keep them: about so many values.
    pub fn weight(&self) -> usize {
        self.tables.values().map(|of_table| of_table.weight + 1).sum()
    }

    /// Whether they find nothing but what was asked for.
    pub(super) fn are_exact(&self) -> bool {
        !self.are_unsure && self.tables.values().all(|of_table| of_table.scans.is_some())
    }

    /// Whether the run can come out otherwise without a write to a row that they ask for.
    pub fn are_unsure(&self) -> bool {
        self.are_unsure
    }

    /// Takes any row of the tables for one that was asked for.
    pub fn forget_conditions(&mut self) {
        self.tables.values_mut().for_each(OfTable::forget_conditions);
    }
}

impl OfTable {
    fn new(table: &Arc<Traced>) -> Self {
        Self { table: table.clone(), is_scanned: false, scans: Some(HashSet::new()), listed: 0, weight: 0 }
    }

    fn forget_conditions(&mut self) {
        (self.scans, self.listed, self.weight) = (None, 0, 0);
    }
}
