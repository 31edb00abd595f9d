use std::time::Duration;

use crsql_sync::http::{Access, Operation, Verdict};
use crsql_sync::sync::{Page, Probe, Replica, Schema, Sql, SqlLimits};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{PEER, Server, TODO};

/// A copy in this process.
fn replica() -> Replica {
    let mut replica = Replica::open(Connection::open_in_memory().unwrap()).unwrap();
    replica.create_database_if_not_exists(&Schema::parse(TODO).unwrap()).unwrap();
    replica
}

fn sql(replica: &mut Replica, sql: &str) -> Value {
    let limits = SqlLimits { rows: 9999, bytes: 1 << 20, time: Duration::from_secs(9), read_only: false, tables: None };
    json!(replica.sql(&[Sql { sql: sql.into(), params: vec![] }], limits).unwrap()[0])["rows"].clone()
}

async fn round(server: &Server, probe: &Probe) -> Probe {
    serde_json::from_value(server.post("/a/verify", json!(probe)).await.ok()).unwrap()
}

/// Compares and repairs until there is nothing left to say; whether the copies are equal, and how many rounds it took.
async fn verify(server: &Server, ours: &mut Replica) -> (bool, usize) {
    let mut probe = ours.verify_begin().unwrap();
    for rounds in 1..20 {
        let answer = round(server, &probe).await;
        if let Some(repair) = &answer.repair {
            ours.apply_changes(repair).unwrap();
        }
        let verified = ours.verify(&answer, Page::default()).unwrap();
        if verified.equal || verified.reply.is_empty() {
            return (verified.equal, rounds);
        }
        probe = verified.reply;
    }
    panic!("it does not end");
}

#[tokio::test]
async fn two_copies_repair_each_other_over_http() {
    let server = Server::start().await;
    server.create("a").await;
    let mut ours = replica();
    assert_eq!(verify(&server, &mut ours).await, (true, 1), "two empty copies are equal");
    for n in 0..100 {
        server.add("a", &format!("theirs {n}")).await;
        sql(&mut ours, &format!("INSERT INTO todo (id) VALUES ('ours {n}')"));
    }
    let (equal, rounds) = verify(&server, &mut ours).await;
    assert!(equal && rounds > 1);
    assert_eq!(verify(&server, &mut ours).await, (true, 1));
    let rows = "SELECT * FROM todo ORDER BY id";
    assert_eq!(sql(&mut ours, rows), server.sql("a", rows).await["rows"]);
    assert_eq!(server.ids("a").await.len(), 200);
}

#[tokio::test]
async fn a_probe_that_is_wrong_changes_nothing_not_even_by_its_repair() {
    let server = Server::start().await;
    let site = server.create("a").await["site"].clone();
    let good = json!({
        "protocol": 1, "from": PEER, "root": [0, "0".repeat(32)],
        "repair": { "protocol": 1, "from": PEER, "changes": [["todo", "010b0178", "title", "x", 1, 1, PEER, 1, 0]] }
    });
    let with = |name: &str, value: Value| {
        let mut probe = good.clone();
        probe[name] = value;
        probe
    };
    let repair = |name: &str, value: Value| {
        let mut probe = good.clone();
        probe["repair"][name] = value;
        probe
    };
    for (probe, code) in [
        (json!({}), "invalid_request"),
        (with("from", site), "invalid_request"),
        (with("protocol", json!(2)), "invalid_request"),
        (with("schema", json!("00")), "schema_mismatch"),
        (with("nodes", json!([["b", [0, "0".repeat(32)]], ["a", [0, "0".repeat(32)]]])), "invalid_request"),
        (repair("from", json!("bb000000000000000000000000000001")), "invalid_request"),
        (repair("covers", json!({ PEER: [[1, 1]] })), "invalid_request"),
        (repair("changes", json!([["nothing", "010b0178", "title", "x", 1, 1, PEER, 1, 0]])), "invalid_batch"),
    ] {
        assert_eq!(server.post("/a/verify", probe.clone()).await.code(), code, "{probe}");
        assert_eq!(server.ids("a").await, Vec::<String>::new(), "{probe}");
    }
    server.post("/a/verify", good).await.ok();
    assert_eq!(server.ids("a").await, ["x"]);
}

#[tokio::test]
async fn who_may_only_read_can_compare_and_be_repaired() {
    let hook = |access: Access| async move {
        Ok(if access.operation == Operation::Verify { Verdict::READ_ONLY } else { Verdict::ALLOW })
    };
    let server = Server::with(|builder| builder.sql(true).authorize(hook)).await;
    server.create("a").await;
    server.add("a", "milk").await;
    let mut ours = replica();
    assert!(verify(&server, &mut ours).await.0);
    sql(&mut ours, "INSERT INTO todo (id) VALUES ('bread')");
    let begin = ours.verify_begin().unwrap();
    let answer = round(&server, &begin).await;
    let repair = ours.verify(&answer, Page::default()).unwrap().reply;
    assert!(repair.repair.is_some());
    assert_eq!(server.post("/a/verify", json!(repair)).await.code(), "forbidden");
    assert_eq!(server.ids("a").await, ["milk"]);
}
