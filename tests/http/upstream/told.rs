//! What a status tells of the link.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::gate::{Gate, problem};
use crate::node::Node;
use crate::support::eventually;

#[tokio::test]
async fn a_status_tells_how_far_the_first_sync_has_come_and_when_the_last_one_was() {
    let gate = Gate::default();
    let hub = gate.hub_with(|builder| {
        let mut limits = crsql_sync::http::Limits::default();
        limits.page_changes = 20;
        builder.limits(limits)
    });
    let hub = hub.await;
    hub.create("a").await;
    for n in 0..30 {
        hub.add("a", &n.to_string()).await;
    }
    // The third page does not come.
    let pages = AtomicUsize::new(0);
    gate.answer(move |asked| {
        let is_page = asked.path.starts_with("/sync/a/changes?");
        (is_page && pages.fetch_add(1, Ordering::SeqCst) == 2)
            .then(|| problem(503, "unavailable", &[("retry-after", "1")]))
    });
    let a = Node::of(&hub).await;
    let halfway = a.link_is("offline").await;
    assert_eq!(halfway["synced_at"], Value::Null);
    let progress = &halfway["progress"];
    assert_eq!(
        (&progress["received"], &progress["expected"], &progress["done"]),
        (&json!(20), &json!(30), &json!(false))
    );
    assert!(progress["bytes"].as_u64().unwrap() > 100);
    let online = a.link_is("online").await;
    eventually("done", || async { a.status().await["upstream"]["progress"]["done"] == true }).await;
    eventually("synced", || async { a.status().await["upstream"]["synced_at"].is_i64() }).await;
    assert_eq!(online["error"], Value::Null);

    // It is remembered.
    let (_folder, _) = hub.stop().await;
    a.link_is("offline").await;
    let synced_at = a.status().await["upstream"]["synced_at"].as_i64().unwrap();
    assert!(synced_at > 1_600_000_000_000);
    let a = a.restart("127.0.0.1:9".parse().unwrap()).await;
    let again = a.link_is("offline").await["synced_at"].as_i64().unwrap();
    assert!(again >= synced_at - 1000 && again <= synced_at + 1000, "{again} {synced_at}");
}
