//! A hub and its clients, as links keep them in step.

use crsql_sync::crr::{SiteId, Version};
use crsql_sync::sync::{Batch, Clock, Outgoing, Page, Range, Ranges, Refusal, Replica, Request};
use rusqlite::Connection;

use super::replicas::{TODO, sql, with_schema};

/// The list, as `ID:TITLE:DONE`.
pub fn rows(replica: &mut Replica) -> String {
    sql(replica, "SELECT group_concat(concat_ws(':', id, title, done), ' ' ORDER BY id) FROM todo")
        .replace(['[', ']', '"'], "")
        .replace("title of ", "")
}

/// A client of `hub`.
pub fn client(hub: &Replica) -> Replica {
    client_with(hub, TODO)
}

pub fn client_with(hub: &Replica, schema: &str) -> Replica {
    let mut client = with_schema(schema);
    client.set_upstream(hub.site()).unwrap();
    client
}

pub fn versions(site: SiteId, ranges: &[(i64, i64)]) -> Clock {
    let version = |n| Version::new(n).unwrap();
    let range = |(first, last): &(i64, i64)| Range::new(version(*first), version(*last)).unwrap();
    Clock::from_iter([(site, ranges.iter().map(range).collect::<Ranges<_>>())])
}

pub fn refusal() -> Refusal {
    Refusal { status: Some(400), code: "invalid_batch".into(), detail: "no such column".into() }
}

/// Holds one of the client's own transactions back.
pub fn hold_back(client: &mut Replica, hub: &Replica, version: i64) {
    let of = (client.site(), Version::new(version).unwrap());
    let theirs = hub.schema().map(|schema| schema.hash().clone());
    client.quarantine(hub.site(), of, &refusal(), theirs.as_ref()).unwrap();
}

/// Sends the hub what it lacks, as a link does.
pub fn push(client: &mut Replica, hub: &mut Replica) {
    let site = hub.site();
    loop {
        if client.holds_back(site).unwrap() {
            let (batch, version) = client.outgoing_by_name(site, &hub.clock().unwrap(), None, Page::default()).unwrap();
            if batch.is_empty() {
                return client.set_taken(site, version).unwrap();
            }
            assert!(batch.start.is_none());
            hub.apply_changes(&batch).unwrap();
            continue;
        }
        let acknowledged = client.acknowledged(site).unwrap();
        let known = client.may_hold_more(site).unwrap().then(|| hub.clock().unwrap().into());
        let outgoing = Outgoing { known, ..Outgoing::new(site, acknowledged, acknowledged, Page::default()) };
        let batch = client.outgoing(&outgoing).unwrap();
        hub.apply_changes(&Batch::from_binary(&batch.to_binary()).unwrap()).unwrap();
        client.acknowledge(site, batch.next.unwrap()).unwrap();
        if !batch.more {
            return;
        }
    }
}

pub fn pull(from: &mut Replica, to: &mut Replica) {
    let since = to.received(from.site()).unwrap();
    let batch = from.request_changes(&Request { exclude: Some(to.site()), ..Request::after(since) }).unwrap();
    assert!(!batch.more);
    to.apply_changes(&batch).unwrap();
}

/// Sends again what is held back and due, a few changes at a time.
pub fn retry(client: &mut Replica, hub: &mut Replica) {
    let theirs = hub.schema().unwrap().hash().clone();
    for of in client.quarantine_due(hub.site(), Some(&theirs)).unwrap() {
        let (mut after, page) = (None, Page { changes: 2, ..Page::default() });
        loop {
            let (batch, rest) = client.outgoing_transaction(of, after, None, page).unwrap();
            hub.apply_changes(&batch).unwrap();
            after = rest;
            if after.is_none() {
                break;
            }
        }
        client.release(hub.site(), of).unwrap();
    }
}

pub fn copy(replica: &Replica) -> Connection {
    let mut copy = Connection::open_in_memory().unwrap();
    // SAFETY: the handle is open, and outlives what the tests do with it.
    let mut conn = unsafe { Connection::from_handle(replica.connection().handle()) }.unwrap();
    let image = conn.serialize(rusqlite::MAIN_DB).unwrap();
    copy.deserialize_read_exact(rusqlite::MAIN_DB, &image[..], image.len(), false).unwrap();
    copy
}

/// Takes back what was discarded, with a hub whose answers hold so much.
pub fn take_back(client: &mut Replica, hub: &mut Replica, page: Page) {
    while let Some(asked) = client.ask_for_discarded(hub.site()).unwrap() {
        let answer = hub.verify(&asked, page).unwrap().reply;
        assert!(client.take_back(&asked, &answer).unwrap() > 0);
    }
}
