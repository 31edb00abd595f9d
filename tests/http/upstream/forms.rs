//! In which form and encoding batches go.

use crate::gate::{Gate, problem};
use crate::node::{Node, has};
use crate::support::{Server, eventually};

#[tokio::test]
async fn batches_are_binary_and_compressed_both_ways() {
    let gate = Gate::default();
    let hub = gate.hub().await;
    hub.create("a").await;
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
                INSERT INTO todo SELECT 'h' || i, 'title ' || i, 0 FROM n";
    hub.sql("a", fill).await;
    let a = Node::of(&hub).await;
    eventually("pulled", || async { a.ids().await.len() == 500 }).await;
    a.sql(&fill.replace("'h'", "'k'")).await;
    eventually("pushed", || async { hub.ids("a").await.len() == 1000 }).await;
    let asked = gate.take();
    let push = asked.iter().find(|asked| asked.is_push() && !asked.batch().changes.is_empty()).unwrap();
    assert_eq!(push.header("content-type"), "application/vnd.crsql-sync.batch");
    assert_eq!(push.header("content-encoding"), "gzip");
    assert_eq!(push.batch().changes.len(), 1000);
    let pull = asked.iter().find(|asked| asked.path.starts_with("/sync/a/changes?")).unwrap();
    assert!(pull.header("accept").starts_with("application/vnd.crsql-sync.batch,"));
    assert!(pull.header("accept-encoding").contains("gzip"));
}

#[tokio::test]
async fn an_upstream_that_knows_neither_is_sent_json() {
    let gate = Gate::default();
    gate.answer(|asked| {
        let is_json = asked.header("content-type") == "application/json";
        (asked.is_push() && !is_json).then(|| problem(415, "unsupported_media_type", &[("accept", "application/json")]))
    });
    let hub = Server::wrapped(|builder| builder.sql(true).build(), gate.layer()).await;
    let a = Node::of(&hub).await;
    let long = "x".repeat(5000);
    a.sql(&format!("INSERT INTO todo VALUES ('1', '{long}', 0)")).await;
    has(&hub, &["1"]).await;
    a.add("2").await;
    has(&hub, &["1", "2"]).await;
    let pushes = gate.pushes();
    assert!(pushes.iter().all(|push| push.header("content-encoding").is_empty()));
    let forms: Vec<_> = pushes.iter().map(|push| push.header("content-type").to_owned()).collect();
    assert_eq!(forms, ["application/vnd.crsql-sync.batch", "application/json", "application/json"]);
}
