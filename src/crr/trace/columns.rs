//! A traced table as SQLite describes it.

use std::ffi::{CStr, CString, c_int};
use std::ptr;

use rusqlite::{Connection, ffi};

use super::super::quote::{identifier, list};
use super::super::sort::sort;
use super::super::table::{Table, affinity, declared};
use super::super::{Error, Result};

/// The columns of a traced table, and its indexes.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) all: Vec<Column>,
    /// The one that is the rowid.
    pub(super) integer_pk: Option<usize>,
    /// The places of the primary key's columns, in its order.
    pub(super) pks: Vec<usize>,
    pub(super) indexes: Vec<Index>,
}

#[derive(Debug)]
pub(super) struct Column {
    /// Quoted.
    pub(super) name: String,
    /// A type name that gives the same affinity.
    pub(super) affinity: &'static str,
    pub(super) collation: String,
    /// Whether text in it is equal to no other text, also where the primary key compares it.
    pub(super) is_exact: bool,
}

#[derive(Debug)]
pub(super) struct Index {
    /// The places of its columns, up to the first that is an expression.
    pub(super) columns: Vec<usize>,
    pub(super) is_unique: bool,
}

impl Columns {
    pub(super) fn load(conn: &Connection, table: &Table) -> Result<Self> {
        let Table { name: table, pks: key, .. } = table;
        let strict = declared(conn, table)?.strict;
        // Generated columns too; a virtual table's hidden ones there are none.
        let mut info = conn.prepare("SELECT name, type, pk FROM pragma_table_xinfo(?, 'main') ORDER BY cid")?;
        let mut rows = info.query([&**table])?;
        let (mut all, mut pks) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next()? {
            let (name, kind, pk): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if pk > 0 {
                pks.push((pk, all.len()));
            }
            let collation = collation(conn, table, &name)?;
            let is_exact = is_binary(&collation) && key.iter().all(|pk| pk.name != name || is_binary(&pk.collation));
            all.push(Column { name: identifier(&name), affinity: affinity(&kind, strict), collation, is_exact });
        }
        sort(&mut pks);
        let pks: Vec<usize> = pks.into_iter().map(|(_, at)| at).collect();
        let indexes = Index::load_all(conn, table)?;
        let by_index = indexes.iter().any(|index| index.is_unique && index.columns == pks);
        let integer_pk = match pks.as_slice() {
            [pk] if !by_index => Some(*pk),
            _ => None,
        };
        Ok(Self { all, integer_pk, pks, indexes })
    }

    /// What the virtual table declares.
    pub(super) fn declaration(&self) -> String {
        let columns = self
            .all
            .iter()
            .map(|column| format!("{} {} COLLATE {}", column.name, column.affinity, identifier(&column.collation)));
        format!("CREATE TABLE x ({})", list(columns))
    }

    /// Whether SQLite takes what looks like a number for one where it compares that column.
    pub(super) fn is_number(&self, number: c_int) -> bool {
        self.get(number).is_none_or(|column| !matches!(column.affinity, "TEXT" | ""))
    }

    /// Whether text is compared byte by byte in that column.
    pub(super) fn is_binary(&self, number: c_int) -> bool {
        self.get(number).is_none_or(|column| is_binary(&column.collation))
    }

    /// The column of that number, where it is none of the rowid.
    pub(super) fn get(&self, number: c_int) -> Option<&Column> {
        usize::try_from(number).ok().and_then(|at| self.all.get(at))
    }
}

impl Index {
    fn load_all(conn: &Connection, table: &str) -> Result<Vec<Self>> {
        // A partial index holds some rows only.
        let mut list = conn.prepare("SELECT name, \"unique\" FROM pragma_index_list(?, 'main') WHERE NOT partial")?;
        let mut info = conn.prepare("SELECT cid FROM pragma_index_xinfo(?, 'main') WHERE key ORDER BY seqno")?;
        let mut indexes = Vec::new();
        let mut rows = list.query([table])?;
        while let Some(row) = rows.next()? {
            let (name, is_unique): (String, bool) = (row.get(0)?, row.get(1)?);
            let cids = info.query_map([name], |row| row.get::<_, i64>(0))?.collect::<Result<Vec<_>, _>>()?;
            let columns: Vec<usize> = cids.iter().map_while(|&cid| usize::try_from(cid).ok()).collect();
            indexes.push(Self { is_unique: is_unique && columns.len() == cids.len(), columns });
        }
        Ok(indexes)
    }
}

fn is_binary(collation: &str) -> bool {
    collation.eq_ignore_ascii_case("BINARY")
}

/// The collation that a column was declared with.
fn collation(conn: &Connection, table: &str, column: &str) -> Result<String> {
    let text = |name: &str| CString::new(name).map_err(rusqlite::Error::from);
    let (table, column) = (text(table)?, text(column)?);
    let mut collation = ptr::null();
    // SAFETY: the handle is open, the names end with NUL, and what is found is the schema's, which nothing changes meanwhile.
    unsafe {
        let code = ffi::sqlite3_table_column_metadata(
            conn.handle(),
            c"main".as_ptr(),
            table.as_ptr(),
            column.as_ptr(),
            ptr::null_mut(),
            &raw mut collation,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
        );
        if code != ffi::SQLITE_OK || collation.is_null() {
            return Err(Error::Corrupt("a column has no collation"));
        }
        Ok(CStr::from_ptr(collation).to_string_lossy().into_owned())
    }
}
