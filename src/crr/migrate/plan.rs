//! The steps from the schema that a database has to the one that it shall have.

use std::fmt;

use super::super::quote::identifier;
use super::super::tokens::{Token, tokens};
use super::super::{Error, Result};
use super::definition::Definition;
use super::objects::{Object, Objects, find};
use super::wanted::Wanted;

/// The steps of a migration, in order. Without any, the database is as it shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are done.
    pub steps: Vec<Step>,
}

/// A step of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Drops an index.
    DropIndex {
        /// The index.
        name: String,
    },
    /// Drops a table and its rows, without a trace for peers.
    DropTable {
        /// The table.
        name: String,
    },
    /// Changes the columns of a table.
    AlterTable {
        /// The table.
        name: String,
        /// Columns that go, with their values.
        drop: Vec<String>,
        /// Definitions of the columns that come.
        add: Vec<String>,
    },
    /// Makes a table anew, with the values of the columns that stay.
    RebuildTable {
        /// The table.
        name: String,
        /// Columns that go, with their values.
        drop: Vec<String>,
        /// Columns that stay.
        keep: Vec<String>,
        /// What it shall be.
        sql: String,
    },
    /// Creates a table, an index, a view or a trigger, in place of one of the same name that says something else.
    Create {
        /// `table`, `index`, `view` or `trigger`.
        kind: &'static str,
        /// The object.
        name: String,
        /// The table that it belongs to.
        table: String,
        /// What it shall be.
        sql: String,
    },
    /// Calls `crsql_as_crr`.
    Replicate {
        /// The table.
        name: String,
    },
    /// Calls `crsql_fract_as_ordered`.
    Order {
        /// The table, its order, and the columns that tell lists apart.
        arguments: Vec<String>,
    },
}

impl Plan {
    /// Whether values are lost that cannot be computed again.
    pub fn is_destructive(&self) -> bool {
        self.steps.iter().any(Step::is_destructive)
    }
}

impl Step {
    /// Whether it loses values that cannot be computed again.
    pub fn is_destructive(&self) -> bool {
        !self.loses().is_empty()
    }

    /// What goes with its values, by name: `table`, or `table.column` for each column.
    pub fn loses(&self) -> Vec<String> {
        match self {
            Self::DropTable { name } => vec![name.clone()],
            Self::AlterTable { name, drop, .. } | Self::RebuildTable { name, drop, .. } => {
                drop.iter().map(|column| format!("{name}.{column}")).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// A line for each step, with `!` before those that lose values.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{} {step}", if step.is_destructive() { '!' } else { ' ' })?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = |f: &mut fmt::Formatter<'_>, drop: &[String]| {
            drop.iter().try_for_each(|column| write!(f, ", drop column {}", identifier(column)))
        };
        match self {
            Self::DropIndex { name } => write!(f, "drop index {}", identifier(name)),
            Self::DropTable { name } => write!(f, "drop table {}", identifier(name)),
            Self::AlterTable { name, drop, add } => {
                write!(f, "alter table {}", identifier(name))?;
                columns(f, drop)?;
                add.iter().try_for_each(|definition| write!(f, ", add column {definition}"))
            }
            Self::RebuildTable { name, drop, .. } => {
                write!(f, "rebuild table {}", identifier(name))?;
                columns(f, drop)
            }
            Self::Create { kind, name, .. } => write!(f, "create {kind} {}", identifier(name)),
            Self::Replicate { name } => write!(f, "replicate table {}", identifier(name)),
            Self::Order { arguments } => write!(f, "order table {}", arguments.join(", ")),
        }
    }
}

/// Compares what is `there` with what is `wanted`.
pub(super) fn compare(there: &Objects, wanted: &Wanted, is_crr: impl Fn(&str) -> bool) -> Result<Plan> {
    let mut steps = Vec::new();
    let shall = &wanted.objects;
    let is_kept = |name: &str| find(&shall.tables, name).is_some();
    // An index goes with its table.
    for index in there.indices.iter().filter(|index| is_kept(&index.table)) {
        if !find(&shall.indices, &index.name).is_some_and(|other| is_same(index, other)) {
            steps.push(Step::DropIndex { name: index.name.clone() });
        }
    }
    let gone = there.tables.iter().filter(|table| !is_kept(&table.name));
    steps.extend(gone.map(|table| Step::DropTable { name: table.name.clone() }));
    let mut changed = Vec::new();
    for table in &shall.tables {
        match find(&there.tables, &table.name) {
            None => steps.push(create("table", table)),
            Some(old) => {
                if let Some(step) = change(old, table)? {
                    changed.push(&table.name);
                    steps.push(step);
                }
            }
        }
    }
    for (kind, there, shall) in [
        ("index", &there.indices, &shall.indices),
        ("view", &there.views, &shall.views),
        ("trigger", &there.triggers, &shall.triggers),
    ] {
        let missing = shall.iter().filter(|object| !find(there, &object.name).is_some_and(|old| is_same(old, object)));
        steps.extend(missing.map(|object| create(kind, object)));
    }
    let not_yet = wanted.crrs.iter().filter(|name| !is_crr(name));
    let as_it_is = |name: &String| find(&there.tables, name).map_or(name, |table| &table.name).clone();
    steps.extend(not_yet.map(|name| Step::Replicate { name: as_it_is(name) }));
    for arguments in &wanted.orders {
        let belongs = |object: &&Object| arguments.first().is_some_and(|table| is_order_of(object, table));
        let mut parts = shall.orders.iter().filter(belongs);
        let is_there = parts.all(|part| find(&there.orders, &part.name).is_some_and(|old| is_same(old, part)));
        if !is_there || arguments.first().is_some_and(|table| changed.contains(&table)) {
            steps.push(Step::Order { arguments: arguments.clone() });
        }
    }
    Ok(Plan { steps })
}

fn create(kind: &'static str, object: &Object) -> Step {
    let Object { name, table, sql } = object.clone();
    Step::Create { kind, name, table, sql }
}

fn is_same(a: &Object, b: &Object) -> bool {
    a.table.eq_ignore_ascii_case(&b.table) && tokens(&a.sql) == tokens(&b.sql)
}

/// Whether `crsql_fract_as_ordered` made the object for this table.
fn is_order_of(object: &Object, table: &str) -> bool {
    object.table.eq_ignore_ascii_case(table) || object.table.eq_ignore_ascii_case(&format!("{table}_fractindex"))
}

/// The step from one definition of a table to another, if they differ in more than spelling and the order of columns.
fn change(old: &Object, new: &Object) -> Result<Option<Step>> {
    let (is, shall) = (Definition::parse(&old.sql), Definition::parse(&new.sql));
    let goes = |(name, _): &&(String, Vec<Token>)| shall.column(name).is_none();
    let comes = |(name, _): &&(String, Vec<Token>)| is.column(name).is_none();
    let drop: Vec<_> = is.columns.iter().filter(goes).collect();
    let add: Vec<_> = shall.columns.iter().filter(comes).collect();
    let others = || shall.columns.iter().filter(|column| !comes(column));
    let alike = others().all(|(name, tokens)| is.column(name) == Some(tokens.as_slice()));
    if alike && is.has_rules_of(&shall) && drop.is_empty() && add.is_empty() {
        return Ok(None);
    }
    if is.pks() != shall.pks() {
        return Err(Error::Migration(format!(
            "the primary key of table {:?} would be another: create a table of another name instead",
            new.name
        )));
    }
    let plain = |(_, tokens): &&&(String, Vec<Token>)| can_be_altered(tokens);
    let name = old.name.clone();
    let names = |columns: &[&(String, Vec<Token>)]| columns.iter().map(|(name, _)| name.clone()).collect();
    // A generated column may need one that goes.
    let computes = !drop.is_empty() && is.columns.iter().any(|(_, tokens)| is_generated(tokens));
    if alike && is.has_rules_of(&shall) && drop.iter().all(|c| plain(&c)) && add.iter().all(|c| plain(&c)) && !computes
    {
        let add = add.iter().map(|(_, tokens)| source(&new.sql, tokens).to_owned()).collect();
        return Ok(Some(Step::AlterTable { name, drop: names(&drop), add }));
    }
    let keep = others().filter(|(name, tokens)| !is_generated(tokens) && !is.column(name).is_some_and(is_generated));
    let keep = keep.map(|(name, _)| name.clone()).collect();
    Ok(Some(Step::RebuildTable { name, drop: names(&drop), keep, sql: new.sql.clone() }))
}

fn is_generated(tokens: &[Token]) -> bool {
    tokens.iter().skip(1).any(|token| token.is("as"))
}

/// Whether `ALTER TABLE` can add such a column, and drop it.
fn can_be_altered(tokens: &[Token]) -> bool {
    let has = |keyword| tokens.iter().skip(1).any(|token: &Token| token.is(keyword));
    let default = tokens.iter().position(|token| token.is("default")).and_then(|at| tokens.get(at + 1));
    let is_constant = default
        .is_none_or(|value| value.text != "(" && !value.is_any(&["current_time", "current_date", "current_timestamp"]));
    let rejects_null = has("not") && default.is_none_or(|value| value.is("null"));
    !has("primary") && !has("unique") && !has("check") && !is_generated(tokens) && is_constant && !rejects_null
}

/// The text of a definition.
fn source<'s>(sql: &'s str, tokens: &[Token]) -> &'s str {
    let range = tokens.first().zip(tokens.last()).map(|(first, last)| first.range.start..last.range.end);
    range.and_then(|range| sql.get(range)).unwrap_or_default()
}
