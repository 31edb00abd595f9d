//! The batches that are measured: the same in every run but for the site.

use crsql_sync::sync::{Batch, Page, Replica, Request, Since};
use rusqlite::types::Value;

use crate::empty;

pub(crate) const SCHEMA: &str = "
    CREATE TABLE todo (id ANY PRIMARY KEY NOT NULL, title TEXT, done INTEGER, priority INTEGER);
    SELECT crsql_as_crr('todo');";

const ROWS: u64 = 10_000;

const WORDS: [&str; 32] = [
    "buy", "milk", "call", "mom", "write", "report", "plan", "trip", "fix", "bike", "read", "book", "clean", "kitchen",
    "send", "mail", "pay", "rent", "water", "plants", "review", "code", "order", "coffee", "walk", "dog", "cook",
    "dinner", "renew", "passport", "learn", "rust",
];

/// Names and batches, of 10,000 rows of three columns where nothing else is said.
pub(crate) fn all() -> [(&'static str, Batch); 6] {
    [
        ("integer keys", inserted(ROWS, integer)),
        ("text keys", inserted(ROWS, text)),
        ("UUIDs as text", inserted(ROWS, uuid_text)),
        ("UUIDs as blobs", inserted(ROWS, uuid)),
        ("a transaction a row", inserted(1, text)),
        ("updates of one column", updated()),
    ]
}

/// Rows that were inserted, so many a transaction.
fn inserted(at_once: u64, key: fn(u64) -> Value) -> Batch {
    let mut replica = empty();
    insert(&replica, at_once, key);
    changes(&mut replica, Since::Beginning)
}

/// 10,000 rows in any order of which one column was updated, each in a transaction of its own.
fn updated() -> Batch {
    let mut replica = empty();
    insert(&replica, ROWS, text);
    let before = Since::After(replica.at().unwrap());
    let mut update = replica.connection().prepare("UPDATE todo SET done = 2 WHERE id = ?").unwrap();
    for row in 0..ROWS {
        // The factor has no divisor in common with the number of rows, so that every row comes once.
        update.execute([text(row * 7_919 % ROWS)]).unwrap();
    }
    drop(update);
    // Without bounds, so that a replica takes it that does not hold what came before.
    Batch { start: None, end: None, ..changes(&mut replica, before) }
}

fn insert(replica: &Replica, at_once: u64, key: fn(u64) -> Value) {
    let conn = replica.connection();
    let mut insert = conn.prepare("INSERT INTO todo VALUES (?, ?, ?, ?)").unwrap();
    for row in 0..ROWS {
        if row % at_once == 0 {
            conn.execute_batch("BEGIN").unwrap();
        }
        let chance = random(row);
        let word = |shift: u32| WORDS[(chance >> shift) as usize % WORDS.len()];
        let title = format!("{} {} {}", word(0), word(8), word(16));
        let (done, priority) = ((chance >> 24) as u8 % 2, (chance >> 32) as u8 % 6);
        insert.execute((key(row), title, done, priority)).unwrap();
        if row % at_once == at_once - 1 {
            conn.execute_batch("COMMIT").unwrap();
        }
    }
}

fn changes(replica: &mut Replica, since: Since) -> Batch {
    let page = Page { changes: usize::MAX, bytes: usize::MAX };
    replica.request_changes(&Request { page, ..Request::after(since) }).unwrap()
}

fn integer(row: u64) -> Value {
    Value::Integer(row as i64 + 1)
}

fn text(row: u64) -> Value {
    Value::Text(format!("todo-{row:06}"))
}

fn uuid(row: u64) -> Value {
    Value::Blob([random(row + 1), random(row + (1 << 40))].iter().flat_map(|half| half.to_be_bytes()).collect())
}

fn uuid_text(row: u64) -> Value {
    let (high, low) = (random(row + 1), random(row + (1 << 40)));
    let [a, b, c] = [high >> 32, high >> 16 & 0xffff, high & 0xffff];
    Value::Text(format!("{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", low >> 48, low & ((1 << 48) - 1)))
}

/// SplitMix64: bits that look random.
fn random(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}
