use std::cell::RefCell;

use rusqlite::types::{FromSql, ToSql};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::authorizer::Authorizer;
use super::batch::SchemaHash;
use super::cursor::Cursor;
use super::error::{CreateError, Error};
use super::outbox::Span;
use super::queries::evaluations::Evaluations;
use super::request::Cut;
use super::schema::{self, Schema};
use super::{layout, schemas, upstream};
use crate::crr::{Engine, SiteId, Version};

/// One copy of a database, alone on its connection.
///
/// Every method that writes is one transaction: an error leaves the database as it was.
pub struct Replica {
    pub(super) conn: Connection,
    pub(super) engine: Engine,
    pub(super) authorizer: Authorizer,
    pub(super) schema: Option<Schema>,
    /// The last count of what an upstream lacks, and of what it is the count: callers ask often, and counting reads it all.
    pub(super) unsent: RefCell<Option<(Span, u64)>>,
    /// The version of which some reader is taking pieces.
    pub(super) cut: Option<Cut>,
    /// What the queries of subscriptions read.
    pub(super) evaluations: Evaluations,
}

/// What a creation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Whether the schema was recorded just now; otherwise it was there.
    pub created: bool,
    /// The schema's identity.
    pub schema: SchemaHash,
    /// This copy's own cursor.
    pub at: Cursor,
}

impl Replica {
    /// Installs the engine on `conn`, which must be fresh, and creates the tables of this module where they are missing.
    pub fn open(mut conn: Connection) -> Result<Self, Error> {
        // Builds of SQLite differ in their default. A local table that refers to a replicated one must not refuse a merge.
        conn.execute_batch("PRAGMA foreign_keys = OFF")?;
        let engine = Engine::install(&conn)?;
        layout::install(&conn)?;
        let authorizer = Authorizer::install(&mut conn)?;
        let mut replica = Self {
            conn,
            engine,
            authorizer,
            schema: None,
            unsent: RefCell::default(),
            cut: None,
            evaluations: Evaluations::default(),
        };
        replica.schema = replica.recorded_schema()?;
        Ok(replica)
    }

    /// Whether the database of `conn` was opened as a replica before.
    pub fn is_one(conn: &Connection) -> Result<bool, Error> {
        layout::is_any(conn)
    }

    /// This copy's site.
    pub fn site(&self) -> SiteId {
        self.engine.site_id()
    }

    /// The newest local version.
    pub fn version(&self) -> Result<Version, Error> {
        Ok(self.engine.db_version(&self.conn)?)
    }

    /// This copy's own cursor: its site and newest version.
    pub fn at(&self) -> Result<Cursor, Error> {
        Ok(Cursor { site: self.site(), version: self.version()? })
    }

    /// Whether a schema was recorded. A database file without one counts as not existing.
    pub fn exists(&self) -> bool {
        self.schema.is_some()
    }

    /// The recorded schema.
    pub fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref()
    }

    /// The connection, for reads and for the host's own settings.
    pub fn connection(&self) -> &Connection {
        &self.conn
    }

    /// Runs `f` on one snapshot of the database: what other connections commit meanwhile is not in it. For a connection that
    /// reads beside the one that writes.
    pub fn read<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> Result<T, Error> {
        self.conn.execute_batch("BEGIN")?;
        let outcome = self.refresh().map(|()| f(self));
        if !self.conn.is_autocommit() {
            // Nothing was written, and this cannot fail where a page could not be read.
            self.conn.execute_batch("ROLLBACK")?;
        }
        outcome
    }

    /// Takes over the schema that the database has by now.
    fn refresh(&mut self) -> Result<(), Error> {
        let hash = setting::<String>(&self.conn, SCHEMA_HASH)?;
        if hash.as_deref() != self.schema.as_ref().map(|schema| schema.hash.as_str()) {
            self.schema = self.recorded_schema()?;
            self.cut = None;
        }
        Ok(())
    }

    /// Closes the connection.
    pub fn close(self) -> Result<(), Error> {
        let Self { conn, engine, authorizer, .. } = self;
        drop((engine, authorizer));
        conn.close().map_err(|(_, error)| error.into())
    }

    /// Creates the tables of `schema`, or sees that they are there.
    pub fn create_database_if_not_exists(&mut self, schema: &Schema) -> Result<Created, CreateError> {
        self.create(schema, false)
    }

    /// The same for a copy that holds the rows of its subscriptions only.
    pub fn create_partial_if_not_exists(&mut self, schema: &Schema) -> Result<Created, CreateError> {
        self.create(schema, true)
    }

    fn create(&mut self, schema: &Schema, partial: bool) -> Result<Created, CreateError> {
        if let Some(recorded) = &self.schema {
            if recorded.hash != schema.hash {
                return Err(CreateError::SchemaMismatch { schema: recorded.hash.clone() });
            }
            if partial && !self.is_partial()? {
                return Err(CreateError::NotPartial);
            }
            return Ok(Created { created: false, schema: schema.hash.clone(), at: self.at()? });
        }
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::from)?;
        schema::execute(&transaction, &self.authorizer, &schema.text)?;
        if schema::hash(&transaction).map_err(Error::from)? != schema.hash {
            let reason = "the storage holds tables that this schema did not make";
            return Err(CreateError::InvalidSchema(reason.into()));
        }
        self.engine.set_merge_equal_values(&transaction, true).map_err(Error::from)?;
        record_schema(&transaction, schema)?;
        if partial {
            upstream::set_partial(&transaction)?;
        }
        transaction.commit().map_err(Error::from)?;
        self.schema = Some(schema.clone());
        Ok(Created { created: true, schema: schema.hash.clone(), at: self.at()? })
    }

    fn recorded_schema(&self) -> Result<Option<Schema>, Error> {
        let Some(text) = setting::<String>(&self.conn, SCHEMA)? else {
            return Ok(None);
        };
        let hash = setting::<String>(&self.conn, SCHEMA_HASH)?;
        let hash = hash.ok_or(Error::Corrupt("a schema is recorded without its hash"))?;
        Ok(Some(Schema { text, hash: SchemaHash::new(&hash) }))
    }
}

/// Makes `schema` the one that the database has.
pub(super) fn record_schema(conn: &Connection, schema: &Schema) -> Result<(), Error> {
    set_setting(conn, SCHEMA, &schema.text)?;
    set_setting(conn, SCHEMA_HASH, &schema.hash.as_str())?;
    schemas::record(conn, schema)
}

const SCHEMA: &str = "sync.schema";
const SCHEMA_HASH: &str = "sync.schema_hash";

/// A value of `crsql_master`, where the engine too keeps its settings.
pub(super) fn setting<T: FromSql>(conn: &Connection, key: &str) -> Result<Option<T>, Error> {
    let mut statement = conn.prepare_cached("SELECT value FROM crsql_master WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?)
}

/// Sets a value of `crsql_master`.
pub(super) fn set_setting<T: ToSql>(conn: &Connection, key: &str, value: &T) -> Result<(), Error> {
    let mut statement = conn.prepare_cached("INSERT OR REPLACE INTO crsql_master (key, value) VALUES (?1, ?2)")?;
    statement.execute((key, value))?;
    Ok(())
}

/// Removes a value of `crsql_master`.
pub(super) fn unset(conn: &Connection, key: &str) -> Result<(), Error> {
    conn.prepare_cached("DELETE FROM crsql_master WHERE key = ?1")?.execute([key])?;
    Ok(())
}
