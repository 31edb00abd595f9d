//! Schemas that try to do something, now or later.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Victim;
use crate::support::{TODO, batch};

const ENDLESS: &str = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)";

fn files(victim: &Victim) -> Vec<String> {
    let entries = fs::read_dir(victim.folder.path()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_schema_that_does_more_than_define_is_refused_and_leaves_no_file() {
    let victim = Victim::start(&[]).await;
    let before = files(&victim);
    let outside = victim.folder.path().join("outside.db");
    let outside = outside.to_str().unwrap();
    let mut texts: Vec<String> = [
        "PRAGMA writable_schema = ON",
        "PRAGMA journal_mode = OFF",
        "SELECT load_extension('x')",
        "SELECT fts3_tokenizer('simple', x'4141414141414141')",
        "SELECT crsql_as_crr('todo') FROM pragma_database_list",
        "INSERT INTO todo (id) VALUES ('x')",
        "INSERT INTO sqlite_schema VALUES ('table', 't', 't', 2, 'CREATE TABLE t (a)')",
        "DROP TABLE todo",
        "ALTER TABLE todo ADD COLUMN x",
        "CREATE TABLE t AS SELECT * FROM todo",
        "CREATE TEMP TABLE t (a)",
        "CREATE TABLE temp.t (a)",
        "CREATE TEMP TRIGGER t AFTER INSERT ON todo BEGIN SELECT 1; END",
        "CREATE VIRTUAL TABLE t USING fts5(a, content='crsql_master')",
        "CREATE VIRTUAL TABLE t USING fts3(a, tokenize=simple)",
        "CREATE VIRTUAL TABLE t USING rtree(id, a, b)",
        "CREATE VIRTUAL TABLE t USING dbstat",
        "CREATE VIRTUAL TABLE t USING sqlite_dbpage",
        "CREATE VIRTUAL TABLE t USING crsql_changes",
        "CREATE TABLE sqlite_t (a)",
        "CREATE TABLE crsql_t (a)",
        "CREATE TABLE \"CRSQL_t\" (a)",
        "CREATE TABLE todo__crsql_clock (a)",
        "CREATE VIEW crsql_changes AS SELECT 1",
        "CREATE INDEX i ON crsql_master (key)",
        "CREATE TRIGGER t AFTER INSERT ON crsql_master BEGIN SELECT 1; END",
        "CREATE TRIGGER t AFTER INSERT ON todo BEGIN UPDATE crsql_master SET value = 0; END",
        "CREATE TRIGGER t AFTER INSERT ON todo BEGIN DELETE FROM todo__crsql_rows; END",
        "CREATE TRIGGER t AFTER UPDATE ON todo BEGIN SELECT load_extension('x'); END",
        "CREATE TRIGGER t AFTER DELETE ON todo BEGIN SELECT fts3_tokenizer('simple', old.title); END",
        "CREATE TABLE t (a DEFAULT (load_extension('x')))",
        "CREATE TABLE t (a CHECK (load_extension(a)))",
        "CREATE TABLE t (a, b AS (load_extension(a)) STORED)",
        "CREATE TABLE t (a); CREATE INDEX i ON t (load_extension(a))",
        "CREATE TABLE t (a); CREATE INDEX i ON t (a) WHERE fts3_tokenizer('simple', a)",
        "VACUUM",
        "ANALYZE",
        "REINDEX",
        "BEGIN",
        "EXPLAIN CREATE TABLE t (a)",
    ]
    .map(|text| format!("{TODO} {text};"))
    .into();
    texts.push(format!("{TODO} ATTACH '{outside}' AS outside;"));
    texts.push(format!("{TODO} VACUUM INTO '{outside}';"));
    for text in texts {
        let answer = victim.put("b", &text).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_schema"), "{text}");
        assert_eq!(files(&victim), before, "{text}");
        let migration = victim.post("a/migrate", &json!({ "schema": text })).await;
        assert_eq!(migration.code(), "invalid_schema", "{text}");
    }
    victim.end().await;
}

#[tokio::test]
async fn a_schema_that_takes_for_ever_to_try_out_holds_nobody_up() {
    let victim = Victim::start(&[]).await;
    let thousand = format!("(VALUES {}(0))", "(0), ".repeat(999));
    let endless =
        format!("{TODO} SELECT crsql_as_crr('todo') FROM {thousand}, {thousand} b, {thousand} c, {thousand} d;");
    let begun = Instant::now();
    // More than there are threads for what does not wait.
    let threads = std::thread::available_parallelism().unwrap().get();
    let attacks = (0..=threads).map(|n| {
        let request = victim.request(reqwest::Method::PUT, &format!("b{n}")).json(&json!({ "schema": endless }));
        tokio::spawn(crate::support::send(request))
    });
    let attacks: Vec<_> = attacks.collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    victim.serves_others().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "others waited {:?}", begun.elapsed());
    for attack in attacks {
        let answer = attack.await.unwrap();
        assert_eq!((answer.status, answer.code()), (400, "invalid_schema"));
        assert!(answer.body["detail"].as_str().unwrap().contains("longer than"), "{answer:?}");
    }
    victim.end().await;
}

#[tokio::test]
async fn a_schema_of_very_many_parts_is_refused_or_soon_made() {
    let victim = Victim::start(&[]).await;
    let texts = [
        (0..4000).map(|n| format!("CREATE TABLE t{n}(a);")).collect::<String>(),
        format!("CREATE TABLE t ({});", (0..3000).map(|n| format!("c{n}")).collect::<Vec<_>>().join(", ")),
        format!("CREATE TABLE t (a CHECK ({}1{}));", "(".repeat(100_000), ")".repeat(100_000)),
        format!("CREATE TABLE t (a CHECK ({}1));", "NOT ".repeat(50_000)),
        format!("CREATE TABLE t (a); CREATE VIEW v AS SELECT {} FROM t;", vec!["a"; 5000].join(", ")),
        format!("CREATE TABLE t (a); CREATE TRIGGER g AFTER INSERT ON t BEGIN {} END;", "SELECT 1;".repeat(20_000)),
        format!("{TODO} {}", "SELECT crsql_as_crr('todo');".repeat(5000)),
        "CREATE TABLE t (a".repeat(10_000),
        format!("CREATE TABLE t (a); -- {}", "x".repeat(300 << 10)),
    ];
    for (n, text) in texts.iter().enumerate() {
        let begun = Instant::now();
        let answer = victim.put(&format!("b{n}"), text).await;
        assert!(answer.status == 201 || answer.code() == "invalid_schema", "{text:.50} {answer:?}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{text:.50} took {:?}", begun.elapsed());
        victim.serves_others().await;
    }
    victim.end().await;
}

/// Views of views, of which each reads the one below twice.
fn doubling(levels: usize) -> String {
    let views = (1..=levels).map(|n| format!("CREATE VIEW v{n} AS SELECT 1 AS x FROM v{0} a, v{0} b;", n - 1));
    format!("CREATE VIEW v0 AS SELECT id AS x FROM todo; {}", views.collect::<String>())
}

#[tokio::test]
async fn views_and_triggers_without_end_are_broken_off_whoever_sets_them_going() {
    let victim = Victim::start(&["--limit-sql-time", "200ms", "--limit-apply-time", "500ms"]).await;
    let doubling = doubling(40);
    let schema = format!(
        "{TODO} CREATE VIEW endless AS {ENDLESS} SELECT x FROM n; {doubling}
         CREATE TRIGGER trap AFTER INSERT ON todo BEGIN SELECT count(*) FROM endless; END;
         CREATE TRIGGER again AFTER UPDATE ON todo BEGIN UPDATE todo SET done = done + 1; END;"
    );
    victim.put("b", &schema).await.ok();
    for sql in [
        "SELECT count(*) FROM endless",
        "SELECT count(*) FROM v40",
        "PRAGMA table_info(v40)",
        "INSERT INTO todo (id) VALUES ('x')",
        "INSERT INTO todo (id) SELECT x FROM endless",
    ] {
        let begun = Instant::now();
        let answer = victim.sql("b", sql).await;
        assert!(
            answer.status == 200 && sql.starts_with("PRAGMA") || answer.code() == "query_refused",
            "{sql}: {answer:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(5), "{sql} took {:?}", begun.elapsed());
        victim.serves_others().await;
    }
    // Merges fire triggers as well.
    for _ in 0..2 {
        let begun = Instant::now();
        let merge = tokio::spawn(crate::support::send(
            victim.request(reqwest::Method::POST, "b/changes").json(&batch(1, "milk")),
        ));
        victim.serves_others().await;
        let answer = merge.await.unwrap();
        assert_eq!((answer.status, answer.code()), (503, "unavailable"), "{answer:?}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
    assert_eq!(victim.sql("b", "SELECT id FROM todo").await.ok()["results"][0]["rows"], json!([]));
    let peak = victim.memory("VmHWM");
    assert!(peak < 400 << 20, "{peak}");
    super::check(&victim.folder.path().join("b.db"));
    victim.end().await;
}

#[tokio::test]
async fn what_a_schema_computes_by_itself_is_bounded_as_its_callers_are() {
    let victim = Victim::start(&["--limit-sql-time", "500ms", "--limit-apply-time", "2s"]).await;
    let schema = "
        CREATE TABLE large (id TEXT PRIMARY KEY NOT NULL, a DEFAULT (hex(zeroblob(400000000))));
        CREATE TABLE made (id TEXT PRIMARY KEY NOT NULL, a TEXT, b AS (printf('%.*c', 900000000, a)));
        CREATE TABLE checked (id TEXT PRIMARY KEY NOT NULL, a CHECK (length(randomblob(900000000)) > 0));
        CREATE TABLE indexed (id TEXT PRIMARY KEY NOT NULL, a TEXT);
        CREATE INDEX by_much ON indexed (a || printf('%.*c', 900000000, 'x'));
        SELECT crsql_as_crr('indexed');";
    victim.put("b", schema).await.ok();
    for sql in [
        "INSERT INTO large (id) VALUES ('x')",
        "INSERT INTO made (id, a) VALUES ('x', 'y') RETURNING b",
        "INSERT INTO checked VALUES ('x', 1)",
        "INSERT INTO indexed VALUES ('x', 'y')",
    ] {
        let answer = victim.sql("b", sql).await;
        assert_eq!((answer.status, answer.code()), (400, "query_refused"), "{sql}");
        victim.serves_others().await;
    }
    let peak = victim.memory("VmHWM");
    assert!(peak < 300 << 20, "{peak}");
    super::check(&victim.folder.path().join("b.db"));
    victim.end().await;
}
