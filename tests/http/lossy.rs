//! Links over a network that loses what a server sent.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use reqwest::Method;

use crate::node::Node;
use crate::support::{Server, eventually};

/// What is lost of what one server sends.
#[derive(Default)]
struct Losses {
    /// The next event of a stream.
    event: AtomicBool,
    /// How many events of streams there were.
    events: AtomicUsize,
    /// So many answers to batches, from the first on.
    answers: usize,
    answered: AtomicUsize,
}

async fn lose(State(losses): State<Arc<Losses>>, request: Request, next: Next) -> Response {
    let (is_stream, is_batch) = (
        request.uri().path().ends_with("/events"),
        request.method() == Method::POST && request.uri().path().ends_with("/changes"),
    );
    let response = next.run(request).await;
    if is_batch && losses.answered.fetch_add(1, Ordering::SeqCst) < losses.answers {
        return Response::new(Body::from_stream(stream::iter([Err::<String, _>(io::Error::other("lost"))])));
    }
    if !is_stream {
        return response;
    }
    response.map(|body| {
        let arrives = move |piece: &Result<Bytes, axum::Error>| {
            let is_batch = piece.as_ref().is_ok_and(|bytes| bytes.starts_with(b"event: batch"));
            losses.events.fetch_add(usize::from(is_batch), Ordering::SeqCst);
            !(is_batch && losses.event.swap(false, Ordering::SeqCst))
        };
        Body::from_stream(body.into_data_stream().filter(move |piece| std::future::ready(arrives(piece))))
    })
}

/// A server with a list, and one that keeps in step with it.
async fn linked_by(losses: Losses) -> (Server, Node, Arc<Losses>) {
    let losses = Arc::new(losses);
    let layer = from_fn_with_state(losses.clone(), lose);
    let hub = Server::wrapped(|builder| builder.sql(true).build(), |router| router.layer(layer)).await;
    hub.create("a").await;
    let node = Node::of(&hub).await;
    (hub, node, losses)
}

#[tokio::test]
async fn an_event_that_is_lost_is_noticed_by_the_next_one_and_read_again() {
    let (hub, node, losses) = linked_by(Losses::default()).await;
    hub.add("a", "1").await;
    eventually("the first", || async { node.ids().await == ["1"] }).await;
    // The beginning is read by pages.
    eventually("a stream", || async {
        hub.sql("a", "UPDATE todo SET done = done + 1").await;
        losses.events.load(Ordering::SeqCst) > 0
    })
    .await;
    losses.event.store(true, Ordering::SeqCst);
    hub.add("a", "2").await;
    eventually("the second is lost", || async { !losses.event.load(Ordering::SeqCst) }).await;
    hub.add("a", "3").await;
    eventually("all", || async {
        let ids = node.ids().await;
        assert_ne!(ids, ["1", "3"], "what followed the gap was merged");
        ids == ["1", "2", "3"]
    })
    .await;
    assert_eq!(node.status().await["gaps"], serde_json::json!({}));
}

#[tokio::test]
async fn a_batch_whose_answer_is_lost_is_sent_again_and_changes_nothing_then() {
    let (hub, node, losses) = linked_by(Losses { answers: 2, ..Losses::default() }).await;
    node.add("1").await;
    eventually("the row", || async { hub.ids("a").await == ["1"] }).await;
    let at = hub.at("a").await;
    eventually("an answer", || async { node.unsent().await == 0 }).await;
    assert!(losses.answered.load(Ordering::SeqCst) > 2);
    assert_eq!((hub.at("a").await, hub.ids("a").await), (at, vec!["1".to_owned()]));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(node.ids().await, ["1"]);
}
