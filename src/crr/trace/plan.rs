//! What of a query's conditions a traced table takes up: the SQL by which it reads the real table.
//!
//! SQLite checks every condition again, so a plan may pass over one, and hands over rows that the query rejects. It must
//! never hold back a row that meets it. That is not as simple as it looks, since how two values compare depends on the
//! affinities of both sides (datatype3, section 4.2), and a virtual table is told the other side's value only. See
//! [`Term::is_sound`].

use std::ffi::c_int;
use std::fmt::{self, Display, Formatter, Write};

use rusqlite::types::Type;
use rusqlite::vtab::{IndexConstraintOp, IndexFlags, IndexInfo};

use super::super::quote::{join, list};
use super::Traced;
use super::columns::Columns;

/// How many rows a table is taken to have; SQLite takes the same where it has no statistics.
const ROWS: f64 = 1_048_576.0;

/// How a table is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The columns that the query uses, one bit each; the last stands for all from the 64th on.
    used: u64,
    pub(super) terms: Vec<Term>,
    order: Vec<(c_int, bool)>,
}

/// A condition on a column, or on the rowid where that is −1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) column: c_int,
    pub(super) op: Op,
    /// The other side is a literal.
    is_literal: bool,
}

/// What a condition asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Is,
    Gt,
    Ge,
    Lt,
    Le,
    Ne,
    IsNot,
    IsNull,
    IsNotNull,
    Like,
    Glob,
    /// Is one of several values.
    In,
}

impl Op {
    const ALL: [Self; 13] = [
        Self::Eq,
        Self::Is,
        Self::Gt,
        Self::Ge,
        Self::Lt,
        Self::Le,
        Self::Ne,
        Self::IsNot,
        Self::IsNull,
        Self::IsNotNull,
        Self::Like,
        Self::Glob,
        Self::In,
    ];

    fn of(op: &IndexConstraintOp) -> Option<Self> {
        use IndexConstraintOp as C;
        Some(match op {
            C::SQLITE_INDEX_CONSTRAINT_EQ => Self::Eq,
            C::SQLITE_INDEX_CONSTRAINT_IS => Self::Is,
            C::SQLITE_INDEX_CONSTRAINT_GT => Self::Gt,
            C::SQLITE_INDEX_CONSTRAINT_GE => Self::Ge,
            C::SQLITE_INDEX_CONSTRAINT_LT => Self::Lt,
            C::SQLITE_INDEX_CONSTRAINT_LE => Self::Le,
            C::SQLITE_INDEX_CONSTRAINT_NE => Self::Ne,
            C::SQLITE_INDEX_CONSTRAINT_ISNOT => Self::IsNot,
            C::SQLITE_INDEX_CONSTRAINT_ISNULL => Self::IsNull,
            C::SQLITE_INDEX_CONSTRAINT_ISNOTNULL => Self::IsNotNull,
            C::SQLITE_INDEX_CONSTRAINT_LIKE => Self::Like,
            C::SQLITE_INDEX_CONSTRAINT_GLOB => Self::Glob,
            _ => return None,
        })
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::Is => "IS",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Ne => "<>",
            Self::IsNot => "IS NOT",
            Self::IsNull => "IS NULL",
            Self::IsNotNull => "IS NOT NULL",
            Self::Like => "LIKE",
            Self::Glob => "GLOB",
            Self::In => "IN",
        }
    }

    /// Whether asking can be an error. Where the table has a filter, the plan may ask a row before the filter does, and whether
    /// it came to an error would tell of a row that must not be seen.
    fn can_fail(self) -> bool {
        matches!(self, Self::Like | Self::Glob)
    }

    /// Behind it stands what it compares with: so many values.
    fn operand(self, values: usize) -> String {
        match self {
            // SQLite hands over a value for these two as well.
            Self::IsNull | Self::IsNotNull => String::new(),
            Self::In => format!(" ({})", list(std::iter::repeat_n("?", values))),
            _ => " ?".to_owned(),
        }
    }
}

impl Term {
    /// Whether a row that meets the condition in the query meets it in the plan too, where the other side is a `kind` of
    /// value, and a `constant`: a literal or a parameter.
    ///
    /// There the other side has no affinity. That is the same if it has none in the query, or if the column's counts alone.
    /// Else a column of numbers on the other side makes SQLite take text for the number that it looks like, which is less
    /// than all text.
    pub(super) fn is_sound(self, columns: &Columns, kind: Type, is_constant: bool) -> bool {
        match (self.op, kind) {
            _ if columns.is_number(self.column) => true,
            (Op::Like | Op::Glob | Op::IsNull | Op::IsNotNull | Op::Ne | Op::IsNot, _) => true,
            (_, Type::Null | Type::Blob) => true,
            (Op::Lt | Op::Le, Type::Text) => is_constant || self.is_literal,
            (_, Type::Text) => true,
            (_, Type::Integer | Type::Real) => false,
        }
    }

    /// Whether it takes the other side's value.
    pub(super) fn takes_value(self) -> bool {
        !matches!(self.op, Op::IsNull | Op::IsNotNull)
    }

    /// Whether what it takes is a set of values.
    pub(super) fn takes_set(self) -> bool {
        self.op == Op::In
    }
}

/// Chooses the plan.
pub(super) fn choose(table: &Traced, info: &mut IndexInfo) -> rusqlite::Result<()> {
    let mut plan = Plan { used: info.col_used(), ..Plan::default() };
    let mut taken = Vec::new();
    let usable: Vec<_> = info
        .constraints()
        .enumerate()
        .filter(|(_, constraint)| constraint.is_usable())
        .filter_map(|(i, constraint)| Some((i, constraint.column(), Op::of(&constraint.operator())?)))
        .filter(|(_, _, op)| table.filter.is_none() || !op.can_fail())
        .collect();
    for (i, column, op) in usable {
        if let Some(column) = table.columns.get(column)
            && !column.collation.eq_ignore_ascii_case(info.collation(i)?)
        {
            continue;
        }
        // Where SQLite goes through the values one by one, it compares them without the affinity of where they come from.
        let is_in = op == Op::Eq && !table.columns.is_number(column) && info.set_in_constraint(i, true)?;
        let op = if is_in { Op::In } else { op };
        plan.terms.push(Term { column, op, is_literal: info.rhs_value(i)?.is_some() });
        taken.push(i);
    }
    for (argument, i) in (1..).zip(taken) {
        info.constraint_usage(i).set_argv_index(argument);
    }
    plan.order = info.order_bys().map(|term| (term.column(), term.is_order_by_desc())).collect();
    info.set_order_by_consumed(!plan.order.is_empty());
    let (cost, rows) = plan.estimate(&table.columns);
    info.set_estimated_cost(cost);
    info.set_estimated_rows(rows as i64);
    if rows <= 1.0 {
        info.set_idx_flags(IndexFlags::SQLITE_INDEX_SCAN_UNIQUE);
    }
    info.set_idx_str(&plan.to_string());
    Ok(())
}

impl Plan {
    /// What reading takes, and how many rows come of it.
    fn estimate(&self, columns: &Columns) -> (f64, f64) {
        let is_rowid = |column: c_int| column < 0 || usize::try_from(column).ok() == columns.integer_pk;
        let equals = |at: usize| {
            let is_of = |term: &&Term| usize::try_from(term.column) == Ok(at) && matches!(term.op, Op::Eq | Op::Is);
            self.terms.iter().any(|term| is_of(&term))
        };
        let is_range = |op| matches!(op, Op::Gt | Op::Ge | Op::Lt | Op::Le);
        if self.terms.iter().any(|term| is_rowid(term.column) && matches!(term.op, Op::Eq | Op::Is)) {
            return (2.0, 1.0);
        }
        let mut found = ROWS;
        if self.terms.iter().any(|term| is_rowid(term.column) && is_range(term.op)) {
            found = ROWS / 4.0;
        }
        for index in &columns.indexes {
            let prefix = index.columns.iter().take_while(|&&at| equals(at)).count();
            let next = index.columns.get(prefix);
            let has_range = next.is_some_and(|&at| {
                self.terms.iter().any(|term| usize::try_from(term.column) == Ok(at) && is_range(term.op))
            });
            let rows = match prefix {
                _ if prefix == index.columns.len() && index.is_unique => return (3.0, 1.0),
                0 => ROWS,
                1 => 10.0,
                _ => 5.0,
            };
            found = found.min(if has_range { rows / 4.0 } else { rows });
        }
        let equalities = self.terms.iter().filter(|term| matches!(term.op, Op::Eq | Op::Is | Op::In)).count();
        let others = self.terms.len().saturating_sub(equalities);
        let selected = ROWS / 100_f64.powi(equalities.min(3) as i32) / 4_f64.powi(others.min(3) as i32);
        let rows = found.min(selected).max(2.0);
        // A row that is handed over costs more than one that is only looked at: it may have to be sent.
        (found / 20.0 + rows, rows)
    }

    /// The SQL that reads key and columns by some of the terms: for each, how many values it is given, or that it is left out.
    pub(super) fn sql(&self, table: &Traced, values: &[Option<usize>]) -> String {
        let mut sql = format!("SELECT {}", table.key);
        for (at, column) in table.columns.all.iter().enumerate() {
            // A column that nobody looks at is not read.
            let is_used = self.used >> at.min(63) & 1 == 1;
            _ = write!(sql, ", {}", if is_used { format!("t.{}", column.name) } else { "NULL".to_owned() });
        }
        _ = write!(sql, " FROM {}", table.source);
        let conditions: Vec<String> = self.conditions(table, values).collect();
        if !conditions.is_empty() {
            _ = write!(sql, " WHERE {}", join(conditions, " AND "));
        }
        let order = self.order.iter().map(|&(number, down)| table.column(number) + if down { " DESC" } else { "" });
        if !self.order.is_empty() {
            _ = write!(sql, " ORDER BY {}", join(order, ", "));
        }
        sql
    }

    /// The SQL that finds the row of a key, the first parameter behind the filter's, if this would read it.
    pub(super) fn test(&self, table: &Traced, values: &[Option<usize>]) -> String {
        let conditions = std::iter::once(table.has_key.clone()).chain(self.conditions(table, values));
        format!("SELECT 1 FROM {} WHERE {}", table.source, join(conditions, " AND "))
    }

    fn conditions(&self, table: &Traced, values: &[Option<usize>]) -> impl Iterator<Item = String> {
        self.terms.iter().zip(values).filter_map(|(term, values)| {
            Some(format!("{} {}{}", table.column(term.column), term.op.sql(), term.op.operand((*values)?)))
        })
    }

    /// Reads what [`Display`] wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(' ').map(str::parse::<i64>);
        let mut next = move || numbers.next()?.ok();
        let mut plan = Self { used: next()? as u64, ..Self::default() };
        for _ in 0..next()? {
            let column = c_int::try_from(next()?).ok()?;
            let op = *Op::ALL.get(usize::try_from(next()?).ok()?)?;
            plan.terms.push(Term { column, op, is_literal: next()? == 1 });
        }
        for _ in 0..next()? {
            plan.order.push((c_int::try_from(next()?).ok()?, next()? == 1));
        }
        Some(plan)
    }
}

/// As numbers.
impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.used as i64, self.terms.len())?;
        for Term { column, op, is_literal } in &self.terms {
            write!(f, " {column} {} {}", *op as u8, u8::from(*is_literal))?;
        }
        write!(f, " {}", self.order.len())?;
        self.order.iter().try_for_each(|(column, down)| write!(f, " {column} {}", u8::from(*down)))
    }
}
