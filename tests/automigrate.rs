//! A database takes the shape of a schema text.
//!
//! The same bodies run natively and, in a service worker, in wasm.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::Peer;
use proptest::prelude::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

const TODO: &str = "CREATE TABLE todo (id INTEGER PRIMARY KEY NOT NULL, title TEXT, done INTEGER DEFAULT 0);
    CREATE INDEX by_title ON todo (title);
    SELECT crsql_as_crr('todo');";

fn migrate(db: &Peer, schema: &str) {
    assert_eq!(db.rows(&call(schema)), ["migration complete"]);
    assert_eq!(plan(db, schema), Vec::<String>::new(), "a second run has nothing to do");
}

fn call(schema: &str) -> String {
    format!("SELECT crsql_automigrate('{}', 'SELECT crsql_finalize();')", schema.replace('\'', "''"))
}

fn plan(db: &Peer, schema: &str) -> Vec<String> {
    db.engine.plan_migration(&db.conn, schema).unwrap().to_string().lines().map(str::to_owned).collect()
}

fn refusal(db: &Peer, schema: &str) -> String {
    let before = state(db);
    let error = db.conn.query_row(&call(schema), [], |_| Ok(())).unwrap_err().to_string();
    assert_eq!(state(db), before, "an error changes nothing");
    error
}

/// The schema and all changes.
fn state(db: &Peer) -> (Vec<String>, Vec<String>) {
    (db.rows("SELECT type, name, sql FROM sqlite_master ORDER BY type, name"), db.changes())
}

/// The application's tables and their columns, and its indices.
fn structure(db: &Peer) -> Vec<String> {
    db.rows(
        "SELECT m.name, x.name, x.type, x.\"notnull\", x.dflt_value, x.pk FROM sqlite_master m, pragma_table_xinfo(m.name) x
         WHERE m.type = 'table' AND m.name NOT LIKE '%crsql%' AND m.name NOT LIKE 'sqlite%'
         UNION ALL SELECT m.name, x.name, m.tbl_name, l.\"unique\", l.partial, x.seqno
         FROM sqlite_master m, pragma_index_list(m.tbl_name) l, pragma_index_xinfo(m.name) x
         WHERE m.type = 'index' AND l.name = m.name AND l.origin = 'c' AND x.key AND m.name NOT LIKE '%crsql%' ORDER BY 1, 2",
    )
}

#[test]
fn an_empty_schema_in_an_empty_database_does_nothing() {
    let db = Peer::new("");
    let before = state(&db);
    migrate(&db, "");
    migrate(&db, "-- nothing\n/* at all */");
    assert_eq!(state(&db), before);
}

#[test]
fn a_schema_makes_what_is_not_there() {
    let db = Peer::new("");
    migrate(&db, TODO);
    db.run("INSERT INTO todo VALUES (1, 'milk', 0)");
    assert_eq!(db.changes(), ["010901 title milk 1 1 1 0", "010901 done 0 1 1 1 1"]);
    assert_eq!(db.rows("SELECT name FROM pragma_index_list('todo')"), ["by_title"]);
}

#[test]
fn an_empty_schema_drops_everything_and_leaves_no_orphans() {
    let db = Peer::new(TODO);
    db.run("CREATE TABLE plain (a); INSERT INTO todo VALUES (1, 'milk', 0); INSERT INTO plain VALUES (1)");
    assert_eq!(plan(&db, ""), ["! drop table \"todo\"", "! drop table \"plain\""]);
    migrate(&db, "");
    assert_eq!(db.changes(), Vec::<String>::new());
    assert_eq!(
        db.rows("SELECT name FROM sqlite_master WHERE name LIKE '%todo%' OR name = 'plain'"),
        Vec::<String>::new()
    );
    migrate(&db, TODO);
    db.run("INSERT INTO todo VALUES (2, 'tea', 0)");
    assert_eq!(
        db.rows("SELECT DISTINCT lower(hex(pk)), db_version FROM crsql_changes"),
        ["010902 2"],
        "versions go on"
    );
}

#[test]
fn a_column_is_added_and_rows_and_clocks_stay() {
    let db = Peer::new(TODO);
    db.run("INSERT INTO todo VALUES (1, 'milk', 0)");
    let before = db.changes();
    let schema = TODO.replace("done INTEGER DEFAULT 0", "done INTEGER DEFAULT 0, due TEXT DEFAULT 'soon', note");
    assert_eq!(plan(&db, &schema), ["  alter table \"todo\", add column due TEXT DEFAULT 'soon', add column note"]);
    migrate(&db, &schema);
    assert_eq!(db.rows("SELECT * FROM todo"), ["1 milk 0 soon ∅"]);
    assert_eq!(db.changes(), before);
    db.run("UPDATE todo SET note = 'x'");
    assert_eq!(db.changes().last().unwrap(), "010901 note x 1 2 1 0");
}

#[test]
fn a_column_is_dropped_also_one_that_an_index_used() {
    let db = Peer::new(TODO);
    db.run("INSERT INTO todo VALUES (1, 'milk', 1)");
    let schema =
        "CREATE TABLE todo (id INTEGER PRIMARY KEY NOT NULL, done INTEGER DEFAULT 0); SELECT crsql_as_crr('todo');";
    assert_eq!(plan(&db, schema), ["  drop index \"by_title\"", "! alter table \"todo\", drop column \"title\""]);
    migrate(&db, schema);
    assert_eq!(db.changes(), ["010901 done 1 1 1 1 1"]);
}

#[test]
fn a_renamed_column_is_another_one() {
    let db = Peer::new(TODO);
    db.run("INSERT INTO todo VALUES (1, 'milk', 1)");
    migrate(&db, &TODO.replace("title", "label"));
    assert_eq!(db.rows("SELECT label, done FROM todo"), ["∅ 1"]);
}

#[test]
fn many_columns_come_and_go_at_once() {
    let db = Peer::new("CREATE TABLE t (id PRIMARY KEY NOT NULL, a, b, c, d); SELECT crsql_as_crr('t');");
    db.run("INSERT INTO t VALUES (1, 2, 3, 4, 5)");
    migrate(&db, "CREATE TABLE t (e, id PRIMARY KEY NOT NULL, c, f, g); SELECT crsql_as_crr('t');");
    assert_eq!(db.rows("SELECT id, c, e, f, g FROM t"), ["1 4 ∅ ∅ ∅"]);
    assert_eq!(db.changes(), ["010901 c 4 1 1 1 2"]);
}

#[test]
fn an_index_is_added_removed_and_changed() {
    let db = Peer::new("CREATE TABLE t (id PRIMARY KEY NOT NULL, a, b);");
    let table = "CREATE TABLE t (id PRIMARY KEY NOT NULL, a, b);";
    for index in [
        "CREATE INDEX i ON t (a)",
        "CREATE INDEX i ON t (a, b)",
        "CREATE INDEX i ON t (b, a)",
        "CREATE INDEX i ON t (b, a DESC)",
        "CREATE INDEX i ON t (b)",
        "CREATE UNIQUE INDEX i ON t (b)",
        "CREATE UNIQUE INDEX i ON t (b COLLATE NOCASE)",
        "CREATE INDEX i ON t (b) WHERE a > 1",
        "CREATE INDEX i ON t (b + 1)",
        "",
    ] {
        let schema = format!("{table} {index}");
        migrate(&db, &schema);
        assert_eq!(structure(&db), structure(&Peer::new(&schema)), "{index}");
    }
}

#[test]
fn a_unique_index_on_a_replicated_table_is_refused() {
    let db = Peer::new(TODO);
    let error = refusal(&db, &TODO.replace("CREATE INDEX", "CREATE UNIQUE INDEX"));
    assert!(error.contains("unique ind"), "{error}");
}

#[test]
fn a_table_becomes_replicated_and_its_rows_are_recorded() {
    let db = Peer::new("CREATE TABLE t (id PRIMARY KEY NOT NULL, a); INSERT INTO t VALUES (1, 2)");
    migrate(&db, "CREATE TABLE t (id PRIMARY KEY NOT NULL, a); SELECT crsql_as_crr('main', 'T');");
    assert_eq!(db.changes(), ["010901 a 2 1 1 1 0"]);
}

#[test]
fn a_schema_on_one_line_loses_no_table() {
    let db = Peer::new(&TODO.replace('\n', " "));
    db.run("INSERT INTO todo VALUES (1, 'milk', 1)");
    migrate(&db, &TODO.replace('\n', " "));
    assert_eq!(db.rows("SELECT count(*) FROM todo"), ["1"]);
}

#[test]
fn if_not_exists_and_spelling_make_no_difference() {
    let db = Peer::new(TODO);
    let schema = "create table if not exists \"Todo\" (\n \"id\" integer primary key not null, -- the key\n [title] text, `done` integer default 0);
        CREATE INDEX IF NOT EXISTS by_title ON todo(title); SELECT crsql_as_crr('todo');";
    assert_eq!(plan(&db, schema), Vec::<String>::new());
}

#[test]
fn the_order_of_columns_makes_no_difference() {
    let db = Peer::new("CREATE TABLE t (id PRIMARY KEY NOT NULL, a, b);");
    assert_eq!(plan(&db, "CREATE TABLE t (b, a, id PRIMARY KEY NOT NULL);"), Vec::<String>::new());
}

#[test]
fn a_column_that_changes_its_definition_makes_the_table_anew_with_its_rows_and_clocks() {
    let schema =
        "CREATE TABLE t (id TEXT PRIMARY KEY NOT NULL, a, b TEXT); CREATE INDEX i ON t (a); SELECT crsql_as_crr('t');";
    for (from, to) in [
        ("a,", "a INTEGER,"),
        ("a,", "a DEFAULT 7,"),
        ("a,", "a NOT NULL DEFAULT 0,"),
        ("a,", "a COLLATE NOCASE,"),
        ("b TEXT)", "b TEXT) WITHOUT ROWID"),
        ("b TEXT)", "b TEXT, CHECK (b <> 'x'))"),
        ("a,", "a, d TEXT DEFAULT CURRENT_TIMESTAMP,"),
    ] {
        let db = Peer::new(schema);
        db.run("INSERT INTO t VALUES ('k', 1, 'x1'), ('l', 2, 'y'); UPDATE t SET b = 'z' WHERE id = 'l'; DELETE FROM t WHERE id = 'k'");
        let cells = "SELECT cid, val, col_version, cl FROM crsql_changes WHERE cid <> 'd' ORDER BY 1, 2";
        let before = db.rows(cells);
        let schema = schema.replace(from, to);
        assert_eq!(plan(&db, &schema), ["  rebuild table \"t\""], "{to}");
        migrate(&db, &schema);
        assert_eq!(db.rows(cells), before, "{to}");
        assert_eq!(structure(&db), structure(&Peer::new(&schema)), "{to}");
        db.run("UPDATE t SET a = 3 WHERE id = 'l'");
        assert_eq!(db.rows("SELECT a, b FROM t"), ["3 z"], "{to}");
    }
}

#[test]
fn generated_columns_come_go_and_change() {
    let db = Peer::new(
        "CREATE TABLE t (id PRIMARY KEY NOT NULL, a, b AS (a + 1)); SELECT crsql_as_crr('t'); INSERT INTO t (id, a) VALUES (1, 2);",
    );
    for schema in [
        "CREATE TABLE t (id PRIMARY KEY NOT NULL, a, b AS (a + 2) STORED, c AS (b + 1))",
        "CREATE TABLE t (id PRIMARY KEY NOT NULL, a, z DEFAULT 5)",
        "CREATE TABLE t (id PRIMARY KEY NOT NULL, a, z AS (a))",
    ] {
        let schema = format!("{schema}; SELECT crsql_as_crr('t');");
        migrate(&db, &schema);
        assert_eq!(structure(&db), structure(&Peer::new(&schema)), "{schema}");
        assert_eq!(db.rows("SELECT id, a FROM t"), ["1 2"]);
    }
}

#[test]
fn another_primary_key_is_refused() {
    let db = Peer::new(TODO);
    db.run("INSERT INTO todo VALUES (1, 'milk', 1)");
    for schema in [
        "CREATE TABLE todo (title TEXT PRIMARY KEY NOT NULL, id INTEGER, done)",
        "CREATE TABLE todo (id INTEGER NOT NULL, title TEXT NOT NULL, done, PRIMARY KEY (id, title))",
        "CREATE TABLE todo (id INTEGER, title TEXT)",
        "CREATE TABLE todo (id INTEGER NOT NULL, part TEXT NOT NULL, PRIMARY KEY (id, part))",
    ] {
        let error = refusal(&db, schema);
        assert!(error.contains("primary key of table \"todo\""), "{error}");
    }
}

#[test]
fn an_error_in_the_text_is_an_error() {
    let db = Peer::new(TODO);
    for schema in [
        "CREATE TABLE",
        "CREATE TABLE a (b); CREATE TABLE a (b);",
        "SELECT crsql_nothing()",
        "CREATE INDEX i ON nothing (a)",
    ] {
        refusal(&db, schema);
    }
}

#[test]
fn a_schema_creates_and_does_nothing_else() {
    let db = Peer::new(TODO);
    for schema in [
        "CREATE TABLE a (b); INSERT INTO a VALUES (1)",
        "ATTACH '/tmp/other.db' AS other",
        "PRAGMA journal_mode = OFF",
        "CREATE TABLE a (b); DROP TABLE a",
        "CREATE TEMP TABLE a (b)",
        "CREATE VIRTUAL TABLE a USING fts5 (b)",
        "CREATE TABLE a AS SELECT 1",
        "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT * FROM r) SELECT * FROM r",
        "SELECT random()",
        "SELECT crsql_as_crr((WITH RECURSIVE r AS (VALUES (1) UNION ALL SELECT * FROM r) SELECT 1 FROM r))",
        "SELECT crsql_as_crr('todo') FROM sqlite_master",
        "VACUUM",
    ] {
        let error = refusal(&db, schema);
        assert!(error.contains("a schema creates"), "{schema}: {error}");
    }
    assert!(refusal(&db, "SELECT crsql_as_crr('nothing')").contains("does not create it"));
}

#[test]
fn an_error_halfway_leaves_all_as_it_was_also_in_an_open_transaction() {
    let db = Peer::new(TODO);
    db.run("BEGIN; INSERT INTO todo VALUES (1, 'milk', NULL)");
    let error = refusal(
        &db,
        "CREATE TABLE first (a); CREATE TABLE todo (id INTEGER PRIMARY KEY NOT NULL, title TEXT, done INTEGER NOT NULL DEFAULT 0); SELECT crsql_as_crr('todo');",
    );
    assert!(error.contains("NOT NULL constraint failed"), "{error}");
    db.run("COMMIT");
    assert_eq!(db.rows("SELECT * FROM todo"), ["1 milk ∅"]);
}

#[test]
fn a_migration_within_a_transaction_is_rolled_back_with_it() {
    let db = Peer::new(TODO);
    db.run("INSERT INTO todo VALUES (1, 'milk', 1)");
    let before = state(&db);
    db.run("BEGIN; UPDATE todo SET title = 'tea'");
    migrate(
        &db,
        &format!(
            "CREATE TABLE more (id PRIMARY KEY NOT NULL, a); SELECT crsql_as_crr('more'); {}",
            TODO.replace("title", "label")
        ),
    );
    db.run("INSERT INTO more VALUES (1, 2); ROLLBACK");
    assert_eq!(state(&db), before);
    db.run("UPDATE todo SET title = 'tea'");
    assert_eq!(db.changes().last().unwrap(), "010901 title tea 2 2 1 0");
}

#[test]
fn views_and_triggers_that_the_schema_names_are_made_and_replaced() {
    let db = Peer::new(TODO);
    let one = format!(
        "{TODO} CREATE VIEW open AS SELECT * FROM todo WHERE NOT done; CREATE TABLE log (a); CREATE TRIGGER t AFTER INSERT ON todo BEGIN INSERT INTO log VALUES (1); END;"
    );
    migrate(&db, &one);
    db.run("INSERT INTO todo VALUES (1, 'milk', 0)");
    migrate(&db, &one.replace("NOT done", "done").replace("VALUES (1)", "VALUES (2)"));
    db.run("INSERT INTO todo VALUES (2, 'tea', 1)");
    assert_eq!(db.rows("SELECT title FROM open"), ["tea"]);
    assert_eq!(db.rows("SELECT a FROM log"), ["1", "2"]);
}

#[test]
fn views_and_triggers_that_the_schema_does_not_name_stay_unless_they_would_break() {
    let db = Peer::new(TODO);
    db.run("CREATE VIEW titles AS SELECT title FROM todo; CREATE TRIGGER t AFTER UPDATE OF title ON todo BEGIN SELECT OLD.title; END; INSERT INTO todo VALUES (1, 'milk', 0)");
    migrate(&db, &TODO.replace("done INTEGER DEFAULT 0", "done INTEGER DEFAULT 0, due"));
    migrate(&db, &TODO.replace("done INTEGER DEFAULT 0", "done TEXT DEFAULT 0"));
    assert_eq!(db.rows("SELECT * FROM titles"), ["milk"]);
    assert_eq!(db.rows("SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name = 't'"), ["1"]);
    let error = refusal(&db, &TODO.replace("title", "label"));
    assert!(error.contains("would not work any more"), "{error}");
    let error = refusal(&db, "");
    assert!(error.contains("view \"titles\""), "{error}");
}

#[test]
fn names_that_need_quotes_are_quoted() {
    let schema = |columns: &str| {
        format!(
            "CREATE TABLE \"a \"\"b\"\" 'c'\" (\"the id\" PRIMARY KEY NOT NULL, {columns}); CREATE INDEX \"in dex\" ON \"a \"\"b\"\" 'c'\" (\"select\"); SELECT crsql_as_crr('a \"b\" ''c''');"
        )
    };
    let db = Peer::new(&schema("\"select\", \"x,y\", \"z)\""));
    db.run("INSERT INTO \"a \"\"b\"\" 'c'\" VALUES (1, 2, 3, 4)");
    assert_eq!(plan(&db, &schema("\"select\", \"x,y\", \"z)\"")), Vec::<String>::new());
    migrate(&db, &schema("\"select\" TEXT, \"z)\", \"new one\" DEFAULT 'it''s, (so)'"));
    assert_eq!(db.rows("SELECT * FROM \"a \"\"b\"\" 'c'\""), ["1 2 4 it's, (so)"]);
    migrate(&db, &schema("\"select\" TEXT, \"even newer\" DEFAULT -1, \"z)\""));
    assert_eq!(db.rows("SELECT \"select\", \"z)\", \"even newer\" FROM \"a \"\"b\"\" 'c'\""), ["2 4 -1"]);
}

#[test]
fn an_ordered_table_is_ordered_once_and_again_when_it_changes() {
    let schema = "CREATE TABLE slide (id INTEGER PRIMARY KEY NOT NULL, deck, ord TEXT); SELECT crsql_as_crr('slide'); SELECT crsql_fract_as_ordered('slide', 'ord', 'deck');";
    let db = Peer::new("");
    migrate(&db, schema);
    db.run("INSERT INTO slide VALUES (1, 1, 1), (2, 1, 1)");
    let more = schema.replace("ord TEXT", "ord TEXT, note");
    assert_eq!(plan(&db, &more), ["  alter table \"slide\", add column note", "  order table slide, ord, deck"]);
    migrate(&db, &more);
    db.run("INSERT INTO slide_fractindex (id, deck, note, after_id) VALUES (3, 1, 'n', 1)");
    assert_eq!(db.rows("SELECT id FROM slide ORDER BY ord"), ["1", "3", "2"]);
    assert_eq!(plan(&db, &more.replace(", 'deck')", ")")), ["  order table slide, ord"]);
}

#[test]
fn tables_of_the_engine_and_virtual_tables_are_left_alone() {
    let db = Peer::new("CREATE VIRTUAL TABLE docs USING fts5 (text); INSERT INTO docs VALUES ('some words');");
    migrate(&db, TODO);
    assert_eq!(db.rows("SELECT text FROM docs WHERE docs MATCH 'words'"), ["some words"]);
}

#[test]
fn copies_that_migrate_at_different_times_end_equal() {
    let (a, b) = (Peer::new(TODO), Peer::new(TODO));
    a.run("INSERT INTO todo VALUES (1, 'milk', 0), (2, 'tea', 0)");
    b.merge(&a.changes_since(0));
    let schema = TODO.replace("done INTEGER DEFAULT 0", "done TEXT DEFAULT 0, due TEXT");
    migrate(&a, &schema);
    a.run("UPDATE todo SET due = 'now' WHERE id = 1");
    b.run("UPDATE todo SET title = 'beer' WHERE id = 2; DELETE FROM todo WHERE id = 1");
    migrate(&b, &schema);
    a.merge(&b.changes_since(0));
    b.merge(&a.changes_since(0));
    let rows = "SELECT id, title, done, due FROM todo ORDER BY id";
    assert_eq!(a.rows(rows), b.rows(rows));
    assert_eq!(a.rows(rows), ["2 beer 0 ∅"]);
}

/// A table with some of five columns, each in one of some forms.
fn schema() -> impl Strategy<Value = (String, Vec<usize>)> {
    const FORMS: [[&str; 3]; 5] = [
        ["a", "a INTEGER", "a DEFAULT 3"],
        ["b TEXT", "b TEXT NOT NULL DEFAULT 'x'", "b"],
        ["c", "c REAL", "c COLLATE NOCASE"],
        ["d", "d DEFAULT (1 + 1)", "d BLOB"],
        ["e", "e AS (id || 'e')", "e TEXT DEFAULT 'e'"],
    ];
    const INDICES: [&str; 3] = ["", "CREATE INDEX i ON t (id)", "CREATE INDEX i ON t (id DESC)"];
    let columns = prop::collection::vec((0..5usize, 0..3usize), 0..5);
    (columns, any::<bool>(), 0..3usize, any::<bool>()).prop_map(|(mut columns, is_crr, index, without_rowid)| {
        let mut seen = [false; 5];
        columns.retain(|(column, _)| !std::mem::replace(&mut seen[*column], true));
        let mut texts = vec!["id TEXT PRIMARY KEY NOT NULL".to_owned()];
        texts.extend(columns.iter().map(|(column, form)| FORMS[*column][*form].to_owned()));
        let mut text =
            format!("CREATE TABLE t ({}){};\n", texts.join(", "), if without_rowid { " WITHOUT ROWID" } else { "" });
        text += INDICES[index];
        text += ";\n";
        if is_crr {
            text += "SELECT crsql_as_crr('t');";
        }
        // Those that keep values through any change of form.
        let kept = columns.iter().filter(|(column, form)| *column < 4 && !(*column == 0 && *form == 1));
        (text, kept.map(|(column, _)| *column).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_schema_becomes_any_other_with_the_values_of_shared_columns((from, had) in schema(), (to, has) in schema()) {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        let db = Peer::new(&from);
        let shared: Vec<&str> = had.iter().filter(|column| has.contains(column)).map(|&column| NAMES[column]).collect();
        for key in ["k", "l"] {
            db.run(&format!("INSERT INTO t (id) VALUES ('{key}')"));
            for name in &shared {
                db.run(&format!("UPDATE t SET {name} = '{key}{name}' WHERE id = '{key}'"));
            }
        }
        let values = format!("SELECT id {} FROM t ORDER BY id", shared.iter().map(|name| format!(", {name}")).collect::<String>());
        let before = db.rows(&values);
        migrate(&db, &to);
        prop_assert_eq!(db.rows(&values), before);
        prop_assert_eq!(structure(&db), structure(&Peer::new(&to)));
        db.run("INSERT INTO t (id) VALUES ('m'); DELETE FROM t WHERE id = 'k'");
        db.changes();
        prop_assert_eq!(db.rows("PRAGMA integrity_check"), ["ok"]);
    }
}
