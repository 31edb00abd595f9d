//! SQL that asks for too much, or for what is not its own.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Victim;

/// Sends each of the statements. All of them are refused soon, and leave nothing.
async fn refused(victim: &Victim, statements: &[String]) {
    for sql in statements {
        let begun = Instant::now();
        let answer = victim.sql("a", sql).await;
        let shown: String = sql.chars().take(200).collect();
        assert_eq!((answer.status, answer.code()), (400, "query_refused"), "{shown}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{shown} took {:?}", begun.elapsed());
        victim.serves_others().await;
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

const ENDLESS: &str = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)";

#[tokio::test]
async fn a_statement_without_end_is_broken_off() {
    let victim = Victim::start(&["--limit-sql-time", "200ms"]).await;
    let thousand = format!("(VALUES {}(0))", "(0), ".repeat(400));
    let statements = [
        format!("{ENDLESS} SELECT count(*) FROM n"),
        format!("{ENDLESS} SELECT x FROM n WHERE x < 0"),
        format!("{ENDLESS} SELECT x FROM n ORDER BY randomblob(100)"),
        format!("SELECT 1 WHERE EXISTS ({ENDLESS} SELECT 1 FROM n WHERE x < 0)"),
        format!("INSERT INTO todo (id) {ENDLESS} SELECT 'n' || x FROM n"),
        format!("UPDATE todo SET title = ({ENDLESS} SELECT max(x) FROM n)"),
        format!("DELETE FROM todo WHERE title IN ({ENDLESS} SELECT x FROM n)"),
        format!("INSERT INTO todo (id) VALUES ('x') RETURNING ({ENDLESS} SELECT max(x) FROM n)"),
        format!("SELECT count(*) FROM {thousand} a, {thousand} b, {thousand} c, {thousand} d"),
        format!(
            "SELECT DISTINCT a.key, b.key FROM json_each('{0}') a, json_each('{0}') b, json_each('{0}') c, json_each('{0}') d ORDER BY 2",
            json!(vec![0; 400])
        ),
    ];
    refused(&victim, &statements).await;
    victim.end().await;
}

#[tokio::test]
async fn a_value_that_is_too_large_is_never_made() {
    let victim = Victim::start(&["--limit-sql-time", "1s"]).await;
    let rows = "(VALUES (1), (2), (3), (4), (5), (6), (7), (8))";
    let many = format!("{rows} a, {rows} b, {rows} c");
    let statements = [
        "SELECT randomblob(1000000000)".into(),
        "SELECT length(zeroblob(1000000000))".into(),
        "SELECT length(zeroblob(9223372036854775807))".into(),
        "SELECT length(hex(zeroblob(500000000)))".into(),
        "SELECT length(printf('%.*c', 1000000000, 'x'))".into(),
        "SELECT length(printf('%1000000000d', 1))".into(),
        "SELECT length(format('%.1000000000f', 1.5))".into(),
        "SELECT length(replace(hex(zeroblob(5000)), '0', hex(zeroblob(5000))))".into(),
        "SELECT length(quote(zeroblob(16000000)))".into(),
        format!("SELECT length(group_concat(hex(zeroblob(100000)), ',')) FROM {many}"),
        format!("SELECT length(json_group_array(hex(zeroblob(100000)))) FROM {many}"),
        format!("{ENDLESS} SELECT length(group_concat(x)) FROM n"),
        "WITH RECURSIVE n (x) AS (SELECT 'x' UNION ALL SELECT x || x FROM n) SELECT length(x) FROM n".into(),
        "INSERT INTO todo (id, title) VALUES ('x', zeroblob(1000000000))".into(),
        "UPDATE todo SET title = randomblob(900000000)".into(),
    ];
    refused(&victim, &statements).await;
    let peak = victim.memory("VmHWM");
    assert!(peak < 300 << 20, "{peak}");
    victim.end().await;
}

#[tokio::test]
async fn a_result_that_is_too_large_is_not_gathered() {
    let victim = Victim::start(&[]).await;
    let statements = [format!("{ENDLESS} SELECT x FROM n"), format!("{ENDLESS} SELECT zeroblob(1000000) FROM n")];
    refused(&victim, &statements).await;
    let peak = victim.memory("VmHWM");
    assert!(peak < 300 << 20, "{peak}");
    victim.end().await;
}

#[tokio::test]
async fn what_takes_more_memory_than_there_is_fails_alone() {
    let victim = Victim::start(&["--limit-memory", "200MiB"]).await;
    let many = format!("SELECT {}", vec!["randomblob(8000000)"; 100].join(", "));
    let written = format!(
        "INSERT INTO todo (id, title) SELECT 'x', length(concat({}))",
        vec!["hex(randomblob(4000000))"; 60].join(", ")
    );
    for sql in [many, written] {
        let answer = victim.sql("a", &sql).await;
        let codes = [(503, "unavailable"), (400, "query_refused")];
        assert!(codes.contains(&(answer.status, answer.code())), "{answer:?}");
        victim.serves_others().await;
    }
    let answer = victim.sql("a", &format!("SELECT max({})", vec!["randomblob(8000000)"; 100].join(", "))).await;
    assert_eq!((answer.status, answer.code()), (503, "unavailable"));
    let peak = victim.memory("VmHWM");
    assert!(peak < 400 << 20, "{peak}");
    victim.end().await;
}

#[tokio::test]
async fn a_pattern_is_matched_in_no_time_or_not_at_all() {
    let victim = Victim::start(&["--limit-sql-time", "1s"]).await;
    let text = "printf('%.*c', 100000, 'a')";
    for (operator, any) in [("LIKE", "%"), ("GLOB", "*")] {
        let begun = Instant::now();
        let pattern = format!("{any}a").repeat(300);
        let answer = victim.sql("a", &format!("SELECT {text} {operator} '{pattern}b'")).await;
        assert_eq!(answer.ok()["results"][0]["rows"], json!([[0]]));
        let long = format!("SELECT {text} {operator} '{any}' || printf('%.*c', 40000, 'a') || 'b'");
        assert_eq!(victim.sql("a", &long).await.code(), "query_refused");
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
    victim.end().await;
}

#[tokio::test]
async fn a_statement_that_is_too_deep_or_too_wide_is_refused_before_it_runs() {
    let victim = Victim::start(&[]).await;
    let nested =
        |open: &str, inner: &str, close: &str, n: usize| format!("SELECT {}{inner}{}", open.repeat(n), close.repeat(n));
    let statements = [
        nested("(", "1", ")", 200_000),
        nested("-", "1", "", 200_000),
        nested("NOT ", "1", "", 100_000),
        nested("1 + ", "1", "", 100_000),
        nested("1 + (", "1", ")", 100_000),
        nested("CASE WHEN 1 THEN ", "1", " END", 50_000),
        nested("abs(", "1", ")", 100_000),
        nested("(SELECT ", "1", ")", 20_000),
        nested("(VALUES (", "1", "))", 20_000),
        format!("SELECT * FROM {}todo{}", "(SELECT * FROM ".repeat(5000), ")".repeat(5000)),
        vec!["SELECT 1"; 2000].join(" UNION ALL "),
        format!("SELECT {}", vec!["1"; 40_000].join(", ")),
        format!("SELECT max({})", vec!["1"; 40_000].join(", ")),
        format!("SELECT * FROM {}", vec!["todo"; 100].join(", ")),
        "SELECT ?99999999999".into(),
        "SELECT ?2147483647".into(),
        format!("SELECT 1 -- {}", "x".repeat(5 << 20)),
        nested("json('", "[", "')", 1),
        format!("SELECT json('{}')", "[".repeat(100_000)),
        format!("SELECT json_extract('{}', '$[0]')", "[".repeat(100_000)),
    ];
    refused(&victim, &statements).await;
    let peak = victim.memory("VmHWM");
    assert!(peak < 400 << 20, "{peak}");
    victim.end().await;
}

#[tokio::test]
async fn no_statement_reaches_beyond_the_rows_of_its_database() {
    let victim = Victim::start(&[]).await;
    let file = victim.folder.path().join("other.db");
    let file = file.to_str().unwrap();
    let statements = [
        format!("ATTACH '{file}' AS other"),
        format!("ATTACH 'file:{file}?mode=rwc' AS other"),
        "DETACH main".into(),
        format!("VACUUM INTO '{file}.copy'"),
        "VACUUM".into(),
    ];
    refused(&victim, &statements).await;
    refused(
        &victim,
        &owned(&[
            "SELECT load_extension('/lib/x86_64-linux-gnu/libm.so.6')",
            "SELECT readfile('/etc/passwd')",
            "SELECT writefile('/tmp/x', 'x')",
            "SELECT edit('x')",
            "SELECT file FROM pragma_database_list",
            "SELECT * FROM pragma_module_list",
            "SELECT * FROM pragma_optimize(-1)",
            "PRAGMA database_list",
            "PRAGMA writable_schema = ON",
            "PRAGMA journal_mode = OFF",
            "PRAGMA temp_store_directory = '/tmp'",
            "PRAGMA trusted_schema = ON",
            "PRAGMA hard_heap_limit = 1",
            "PRAGMA cache_size = 1000000000",
            "PRAGMA user_version = 7",
            "CREATE TABLE t (a)",
            "CREATE TEMP TABLE todo (id)",
            "CREATE TEMP TRIGGER t AFTER INSERT ON todo BEGIN SELECT 1; END",
            "CREATE TEMP VIEW todo AS SELECT 1",
            "CREATE VIRTUAL TABLE t USING fts5(a, content='todo')",
            "CREATE VIRTUAL TABLE t USING fts5vocab(x, 'row')",
            "CREATE VIRTUAL TABLE t USING dbstat",
            "CREATE VIRTUAL TABLE t USING sqlite_dbpage",
            "ALTER TABLE todo RENAME TO x",
            "DROP TABLE todo",
            "REINDEX",
            "ANALYZE",
            "BEGIN",
            "COMMIT",
            "ROLLBACK",
            "SAVEPOINT x",
            "INSERT INTO sqlite_schema VALUES ('table', 't', 't', 2, 'CREATE TABLE t (a)')",
            "UPDATE sqlite_master SET sql = 'x'",
            "DELETE FROM sqlite_temp_schema",
            "INSERT INTO dbstat (name) VALUES ('x')",
            "UPDATE sqlite_dbpage SET data = zeroblob(4096)",
            "INSERT INTO json_each (value) VALUES (1)",
            "DELETE FROM json_tree('[1]')",
            "DELETE FROM pragma_table_info('todo')",
            "DELETE FROM todo__crsql_clock",
            "UPDATE crsql_master SET value = 9",
            "DELETE FROM crsql_tracked_peers",
            "INSERT INTO crsql_site_id VALUES (x'00', 1)",
            "SELECT crsql_as_crr('todo')",
            "SELECT crsql_begin_alter('todo')",
            "SELECT crsql_next_db_version(9007199254740991)",
            "SELECT crsql_set_ts('1')",
            "SELECT crsql_config_set('merge-equal-values', 0)",
        ]),
    )
    .await;
    // The folder is as it was.
    assert!(!victim.folder.path().join("other.db.copy").exists());
    victim.end().await;
}

#[tokio::test]
async fn no_statement_names_the_machine_code_that_shall_run() {
    let victim = Victim::start(&[]).await;
    let address = json!({ "$blob": "4141414141414141" });
    for (sql, params) in [
        ("SELECT fts3_tokenizer(?1, ?2)", json!(["simple", address])),
        ("SELECT hex(fts3_tokenizer(?1))", json!(["simple"])),
        // With it, writes would not be tracked.
        ("SELECT crsql_internal_sync_bit(1)", json!([])),
        ("SELECT \"FTS3_TOKENIZER\"(?1, ?2) FROM todo", json!(["simple", address])),
        ("INSERT INTO todo (id, title) VALUES ('x', fts3_tokenizer(?1, ?2))", json!(["simple", address])),
        ("SELECT * FROM fts3tokenize('simple', ?1)", json!(["some words"])),
        ("SELECT load_extension(?1, ?2)", json!(["/lib/x86_64-linux-gnu/libm.so.6", "sin"])),
        ("SELECT fts5(?1)", json!([address])),
    ] {
        let answer = victim.post("a/sql", &json!({ "sql": sql, "params": params })).await;
        assert!(answer.status == 400 && answer.code() == "query_refused" || sql.contains("fts5"), "{sql}: {answer:?}");
        victim.serves_others().await;
    }
    victim.end().await;
}

#[tokio::test]
async fn parameters_that_do_not_fit_the_statement_are_refused() {
    let victim = Victim::start(&[]).await;
    for (sql, params, code) in [
        ("SELECT ?1", json!([]), "query_refused"),
        ("SELECT ?1", json!([1, 2]), "query_refused"),
        ("SELECT ?5", json!([1]), "query_refused"),
        ("SELECT :a, @b, $c", json!([1]), "query_refused"),
        ("SELECT 1", json!(vec![0; 40_000]), "query_refused"),
        ("SELECT ?1", json!([true]), "invalid_request"),
        ("SELECT ?1", json!([[1]]), "invalid_request"),
        ("SELECT ?1", json!([{}]), "invalid_request"),
        ("SELECT ?1", json!([{ "$int": "1e3" }]), "invalid_request"),
        ("SELECT ?1", json!([{ "$int": "9223372036854775808" }]), "invalid_request"),
        ("SELECT ?1", json!([{ "$blob": "0" }]), "invalid_request"),
        ("SELECT ?1", json!([{ "$blob": "zz" }]), "invalid_request"),
        ("SELECT ?1", json!([{ "$real": "nan" }]), "invalid_request"),
        ("SELECT ?1", json!([{ "$blob": "00", "$int": "1" }]), "invalid_request"),
        ("SELECT ?1", json!({ "a": 1 }), "invalid_request"),
        ("SELECT ?1", json!("x"), "invalid_request"),
    ] {
        let answer = victim.post("a/sql", &json!({ "sql": sql, "params": params })).await;
        assert_eq!((answer.status, answer.code()), (400, code), "{sql} {params:.80}");
    }
    for body in [
        json!(vec![json!({ "sql": "SELECT 1" }); 1001]),
        json!({ "sql": "SELECT 1", "unknown": 1 }),
        json!({ "sql": ["SELECT 1"] }),
        json!([[{ "sql": "SELECT 1" }]]),
        json!(null),
    ] {
        assert_eq!(victim.post("a/sql", &body).await.code(), "invalid_request", "{body:.80}");
    }
    victim.end().await;
}

#[tokio::test]
async fn what_is_written_to_the_changes_by_sql_makes_no_database_unusable() {
    let victim = Victim::start(&[]).await;
    let change = |version: Value, site: Value| {
        let sql = "INSERT INTO crsql_changes VALUES ('todo', x'010b046b657074', 'title', 'forged', ?1, ?1, ?2, ?1, 0)";
        json!({ "sql": sql, "params": [version, site] })
    };
    for version in [json!({ "$int": "9223372036854775807" }), json!(-1), json!(9007199254740991_i64), json!(null)] {
        for site in
            [json!({ "$blob": "bb000000000000000000000000000001" }), json!({ "$blob": "00" }), json!("x"), json!(null)]
        {
            let answer = victim.post("a/sql", &change(version.clone(), site)).await;
            assert!(answer.status == 200 || answer.code() == "query_refused", "{answer:?}");
        }
    }
    // Whatever was taken, the row can be written and the database goes on.
    victim.sql("a", "DELETE FROM todo").await.ok();
    victim.sql("a", "INSERT INTO todo (id) VALUES ('kept')").await.ok();
    victim.end().await;
}
