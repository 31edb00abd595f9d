use rsqlite_vfs::test_suite;

use super::*;
use crate::store::idb::log::{Extent, Limits, Log};
use crate::store::idb::model::{FAULTS, Fault, Model};

struct Process {
    conn: Connection,
    image: Rc<RefCell<Image>>,
    log: Log,
}

const LIMITS: Limits =
    Limits { due: Extent { records: 4, bytes: 1 << 20 }, full: Extent { records: 8, bytes: 1 << 20 } };

impl Process {
    fn start(model: &Model) -> Self {
        let (image, log) = model.load(LIMITS);
        let image = Rc::new(RefCell::new(image));
        let conn = connect(&image).unwrap();
        Self { conn, image, log }
    }

    fn commit(&mut self, model: &mut Model, fault: Option<Fault>) -> bool {
        let mut image = self.image.borrow_mut();
        match self.log.prepare(&mut image) {
            Some(write) => model.execute(&write, &image, fault).is_ok(),
            None => true,
        }
    }

    fn numbers(&self, sql: &str) -> Vec<i64> {
        let mut statement = self.conn.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn is_intact(&self) -> bool {
        self.conn.query_row("PRAGMA integrity_check", [], |row| Ok(row.get::<_, String>(0)? == "ok")).unwrap()
    }
}

#[test]
fn files_behave_as_the_library_of_vfs_checks_demands() {
    test_suite::test_vfs_file(&mut File::Main(Rc::default())).unwrap();
    test_suite::test_vfs_file(&mut File::Scratch(Rc::default())).unwrap();
}

#[test]
fn money_is_neither_made_nor_lost_by_a_crash_at_any_point() {
    let mut model = Model::default();
    let mut process = Process::start(&model);
    process
        .conn
        .execute_batch(
            "CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER, note TEXT);
             CREATE TABLE transfer(id INTEGER PRIMARY KEY);
             WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99)
             INSERT INTO account SELECT i, 100, '' FROM n;",
        )
        .unwrap();
    assert!(process.commit(&mut model, None));
    let mut acknowledged = 0;
    for round in 0..300_i64 {
        let (from, to, note) = (round * 7 % 100, round * 13 % 100, "x".repeat((round * 37 % 3000) as usize));
        let transfer = process.conn.unchecked_transaction().unwrap();
        transfer.execute("UPDATE account SET balance = balance - 1, note = ?2 WHERE id = ?1", (from, note)).unwrap();
        transfer.execute("UPDATE account SET balance = balance + 1 WHERE id = ?1", [to]).unwrap();
        transfer.execute("INSERT INTO transfer VALUES (?1)", [round]).unwrap();
        transfer.commit().unwrap();
        let fault = (round % 4 == 3).then(|| FAULTS[(round / 4 % 3) as usize]);
        if process.commit(&mut model, fault) {
            acknowledged += 1;
        } else {
            process = Process::start(&model);
            acknowledged += i64::from(fault == Some(Fault::After));
            assert!(process.is_intact());
        }
        assert_eq!(process.numbers("SELECT sum(balance) FROM account"), [10_000]);
        assert_eq!(process.numbers("SELECT count(*) FROM transfer"), [acknowledged]);
    }
}

#[test]
fn a_rolled_back_transaction_leaves_nothing_to_store() {
    let mut model = Model::default();
    let mut process = Process::start(&model);
    process.conn.execute_batch("CREATE TABLE t(a)").unwrap();
    process.commit(&mut model, None);
    process.conn.execute_batch("BEGIN; INSERT INTO t VALUES (randomblob(3000000)); ROLLBACK").unwrap();
    assert!(!process.image.borrow().is_dirty());
    assert!(process.is_intact());
}

#[test]
fn a_vacuum_shrinks_the_stored_file() {
    let mut model = Model::default();
    let mut process = Process::start(&model);
    process
        .conn
        .execute_batch(
            "CREATE TABLE t(a); INSERT INTO t VALUES (randomblob(1000000)), (1); DELETE FROM t WHERE a <> 1;",
        )
        .unwrap();
    process.commit(&mut model, None);
    let before = process.image.borrow().size();
    process.conn.execute_batch("VACUUM").unwrap();
    process.commit(&mut model, None);
    let process = Process::start(&model);
    assert!(process.image.borrow().size() < before / 10);
    assert_eq!(process.numbers("SELECT a FROM t"), [1]);
}

#[test]
fn wal_and_attached_files_are_refused() {
    let image = Rc::new(RefCell::new(Image::default()));
    let conn = connect(&image).unwrap();
    conn.execute_batch("CREATE TABLE t(a)").unwrap();
    let mode: Result<String, _> = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0));
    assert_eq!(mode.as_deref(), Ok("memory"));
    assert!(conn.execute_batch("ATTACH 'crsql-sync-db-0' AS other").is_err());
    conn.execute_batch("INSERT INTO t VALUES (1)").unwrap();
}

#[test]
fn two_databases_are_open_at_once_and_apart() {
    let images: [Rc<RefCell<Image>>; 2] = Default::default();
    let conns = images.each_ref().map(|image| connect(image).unwrap());
    for (n, conn) in (0_i64..).zip(&conns) {
        conn.execute_batch("CREATE TABLE t(a)").unwrap();
        conn.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
    }
    for (n, conn) in (0_i64..).zip(&conns) {
        let found: i64 = conn.query_row("SELECT a FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(found, n);
    }
}

#[test]
fn a_row_more_goes_to_the_log_as_a_few_blocks_and_not_as_pages() {
    let image: Rc<RefCell<Image>> = Rc::default();
    let conn = connect(&image).unwrap();
    conn.execute_batch("CREATE TABLE item(id INTEGER PRIMARY KEY, text TEXT UNIQUE)").unwrap();
    for id in 0..20 {
        conn.execute("INSERT INTO item VALUES (?1, 'some text ' || ?1)", [id]).unwrap();
    }
    image.borrow_mut().mark_recorded();
    conn.execute("INSERT INTO item VALUES (20, 'one more')", []).unwrap();
    let bytes = image.borrow().dirty_bytes();
    assert!((1..1024).contains(&bytes), "{bytes} bytes");
}
