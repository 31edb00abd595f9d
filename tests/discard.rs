//! What is given up of what a hub refuses is taken back: nobody else ever hears of it, and all copies are equal.
//!
//! The same bodies run natively and, in a service worker, in wasm.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::histories::{SCHEMA, TABLES, statement};
use common::replicas::{add, replica, sql, with_schema};
use common::star::{client, client_with, hold_back, pull, push, rows, take_back, versions};
use crsql_sync::crr::{SiteId, Version};
use crsql_sync::sync::{
    Clock, DiscardError, Page, Position, QueriesRequest, Range, Replica, Since, Sql, SubscriptionId,
    SubscriptionRequest, VersionsRequest, Wanted, WhenUnsent,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

/// Writes something that the hub refuses and the user gives up.
fn write_in_vain(client: &mut Replica, hub: &Replica, statement: &str) {
    sql(client, statement);
    let version = client.version().unwrap().get();
    hold_back(client, hub, version);
    client.discard(&versions(client.site(), &[(version, version)])).unwrap();
}

/// Everything that a link does.
fn sync(client: &mut Replica, hub: &mut Replica) {
    push(client, hub);
    take_back(client, hub, Page::default());
    push(client, hub);
    pull(hub, client);
}

fn check_equal(client: &mut Replica, hub: &mut Replica) {
    assert_eq!(rows(client), rows(hub));
    assert_eq!(client.verify_begin().unwrap().root, hub.verify_begin().unwrap().root);
    assert_eq!(client.check().unwrap(), Vec::<String>::new());
    assert_eq!(client.clock().unwrap(), hub.clock().unwrap());
    for replica in [client, hub] {
        assert!(replica.status().unwrap().is_complete());
        assert_eq!(replica.status().unwrap().quarantined, Default::default());
    }
}

#[test]
fn a_row_that_nobody_else_wrote_goes() {
    let mut hub = replica();
    let mut a = client(&hub);
    add(&mut a, "1");
    sync(&mut a, &mut hub);
    // Whoever compares copies keeps prints of their rows.
    a.verify_begin().unwrap();
    write_in_vain(&mut a, &hub, "INSERT INTO todo (id, title) VALUES ('2', 'poison'), ('3', 'poison')");
    assert_eq!(rows(&mut a), "1:1:0 2:poison:0 3:poison:0", "until the hub was asked");
    sync(&mut a, &mut hub);
    assert_eq!(rows(&mut a), "1:1:0");
    check_equal(&mut a, &mut hub);
    // The names are free.
    add(&mut a, "2");
    sync(&mut a, &mut hub);
    assert_eq!(rows(&mut hub), "1:1:0 2:2:0");
    check_equal(&mut a, &mut hub);
}

#[test]
fn who_subscribes_to_the_copy_is_told_that_a_row_went() {
    let mut hub = replica();
    let mut a = client(&hub);
    write_in_vain(&mut a, &hub, "INSERT INTO todo (id, title) VALUES ('1', 'poison')");
    let page = Page { changes: usize::MAX, bytes: usize::MAX };
    let ask = |a: &mut Replica, position| {
        let id = SubscriptionId { holder: "ann".into(), name: "all".into() };
        let request = QueriesRequest {
            queries: vec![Sql { sql: "SELECT * FROM todo".into(), params: Vec::new() }],
            subscription: Some(SubscriptionRequest { id, position, is_told: true, now: 0 }),
            exclude: None,
            schema: None,
            tables: None,
            filters: None,
            page,
            most: page,
            rows: usize::MAX,
            time: std::time::Duration::from_secs(60),
        };
        let (answer, remember) = a.changes_for_queries(&request).unwrap();
        remember.inspect(|remember| assert!(a.remember(remember, 0).unwrap()));
        answer
    };
    let first = ask(&mut a, None);
    let Some(Since::After(since)) = first.next else { panic!() };
    // Nothing is new, and what the query read is known.
    let position = Some(Position { seen: first.seen.unwrap(), since });
    for _ in 0..2 {
        assert_eq!(ask(&mut a, position).changes, Vec::new());
    }
    let runs = a.query_runs();
    sync(&mut a, &mut hub);
    assert_eq!(rows(&mut a), "null");
    ask(&mut a, position);
    assert_eq!(a.query_runs(), runs + 1, "the query was run again");
}

#[test]
fn what_it_overwrote_comes_back() {
    let mut hub = replica();
    let (mut a, mut b) = (client(&hub), client(&hub));
    add(&mut a, "1");
    add(&mut b, "2");
    add(&mut b, "3");
    sync(&mut b, &mut hub);
    sync(&mut a, &mut hub);
    sql(&mut hub, "UPDATE todo SET done = 5");
    sync(&mut a, &mut hub);
    write_in_vain(&mut a, &hub, "UPDATE todo SET title = 'poison' WHERE id < '3'");
    write_in_vain(&mut a, &hub, "DELETE FROM todo WHERE id > '1'");
    write_in_vain(&mut a, &hub, "INSERT INTO todo VALUES ('2', 'again', 9)");
    assert_eq!(rows(&mut a), "1:poison:5 2:again:9");
    sync(&mut a, &mut hub);
    assert_eq!(rows(&mut a), "1:1:5 2:2:5 3:3:5");
    check_equal(&mut a, &mut hub);
    sync(&mut b, &mut hub);
    check_equal(&mut b, &mut hub);
}

#[test]
fn what_was_written_since_stays_and_still_beats_what_was_there_before() {
    let mut hub = replica();
    let mut a = client(&hub);
    add(&mut hub, "1");
    sql(&mut hub, "UPDATE todo SET title = 'seen', done = 1");
    sync(&mut a, &mut hub);
    write_in_vain(&mut a, &hub, "UPDATE todo SET title = 'poison', done = 13");
    sql(&mut a, "UPDATE todo SET title = 'mine'");
    write_in_vain(&mut a, &hub, "INSERT INTO todo (id, title, done) VALUES ('2', 'poison', 13)");
    sql(&mut a, "UPDATE todo SET title = 'kept' WHERE id = '2'");
    sync(&mut a, &mut hub);
    assert_eq!(rows(&mut a), "1:mine:1 2:kept:0");
    check_equal(&mut a, &mut hub);
}

#[test]
fn many_rows_are_taken_back_as_the_hub_answers() {
    let mut hub = replica();
    let mut a = client(&hub);
    (0..20).for_each(|n| add(&mut hub, &format!("{n:02}")));
    sync(&mut a, &mut hub);
    write_in_vain(&mut a, &hub, "UPDATE todo SET title = 'poison'");
    push(&mut a, &mut hub);
    take_back(&mut a, &mut hub, Page { changes: 5, ..Page::default() });
    sync(&mut a, &mut hub);
    assert!(!rows(&mut a).contains("poison"));
    check_equal(&mut a, &mut hub);
}

#[test]
fn defaults_and_keys_of_any_kind_are_as_if_it_had_never_been_written() {
    let schema =
        "CREATE TABLE t (id PRIMARY KEY NOT NULL, x DEFAULT (upper('a b')), y DEFAULT abc, z NOT NULL DEFAULT -1);
                  CREATE TABLE w (a, b, x DEFAULT 'it''s', y, PRIMARY KEY (b, a)) WITHOUT ROWID;
                  CREATE TABLE i (id INTEGER PRIMARY KEY NOT NULL, x DEFAULT TRUE, y);
                  SELECT crsql_as_crr('t'); SELECT crsql_as_crr('w'); SELECT crsql_as_crr('i');"
            .replace("(a, b,", "(a NOT NULL, b NOT NULL,");
    let mut hub = with_schema(&schema);
    let (mut a, mut other) = (client_with(&hub, &schema), with_schema(&schema));
    for insert in
        ["INSERT INTO t VALUES ('k', 1, 2, 3)", "INSERT INTO w VALUES (1, 2, 3, 4)", "INSERT INTO i VALUES (7, 8, 9)"]
    {
        write_in_vain(&mut a, &hub, insert);
    }
    // In a copy that only has these, everything else has its default.
    for update in ["UPDATE t SET z = 5", "UPDATE w SET y = 5", "UPDATE i SET y = 5"] {
        sql(&mut a, update);
    }
    sync(&mut a, &mut hub);
    pull(&mut hub, &mut other);
    let all = "SELECT (SELECT json_group_array(json_array(id, x, y, z)) FROM t), (SELECT json_group_array(json_array(a, b, x, y)) FROM w),
                      (SELECT json_group_array(json_array(id, x, y)) FROM i)";
    let expected = r#"[["[[\"k\",\"A B\",\"abc\",5]]","[[1,2,\"it's\",5]]","[[7,1,5]]"]]"#;
    for replica in [&mut a, &mut hub, &mut other] {
        assert_eq!(sql(replica, all), expected);
    }
    assert_eq!(a.check().unwrap(), Vec::<String>::new());
}

#[test]
fn what_others_have_is_not_given_up() {
    let mut hub = replica();
    let (mut a, mut peer) = (client(&hub), replica());
    let held_back = |a: &Replica| a.quarantined(hub.site()).unwrap().transactions[0].refusal.code.clone();
    add(&mut a, "1");
    hold_back(&mut a, &hub, 1);
    pull(&mut a, &mut peer);
    // It says what it has with what it sends.
    add(&mut peer, "theirs");
    let batch = peer.outgoing(&crsql_sync::sync::Outgoing::new(
        a.site(),
        peer.acknowledged(a.site()).unwrap(),
        peer.acknowledged(a.site()).unwrap(),
        Page::default(),
    ));
    a.apply_changes(&batch.unwrap()).unwrap();
    let refused = a.discard(&versions(a.site(), &[(1, 1)])).unwrap_err();
    assert!(matches!(refused, DiscardError::Relayed { .. }), "{refused}");
    assert_eq!(held_back(&a), "invalid_batch");

    let of = (peer.site(), Version::MIN);
    a.quarantine(hub.site(), of, &common::star::refusal(), None).unwrap();
    let refused = a.discard(&versions(peer.site(), &[(1, 1)])).unwrap_err();
    assert!(matches!(refused, DiscardError::Foreign { .. }), "{refused}");

    // What is not held back is passed over, and what nobody else has can be given up.
    a.discard(&versions(a.site(), &[(9, 9)])).unwrap();
    sql(&mut a, "INSERT INTO todo VALUES ('2', 'poison', 0)");
    let newest = a.version().unwrap().get();
    hold_back(&mut a, &hub, newest);
    a.discard(&versions(a.site(), &[(newest, newest)])).unwrap();
    take_back(&mut a, &mut hub, Page::default());
    assert_eq!(rows(&mut a), "1:1:0 theirs:theirs:0");
    assert_eq!(a.status().unwrap().quarantined.count, 2);
}

#[test]
fn what_one_principal_gives_up_is_gone_for_the_next_one() {
    let mut hub = replica();
    let mut a = client(&hub);
    a.sign_in("ann", WhenUnsent::Keep).unwrap();
    add(&mut hub, "1");
    sync(&mut a, &mut hub);
    sql(&mut a, "UPDATE todo SET title = 'private'");
    add(&mut a, "2");
    assert!(a.sign_in("ben", WhenUnsent::Discard).unwrap());
    add(&mut a, "3");
    sync(&mut a, &mut hub);
    assert_eq!(rows(&mut a), "1:1:0 3:3:0");
    check_equal(&mut a, &mut hub);
}

// Random histories.

#[derive(Clone, Debug)]
enum Step {
    /// One of the copies writes; the first is the hub.
    Write(usize, String),
    /// A client's write is refused, and may be given up.
    Refused(usize, String, bool),
    Sync(usize),
    Push(usize),
    Pull(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 1..3usize;
    prop_oneof![
        4 => (0..3usize, statement()).prop_map(|(who, sql)| Step::Write(who, sql)),
        3 => (client(), statement(), any::<bool>()).prop_map(|(who, sql, given_up)| Step::Refused(who, sql, given_up)),
        1 => client().prop_map(Step::Sync),
        2 => client().prop_map(Step::Push),
        2 => client().prop_map(Step::Pull),
    ]
}

fn pair(copies: &mut [Replica; 3], client: usize) -> (&mut Replica, &mut Replica) {
    let [hub, a, b] = copies;
    (if client == 1 { a } else { b }, hub)
}

fn content(replica: &Replica) -> Vec<String> {
    let mut rows = Vec::new();
    for table in TABLES {
        let sql = format!("SELECT * FROM {table} ORDER BY 1, 2");
        let mut statement = replica.connection().prepare(&sql).unwrap();
        let columns = statement.column_count();
        let of_table = statement.query_map([], |row| {
            (0..columns).map(|at| row.get::<_, rusqlite::types::Value>(at)).collect::<Result<Vec<_>, _>>()
        });
        rows.extend(of_table.unwrap().map(|row| format!("{table} {:?}", row.unwrap())));
    }
    rows.sort();
    rows
}

fn run(steps: &[Step]) {
    let hub = with_schema(SCHEMA);
    let mut copies = [client_with(&hub, SCHEMA), client_with(&hub, SCHEMA), hub];
    copies.rotate_right(1);
    let mut given_up = Vec::<(SiteId, Version)>::new();
    for step in steps {
        match step {
            Step::Write(who, sql) => copies[*who].connection().execute_batch(sql).unwrap(),
            Step::Refused(who, sql, is_given_up) => {
                let (client, hub) = pair(&mut copies, *who);
                let before = client.version().unwrap();
                client.connection().execute_batch(sql).unwrap();
                let version = client.version().unwrap();
                if version > before {
                    hold_back(client, hub, version.get());
                    let of = Clock::from_iter([(client.site(), Range::one(version).into())]);
                    if *is_given_up {
                        client.discard(&of).unwrap();
                        given_up.push((client.site(), version));
                    }
                }
            }
            Step::Sync(who) => {
                let (client, hub) = pair(&mut copies, *who);
                sync(client, hub);
            }
            Step::Push(who) => {
                let (client, hub) = pair(&mut copies, *who);
                push(client, hub);
            }
            Step::Pull(who) => {
                let (client, hub) = pair(&mut copies, *who);
                pull(hub, client);
            }
        }
    }
    // What is still held back is taken in the end.
    for round in 0..2 {
        for who in [1, 2, 1] {
            let (client, hub) = pair(&mut copies, who);
            if round == 0 {
                client.retry_quarantined().unwrap();
                common::star::retry(client, hub);
            }
            sync(client, hub);
        }
    }
    let [hub, a, b] = &mut copies;
    for client in [a, b] {
        assert_eq!(content(client), content(hub));
        assert_eq!(client.check().unwrap(), Vec::<String>::new());
        assert_eq!(client.clock().unwrap(), hub.clock().unwrap());
        assert_eq!(client.status().unwrap().quarantined, Default::default());
    }
    assert!(hub.missing().unwrap().is_empty());
    for copy in &mut copies {
        let all = copy.request_versions(&VersionsRequest::new(Wanted::AllBut(Clock::default()))).unwrap();
        let heard = all.changes.iter().find(|change| given_up.contains(&(change.site, change.version)));
        assert!(heard.is_none(), "{heard:?}");
    }
}

#[test]
fn copies_are_equal_after_any_refusals_of_which_some_are_given_up() {
    let few = if cfg!(target_family = "wasm") { 8 } else { 64 };
    let cases = std::option_env!("DISCARD_CASES").and_then(|cases| cases.parse().ok()).unwrap_or(few);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    let outcome = TestRunner::new(config).run(&prop::collection::vec(step(), 1..25), |steps| {
        run(&steps);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
