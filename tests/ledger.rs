//! What replicas know of each other's transactions: claims, gaps, pieces, and what becomes of them when things go wrong.
//!
//! The same bodies run natively and, in a service worker, in wasm.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::replicas::{TODO, add, replica, sql, with_schema};
use crsql_sync::crr::{SiteId, Version};
use crsql_sync::sync::{
    ApplyError, Batch, Clock, Cursor, MigrateError, MigrationStatus, Outgoing, Page, Range, Ranges, Replica, Request,
    RequestError, Schema, Since, VersionsRequest, Wanted,
};
use rusqlite::Connection;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

/// The same with a column more.
const DATED: &str = "CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, title TEXT, done INTEGER DEFAULT 0, due TEXT);
                     SELECT crsql_as_crr('todo');";

/// A transaction of many changes.
fn add_many(replica: &mut Replica, count: usize) {
    let rows: Vec<_> = (0..count).map(|n| format!("('{n:03}', 'x')")).collect();
    sql(replica, &format!("INSERT INTO todo (id, title) VALUES {}", rows.join(",")));
}

fn ids(replica: &mut Replica) -> String {
    sql(replica, "SELECT group_concat(id, ' ' ORDER BY id) FROM todo").replace(['[', ']', '"'], "")
}

fn version(n: i64) -> Version {
    Version::or_zero(n).unwrap()
}

fn range(first: i64, last: i64) -> Range<Version> {
    Range::new(version(first), version(last)).unwrap()
}

fn versions(site: SiteId, ranges: &[(i64, i64)]) -> Clock {
    Clock::from_iter([(site, ranges.iter().map(|(first, last)| range(*first, *last)).collect::<Ranges<_>>())])
}

/// The next page that `to` gets from `from`, through JSON.
fn next(from: &mut Replica, to: &Replica, page: Page) -> Batch {
    let since = to.received(from.site()).unwrap();
    let schema = to.schema().map(|schema| schema.hash().clone());
    let request = Request { exclude: Some(to.site()), page, schema, ..Request::after(since) };
    let batch = from.request_changes(&request).unwrap();
    serde_json::from_str(&serde_json::to_string(&batch).unwrap()).unwrap()
}

fn pull_by(from: &mut Replica, to: &mut Replica, page: Page) {
    loop {
        let batch = next(from, to, page);
        to.apply_changes(&batch).unwrap();
        if !batch.more {
            return;
        }
    }
}

fn pull(from: &mut Replica, to: &mut Replica) {
    pull_by(from, to, Page::default());
}

fn by_versions(from: &mut Replica, wanted: Wanted) -> Batch {
    from.request_versions(&VersionsRequest::new(wanted)).unwrap()
}

/// All rows and who wrote each cell, all that is held, and that nothing is known to lack.
fn state(replica: &Replica) -> (Vec<String>, Clock) {
    let conn = replica.connection();
    let mut select = conn
        .prepare("SELECT \"table\", pk, cid, val, col_version, site_id, cl, seq, site_version FROM crsql_changes")
        .unwrap();
    let rows = select.query_map([], |row| {
        let values: Result<Vec<_>, _> = (0..9).map(|at| row.get::<_, rusqlite::types::Value>(at)).collect();
        values.map(|values| format!("{values:?}"))
    });
    let mut rows: Vec<String> = rows.unwrap().collect::<Result<_, _>>().unwrap();
    rows.sort();
    (rows, replica.clock().unwrap())
}

fn check_in_step(replicas: &[&Replica]) {
    for replica in replicas {
        assert_eq!(state(replica), state(replicas[0]));
        assert!(replica.status().unwrap().is_complete());
    }
}

/// The database as it is on disk, opened anew: what a crash leaves.
fn crash(replica: &Replica) -> Replica {
    Replica::open(copy(replica)).unwrap()
}

/// The replica's connection once more.
fn handle(replica: &Replica) -> Connection {
    // SAFETY: the handle is open, and outlives what the tests do with it.
    unsafe { Connection::from_handle(replica.connection().handle()) }.unwrap()
}

fn copy(replica: &Replica) -> Connection {
    let mut copy = Connection::open_in_memory().unwrap();
    let mut conn = handle(replica);
    let image = conn.serialize(rusqlite::MAIN_DB).unwrap();
    copy.deserialize_read_exact(rusqlite::MAIN_DB, &image[..], image.len(), false).unwrap();
    copy
}

#[test]
fn a_gap_in_a_stream_is_refused_and_leaves_no_trace() {
    let (mut a, mut b) = (replica(), replica());
    add(&mut a, "1");
    pull(&mut a, &mut b);
    add(&mut a, "2");
    let lost = next(&mut a, &b, Page::default());
    add(&mut a, "3");
    let start = Since::After(Cursor { site: a.site(), version: lost.end.unwrap() });
    let late = a.request_changes(&Request::after(start)).unwrap();
    let before = state(&b);
    let expected = b.received(a.site()).unwrap();
    match b.apply_changes(&late) {
        Err(ApplyError::OutOfOrder { expected: told }) => assert_eq!(told, expected),
        other => panic!("{other:?}"),
    }
    assert_eq!(state(&b), before);
    assert_eq!(b.received(a.site()).unwrap(), expected);
    // From where it was told, the sender goes on.
    pull(&mut a, &mut b);
    check_in_step(&[&a, &b]);
}

#[test]
fn an_empty_batch_and_a_replayed_one_move_no_cursor_back() {
    let (mut a, mut b) = (replica(), replica());
    add(&mut a, "1");
    let first = next(&mut a, &b, Page::default());
    b.apply_changes(&first).unwrap();
    add(&mut a, "2");
    pull(&mut a, &mut b);
    let (held, before) = (b.received(a.site()).unwrap(), state(&b));
    b.apply_changes(&first).unwrap();
    let empty = Batch { changes: vec![], covers: Clock::default(), end: first.start, next: None, ..first };
    b.apply_changes(&empty).unwrap();
    assert_eq!((b.received(a.site()).unwrap(), state(&b)), (held, before));
}

#[test]
fn the_cursor_is_the_end_that_was_claimed_and_not_the_newest_row() {
    let (mut a, mut b) = (replica(), replica());
    add(&mut a, "1");
    add(&mut a, "2");
    let mut batch = next(&mut a, &b, Page::default());
    batch.end = Some(version(99));
    batch.next = None;
    let applied = b.apply_changes(&batch).unwrap();
    assert_eq!(applied.received, Since::After(Cursor { site: a.site(), version: version(99) }));
}

#[test]
fn rows_that_are_all_the_askers_own_move_its_cursor_all_the_same() {
    let (mut a, mut b) = (replica(), replica());
    add(&mut a, "1");
    pull(&mut a, &mut b);
    let batch = next(&mut b, &a, Page::default());
    assert!(batch.is_empty());
    a.apply_changes(&batch).unwrap();
    assert_eq!(a.received(b.site()).unwrap(), Since::After(b.at().unwrap()));
}

#[test]
fn a_cursor_and_its_rows_are_committed_together_or_not_at_all() {
    let (mut a, mut b) = (replica(), replica());
    add(&mut a, "1");
    let batch = next(&mut a, &b, Page::default());
    let before = state(&b);
    let nothing = Since::After(Cursor { site: a.site(), version: Version::ZERO });
    // SQLite gives up after more and more steps, until they suffice.
    let mut failures = 0;
    for steps in 1.. {
        let mut left = steps;
        let stop = move || {
            left -= 1;
            left == 0
        };
        let mut conn = handle(&b);
        conn.progress_handler(20, Some(stop)).unwrap();
        let applied = b.apply_changes(&batch);
        conn.progress_handler(0, None::<fn() -> bool>).unwrap();
        if applied.is_ok() {
            break;
        }
        assert!(matches!(applied, Err(ApplyError::Replica(_) | ApplyError::InvalidBatch(_))), "{applied:?}");
        assert_eq!((state(&b), b.received(a.site()).unwrap()), (before.clone(), nothing));
        failures += 1;
    }
    assert!(failures > 3, "{failures} failures");
    check_in_step(&[&a, &b]);
}

#[test]
fn a_transaction_in_pieces_stays_out_of_sight_until_the_last_one_and_survives_a_crash() {
    let (mut a, mut b) = (replica(), replica());
    add_many(&mut a, 10);
    let page = Page { changes: 6, ..Page::default() };
    let mut pieces = 0;
    loop {
        let batch = next(&mut a, &b, page);
        b.apply_changes(&batch).unwrap();
        pieces += 1;
        if !batch.more {
            break;
        }
        b = crash(&b);
        assert_eq!(ids(&mut b), "null");
        assert_eq!(b.missing().unwrap(), versions(a.site(), &[(1, 1)]));
        assert_eq!(b.pieces().unwrap().len(), 1);
        assert!(!b.status().unwrap().is_complete());
    }
    assert_eq!(pieces, 4);
    check_in_step(&[&a, &b]);
    assert!(b.pieces().unwrap().is_empty());
}

#[test]
fn what_waits_for_pieces_is_not_held_though_the_batch_says_that_it_covers_it() {
    let (mut a, mut b) = (replica(), replica());
    add_many(&mut a, 10);
    let mut first = next(&mut a, &b, Page { changes: 6, ..Page::default() });
    first.covers = versions(a.site(), &[(1, 1)]);
    b.apply_changes(&first).unwrap();
    assert!(!b.clock().unwrap().contains(a.site(), version(1)));
    assert_eq!(b.missing().unwrap(), versions(a.site(), &[(1, 1)]));
    assert_eq!(b.pieces().unwrap().len(), 1);
    assert_eq!(ids(&mut b), "null");
}

#[test]
fn a_piece_that_is_lost_is_asked_of_another_peer() {
    let (mut a, mut b, mut c) = (replica(), replica(), replica());
    add_many(&mut a, 10);
    pull(&mut a, &mut c);
    let page = Page { changes: 6, ..Page::default() };
    let first = next(&mut a, &b, page);
    b.apply_changes(&first).unwrap();
    // The author is never heard of again.
    let mut asked = 0;
    while !b.missing().unwrap().is_empty() {
        let request = VersionsRequest {
            pieces: b.pieces().unwrap(),
            page,
            ..VersionsRequest::new(Wanted::Versions(Clock::default()))
        };
        let batch = c.request_versions(&request).unwrap();
        assert!(batch.changes.len() <= 6);
        b.apply_changes(&batch).unwrap();
        asked += 1;
    }
    assert_eq!(asked, 3);
    assert_eq!(state(&b), state(&c));
}

#[test]
fn a_transaction_over_the_limit_comes_in_pieces_by_versions_too() {
    let (mut a, mut b) = (replica(), replica());
    add_many(&mut a, 10);
    add(&mut a, "last");
    let page = Page { changes: 6, ..Page::default() };
    let mut asked = 0;
    loop {
        let request = VersionsRequest {
            pieces: b.pieces().unwrap(),
            page,
            ..VersionsRequest::new(Wanted::AllBut(b.clock().unwrap()))
        };
        let batch = a.request_versions(&request).unwrap();
        b.apply_changes(&batch).unwrap();
        asked += 1;
        // The newest comes first.
        assert!(ids(&mut b).contains("last"));
        if !batch.more && b.pieces().unwrap().is_empty() {
            break;
        }
    }
    assert_eq!(asked, 5);
    assert_eq!(state(&a), state(&b));
}

#[test]
fn a_transaction_of_which_nothing_is_left_closes_its_gap_without_rows() {
    let (mut a, mut b) = (replica(), replica());
    add(&mut a, "1");
    add(&mut a, "2");
    sql(&mut a, "UPDATE todo SET title = 'other', done = 1 WHERE id = '1'");
    let author = a.site();
    // B gets the last one only.
    b.apply_changes(&by_versions(&mut a, Wanted::Versions(versions(author, &[(3, 3)])))).unwrap();
    assert_eq!(b.missing().unwrap(), versions(a.site(), &[(1, 2)]));
    let batch = by_versions(&mut a, Wanted::Versions(versions(author, &[(1, 1)])));
    assert!(batch.changes.is_empty());
    b.apply_changes(&batch).unwrap();
    assert_eq!(b.missing().unwrap(), versions(a.site(), &[(2, 2)]));
    b.apply_changes(&by_versions(&mut a, Wanted::Versions(b.missing().unwrap()))).unwrap();
    check_in_step(&[&a, &b]);
}

#[test]
fn a_relay_passes_on_what_it_holds_of_each_author_and_no_more() {
    let (mut a, mut b, mut c) = (replica(), replica(), replica());
    (1..=3).for_each(|n| add(&mut a, &n.to_string()));
    let author = a.site();
    for n in [1, 3] {
        b.apply_changes(&by_versions(&mut a, Wanted::Versions(versions(author, &[(n, n)])))).unwrap();
    }
    pull(&mut b, &mut c);
    assert_eq!(c.clock().unwrap(), versions(a.site(), &[(1, 1), (3, 3)]));
    assert_eq!(c.missing().unwrap(), versions(a.site(), &[(2, 2)]));
    // The gap closes at the relay, which writes nothing itself, and so at whoever reads from it.
    pull(&mut a, &mut b);
    pull(&mut b, &mut c);
    assert_eq!(ids(&mut c), "1 2 3");
    check_in_step(&[&a, &b, &c]);
}

#[test]
fn a_claim_travels_though_its_changes_all_lost() {
    let (mut a, mut b, mut c) = (replica(), replica(), replica());
    add(&mut a, "1");
    pull(&mut a, &mut b);
    pull(&mut a, &mut c);
    sql(&mut a, "UPDATE todo SET title = 'aaa'");
    sql(&mut b, "UPDATE todo SET title = 'zzz'");
    pull(&mut b, &mut c);
    pull(&mut a, &mut b);
    // What A wrote never shows at B. C hears of it through B.
    pull(&mut b, &mut c);
    assert!(c.clock().unwrap().contains(a.site(), a.version().unwrap()));
    pull(&mut b, &mut a);
    check_in_step(&[&a, &b, &c]);
}

#[test]
fn a_peer_is_not_told_of_what_it_alone_brought() {
    let (mut author, mut relay, mut reader) = (replica(), replica(), replica());
    add(&mut author, "1");
    pull(&mut author, &mut reader);
    pull(&mut reader, &mut relay);
    let since = Since::Beginning;
    let answer = relay.request_changes(&Request { exclude: Some(reader.site()), ..Request::after(since) }).unwrap();
    assert!(answer.is_empty(), "{answer:?}");
}

#[test]
fn a_claim_that_others_and_the_reader_brought_is_told_though_a_page_ends_between_them() {
    let (mut author, mut relay, mut reader) = (replica(), replica(), replica());
    add(&mut author, "1");
    pull(&mut author, &mut relay);
    add(&mut author, "2");
    let wanted = Wanted::Versions(versions(author.site(), &[(2, 2)]));
    let second = by_versions(&mut author, wanted);
    reader.apply_changes(&second).unwrap();
    // The relay has the first from the author, at its local version 1, and the second from the reader, at 3.
    add(&mut relay, "3");
    pull(&mut reader, &mut relay);
    pull_by(&mut relay, &mut reader, Page { changes: 2, ..Page::default() });
    check_in_step(&[&relay, &reader]);
}

#[test]
fn what_a_peer_holds_already_is_left_out_and_its_cursor_moves_over_it() {
    let (mut a, mut b, mut c) = (replica(), replica(), replica());
    add(&mut a, "1");
    pull(&mut a, &mut b);
    pull(&mut a, &mut c);
    add(&mut c, "2");
    let known = Some(b.clock().unwrap().into());
    let request = Request { known, exclude: Some(b.site()), ..Request::after(Since::Beginning) };
    let batch = c.request_changes(&request).unwrap();
    assert!(batch.changes.iter().all(|change| change.site == c.site()));
    b.apply_changes(&batch).unwrap();
    assert_eq!(b.received(c.site()).unwrap(), Since::After(c.at().unwrap()));
    pull(&mut b, &mut a);
    check_in_step(&[&a, &b, &c]);
}

#[test]
fn nothing_that_was_written_is_lost_by_a_crash_before_during_and_after_its_upload() {
    for crash_at in 0..6 {
        let (mut client, mut server) = (replica(), replica());
        let mut step = 0;
        let mut crash_here = |client: &mut Replica| {
            if step == crash_at {
                *client = crash(client);
            }
            step += 1;
        };
        add(&mut client, "1");
        crash_here(&mut client);
        client.set_upstream(server.site()).unwrap();
        crash_here(&mut client);
        let acknowledged = client.acknowledged(server.site()).unwrap();
        let batch =
            client.outgoing(&Outgoing::new(server.site(), acknowledged, acknowledged, Page::default())).unwrap();
        crash_here(&mut client);
        let applied = server.apply_changes(&batch).unwrap();
        crash_here(&mut client);
        // The answer is lost where the client went down before it came.
        if crash_at != 3 {
            client.acknowledge(server.site(), applied.received).unwrap();
        }
        crash_here(&mut client);
        add(&mut client, "2");
        crash_here(&mut client);
        let acknowledged = client.acknowledged(server.site()).unwrap();
        let batch =
            client.outgoing(&Outgoing::new(server.site(), acknowledged, acknowledged, Page::default())).unwrap();
        server.apply_changes(&batch).unwrap();
        assert_eq!(ids(&mut server), "1 2");
        check_in_step(&[&client, &server]);
    }
}

#[test]
fn a_restored_database_goes_on_under_a_new_site_id_and_gets_back_what_it_lost() {
    let (mut server, mut client) = (replica(), replica());
    add(&mut server, "1");
    pull(&mut server, &mut client);
    let backup = copy(&server);
    add(&mut server, "2");
    add(&mut client, "3");
    pull(&mut server, &mut client);
    pull(&mut client, &mut server);
    let lost = server.site();
    drop(server);

    let mut server = Replica::open_copy(backup).unwrap();
    assert_ne!(server.site(), lost);
    assert_eq!(server.clock().unwrap(), versions(lost, &[(1, 1)]));
    // What it writes from now on has another name than what the old one wrote.
    add(&mut server, "4");
    // The client's cursor is of a site that is gone.
    let since = client.received(lost).unwrap();
    assert!(matches!(server.request_changes(&Request::after(since)), Err(RequestError::CursorUnknown { .. })));
    pull(&mut server, &mut client);
    let acknowledged = client.acknowledged(server.site()).unwrap();
    let batch = client.outgoing(&Outgoing::new(server.site(), acknowledged, acknowledged, Page::default())).unwrap();
    server.apply_changes(&batch).unwrap();
    assert_eq!(ids(&mut server), "1 2 3 4");
    check_in_step(&[&server, &client]);
}

#[test]
fn a_database_that_was_restored_unnoticed_does_not_give_a_number_twice_once_it_hears_of_it() {
    let (mut server, mut client) = (replica(), replica());
    add(&mut server, "1");
    let backup = copy(&server);
    add(&mut server, "2");
    add(&mut server, "3");
    pull(&mut server, &mut client);
    let mut server = Replica::open(backup).unwrap();
    let since = client.received(server.site()).unwrap();
    assert!(matches!(server.request_changes(&Request::after(since)), Err(RequestError::CursorAhead { .. })));
    // So the client begins again, in both directions.
    client.begin_again(server.site()).unwrap();
    let batch =
        client.outgoing(&Outgoing::new(server.site(), Since::Beginning, Since::Beginning, Page::default())).unwrap();
    server.apply_changes(&batch).unwrap();
    assert!(server.version().unwrap() >= version(3));
    add(&mut server, "4");
    pull(&mut server, &mut client);
    assert_eq!(ids(&mut client), "1 2 3 4");
    check_in_step(&[&server, &client]);
}

#[test]
fn a_database_that_was_restored_unnoticed_knows_what_it_lost_though_merges_took_the_numbers() {
    let (mut a, mut b, mut c) = (replica(), replica(), replica());
    let backup = copy(&a);
    add(&mut a, "1");
    add(&mut a, "2");
    pull(&mut a, &mut b);
    let mut a = Replica::open(backup).unwrap();
    for id in ["3", "4", "5"] {
        add(&mut c, id);
        pull(&mut c, &mut a);
    }
    let second = by_versions(&mut b, Wanted::Versions(versions(a.site(), &[(2, 2)])));
    a.apply_changes(&second).unwrap();
    assert_eq!(a.missing().unwrap(), versions(a.site(), &[(1, 1)]));
    assert_eq!(a.clock().unwrap().get(a.site()), versions(a.site(), &[(2, 2)]).get(a.site()));
    let first = by_versions(&mut b, Wanted::Versions(versions(a.site(), &[(1, 1)])));
    a.apply_changes(&first).unwrap();
    add(&mut a, "6");
    pull(&mut c, &mut b);
    b.begin_again(a.site()).unwrap();
    pull(&mut a, &mut b);
    assert_eq!(ids(&mut a), "1 2 3 4 5 6");
    check_in_step(&[&a, &b]);
}

#[test]
fn a_batch_of_a_newer_schema_waits_for_the_migration() {
    let (mut a, mut b) = (replica(), replica());
    add(&mut a, "1");
    pull(&mut a, &mut b);
    let dated = Schema::parse(DATED).unwrap();
    let migrated = a.create_or_migrate_database(&dated, &[]).unwrap();
    assert_eq!(migrated.status, MigrationStatus::Migrated);
    sql(&mut a, "INSERT INTO todo (id, title, due) VALUES ('2', 'x', 'today')");

    let batch = next(&mut a, &b, Page::default());
    assert!(batch.schema_text.is_some());
    let bare = Batch { schema_text: None, ..batch.clone() };
    assert!(matches!(b.apply_changes(&bare), Err(ApplyError::SchemaMismatch { .. })));
    let applied = b.apply_changes(&batch).unwrap();
    assert!(applied.waits);
    // It is held durably, so it counts as received.
    assert_eq!(applied.received, Since::After(a.at().unwrap()));
    let mut b = crash(&b);
    assert_eq!(ids(&mut b), "1");
    assert!(!b.status().unwrap().is_complete());
    // What follows it waits behind it.
    add(&mut a, "3");
    assert!(b.apply_changes(&next(&mut a, &b, Page::default())).unwrap().waits);
    // In the meantime the other direction works: rows of an older schema fit the newer one.
    add(&mut b, "4");
    pull(&mut b, &mut a);

    b.create_or_migrate_database(&dated, &[]).unwrap();
    assert_eq!(sql(&mut b, "SELECT id, due FROM todo WHERE due IS NOT NULL"), r#"[["2","today"]]"#);
    pull(&mut a, &mut b);
    pull(&mut b, &mut a);
    assert_eq!(ids(&mut b), "1 2 3 4");
    check_in_step(&[&a, &b]);
}

#[test]
fn what_follows_a_batch_that_waits_is_not_merged_before_it_though_it_fits() {
    let (mut a, mut b) = (replica(), replica());
    let ours = b.schema().unwrap().hash().clone();
    a.create_or_migrate_database(&Schema::parse(DATED).unwrap(), &[]).unwrap();
    add(&mut a, "1");
    assert!(b.apply_changes(&next(&mut a, &b, Page::default())).unwrap().waits);
    // The sender claims both transactions, and this batch brings the second one only.
    add(&mut a, "2");
    let mut second = next(&mut a, &b, Page::default());
    (second.schema, second.schema_text) = (Some(ours), None);
    assert!(second.covers.contains(a.site(), version(1)));
    assert!(b.apply_changes(&second).unwrap().waits);
    assert!(b.clock().unwrap().get(a.site()).is_none());
    b.create_or_migrate_database(&Schema::parse(DATED).unwrap(), &[]).unwrap();
    assert_eq!(ids(&mut b), "1 2");
    check_in_step(&[&a, &b]);
}

#[test]
fn a_database_that_was_created_newer_takes_rows_of_the_older_schema() {
    let (mut a, mut b) = (replica(), with_schema(DATED));
    add(&mut a, "1");
    pull(&mut a, &mut b);
    assert_eq!(ids(&mut b), "1");
}

#[test]
fn a_migration_that_loses_values_is_refused_unless_they_are_named() {
    let mut a = with_schema(DATED);
    sql(&mut a, "INSERT INTO todo (id, due) VALUES ('1', 'today')");
    let plain = Schema::parse(TODO).unwrap();
    let before = state(&a);
    for allowed in [vec![], vec!["todo".into()], vec!["todo.title".into()]] {
        match a.create_or_migrate_database(&plain, &allowed) {
            Err(MigrateError::Refused { plan }) => assert!(plan.is_destructive()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(state(&a), before);
    let migrated = a.create_or_migrate_database(&plain, &["todo.due".into()]).unwrap();
    assert_eq!(migrated.status, MigrationStatus::Migrated);
    assert_eq!(a.create_or_migrate_database(&plain, &[]).unwrap().status, MigrationStatus::Unchanged);
}

#[test]
fn concurrent_deletes_updates_resurrections_and_equal_values_end_the_same_everywhere() {
    let (mut a, mut b, mut c) = (replica(), replica(), replica());
    (1..=4).for_each(|n| add(&mut a, &n.to_string()));
    pull(&mut a, &mut b);
    pull(&mut a, &mut c);
    sql(&mut a, "DELETE FROM todo WHERE id = '1'");
    sql(&mut b, "UPDATE todo SET title = 'late' WHERE id = '1'");
    sql(&mut a, "DELETE FROM todo WHERE id = '2'");
    add(&mut a, "2");
    sql(&mut b, "DELETE FROM todo WHERE id = '2'");
    sql(&mut a, "UPDATE todo SET title = 'same' WHERE id = '3'");
    sql(&mut c, "UPDATE todo SET title = 'same' WHERE id = '3'");
    sql(&mut b, "DELETE FROM todo WHERE id = '4'");
    sql(&mut c, "DELETE FROM todo WHERE id = '4'");
    for _ in 0..2 {
        pull(&mut a, &mut b);
        pull(&mut c, &mut b);
        pull(&mut b, &mut c);
        pull(&mut c, &mut a);
        pull(&mut b, &mut a);
    }
    assert_eq!(ids(&mut a), "2 3");
    check_in_step(&[&a, &b, &c]);
}

#[test]
fn after_a_partition_all_are_equal_and_say_that_they_are_in_step() {
    let mut all: Vec<_> = (0..4).map(|_| replica()).collect();
    let exchange = |all: &mut Vec<Replica>, pairs: &[(usize, usize)]| {
        for &(from, to) in pairs {
            let mut source = std::mem::replace(&mut all[from], replica());
            pull(&mut source, &mut all[to]);
            all[from] = source;
        }
    };
    // Two halves write on.
    for n in 0..6 {
        for (site, replica) in all.iter_mut().enumerate() {
            add(replica, &format!("{site}{n}"));
            sql(replica, &format!("UPDATE todo SET title = 'by {site}' WHERE id LIKE '%{n}'"));
        }
        exchange(&mut all, &[(0, 1), (1, 0), (2, 3), (3, 2)]);
    }
    // One bridge between them.
    exchange(&mut all, &[(1, 2), (2, 1), (2, 3), (1, 0)]);
    let all: Vec<&Replica> = all.iter().collect();
    check_in_step(&all);
}

#[test]
fn what_was_read_once_is_never_unread_on_a_link_that_comes_and_goes() {
    let (mut a, mut b) = (replica(), replica());
    add(&mut a, "1");
    let mut last = 0;
    for n in 0..20 {
        sql(&mut a, &format!("UPDATE todo SET done = {n}"));
        let batch = next(&mut a, &b, Page::default());
        b.apply_changes(&batch).unwrap();
        // The connection breaks, what was under way comes again, and older things come late.
        b.apply_changes(&batch).unwrap();
        if n % 3 == 0 {
            b = crash(&b);
        }
        let read: i64 = b.connection().query_row("SELECT done FROM todo", [], |row| row.get(0)).unwrap();
        assert!(read >= last);
        last = read;
    }
    assert_eq!(last, 19);
    check_in_step(&[&a, &b]);
}

#[test]
fn an_answer_by_versions_leaves_out_the_askers_own_and_what_is_not_held() {
    let (mut a, mut b) = (replica(), replica());
    add(&mut a, "1");
    add(&mut b, "2");
    pull(&mut b, &mut a);
    let wanted = versions(b.site(), &[(1, 9)]).union(&versions(a.site(), &[(1, 9)]));
    let request = VersionsRequest { exclude: Some(b.site()), ..VersionsRequest::new(Wanted::Versions(wanted)) };
    let batch = a.request_versions(&request).unwrap();
    assert_eq!(batch.covers, versions(a.site(), &[(1, 1)]));
    assert!(batch.changes.iter().all(|change| change.site == a.site()));
    let stranger = by_versions(&mut a, Wanted::Versions(versions(SiteId::new([7; 16]), &[(1, 9)])));
    assert!(stranger.is_empty() && !stranger.more);
}

#[test]
fn the_newest_come_first_when_asked_by_versions() {
    let (mut a, mut b) = (replica(), replica());
    (1..=9).for_each(|n| add(&mut a, &n.to_string()));
    let page = Page { changes: 4, ..Page::default() };
    let mut seen = Vec::new();
    loop {
        let request = VersionsRequest { page, ..VersionsRequest::new(Wanted::AllBut(b.clock().unwrap())) };
        let batch = a.request_versions(&request).unwrap();
        b.apply_changes(&batch).unwrap();
        seen.push(ids(&mut b));
        if !batch.more {
            break;
        }
    }
    assert_eq!(seen, ["8 9", "6 7 8 9", "4 5 6 7 8 9", "2 3 4 5 6 7 8 9", "1 2 3 4 5 6 7 8 9"]);
    check_in_step(&[&a, &b]);
}

#[test]
fn a_batch_that_claims_nonsense_is_refused_whole() {
    let (mut a, mut b) = (replica(), replica());
    add_many(&mut a, 3);
    let page = Page { changes: 4, ..Page::default() };
    let good = next(&mut a, &b, page);
    assert_eq!(good.partial.len(), 1);
    let spoil: [fn(&mut Batch, SiteId); 5] = [
        |batch, _| batch.partial.push(batch.partial[0].clone()),
        |batch, _| batch.partial[0].seqs = Ranges::default(),
        |batch, _| batch.partial[0].last_seq = crsql_sync::crr::Seq::ZERO,
        |batch, _| batch.changes[0].seq = crsql_sync::crr::Seq::new(99).unwrap(),
        |batch, us| batch.covers = versions(us, &[(1, (1 << 53) - 1)]),
    ];
    let before = state(&b);
    for spoil in spoil {
        let mut batch = good.clone();
        spoil(&mut batch, b.site());
        assert!(matches!(b.apply_changes(&batch), Err(ApplyError::InvalidBatch(_))));
        assert_eq!(state(&b), before);
        assert!(b.status().unwrap().is_complete());
    }
    pull_by(&mut a, &mut b, page);
    check_in_step(&[&a, &b]);
}

#[test]
fn a_damaged_ledger_is_found_out() {
    let (mut a, mut b) = (replica(), replica());
    (1..=5).for_each(|n| add(&mut a, &n.to_string()));
    add_many(&mut a, 9);
    let author = a.site();
    for n in [1, 4] {
        b.apply_changes(&by_versions(&mut a, Wanted::Versions(versions(author, &[(n, n)])))).unwrap();
    }
    let page = Page { changes: 4, ..Page::default() };
    let pieces = VersionsRequest { page, ..VersionsRequest::new(Wanted::Versions(versions(author, &[(6, 6)]))) };
    b.apply_changes(&a.request_versions(&pieces).unwrap()).unwrap();
    assert_eq!(b.missing().unwrap(), versions(author, &[(2, 3), (5, 6)]));
    assert_eq!(b.check().unwrap(), Vec::<String>::new());
    let damages = [
        "UPDATE crsql_sync_gaps SET last = first - 1",
        "UPDATE crsql_sync_gaps SET last = 6 WHERE first = 2",
        "UPDATE crsql_sync_clock SET max = 5 WHERE site = 1",
        "UPDATE crsql_sync_clock SET at = 99 WHERE site = 1",
        "UPDATE crsql_sync_clock SET max = 99 WHERE site = 0",
        "DELETE FROM crsql_sync_gaps WHERE first = 5",
        "UPDATE crsql_sync_partials SET version = 4",
        "DELETE FROM crsql_log WHERE version = 1",
        "DELETE FROM crsql_site_id WHERE ordinal = 1",
        "UPDATE crsql_master SET value = 0 WHERE key = 'db_version'",
    ];
    for damage in damages {
        let mut damaged = crash(&b);
        damaged.connection().execute_batch(damage).unwrap();
        let found = damaged.check();
        assert!(found.as_ref().map_or(true, |wrong| !wrong.is_empty()), "{damage}: {found:?}");
    }
}

/// Has `to` pull from `from`, a page at a time.
fn pull_pages(to: &mut Replica, from: &mut Replica, pages: usize) {
    for _ in 0..pages {
        let since = to.received(from.site()).unwrap();
        let page = Page { changes: 5, ..Page::default() };
        let request = Request { exclude: Some(to.site()), page, ..Request::after(since) };
        to.apply_changes(&from.request_changes(&request).unwrap()).unwrap();
    }
}

#[test]
fn what_is_read_for_all_is_what_each_peer_would_be_sent_whom_it_does_not_concern() {
    let stranger: SiteId = "bb000000000000000000000000000001".parse().unwrap();
    let (mut shared, mut apart) = (0, 0);
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut copies: Vec<Replica> = (0..4).map(|_| replica()).collect();
        for _ in 0..40 {
            let (one, other) = (random.usize(0..4), random.usize(0..4));
            if one == other {
                let rows: Vec<_> = (0..random.usize(1..4)).map(|_| format!("('{}', 'x')", random.u8(0..12))).collect();
                sql(&mut copies[one], &format!("INSERT OR REPLACE INTO todo (id, title) VALUES {}", rows.join(",")));
            } else {
                let mut from = copies.remove(other);
                let to = if other < one { one - 1 } else { one };
                pull_pages(&mut copies[to], &mut from, random.usize(1..3));
                copies.insert(other, from);
            }
        }
        let peers: Vec<SiteId> = copies[1..].iter().map(Replica::site).chain([stranger]).collect();
        let hub = &mut copies[0];
        for changes in [1, 3, 10_000] {
            let page = Page { changes, ..Page::default() };
            let mut since = Since::Beginning;
            loop {
                let request = Request { page, ..Request::after(since) };
                let (batch, concerned) = hub.request_changes_for_all(&request).unwrap();
                for &peer in &peers {
                    if concerned.contains(&peer) {
                        apart += 1;
                        continue;
                    }
                    assert!(batch.changes.iter().all(|change| change.site != peer), "seed {seed}");
                    if matches!(batch.next, Some(Since::Within(_))) {
                        // What follows in that version may be the peer's, and then it would be sent the version's end.
                        continue;
                    }
                    // More could fit if what follows is the peer's.
                    let until = Some(Cursor { site: hub.site(), version: batch.end.unwrap() });
                    let alone = Request { exclude: Some(peer), until: until.filter(|_| batch.more), ..request.clone() };
                    let alone = hub.request_changes(&alone).unwrap();
                    assert_eq!((&alone.changes, &alone.covers), (&batch.changes, &batch.covers), "seed {seed}");
                    assert_eq!(alone.end, batch.end, "seed {seed}");
                    shared += 1;
                }
                since = batch.next.unwrap();
                if !batch.more {
                    break;
                }
            }
        }
    }
    assert!(shared > 500 && apart > 500, "{shared} {apart}");
}
