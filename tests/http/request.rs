use serde_json::{Value, json};

use crate::support::{PEER, Server, batch};

async fn request(server: &Server, body: Value) -> Value {
    server.post("/a/changes/request", body).await.ok()
}

/// The keys of the rows that a batch brings, in its order, each once.
fn keys(batch: &Value) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for change in batch["changes"].as_array().unwrap() {
        let text = String::from_utf8(hex::decode(&change[1].as_str().unwrap()[6..]).unwrap()).unwrap();
        if !keys.contains(&text) {
            keys.push(text);
        }
    }
    keys
}

/// A list with a row of its own and two of `PEER`'s.
async fn server() -> (Server, String) {
    let server = Server::start().await;
    let site = server.create("a").await["site"].as_str().unwrap().to_owned();
    server.add("a", "own").await;
    server.post("/a/changes", batch(1, "milk")).await.ok();
    server.post("/a/changes", batch(2, "bread")).await.ok();
    (server, site)
}

#[tokio::test]
async fn a_request_by_cursor_answers_what_a_get_does() {
    let (server, site) = server().await;
    let got = server.get("/a/changes").await.ok();
    assert_eq!(request(&server, json!({})).await, got);
    let since = format!("{site}.1");
    let got = server.get(&format!("/a/changes?since={since}&until={site}.2&exclude={PEER}")).await.ok();
    let body = json!({ "since": since, "until": format!("{site}.2"), "exclude": PEER });
    assert_eq!(request(&server, body).await, got);
    let page = request(&server, json!({ "limit": 2 })).await;
    assert_eq!((keys(&page), &page["more"]), (vec!["own".to_owned()], &json!(true)));
}

#[tokio::test]
async fn what_the_asker_knows_is_left_out_and_the_cursor_moves_over_it() {
    let (server, site) = server().await;
    let answer = request(&server, json!({ "since": "0", "known": { PEER: [[1, 1]], &site: [[1, 1]] } })).await;
    assert_eq!(keys(&answer), ["bread"]);
    assert_eq!(answer["next"], server.at("a").await);
    assert_eq!(answer["covers"][PEER], json!([[2, 2]]));
}

#[tokio::test]
async fn transactions_are_asked_for_by_name() {
    let (server, site) = server().await;
    let one = request(&server, json!({ "versions": { PEER: [[1, 1]] } })).await;
    assert_eq!(keys(&one), ["milk"]);
    assert_eq!(one["covers"], json!({ PEER: [[1, 1]] }));
    assert_eq!((one.get("start"), one.get("end"), one.get("next")), (None, None, None));
    let rest = request(&server, json!({ "all_but": { PEER: [[1, 1]] } })).await;
    assert_eq!(keys(&rest), ["bread", "own"], "the newest first");
    assert_eq!(rest["covers"][&site], json!([[1, 1]]));
    let held = request(&server, json!({ "versions": { PEER: [[2, 9]] } })).await;
    assert_eq!(held["covers"], json!({ PEER: [[2, 2]] }), "only what is held is covered");
    // A copy that knows nothing gets along with it.
    server.create("b").await;
    server.post("/b/changes", rest).await.ok();
    assert_eq!(server.get("/b/status").await.ok()["gaps"], json!({ PEER: [[1, 1]] }));
    server.post("/b/changes", one).await.ok();
    assert_eq!(server.get("/b/status").await.ok()["gaps"], json!({}));
    assert_eq!(server.ids("b").await, ["bread", "milk", "own"]);
}

#[tokio::test]
async fn positions_of_a_transaction_are_asked_for_as_pieces() {
    let (server, _) = server().await;
    let piece = json!([{ "site": PEER, "version": 1, "seqs": [[1, 5]] }]);
    let answer = request(&server, json!({ "pieces": piece })).await;
    let changes = answer["changes"].as_array().unwrap();
    assert_eq!((changes.len(), &changes[0][8]), (1, &json!(1)));
    assert_eq!(answer["partial"], json!([{ "site": PEER, "version": 1, "seqs": [[1, 1]], "last_seq": 1 }]));
}

#[tokio::test]
async fn who_has_another_schema_is_sent_the_text_of_ours() {
    let (server, _) = server().await;
    let ours = server.status("a").await["schema"].clone();
    for body in [json!({ "schema": "00" }), json!({ "schema": "00", "all_but": {} })] {
        assert!(request(&server, body).await["schema_text"].as_str().unwrap().contains("todo"));
    }
    for body in [json!({ "schema": ours }), json!({ "schema": ours, "all_but": {} }), json!({})] {
        assert_eq!(request(&server, body).await.get("schema_text"), None);
    }
}

#[tokio::test]
async fn a_request_that_contradicts_itself_is_refused() {
    let (server, site) = server().await;
    for body in [
        json!([]),
        json!({ "since": 1 }),
        json!({ "since": "x" }),
        json!({ "limit": 0 }),
        json!({ "limit": -1 }),
        json!({ "versions": {}, "all_but": {} }),
        json!({ "versions": { "x": [[1, 1]] } }),
        json!({ "versions": { PEER: [[2, 1]] } }),
        json!({ "versions": {}, "known": {} }),
        json!({ "pieces": [], "until": format!("{site}.1") }),
        json!({ "pieces": [{ "site": PEER, "version": 0, "seqs": [] }] }),
    ] {
        let answer = server.post("/a/changes/request", body.clone()).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{body}");
    }
    let unknown = server.post("/a/changes/request", json!({ "since": format!("{PEER}.1") })).await;
    assert_eq!((unknown.status, unknown.code()), (409, "cursor_unknown"));
}
