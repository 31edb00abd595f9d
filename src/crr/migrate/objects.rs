//! What an application made in a database: tables, indices, views and triggers.

use rusqlite::Connection;

use super::super::Result;

/// An object of the application.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) name: String,
    /// The table that it belongs to; itself for a table.
    pub(super) table: String,
    pub(super) sql: String,
}

/// The objects of a database, without those of SQLite and of the engine, and without virtual tables.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) tables: Vec<Object>,
    pub(super) indices: Vec<Object>,
    /// Views, then triggers.
    pub(super) views: Vec<Object>,
    pub(super) triggers: Vec<Object>,
    /// What `crsql_fract_as_ordered` made.
    pub(super) orders: Vec<Object>,
}

impl Objects {
    pub(super) fn load(conn: &Connection) -> Result<Self> {
        let mut objects = Self::default();
        let mut read = conn.prepare(
            "SELECT m.type, m.name, m.tbl_name, m.sql FROM main.sqlite_master m
             WHERE m.sql IS NOT NULL AND m.name NOT LIKE 'sqlite!_%' ESCAPE '!'
               AND (m.type <> 'table' OR EXISTS (SELECT 1 FROM pragma_table_list l
                    WHERE l.schema = 'main' AND l.name = m.name AND l.type = 'table'))
             ORDER BY m.rowid",
        )?;
        let mut rows = read.query([])?;
        while let Some(row) = rows.next()? {
            let kind: String = row.get(0)?;
            let object = Object { name: row.get(1)?, table: row.get(2)?, sql: row.get(3)? };
            let is_order = object.name.contains("_fractindex") && kind != "table" && kind != "index";
            let list = match kind.as_str() {
                "view" | "trigger" if is_order => &mut objects.orders,
                _ if is_of_engine(&object.name) => continue,
                "table" => &mut objects.tables,
                "index" => &mut objects.indices,
                "view" => &mut objects.views,
                _ => &mut objects.triggers,
            };
            list.push(object);
        }
        Ok(objects)
    }
}

/// Finds an object by name, as SQLite does.
pub(super) fn find<'o>(objects: &'o [Object], name: &str) -> Option<&'o Object> {
    objects.iter().find(|object| object.name.eq_ignore_ascii_case(name))
}

/// Names that cr-sqlite keeps for itself.
pub(super) fn is_of_engine(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("crsql_") || name.contains("__crsql_")
}
