//! Callers that may speak for some sites only.

use crsql_sync::http::{Bounds, Verdict};
use reqwest::Method;
use serde_json::{Value, json};

use super::server;
use crate::support::{PEER, Server, batch, send};

const OTHER: &str = "bb000000000000000000000000000001";

/// A server whose callers are all bound to `PEER`, with a database.
async fn bound() -> Server {
    let verdict = Verdict::from(Bounds::default().sites([PEER.parse().unwrap()]));
    let (server, _) = server(move |_| Ok(verdict.clone())).await;
    server.create("a").await;
    server
}

async fn clock(server: &Server) -> Value {
    server.get("/a/status?clock=true").await.ok()["clock"].clone()
}

#[tokio::test]
async fn nobody_writes_in_the_name_of_another_site() {
    let server = bound().await;
    let mut by_other = batch(1, "milk");
    by_other["from"] = json!(OTHER);
    by_other["covers"] = json!({ OTHER: [[1, 1]] });
    assert_eq!(server.post("/a/changes", by_other.clone()).await.code(), "forbidden");
    let mut of_other = batch(1, "milk");
    of_other["changes"][1][6] = json!(OTHER);
    assert_eq!(server.post("/a/changes", of_other).await.code(), "forbidden");
    let claim = server.request(Method::GET, "/a/changes").header("crsql-site", OTHER);
    assert_eq!(send(claim).await.code(), "forbidden");
    assert_eq!(server.get(&format!("/a/events?site={OTHER}")).await.code(), "forbidden");
    let unlike = server.request(Method::POST, "/a/changes").header("crsql-site", PEER);
    assert_eq!(send(unlike.json(&by_other)).await.code(), "invalid_batch");
    assert_eq!(server.ids("a").await, Vec::<String>::new());
    server.post("/a/changes", batch(1, "milk")).await.ok();
    assert_eq!(server.ids("a").await, ["milk"]);
}

#[tokio::test]
async fn nobody_claims_what_others_wrote() {
    let server = bound().await;
    let ours = server.status("a").await["site"].as_str().unwrap().to_owned();
    let before = clock(&server).await;
    for claimed in [OTHER, ours.as_str()] {
        let mut covering = batch(1, "milk");
        covering["covers"][claimed] = json!([[1, 1000]]);
        assert_eq!(server.post("/a/changes", covering).await.code(), "forbidden", "{claimed}");
        let mut in_pieces = batch(1, "milk");
        in_pieces["partial"] = json!([{ "site": claimed, "version": 7, "seqs": [[0, 0]], "last_seq": 3 }]);
        assert_eq!(server.post("/a/changes", in_pieces).await.code(), "forbidden", "{claimed}");
    }
    assert_eq!((clock(&server).await, server.status("a").await["gaps"].clone()), (before, json!({})));
    assert_eq!(server.ids("a").await, Vec::<String>::new());
    server.post("/a/changes", batch(1, "milk")).await.ok();
    assert_eq!(clock(&server).await[PEER], json!([[1, 1]]));
}

#[tokio::test]
async fn a_caller_may_speak_for_several_sites() {
    let sites = [PEER, OTHER].map(|site| site.parse().unwrap());
    let verdict = Verdict::from(Bounds::default().sites(sites));
    let (server, _) = server(move |_| Ok(verdict.clone())).await;
    server.create("a").await;
    let mut of_both = batch(1, "milk");
    of_both["covers"][OTHER] = json!([[4, 4]]);
    server.post("/a/changes", of_both).await.ok();
    assert_eq!(clock(&server).await[OTHER], json!([[4, 4]]));
}

#[tokio::test]
async fn who_is_bound_to_sites_reads_by_sql_and_writes_nothing() {
    let server = bound().await;
    server.post("/a/changes", batch(1, "milk")).await.ok();
    assert_eq!(server.ids("a").await, ["milk"]);
    let forged = format!(
        "INSERT INTO crsql_changes SELECT \"table\", pk, cid, 'forged', 9, 9, x'{OTHER}', cl, seq FROM crsql_changes"
    );
    for sql in ["INSERT INTO todo (id) VALUES ('x')", "DELETE FROM todo", &forged] {
        assert_eq!(server.post("/a/sql", json!({ "sql": sql })).await.code(), "forbidden", "{sql}");
        let keyed = server.request(Method::POST, "/a/sql").header("idempotency-key", "1");
        assert_eq!(send(keyed.json(&json!({ "sql": sql }))).await.code(), "forbidden", "{sql}");
    }
    assert_eq!(server.ids("a").await, ["milk"]);
    let queries = Bounds::default().sites([PEER.parse().unwrap()]);
    let own = crsql_sync::sync::Sql { sql: "INSERT INTO todo (id) VALUES ('of the host')".into(), params: Vec::new() };
    let verdict = Verdict::from(queries.queries([own]));
    let (server, _) = super::server(move |_| Ok(verdict.clone())).await;
    server.create("a").await;
    server.post("/a/sql", json!({ "sql": "SELECT 1" })).await.ok();
}
