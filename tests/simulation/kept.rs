//! What histories have shown, in the fewest steps, and by name.

use std::time::Duration;

use crsql_sync::sync::{Batch, Page, Replica, Request, Schema, Since, Sql, SqlLimits, VersionsRequest, Wanted};
use rusqlite::Connection;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn replica() -> Replica {
    let schema = "CREATE TABLE a (id INTEGER PRIMARY KEY NOT NULL, x, y); SELECT crsql_as_crr('a')";
    let mut replica = Replica::open(Connection::open_in_memory().unwrap()).unwrap();
    replica.create_database_if_not_exists(&Schema::parse(schema).unwrap()).unwrap();
    replica
}

fn write(replica: &mut Replica, sql: &str) {
    let limits = SqlLimits { rows: 10, bytes: 1000, time: Duration::from_secs(10), read_only: false, tables: None };
    replica.sql(&[Sql { sql: sql.into(), params: vec![] }], limits).unwrap();
}

fn pull(from: &mut Replica, to: &mut Replica) -> Batch {
    let since = to.received(from.site()).unwrap();
    let batch = from.request_changes(&Request { exclude: Some(to.site()), ..Request::after(since) }).unwrap();
    to.apply_changes(&batch).unwrap();
    batch
}

fn tell(from: &mut Replica, to: &mut Replica) {
    let all = VersionsRequest::new(Wanted::Versions(from.clock().unwrap()));
    to.apply_changes(&from.request_versions(&all).unwrap()).unwrap();
}

#[test]
fn the_number_of_a_merge_is_claimed_with_the_next_transaction_of_its_own() {
    let (mut a, mut b) = (replica(), replica());
    write(&mut a, "INSERT INTO a (id) VALUES (1)");
    write(&mut b, "INSERT INTO a (id) VALUES (2)");
    tell(&mut b, &mut a);
    // Its end is the merge, which is not claimed while nothing follows it.
    pull(&mut a, &mut b);
    write(&mut a, "UPDATE a SET x = 1");
    pull(&mut a, &mut b);
    assert_eq!(b.received(a.site()).unwrap(), Since::After(a.at().unwrap()));
    assert!(b.missing().unwrap().is_empty(), "{:?}", b.missing());
    assert_eq!(a.clock().unwrap(), b.clock().unwrap());
}

#[test]
fn a_change_that_came_later_than_the_rest_of_its_transaction_fits_in_a_piece_of_it() {
    let [mut a, mut b, mut c, mut d] = [(); 4].map(|()| replica());
    write(&mut a, "INSERT INTO a VALUES (1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1)");
    pull(&mut a, &mut b);
    let first = b.at().unwrap();
    write(&mut b, "UPDATE a SET y = 2 WHERE id = 1");
    // The first transaction, but for what the second has overwritten; that comes from its author.
    let before = b.request_changes(&Request { until: Some(first), ..Request::after(Since::Beginning) }).unwrap();
    c.apply_changes(&before).unwrap();
    pull(&mut a, &mut c);
    assert_eq!(c.version().unwrap().get(), 2);
    let mut since = Since::Beginning;
    for changes in [3, 100] {
        let page = Page { changes, ..Page::default() };
        let batch = c.request_changes(&Request { page, ..Request::after(since) }).unwrap();
        d.apply_changes(&batch).unwrap();
        since = batch.next.unwrap();
    }
    pull(&mut b, &mut d);
    assert_eq!(d.clock().unwrap(), b.clock().unwrap());
}

#[test]
fn a_row_that_takes_the_place_of_another_brings_cells_that_it_had_not_received() {
    let (mut a, mut b) = (replica(), replica());
    write(&mut a, "INSERT INTO a VALUES (1, 'a', 1), (3, 'a', 3)");
    write(&mut a, "UPDATE a SET y = 4 WHERE id = 3");
    // Only the first transaction, of which row 3 has its x.
    let page = Page { changes: 3, ..Page::default() };
    let first = a.request_changes(&Request { page, ..Request::after(Since::Beginning) }).unwrap();
    assert!(first.more);
    b.apply_changes(&first).unwrap();
    write(&mut b, "UPDATE OR REPLACE a SET id = 1 WHERE id = 3");
    for _ in 0..2 {
        pull(&mut a, &mut b);
        pull(&mut b, &mut a);
    }
    let rows = |replica: &Replica| {
        let all = "SELECT group_concat(concat_ws(' ', id, x, y)) FROM a";
        replica.connection().query_row(all, [], |row| row.get::<_, String>(0)).unwrap()
    };
    assert_eq!(rows(&a), "1 a");
    assert_eq!(rows(&b), "1 a");
}
