//! `crsql_automigrate`: a database takes the shape that a schema text describes.
//!
//! The text is run in a database in memory, where nothing can be lost, and what it made there is compared with what is
//! here. The differences are a [`Plan`]; applying it is all or nothing. cr-sqlite does the same but for three things: it
//! passes over lines of the text, and so drops tables whose line holds more than one statement; it compares names only;
//! and it returns an error as a result.
//!
//! The text names everything there shall be: tables and indices that it does not name are dropped. Views and triggers that
//! it does not name stay, as in cr-sqlite; a migration that would break one is refused. A column that is renamed is
//! another column.

mod apply;
mod definition;
mod objects;
mod plan;
mod wanted;

use rusqlite::Connection;

pub use plan::{Plan, Step};

use super::Result;
use super::catalog::end_savepoint;
use super::flush::flush;
use super::state::State;
use objects::Objects;
use wanted::Wanted;

/// What has to be done for the database to be as `schema` says.
pub(super) fn plan(conn: &Connection, state: &State, schema: &str) -> Result<Plan> {
    let wanted = Wanted::from_text(schema, "")?;
    plan_for(conn, state, &wanted)
}

/// Does it. `cleanup` is run in the database in memory before it is closed, and serves programs that hand it over, as
/// cr-sqlite asks for.
pub(super) fn migrate(conn: &Connection, state: &State, schema: &str, cleanup: &str) -> Result<Plan> {
    let wanted = Wanted::from_text(schema, cleanup)?;
    flush(conn, state)?;
    conn.execute_batch("SAVEPOINT crsql_automigrate")?;
    let migrated = plan_for(conn, state, &wanted).and_then(|plan| {
        apply::apply(conn, state, &plan)?;
        Ok(plan)
    });
    state.forget_tables();
    match migrated {
        Ok(plan) => end_savepoint(conn, "crsql_automigrate", Ok(())).map(|()| plan),
        Err(error) => end_savepoint(conn, "crsql_automigrate", Err(error)).map(|()| Plan::default()),
    }
}

fn plan_for(conn: &Connection, state: &State, wanted: &Wanted) -> Result<Plan> {
    let tables = state.tables(conn)?;
    plan::compare(&Objects::load(conn)?, wanted, |name| {
        tables.names().any(|table| table.name.eq_ignore_ascii_case(name))
    })
}
