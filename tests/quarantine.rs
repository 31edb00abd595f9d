//! Transactions that a peer will not have, and changes that must not leave under another's name.
//!
//! The same bodies run natively and, in a service worker, in wasm.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::replicas::{TODO, add, replica, sql};
use common::star::{client, copy, hold_back, pull, push, refusal, retry, rows, versions};
use crsql_sync::crr::Version;
use crsql_sync::sync::{
    Batch, DISCARDED, Outgoing, Page, Range, Replica, Schema, Since, VersionsRequest, Wanted, WhenUnsent,
};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

fn outgoing(client: &mut Replica, hub: &Replica, page: Page) -> Batch {
    let acknowledged = client.acknowledged(hub.site()).unwrap();
    let batch = client.outgoing(&Outgoing::new(hub.site(), acknowledged, acknowledged, page)).unwrap();
    Batch::from_binary(&batch.to_binary()).unwrap()
}

fn check_in_step(replicas: &mut [&mut Replica]) {
    let first = (rows(replicas[0]), replicas[0].clock().unwrap());
    for replica in replicas {
        assert_eq!((rows(replica), replica.clock().unwrap()), first);
        assert!(replica.status().unwrap().is_complete());
    }
}

/// The database as it is on disk, opened anew: what a crash leaves.
fn crash(replica: &Replica) -> Replica {
    Replica::open(copy(replica)).unwrap()
}

#[test]
fn what_is_held_back_does_not_hold_up_the_others_and_is_known_to_lack() {
    let mut hub = replica();
    let mut a = client(&hub);
    ["1", "2", "3"].iter().for_each(|id| add(&mut a, id));
    hold_back(&mut a, &hub, 2);
    push(&mut a, &mut hub);
    assert_eq!(rows(&mut hub), "1:1:0 3:3:0");
    assert_eq!(hub.missing().unwrap(), versions(a.site(), &[(2, 2)]));
    assert_eq!(hub.clock().unwrap(), versions(a.site(), &[(1, 1), (3, 3)]));
    let status = a.status().unwrap();
    assert_eq!((status.unsent.unwrap().changes, status.quarantined.count), (0, 1));
    let held_back = &status.quarantined.transactions[0];
    assert_eq!((held_back.site, held_back.versions), (a.site(), Range::one(Version::new(2).unwrap())));
    assert_eq!(held_back.refusal, refusal());
    assert!(held_back.since > 1_600_000_000_000);

    a.retry_quarantined().unwrap();
    retry(&mut a, &mut hub);
    assert_eq!(a.status().unwrap().quarantined, Default::default());
    check_in_step(&mut [&mut a, &mut hub]);
}

#[test]
fn a_peers_cursor_does_not_move_over_what_it_refused() {
    let mut hub = replica();
    let (mut a, mut c) = (client(&hub), replica());
    add(&mut a, "1");
    sql(&mut a, "UPDATE todo SET title = 'refused'");
    sql(&mut a, "UPDATE todo SET done = 1");
    hold_back(&mut a, &hub, 2);
    push(&mut a, &mut hub);
    pull(&mut hub, &mut c);
    assert_eq!(rows(&mut c), "1:1");
    for other in [&hub, &c] {
        assert_eq!(other.missing().unwrap(), versions(a.site(), &[(2, 2)]));
    }
    // So by that it gets it, should it ask, or should a copy of it.
    let mut copied = Replica::open_copy(copy(&hub)).unwrap();
    pull(&mut a, &mut copied);
    assert_eq!(rows(&mut copied), "1:refused:1");
    assert!(copied.status().unwrap().is_complete());
    // A later write to the same cell takes the way of all others, and then nothing is left of what was refused.
    sql(&mut a, "UPDATE todo SET title = 'taken'");
    push(&mut a, &mut hub);
    pull(&mut hub, &mut c);
    assert_eq!(rows(&mut c), "1:taken:1");
    assert!(!c.status().unwrap().is_complete());
    a.retry_quarantined().unwrap();
    retry(&mut a, &mut hub);
    push(&mut a, &mut hub);
    assert_eq!(hub.received(a.site()).unwrap(), Since::After(a.at().unwrap()));
    pull(&mut hub, &mut c);
    check_in_step(&mut [&mut a, &mut hub, &mut c]);
}

#[test]
fn a_transaction_of_which_a_piece_was_taken_does_not_pass_for_whole() {
    let mut hub = replica();
    let mut a = client(&hub);
    sql(&mut a, "INSERT INTO todo (id, title) VALUES ('1', 'x'), ('2', 'y'), ('3', 'z')");
    add(&mut a, "4");
    let page = Page { changes: 2, ..Page::default() };
    let piece = outgoing(&mut a, &hub, page);
    assert_eq!(piece.partial.len(), 1);
    hub.apply_changes(&piece).unwrap();
    hold_back(&mut a, &hub, 1);
    push(&mut a, &mut hub);
    assert_eq!(rows(&mut hub), "4:4:0");
    assert_eq!(hub.missing().unwrap(), versions(a.site(), &[(1, 1)]));
    a.retry_quarantined().unwrap();
    retry(&mut a, &mut hub);
    check_in_step(&mut [&mut a, &mut hub]);
}

#[test]
fn of_what_others_brought_together_one_transaction_is_held_back() {
    let mut hub = replica();
    let (mut a, mut b, mut c) = (client(&hub), replica(), replica());
    add(&mut b, "1");
    add(&mut b, "2");
    add(&mut c, "3");
    pull(&mut b, &mut a);
    pull(&mut c, &mut a);
    a.quarantine(hub.site(), (b.site(), Version::new(1).unwrap()), &refusal(), None).unwrap();
    push(&mut a, &mut hub);
    assert_eq!(rows(&mut hub), "2:2:0 3:3:0");
    assert_eq!(hub.missing().unwrap(), versions(b.site(), &[(1, 1)]));
    // Who has it may bring it.
    hub.apply_changes(&b.request_versions(&VersionsRequest::new(Wanted::AllBut(hub.clock().unwrap()))).unwrap())
        .unwrap();
    check_in_step(&mut [&mut a, &mut hub]);
    a.retry_quarantined().unwrap();
    retry(&mut a, &mut hub);
    check_in_step(&mut [&mut a, &mut hub]);
}

#[test]
fn it_is_sent_again_when_a_schema_has_changed_or_somebody_asks_and_not_before() {
    let hub = replica();
    let mut a = client(&hub);
    add(&mut a, "1");
    hold_back(&mut a, &hub, 1);
    let due = |a: &Replica, theirs: &str| a.quarantine_due(hub.site(), Some(&theirs.parse().unwrap())).unwrap().len();
    let theirs = hub.schema().unwrap().hash().as_str().to_owned();
    assert_eq!(due(&a, &theirs), 0);
    assert_eq!(due(&a, "another one"), 1);
    let wider = TODO.replace("title TEXT", "title TEXT, due TEXT");
    a.create_or_migrate_database(&Schema::parse(&wider).unwrap(), &[]).unwrap();
    assert_eq!(due(&a, &theirs), 1);
    hold_back(&mut a, &hub, 1);
    assert_eq!((due(&a, &theirs), a.status().unwrap().quarantined.count), (0, 1));
    a.retry_quarantined().unwrap();
    assert_eq!(due(&crash(&a), &theirs), 1);
}

#[test]
fn a_crash_between_any_two_steps_neither_drops_what_was_refused_nor_claims_it() {
    for crash_at in 0..8 {
        let mut hub = replica();
        let mut a = client(&hub);
        let mut step = 0;
        let mut crash_here = |a: &mut Replica| {
            if step == crash_at {
                *a = crash(a);
            }
            step += 1;
        };
        ["1", "2", "3"].iter().for_each(|id| add(&mut a, id));
        crash_here(&mut a);
        hold_back(&mut a, &hub, 2);
        crash_here(&mut a);
        let known = hub.clock().unwrap();
        let (batch, _) = a.outgoing_by_name(hub.site(), &known, None, Page::default()).unwrap();
        hub.apply_changes(&batch).unwrap();
        // The answer is lost.
        crash_here(&mut a);
        assert_eq!(hub.missing().unwrap(), versions(a.site(), &[(2, 2)]));
        push(&mut a, &mut hub);
        crash_here(&mut a);
        add(&mut a, "4");
        push(&mut a, &mut hub);
        assert_eq!(hub.missing().unwrap(), versions(a.site(), &[(2, 2)]));
        assert_eq!(a.status().unwrap().quarantined.count, 1);
        crash_here(&mut a);
        a.retry_quarantined().unwrap();
        crash_here(&mut a);
        let due = a.quarantine_due(hub.site(), None).unwrap();
        let (batch, _) = a.outgoing_transaction(due[0], None, None, Page::default()).unwrap();
        hub.apply_changes(&batch).unwrap();
        // Taken, and nobody knows.
        crash_here(&mut a);
        retry(&mut a, &mut hub);
        crash_here(&mut a);
        push(&mut a, &mut hub);
        assert_eq!(a.status().unwrap().quarantined.count, 0);
        check_in_step(&mut [&mut a, &mut hub]);
    }
}

#[test]
fn a_hub_that_is_known_to_hold_something_is_sent_the_rest_and_its_own() {
    let mut hub = replica();
    let mut a = client(&hub);
    add(&mut hub, "1");
    pull(&mut hub, &mut a);
    add(&mut a, "2");
    push(&mut a, &mut hub);
    let (site, held) = (hub.site(), hub.clock().unwrap());
    // It was set back, and knows neither cursors nor what it lacks.
    a.begin_again(site).unwrap();
    add(&mut a, "3");
    let mut outgoing = Outgoing {
        known: Some(held.into()),
        ..Outgoing::new(site, Since::Beginning, Since::Beginning, Page::default())
    };
    let mut authors = Vec::new();
    loop {
        let batch = a.outgoing(&outgoing).unwrap();
        authors.extend(batch.changes.iter().map(|change| (change.site, change.version.get())));
        if !batch.more {
            break;
        }
        outgoing.read = batch.next.unwrap();
    }
    authors.dedup();
    authors.sort();
    let mut expected = vec![(site, 1), (a.site(), 3)];
    expected.sort();
    assert_eq!(authors, expected);
}

#[test]
fn a_database_of_before_there_was_a_quarantine_is_opened_and_copied() {
    let mut hub = replica();
    let mut a = client(&hub);
    add(&mut a, "1");
    let old = copy(&a);
    old.execute_batch("DROP TABLE crsql_sync_quarantine").unwrap();
    assert!(Replica::is_one(&old).unwrap());
    let mut a = Replica::open(old).unwrap();
    let old = copy(&a);
    old.execute_batch("DROP TABLE crsql_sync_quarantine").unwrap();
    let renewed = Replica::open_copy(old).unwrap();
    assert_eq!(renewed.clock().unwrap(), a.clock().unwrap());
    push(&mut a, &mut hub);
    check_in_step(&mut [&mut a, &mut hub]);
}

#[test]
fn changes_of_one_principal_wait_when_another_one_comes() {
    let mut hub = replica();
    let mut a = client(&hub);
    assert!(a.sign_in("ann", WhenUnsent::Keep).unwrap());
    add(&mut a, "1");
    assert!(!a.sign_in("ben", WhenUnsent::Keep).unwrap());
    let mut a = crash(&a);
    assert_eq!(a.principal().unwrap().as_deref(), Some("ann"));
    assert_eq!(a.other_principal().unwrap().as_deref(), Some("ben"));
    assert_eq!(a.adopt("ben").unwrap().as_deref(), Some("ben"));
    // The first one is back, and sends what is theirs; then the database may go over.
    assert!(a.sign_in("ann", WhenUnsent::Keep).unwrap());
    assert_eq!(a.other_principal().unwrap(), None);
    push(&mut a, &mut hub);
    assert_eq!(a.adopt("ben").unwrap(), None);
    assert_eq!(a.principal().unwrap().as_deref(), Some("ben"));
}

#[test]
fn a_database_goes_over_only_without_what_is_held_back_for_its_owner() {
    let mut hub = replica();
    let mut a = client(&hub);
    a.sign_in("ann", WhenUnsent::Keep).unwrap();
    add(&mut a, "1");
    hold_back(&mut a, &hub, 1);
    push(&mut a, &mut hub);
    assert!(!a.sign_in("ben", WhenUnsent::Keep).unwrap());
    assert!(a.sign_in("ben", WhenUnsent::Discard).unwrap());
    a.retry_quarantined().unwrap();
    retry(&mut a, &mut hub);
    assert_eq!(rows(&mut hub), "null");
}

#[test]
fn what_is_discarded_is_never_sent_to_this_upstream_or_another() {
    let mut hub = replica();
    let mut a = client(&hub);
    a.sign_in("ann", WhenUnsent::Keep).unwrap();
    add(&mut a, "1");
    push(&mut a, &mut hub);
    add(&mut a, "2");
    add(&mut a, "3");
    assert!(a.sign_in("ben", WhenUnsent::Discard).unwrap());
    let status = a.status().unwrap();
    assert_eq!((status.unsent.unwrap().changes, status.quarantined.count), (0, 2));
    let held_back = &status.quarantined.transactions[0];
    assert_eq!((&*held_back.refusal.code, held_back.principal.as_deref()), (DISCARDED, Some("ann")));
    add(&mut a, "4");
    a.retry_quarantined().unwrap();
    retry(&mut a, &mut hub);
    push(&mut a, &mut hub);
    assert_eq!(rows(&mut hub), "1:1:0 4:4:0");
    assert_eq!(hub.missing().unwrap(), versions(a.site(), &[(2, 3)]));

    let mut other = replica();
    a.set_upstream(other.site()).unwrap();
    push(&mut a, &mut other);
    assert_eq!(rows(&mut other), "1:1:0 4:4:0");

    // A copy that goes on under another name does not send it either.
    let mut renewed = Replica::open_copy(copy(&a)).unwrap();
    let mut third = replica();
    renewed.set_upstream(third.site()).unwrap();
    push(&mut renewed, &mut third);
    assert_eq!(rows(&mut third), "1:1:0 4:4:0");
}

#[test]
fn what_was_written_before_any_upstream_answered_can_be_discarded() {
    let (mut hub, mut a) = (replica(), replica());
    a.sign_in("ann", WhenUnsent::Keep).unwrap();
    add(&mut a, "1");
    assert!(!a.sign_in("ben", WhenUnsent::Keep).unwrap());
    assert!(a.sign_in("ben", WhenUnsent::Discard).unwrap());
    assert_eq!(a.status().unwrap().quarantined.count, 1);
    add(&mut a, "2");
    a.set_upstream(hub.site()).unwrap();
    push(&mut a, &mut hub);
    assert_eq!(rows(&mut hub), "2:2:0");
}
