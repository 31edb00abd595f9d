//! The plan of a query on `crsql_changes`: what SQLite's planner is told of it, and what is read when it runs.
//!
//! Whatever a plan takes up, SQLite checks again: it alone knows how values of other types compare. So a plan may pass over
//! a condition, and never a change that meets it. Only bounds of `db_version`, which almost every query has, are left to
//! the plan alone ([`bounds`]).
//!
//! A plan's text has two characters a condition: the number of the column, and the operator.

mod bounds;

use std::ffi::c_int;

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use rusqlite::vtab::{Filters, IndexConstraintOp as Op, IndexInfo};

use super::super::ids::MAX_COUNTER;
use super::super::read::{Condition, Counter, Selection, Sites, Values};
use super::super::{Result, SiteId};

const TABLE: c_int = 0;
const PK: c_int = 1;
const CID: c_int = 2;
const VAL: u32 = 3;
const COL_VERSION: c_int = 4;
const DB_VERSION: c_int = 5;
const SITE_ID: c_int = 6;
const CL: c_int = 7;
const SEQ: c_int = 8;
const SITE_VERSION: c_int = 9;

/// Flags of a plan.
const VALUES: c_int = 1;
const DESCENDING: c_int = 2;
const FEW: c_int = 4;

/// Chooses the plan.
pub(super) fn choose(info: &mut IndexInfo) -> rusqlite::Result<()> {
    let (mut plan, mut used, mut limited) = (String::new(), Vec::new(), false);
    for (i, constraint) in info.constraints().enumerate() {
        let operator = constraint.operator();
        limited |= operator == Op::SQLITE_INDEX_CONSTRAINT_LIMIT;
        let Some(operator) = symbol(operator).filter(|_| constraint.is_usable()) else { continue };
        let useful = match constraint.column() {
            TABLE | CID => operator == '=' && info.collation(i)? == "BINARY",
            PK => operator == '=',
            SITE_ID => matches!(operator, '=' | '!'),
            COL_VERSION | DB_VERSION | CL | SEQ | SITE_VERSION => true,
            _ => false,
        };
        if useful {
            plan.extend(u32::try_from(constraint.column()).ok().and_then(|column| char::from_digit(column, 10)));
            plan.push(operator);
            used.push(i);
        }
    }
    for (argument, (i, (column, operator))) in (1..).zip(used.into_iter().zip(conditions(&plan))) {
        let mut usage = info.constraint_usage(i);
        usage.set_argv_index(argument);
        usage.set_omit(column == DB_VERSION && operator != '!');
    }
    info.set_idx_str(&plan);
    let (cost, rows) = estimate(&plan);
    info.set_estimated_cost(cost);
    info.set_estimated_rows(rows as i64);
    let order: Vec<_> = info.order_bys().map(|term| (term.column(), term.is_order_by_desc())).collect();
    let (consumed, descending) = match order.as_slice() {
        [(DB_VERSION, down)] => (true, *down),
        [(DB_VERSION, a), (SEQ, b)] if a == b => (true, *a),
        _ => (false, false),
    };
    info.set_order_by_consumed(consumed);
    let flag = |set, flag| if set { flag } else { 0 };
    let values = info.col_used() & 1 << VAL != 0;
    // Where many changes may be read of which few are asked for.
    let few = values && (limited || conditions(&plan).any(|(column, _)| is_of_cells(column)));
    info.set_idx_num(flag(values, VALUES) | flag(descending, DESCENDING) | flag(few, FEW));
    Ok(())
}

fn symbol(operator: Op) -> Option<char> {
    match operator {
        Op::SQLITE_INDEX_CONSTRAINT_EQ | Op::SQLITE_INDEX_CONSTRAINT_IS => Some('='),
        Op::SQLITE_INDEX_CONSTRAINT_NE | Op::SQLITE_INDEX_CONSTRAINT_ISNOT => Some('!'),
        Op::SQLITE_INDEX_CONSTRAINT_GT => Some('>'),
        Op::SQLITE_INDEX_CONSTRAINT_GE => Some('g'),
        Op::SQLITE_INDEX_CONSTRAINT_LT => Some('<'),
        Op::SQLITE_INDEX_CONSTRAINT_LE => Some('l'),
        _ => None,
    }
}

/// The conditions of a plan.
fn conditions(plan: &str) -> impl Iterator<Item = (c_int, char)> {
    let mut rest = plan.chars();
    std::iter::from_fn(move || {
        let column = rest.next()?.to_digit(10)?;
        Some((column.cast_signed(), rest.next()?))
    })
}

/// Whether a column tells cells of one row and version apart.
fn is_of_cells(column: c_int) -> bool {
    matches!(column, CID | COL_VERSION | CL | SEQ | SITE_VERSION)
}

/// What a plan costs, and how many changes it yields. A row is looked up; all else follows the log.
fn estimate(plan: &str) -> (f64, f64) {
    let has = |column, operators: &[char]| conditions(plan).any(|(c, op)| c == column && operators.contains(&op));
    if has(TABLE, &['=']) && has(PK, &['=']) {
        return (20.0, 4.0);
    }
    let versions = if has(DB_VERSION, &['=']) {
        1e2
    } else if has(DB_VERSION, &['>', 'g']) {
        1e4
    } else {
        1e8
    };
    let share = if has(TABLE, &['=']) || has(SITE_ID, &['=', '!']) { 0.1 } else { 1.0 };
    let cells = if conditions(plan).any(|(column, _)| is_of_cells(column)) { 0.5 } else { 1.0 };
    (versions * (1.0 + share * cells), versions * share * cells)
}

/// What to read.
pub(super) fn selection(conn: &Connection, flags: c_int, plan: &str, arguments: &Filters<'_>) -> Result<Selection> {
    let mut selection = Selection {
        since: -1,
        until: MAX_COUNTER,
        site: Sites::All,
        table: None,
        pk: None,
        conditions: Vec::new(),
        values: match (flags & VALUES != 0, flags & FEW != 0) {
            (false, _) => Values::Unwanted,
            (true, false) => Values::All,
            (true, true) => Values::Few,
        },
        descending: flags & DESCENDING != 0,
    };
    for ((column, operator), value) in conditions(plan).zip(arguments.iter()) {
        narrow(conn, &mut selection, column, operator, value)?;
    }
    Ok(selection)
}

fn narrow(
    conn: &Connection,
    selection: &mut Selection,
    column: c_int,
    operator: char,
    value: ValueRef<'_>,
) -> Result<()> {
    match (column, value) {
        (TABLE, ValueRef::Text(name)) => selection.table = String::from_utf8(name.to_vec()).ok(),
        (PK, ValueRef::Blob(pk)) => selection.pk = Some(pk.to_vec()),
        (CID, ValueRef::Text(name)) => {
            selection.conditions.extend(String::from_utf8(name.to_vec()).ok().map(Condition::Column));
        }
        (SITE_ID, ValueRef::Blob(site)) => match (SiteId::from_slice(site), selection.site) {
            (Ok(site), _) if operator == '=' => selection.site = Sites::Only(site),
            (Ok(site), Sites::All) => selection.site = Sites::Except(site),
            _ => {}
        },
        (DB_VERSION, value) => {
            let (since, until) = bounds::bounds(conn, operator, value)?;
            (selection.since, selection.until) = (selection.since.max(since), selection.until.min(until));
        }
        (_, ValueRef::Integer(number)) => {
            let counter = match column {
                COL_VERSION => Counter::ColVersion,
                CL => Counter::CausalLength,
                SEQ => Counter::Seq,
                SITE_VERSION => Counter::Version,
                _ => return Ok(()),
            };
            selection.conditions.push(if operator == '!' {
                Condition::Not(counter, number)
            } else {
                let (after, until) = bounds::integer(operator, number);
                Condition::Within { counter, after, until }
            });
        }
        _ => {}
    }
    Ok(())
}
