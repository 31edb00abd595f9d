//! Copies that compare themselves: what is equal is seen to be, what differs is found and repaired.
//!
//! `VERIFY_CASES` sets how many histories. `cargo test --release --test verify -- --ignored --nocapture` prints what comparing
//! 100,000 rows costs.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::histories::{SCHEMA, TABLES, statement};
use common::replicas::{TODO, with_schema};
use crsql_sync::crr::pack::pack;
use crsql_sync::crr::{Change, SiteId};
use crsql_sync::sync::verify::{Item, List, Node, Prefix, Sum};
use crsql_sync::sync::{Batch, Page, Probe, Replica, Request, Since, VerifyError};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rusqlite::types::Value;
use sha2::{Digest, Sha256};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

const ALL: Page = Page { changes: usize::MAX, bytes: usize::MAX };

fn run(replica: &Replica, sql: &str) {
    replica.connection().execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

fn add(replica: &Replica, rows: std::ops::Range<usize>) {
    let values: Vec<_> = rows.map(|row| format!("('{row:06}', 'title of {row}', 0)")).collect();
    run(replica, &format!("INSERT INTO todo VALUES {}", values.join(",")));
}

fn value(replica: &Replica, sql: &str) -> Value {
    replica.connection().query_row(sql, [], |row| row.get(0)).unwrap()
}

fn content(replica: &Replica, table: &str) -> Vec<String> {
    let mut statement = replica.connection().prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        Ok(format!("{:?}", (0..columns).map(|i| row.get::<_, Value>(i)).collect::<Result<Vec<_>, _>>()?))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// What `to` has not received of `from`.
fn batch(from: &mut Replica, to: &Replica) -> Batch {
    let since = to.received(from.site()).unwrap();
    from.request_changes(&Request { exclude: Some(to.site()), page: ALL, ..Request::after(since) }).unwrap()
}

fn pull(from: &mut Replica, to: &mut Replica) {
    let batch = batch(from, to);
    to.apply_changes(&batch).unwrap();
}

fn sync(a: &mut Replica, b: &mut Replica) {
    pull(a, b);
    pull(b, a);
}

/// Lets `to` believe that it has received what `from` wrote, without the changes that `keep` does not want.
fn lose(from: &mut Replica, to: &mut Replica, keep: impl Fn(&Change) -> bool) {
    let mut batch = batch(from, to);
    batch.changes.retain(keep);
    to.apply_changes(&batch).unwrap();
}

fn all_changes(replica: &mut Replica) -> Vec<Change> {
    let request = Request { page: ALL, ..Request::after(Since::Beginning) };
    replica.request_changes(&request).unwrap().changes
}

fn root(replica: &mut Replica) -> Sum {
    replica.verify_begin().unwrap().root
}

/// The root as `docs/verify.md` describes it, from the changes that peers get.
fn described_root(replica: &mut Replica) -> Sum {
    let mut rows: BTreeMap<_, Vec<Change>> = BTreeMap::new();
    for change in all_changes(replica) {
        rows.entry((change.table.clone(), change.pk.clone())).or_default().push(change);
    }
    let mut root = Sum::default();
    for ((table, pk), mut changes) in rows {
        changes.sort_by(|a, b| a.cid.as_bytes().cmp(b.cid.as_bytes()));
        let text = |text: &str| Value::Text(text.to_owned());
        let mut hash = Sha256::new();
        hash.update(pack(&[text(&table)]).unwrap());
        hash.update(&pk);
        hash.update(pack(&[Value::Integer(changes[0].cl.get())]).unwrap());
        for change in changes {
            let site = Value::Blob(change.site.as_bytes().to_vec());
            let cell = [text(&change.cid), Value::Integer(change.col_version.get()), site, change.val];
            hash.update(pack(&cell).unwrap());
        }
        let print = u128::from_be_bytes(hash.finalize()[..16].try_into().unwrap());
        root = Sum { count: root.count + 1, sum: root.sum.wrapping_add(print) };
    }
    root
}

/// What an exchange took.
#[derive(Debug, Default)]
struct Report {
    /// Probes with their answers.
    rounds: usize,
    bytes: usize,
    sent: BTreeSet<(String, Vec<u8>)>,
    received: BTreeSet<(String, Vec<u8>)>,
    /// The most rows of one repair, in changes.
    largest: usize,
    equal: bool,
}

impl Report {
    /// A probe as it arrives, and its rows applied.
    fn carry(&mut self, probe: &Probe, to: &mut Replica, sent: bool) -> Probe {
        let text = serde_json::to_string(probe).unwrap();
        self.bytes += text.len();
        let probe: Probe = serde_json::from_str(&text).unwrap();
        if let Some(repair) = &probe.repair {
            assert!(repair.covers.is_empty() && repair.start.is_none() && repair.end.is_none());
            let rows = repair.changes.iter().map(|change| (change.table.to_string(), change.pk.to_vec()));
            if sent {
                self.sent.extend(rows)
            } else {
                self.received.extend(rows)
            }
            self.largest = self.largest.max(repair.changes.len());
            to.apply_changes(repair).unwrap();
        }
        probe
    }
}

/// Exchanges probes until the copies are equal, or one exchange left them as they were.
fn reconcile_by(a: &mut Replica, b: &mut Replica, page: Page) -> Report {
    let mut report = Report::default();
    loop {
        let before = (root(a), root(b));
        let mut probe = a.verify_begin().unwrap();
        loop {
            report.rounds += 1;
            assert!(report.rounds < 10_000, "an exchange that does not end");
            let probe_there = report.carry(&probe, b, true);
            let answer = b.verify(&probe_there, page).unwrap().reply;
            let answer_here = report.carry(&answer, a, false);
            let verified = a.verify(&answer_here, page).unwrap();
            report.equal = verified.equal;
            if verified.equal || verified.reply.is_empty() {
                break;
            }
            probe = verified.reply;
        }
        if report.equal || (root(a), root(b)) == before {
            return report;
        }
    }
}

fn reconcile(a: &mut Replica, b: &mut Replica) -> Report {
    reconcile_by(a, b, Page::default())
}

fn todo(rows: impl IntoIterator<Item = usize>) -> BTreeSet<(String, Vec<u8>)> {
    rows.into_iter().map(|row| ("todo".into(), pack(&[Value::Text(format!("{row:06}"))]).unwrap())).collect()
}

fn cases(default: u32) -> ProptestConfig {
    let default = if cfg!(target_family = "wasm") { default.min(8) } else { default };
    let cases = std::option_env!("VERIFY_CASES").and_then(|n| n.parse().ok()).unwrap_or(default);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn copies_that_synced_are_equal_after_one_round_trip_of_roots() {
    let (mut a, mut b) = (with_schema(TODO), with_schema(TODO));
    assert!(reconcile(&mut a, &mut b).equal);
    add(&a, 0..500);
    add(&b, 400..900);
    sync(&mut a, &mut b);
    run(&a, "DELETE FROM todo WHERE id < '000100'; UPDATE todo SET id = id || 'x' WHERE id < '000200'");
    sync(&mut a, &mut b);
    let report = reconcile(&mut a, &mut b);
    assert!(report.equal);
    assert_eq!(report.rounds, 1);
    assert!(report.bytes < 600, "{report:?}");
    assert!(report.sent.is_empty() && report.received.is_empty());
}

#[test]
fn rows_that_a_wrong_cursor_left_out_are_found_and_no_others_travel() {
    let (mut a, mut b) = (with_schema(TODO), with_schema(TODO));
    add(&a, 0..3000);
    sync(&mut a, &mut b);
    add(&a, 3000..3010);
    run(&a, "UPDATE todo SET done = 1 WHERE id BETWEEN '000100' AND '000104'");
    lose(&mut a, &mut b, |_| false);
    run(&b, "DELETE FROM todo WHERE id IN ('000200', '002000')");
    lose(&mut b, &mut a, |_| false);
    assert_eq!(batch(&mut a, &b).changes.len() + batch(&mut b, &a).changes.len(), 0);
    let report = reconcile(&mut a, &mut b);
    assert!(report.equal, "{report:?}");
    let differ = todo((100..=104).chain([200, 2000]));
    assert_eq!(report.sent, &differ | &todo(3000..3010));
    assert_eq!(report.received, differ);
    assert!(report.rounds <= 6, "{}", report.rounds);
    assert_eq!(content(&a, "todo"), content(&b, "todo"));
    assert_eq!(content(&a, "todo").len(), 3008);
}

#[test]
fn a_single_cell_that_was_withheld_is_found() {
    let (mut a, mut b) = (with_schema(TODO), with_schema(TODO));
    add(&a, 0..1000);
    lose(&mut a, &mut b, |change| (&*change.cid, &change.val) != ("title", &Value::Text("title of 7".into())));
    let report = reconcile(&mut b, &mut a);
    assert!(report.equal);
    assert_eq!((report.sent, report.received), (todo([7]), todo([7])));
    assert_eq!(content(&a, "todo"), content(&b, "todo"));
}

#[test]
fn a_copy_that_has_nothing_gets_everything_a_page_at_a_time() {
    let (mut a, mut b) = (with_schema(TODO), with_schema(TODO));
    add(&a, 0..500);
    run(&a, "DELETE FROM todo WHERE id < '000010'");
    let page = Page { changes: 100, ..Page::default() };
    let report = reconcile_by(&mut b, &mut a, page);
    assert!(report.equal);
    assert!(report.largest <= 100 && report.rounds >= 10, "{} {}", report.largest, report.rounds);
    assert_eq!(report.received, todo(0..500));
    assert_eq!(content(&a, "todo"), content(&b, "todo"));
    // A row is never cut, however small the page.
    let mut c = with_schema(TODO);
    let report = reconcile_by(&mut a, &mut c, Page { changes: 0, bytes: 0 });
    assert!(report.equal);
    assert_eq!(report.largest, 2);
}

#[test]
fn a_repair_moves_no_cursor_and_is_not_sent_back_by_batches() {
    let (mut a, mut b) = (with_schema(TODO), with_schema(TODO));
    add(&a, 0..10);
    let before = b.received(a.site()).unwrap();
    assert!(reconcile(&mut a, &mut b).equal);
    assert_eq!(b.received(a.site()).unwrap(), before);
    assert!(batch(&mut b, &a).changes.is_empty());
    pull(&mut a, &mut b);
    assert_eq!(reconcile(&mut a, &mut b).rounds, 1);
}

#[test]
fn spellings_of_one_key_are_one_row() {
    let schema = "CREATE TABLE name (id TEXT COLLATE NOCASE, part TEXT COLLATE rtrim, n, v, PRIMARY KEY (id, part, n)) WITHOUT ROWID;
                  SELECT crsql_as_crr('name');";
    let (mut a, mut b) = (with_schema(schema), with_schema(schema));
    run(&a, "INSERT INTO name VALUES ('Ab', 'x', 1, 'a'), ('c', '', -2, 'a')");
    run(&b, "INSERT INTO name VALUES ('aB', 'x  ', 1.0, 'b'), ('C', '  ', -2.0, 'b'), ('d', 'y', 1.5, 'b')");
    sync(&mut a, &mut b);
    assert_eq!(root(&mut a).count, 3);
    assert_ne!(content(&a, "name"), content(&b, "name"));
    let report = reconcile(&mut a, &mut b);
    assert_eq!((report.equal, report.rounds), (true, 1));
}

#[test]
fn cells_that_an_earlier_incarnation_left_behind_are_made_equal() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY NOT NULL, x, y); SELECT crsql_as_crr('t');";
    let (mut a, mut b) = (with_schema(schema), with_schema(schema));
    run(&a, "INSERT INTO t VALUES (1, 'one', 'old')");
    sync(&mut a, &mut b);
    run(&a, "DELETE FROM t WHERE id = 1");
    run(&a, "INSERT INTO t VALUES (1, 'two', 'new')");
    lose(&mut a, &mut b, |change| &*change.cid != "y");
    assert_ne!(content(&a, "t"), content(&b, "t"));
    assert!(reconcile(&mut a, &mut b).equal);
    assert_eq!(content(&a, "t"), content(&b, "t"));
}

#[test]
fn what_was_changed_behind_the_engines_back_is_found_when_everything_is_read_again() {
    let (mut a, mut b) = (with_schema(TODO), with_schema(TODO));
    add(&a, 0..100);
    sync(&mut a, &mut b);
    assert!(reconcile(&mut a, &mut b).equal);
    let silently = |replica: &Replica, sql: &str| {
        run(replica, &format!("SELECT crsql_internal_sync_bit(1); {sql}; SELECT crsql_internal_sync_bit(0)"));
    };
    silently(&b, "DELETE FROM todo WHERE id = '000003'; UPDATE todo SET title = 'zzz' WHERE id = '000004'");
    assert!(reconcile(&mut a, &mut b).equal);
    b.forget_prints().unwrap();
    let report = reconcile(&mut a, &mut b);
    assert!(report.equal);
    assert_eq!(report.sent, todo([3, 4]));
    assert_eq!(content(&a, "todo"), content(&b, "todo"));
    // A print that turns out to be another row's state than the one that is there is made anew.
    silently(&b, "DELETE FROM todo WHERE id = '000005'");
    run(&a, "DELETE FROM todo WHERE id = '000005'");
    assert!(reconcile(&mut b, &mut a).equal);
}

#[test]
fn a_trigger_that_changes_what_is_merged_ends_an_exchange_without_equality() {
    let (mut a, mut b) = (with_schema(TODO), with_schema(TODO));
    let stamp = |name: &str| {
        format!(
            "CREATE TRIGGER stamp AFTER INSERT ON todo WHEN new.title <> '{name}' BEGIN
             UPDATE todo SET title = '{name}' WHERE id = new.id; END;
             CREATE TRIGGER stamp_update AFTER UPDATE OF title ON todo WHEN new.title <> '{name}' BEGIN
             UPDATE todo SET title = '{name}' WHERE id = new.id; END;"
        )
    };
    add(&a, 0..200);
    run(&b, &stamp("b"));
    run(&a, &stamp("a"));
    let report = reconcile_by(&mut a, &mut b, Page { changes: 50, ..Page::default() });
    assert!(!report.equal);
    assert_eq!(root(&mut a).count, root(&mut b).count);
}

#[test]
fn a_probe_of_another_schema_or_of_ones_own_is_refused() {
    let (mut a, mut b) = (with_schema(TODO), with_schema(&TODO.replace("title TEXT", "title TEXT, note TEXT")));
    let probe = a.verify_begin().unwrap();
    let Err(VerifyError::SchemaMismatch { schema }) = b.verify(&probe, ALL) else { panic!() };
    assert_eq!(&schema, b.schema().unwrap().hash());
    assert!(matches!(a.verify(&probe, ALL), Err(VerifyError::InvalidProbe(_))));
}

#[test]
fn a_probe_that_contradicts_itself_is_refused() {
    let (mut a, mut b) = (with_schema(TODO), with_schema(TODO));
    add(&a, 0..10);
    let good = b.verify_begin().unwrap();
    let prefix = |text: &str| text.parse::<Prefix>().unwrap();
    let node = |text: &str| Node { prefix: prefix(text), sum: Sum::default() };
    let list = |text: &str, place| List { prefix: prefix(text), items: vec![Item { place, print: 1 }] };
    let bad = [
        Probe { nodes: vec![node("b"), node("a")], ..good.clone() },
        Probe { nodes: vec![node(""), node("a")], ..good.clone() },
        Probe { nodes: vec![node("a"), node("a")], ..good.clone() },
        Probe { lists: vec![list("a", 0)], ..good.clone() },
        Probe { lists: vec![list("0", 0), list("00", 0)], ..good.clone() },
        Probe { wants: vec![0; 5000], ..good.clone() },
    ];
    for probe in bad {
        let Err(VerifyError::InvalidProbe(reason)) = a.verify(&probe, ALL) else { panic!("{probe:?}") };
        assert!(!reason.is_empty());
    }
}

#[test]
fn any_probe_is_answered_within_bounds() {
    let mut a = with_schema(TODO);
    add(&a, 0..300);
    let from = SiteId::new([7; 16]);
    let good = Probe { from, ..a.verify_begin().unwrap() };
    let prefix = (any::<u64>(), 0..=16usize)
        .prop_map(|(place, depth)| format!("{place:016x}")[..depth].parse::<Prefix>().unwrap());
    let sum = prop_oneof![
        Just(Sum::default()),
        (0..400u64, any::<u128>()).prop_map(|(count, sum)| Sum { count, sum }),
        (any::<u64>(), any::<u128>()).prop_map(|(count, sum)| Sum { count, sum })
    ];
    let nodes = prop::collection::vec((prefix.clone(), sum.clone()), 0..40);
    let items = prop::collection::vec((any::<u64>(), any::<u128>()), 0..5);
    let lists = prop::collection::vec((prefix, items), 0..40);
    let probes = (sum, nodes, lists, prop::collection::vec(any::<u64>(), 0..5));
    let page = Page { changes: 100, bytes: 1 << 20 };
    let a = std::cell::RefCell::new(a);
    let mut runner = TestRunner::new(cases(64));
    let outcome = runner.run(&probes, |(root, mut nodes, mut lists, wants)| {
        nodes.sort_by_key(|node| node.0);
        nodes.dedup_by(|next, kept| kept.0.contains(next.0.first()));
        lists.sort_by_key(|list| list.0);
        lists.dedup_by(|next, kept| kept.0.contains(next.0.first()));
        let nodes = nodes.into_iter().map(|(prefix, sum)| Node { prefix, sum }).collect();
        let list = |(prefix, items): (Prefix, Vec<(u64, u128)>)| {
            let within = |place: u64| prefix.first() | (place & (prefix.last() - prefix.first()));
            let items = items.into_iter().map(|(place, print)| Item { place: within(place), print });
            List { prefix, items: items.collect() }
        };
        let lists = lists.into_iter().map(list).collect();
        let answer = a.borrow_mut().verify(&Probe { root, nodes, lists, wants, ..good.clone() }, page).unwrap().reply;
        prop_assert!(answer.nodes.len() <= 4096);
        prop_assert!(answer.repair.iter().all(|repair| repair.changes.len() <= 100));
        // What one says another takes.
        let mut b = with_schema(TODO);
        b.verify(&answer, page).unwrap();
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// A table that is altered beside those of the histories.
const EXTRA: &str = "CREATE TABLE extra (id TEXT PRIMARY KEY NOT NULL, x); SELECT crsql_as_crr('extra');";

#[derive(Clone, Debug)]
enum Step {
    Write(usize, String),
    Pull(usize, usize),
    Extra(usize, u8, u8),
    /// Takes the version at which the log is compacted.
    Compact(usize),
    Move(usize),
    /// Adds a column or drops it, everywhere.
    Alter,
    Vacuum(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2usize, statement()).prop_map(|(at, sql)| Step::Write(at, sql)),
        3 => (0..2usize).prop_map(|from| Step::Pull(from, 1 - from)),
        2 => (0..2usize, 0..4u8, any::<u8>()).prop_map(|(at, id, x)| Step::Extra(at, id, x)),
        1 => (0..2usize).prop_map(Step::Compact),
        1 => (0..2usize).prop_map(Step::Move),
        1 => Just(Step::Alter),
        1 => (0..2usize).prop_map(Step::Vacuum),
    ]
}

fn take(step: &Step, copies: &mut [Replica; 2], altered: &mut bool) {
    match *step {
        Step::Write(at, ref sql) => run(&copies[at], sql),
        Step::Pull(from, to) => {
            let batch = {
                let [from, to] = copies.get_disjoint_mut([from, to]).unwrap();
                batch(from, to)
            };
            copies[to].apply_changes(&batch).unwrap();
        }
        Step::Extra(at, id, x) if x < 80 => run(&copies[at], &format!("DELETE FROM extra WHERE id = 'e{id}'")),
        Step::Extra(at, id, x) => {
            run(&copies[at], &format!("INSERT OR REPLACE INTO extra (id, x) VALUES ('e{id}', {x})"));
            if *altered && x % 2 == 0 {
                run(&copies[at], &format!("UPDATE extra SET w = {x} WHERE id = 'e{id}'"));
            }
        }
        Step::Compact(at) => {
            let next = (copies[at].version().unwrap().get() / 4096 + 1) * 4096;
            run(
                &copies[at],
                &format!(
                    "BEGIN; SELECT crsql_next_db_version({next}); INSERT OR REPLACE INTO extra (id, x) VALUES ('e0', {next}); COMMIT"
                ),
            );
            assert_eq!(
                value(&copies[at], "SELECT value FROM crsql_master WHERE key = 'log_compacted'"),
                Value::Integer(next)
            );
        }
        Step::Move(at) => {
            run(&copies[at], "UPDATE txt SET rowid = rowid + 100; UPDATE extra SET rowid = rowid + 7, x = 1")
        }
        Step::Alter => {
            let change = if *altered { "DROP COLUMN w" } else { "ADD COLUMN w DEFAULT 3" };
            for copy in &*copies {
                run(
                    copy,
                    &format!(
                        "SELECT crsql_begin_alter('extra'); ALTER TABLE extra {change}; SELECT crsql_commit_alter('extra')"
                    ),
                );
            }
            *altered = !*altered;
        }
        Step::Vacuum(at) => run(&copies[at], "VACUUM"),
    }
}

#[test]
fn prints_that_follow_the_log_are_those_that_are_made_from_nothing() {
    let steps = prop::collection::vec((step(), any::<bool>()), 1..40);
    let outcome = TestRunner::new(cases(48)).run(&steps, |steps| {
        let schema = format!("{SCHEMA} {EXTRA}");
        let mut copies = [with_schema(&schema), with_schema(&schema)];
        let mut altered = false;
        for (step, verify) in &steps {
            take(step, &mut copies, &mut altered);
            if *verify {
                for copy in &mut copies {
                    assert_eq!(root(copy), described_root(copy), "after {step:?}");
                }
            }
        }
        for copy in &mut copies {
            let followed = root(copy);
            copy.forget_prints().unwrap();
            assert_eq!(root(copy), followed);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[derive(Clone, Debug)]
enum Event {
    Write(usize, String),
    Pull(usize, usize),
    /// A batch of which every so many changes get lost.
    Lose(usize, usize, usize),
    Verify(usize, usize),
}

fn event() -> impl Strategy<Value = Event> {
    let pair = || (0..3usize, 1..3usize).prop_map(|(from, by)| (from, (from + by) % 3));
    prop_oneof![
        6 => (0..3usize, statement()).prop_map(|(at, sql)| Event::Write(at, sql)),
        3 => pair().prop_map(|(from, to)| Event::Pull(from, to)),
        2 => (pair(), 1..4usize).prop_map(|((from, to), every)| Event::Lose(from, to, every)),
        1 => pair().prop_map(|(a, b)| Event::Verify(a, b)),
    ]
}

fn pair(copies: &mut [Replica; 3], a: usize, b: usize) -> (&mut Replica, &mut Replica) {
    let [a, b] = copies.get_disjoint_mut([a, b]).unwrap();
    (a, b)
}

#[test]
fn copies_are_equal_after_any_losses_once_each_was_verified() {
    let events = prop::collection::vec(event(), 1..40);
    let outcome = TestRunner::new(cases(96)).run(&events, |events| {
        let mut copies = [with_schema(SCHEMA), with_schema(SCHEMA), with_schema(SCHEMA)];
        for event in &events {
            match *event {
                Event::Write(at, ref sql) => run(&copies[at], sql),
                Event::Pull(from, to) => {
                    let (from, to) = pair(&mut copies, from, to);
                    pull(from, to);
                }
                Event::Lose(from, to, every) => {
                    let (from, to) = pair(&mut copies, from, to);
                    let count = std::cell::Cell::new(0usize);
                    lose(from, to, |_| !count.replace(count.get() + 1).is_multiple_of(every));
                }
                Event::Verify(a, b) => {
                    let (a, b) = pair(&mut copies, a, b);
                    assert!(reconcile(a, b).equal, "{events:?}");
                    assert_eq!(root(a), described_root(a));
                }
            }
        }
        for (a, b) in [(0, 1), (1, 2), (0, 1)] {
            let (a, b) = pair(&mut copies, a, b);
            assert!(reconcile_by(a, b, Page { changes: 7, ..Page::default() }).equal);
        }
        let [a, b, c] = &copies;
        for table in TABLES {
            assert_eq!(content(a, table), content(b, table), "{table} differs");
            assert_eq!(content(a, table), content(c, table), "{table} differs");
        }
        for (a, b) in [(0, 1), (1, 2), (2, 0)] {
            let (a, b) = pair(&mut copies, a, b);
            assert_eq!(reconcile(a, b).rounds, 1);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn random_histories_that_synced_are_equal_at_once() {
    let events = prop::collection::vec((0..2usize, statement(), any::<bool>()), 1..30);
    let outcome = TestRunner::new(cases(64)).run(&events, |events| {
        let mut copies = [with_schema(SCHEMA), with_schema(SCHEMA), with_schema(SCHEMA)];
        for (at, sql, meet) in &events {
            run(&copies[*at], sql);
            if *meet {
                let (a, b) = pair(&mut copies, 0, 1);
                sync(a, b);
            }
        }
        let (a, b) = pair(&mut copies, 0, 1);
        sync(a, b);
        let report = reconcile(a, b);
        assert!(report.equal && report.rounds == 1, "{report:?}");
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[cfg(not(target_family = "wasm"))]
#[test]
#[ignore = "prints figures"]
fn what_comparing_a_hundred_thousand_rows_costs() {
    use std::time::Instant;

    const ROWS: usize = 100_000;
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let conn = rusqlite::Connection::open(folder.path().join(name)).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL").unwrap();
        let mut replica = Replica::open(conn).unwrap();
        replica.create_database_if_not_exists(&crsql_sync::sync::Schema::parse(TODO).unwrap()).unwrap();
        replica
    };
    let (mut a, mut b) = (open("a.db"), open("b.db"));
    for first in (0..ROWS).step_by(1000) {
        add(&a, first..first + 1000);
    }
    sync(&mut a, &mut b);
    let pages = |replica: &Replica| match value(
        replica,
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
    ) {
        Value::Integer(bytes) => bytes,
        _ => 0,
    };
    let before = pages(&a);
    let timed = |what: &str, work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        println!("{what}: {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    };
    timed("first build", &mut || drop(a.verify_begin().unwrap()));
    println!("kept: {} kB beside {} kB", (pages(&a) - before) / 1000, before / 1000);
    timed("first build of the other", &mut || drop(b.verify_begin().unwrap()));
    timed("nothing new", &mut || drop(a.verify_begin().unwrap()));
    for row in 0..100 {
        run(&a, &format!("UPDATE todo SET done = 1 WHERE id = '{:06}'", row * 997));
    }
    timed("after 100 writes", &mut || drop(a.verify_begin().unwrap()));
    sync(&mut a, &mut b);
    for different in [0, 1, 100, 1000, 10_000] {
        for row in 0..different {
            let row = row * (ROWS / different.max(1)) + 3;
            run(&a, &format!("UPDATE todo SET done = done + 1 WHERE id = '{row:06}'"));
        }
        lose(&mut a, &mut b, |_| false);
        _ = (root(&mut a), root(&mut b));
        let start = Instant::now();
        let report = reconcile(&mut a, &mut b);
        assert!(report.equal);
        println!(
            "{different} different: {} round trips, {} kB, {} rows sent, {} received, {:.1} ms",
            report.rounds,
            report.bytes as f64 / 1e3,
            report.sent.len(),
            report.received.len(),
            start.elapsed().as_secs_f64() * 1e3,
        );
    }
}
