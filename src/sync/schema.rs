//! A database's schema: its text, and its identity.
//!
//! The identity is a hash of what SQLite and the engine made of the text, not of the text: comments, white space, letter
//! case outside quotes, quoting of plain names and the order of statements do not count.

use std::time::Duration;

use rusqlite::{Batch, Connection};
use sha2::{Digest, Sha256};

use super::authorizer::{Authorizer, Refusal, Rules, is_internal};
use super::batch::SchemaHash;
use super::deadline::Deadline;
use super::error::{CreateError, Error};
use crate::crr::Engine;
use crate::crr::quote::identifier;
use crate::crr::sort::sort;

/// The largest schema, in bytes. Larger than any that a person wrote, and soon tried out.
const MAX_LENGTH: usize = 256 << 10;
/// How long trying out a schema may take. No larger than one may be, a person's takes a fraction of a second.
const MAX_TIME: Duration = Duration::from_secs(5);

/// A schema, known to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    pub(super) text: String,
    pub(super) hash: SchemaHash,
}

impl Schema {
    /// Tries the text on an empty database in memory. It has 256 KiB at most, and 5 seconds.
    pub fn parse(text: &str) -> Result<Self, CreateError> {
        Self::parse_within(MAX_TIME, text)
    }

    fn parse_within(time: Duration, text: &str) -> Result<Self, CreateError> {
        if text.len() > MAX_LENGTH {
            return Err(CreateError::InvalidSchema(format!("a schema has {MAX_LENGTH} bytes at most")));
        }
        let mut conn = Connection::open_in_memory().map_err(Error::from)?;
        // The engine lives as long as its connection; this one is closed by the end of the call.
        let _engine = Engine::install(&conn).map_err(Error::from)?;
        let authorizer = Authorizer::install(&mut conn).map_err(Error::from)?;
        let deadline = Deadline::begin(&mut conn, time).map_err(Error::from)?;
        let executed = execute(&conn, &authorizer, text).and_then(|()| check_triggers(&conn, &authorizer));
        if let Some(time) = deadline.end(&mut conn).map_err(Error::from)? {
            return Err(CreateError::InvalidSchema(format!("it takes longer than {time:?} to try out")));
        }
        executed?;
        let hash = hash(&conn).map_err(Error::from)?;
        Ok(Self { text: text.to_owned(), hash })
    }

    /// The SQL text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The identity.
    pub fn hash(&self) -> &SchemaHash {
        &self.hash
    }
}

/// Runs a schema's statements.
pub(super) fn execute(conn: &Connection, authorizer: &Authorizer, text: &str) -> Result<(), CreateError> {
    let mut batch = Batch::new(conn, text);
    let mut count = 0;
    loop {
        let prepared = authorizer.prepare(&Rules::Schema, &mut batch).map_err(|refusal| match refusal {
            Refusal::Rule(reason) => invalid(count, &reason),
            Refusal::Sqlite(error) => refused(count, error),
        })?;
        let Some((mut statement, seen)) = prepared else {
            break;
        };
        let calls_as_crr = !seen.functions.is_empty() && seen.functions.iter().all(|name| name == "crsql_as_crr");
        let creates = seen.creates && !seen.selects && !seen.functions.iter().any(|name| name == "crsql_as_crr");
        let upgrades = !seen.creates && seen.selects && !seen.reads && calls_as_crr;
        if !(creates || upgrades) || statement.is_explain() != 0 {
            return Err(invalid(
                count,
                "only CREATE TABLE, INDEX, VIEW, TRIGGER and SELECT crsql_as_crr('…') may stand in a schema",
            ));
        }
        let mut rows = statement.raw_query();
        while rows.next().map_err(|error| refused(count, error))?.is_some() {}
        count += 1;
    }
    if count == 0 {
        return Err(CreateError::InvalidSchema("the schema is empty; it needs a CREATE TABLE at least".into()));
    }
    Ok(())
}

/// Refuses triggers that reach what is not the application's. They run with merges as well, which nobody judges; SQLite looks
/// into a trigger only when a statement fires it.
fn check_triggers(conn: &Connection, authorizer: &Authorizer) -> Result<(), CreateError> {
    let failed = |error: rusqlite::Error| CreateError::from(Error::from(error));
    let mut tables =
        conn.prepare("SELECT DISTINCT tbl_name FROM sqlite_schema WHERE type = 'trigger'").map_err(failed)?;
    let tables = tables.query_map([], |row| row.get(0)).and_then(Iterator::collect::<Result<Vec<String>, _>>);
    for table in tables.map_err(failed)?.into_iter().filter(|table| !is_internal(table)) {
        let mut columns = conn.prepare("SELECT name FROM pragma_table_info(?1)").map_err(failed)?;
        let columns =
            columns.query_map([&table], |row| row.get(0)).and_then(Iterator::collect::<Result<Vec<String>, _>>);
        let same = |column: String| format!("{0} = {0}", identifier(&column));
        let same: Vec<_> = columns.map_err(failed)?.into_iter().map(same).collect();
        let table = identifier(&table);
        for sql in [
            format!("INSERT INTO {table} DEFAULT VALUES"),
            format!("UPDATE {table} SET {}", same.join(", ")),
            format!("DELETE FROM {table}"),
        ] {
            // What fails otherwise, such as a trigger that names a table which is not there, fails whenever it is fired.
            if let Err(Refusal::Rule(reason)) = authorizer.prepare(&Rules::Rows, &mut Batch::new(conn, &sql)) {
                return Err(CreateError::InvalidSchema(format!("a trigger on {table}: {reason}")));
            }
        }
    }
    Ok(())
}

fn invalid(index: usize, reason: &str) -> CreateError {
    CreateError::InvalidSchema(format!("statement {}: {reason}", index + 1))
}

/// A statement that SQLite did not run: the text's fault, unless the storage failed.
fn refused(index: usize, error: rusqlite::Error) -> CreateError {
    if is_fault_of_sql(&error) { invalid(index, &error.to_string()) } else { Error::Sqlite(error).into() }
}

/// Whether an error is of the statement or its values, and not of the storage.
pub(super) fn is_fault_of_sql(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::*;
    match error.sqlite_error_code() {
        None => true,
        Some(
            DiskFull
            | DatabaseBusy
            | DatabaseLocked
            | DatabaseCorrupt
            | SystemIoFailure
            | CannotOpen
            | OutOfMemory
            | NotADatabase
            | ReadOnly
            | FileLockingProtocolFailed
            | PermissionDenied
            | NoLargeFileSupport,
        ) => false,
        Some(_) => true,
    }
}

/// The identity of the schema that `conn` has.
pub(super) fn hash(conn: &Connection) -> rusqlite::Result<SchemaHash> {
    let mut statement = conn.prepare(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, lower(name)",
    )?;
    let objects = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?))
    })?;
    let mut hasher = Sha256::new();
    let mut replicated = Vec::new();
    for object in objects {
        let (kind, name, table, sql) = object?;
        if let Some((table, _)) = name.split_once("__crsql_") {
            replicated.push(table.to_ascii_lowercase());
        }
        if is_internal(&name) || is_internal(&table) {
            continue;
        }
        for token in [kind, name.to_ascii_lowercase()].into_iter().chain(tokens(&sql)) {
            hasher.update(token.as_bytes());
            hasher.update([0]);
        }
        hasher.update([0]);
    }
    sort(&mut replicated);
    replicated.dedup();
    for table in replicated {
        hasher.update(table.as_bytes());
        hasher.update([0]);
    }
    let digest = hasher.finalize();
    Ok(SchemaHash::new(&hex::encode(digest.get(..16).unwrap_or(&digest))))
}

/// The tokens of an SQL text, each in its normal form.
fn tokens(sql: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = sql.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '-' if rest.starts_with("--") => (None, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => (None, rest.find("*/").map_or(rest.len(), |at| at + 2)),
            '\'' => quoted(rest, '\'')
                .map_or((None, rest.len()), |(_, length)| (rest.get(..length).map(str::to_owned), length)),
            '"' | '`' => name(rest, first),
            '[' => {
                let length = rest.find(']').map_or(rest.len(), |at| at + 1);
                (rest.get(1..length - 1).map(str::to_ascii_lowercase), length)
            }
            _ if is_word(first) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                (rest.get(..length).map(str::to_ascii_lowercase), length)
            }
            _ => (Some(first.to_string()), first.len_utf8()),
        };
        tokens.extend(token);
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    // SQLite keeps a statement's text up to its end, with the semicolon or without.
    if tokens.last().is_some_and(|token| token == ";") {
        tokens.pop();
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// A quoted name, in lower case and without its quotes.
fn name(text: &str, quote: char) -> (Option<String>, usize) {
    match quoted(text, quote) {
        Some((name, length)) => (Some(name.to_ascii_lowercase()), length),
        None => (None, text.len()),
    }
}

/// What stands between the quotes that `text` begins with, doubled ones made single, and the length with the quotes.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut inner = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            inner.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            inner.push(quote);
        } else {
            return Some((inner, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_space_case_and_quotes_of_names_do_not_count() {
        let plain = tokens("CREATE TABLE todo (id BLOB PRIMARY KEY NOT NULL, title TEXT DEFAULT 'A  b')");
        let dressed = "create table \"Todo\"( -- the list\n  `id` blob /* key */ primary\tkey not null,[title] text default 'A  b' );";
        assert_eq!(tokens(dressed), plain);
        assert_ne!(tokens(&dressed.replace("A  b", "A b")), plain);
        assert_ne!(tokens(&dressed.replace("blob", "text")), plain);
    }

    #[test]
    fn a_schema_is_tried_out_for_a_while_only() {
        let thousand = format!("(VALUES {}(0))", "(0), ".repeat(999));
        let endless = format!(
            "CREATE TABLE t (id PRIMARY KEY NOT NULL);
             SELECT crsql_as_crr('t') FROM {thousand}, {thousand} AS b, {thousand} AS c, {thousand} AS d;"
        );
        let error = Schema::parse_within(Duration::from_millis(100), &endless).unwrap_err();
        assert!(matches!(&error, CreateError::InvalidSchema(reason) if reason.contains("longer than")), "{error}");
        let large = format!("CREATE TABLE t (id PRIMARY KEY NOT NULL); -- {}", "x".repeat(300 << 10));
        assert!(matches!(Schema::parse(&large), Err(CreateError::InvalidSchema(_))));
    }

    #[test]
    fn unended_quotes_and_comments_do_not_loop() {
        for text in ["'", "\"", "`a", "[", "[]", "/*", "--", "'a''", "é'", ""] {
            let _ = tokens(text);
        }
    }
}
