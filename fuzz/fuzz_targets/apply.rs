//! Batches of any shape: never a panic, an error leaves the database as it was, and the ledger stays sound.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use crsql_sync::crr::{CausalLength, Change, ColVersion, Seq, SiteId, Version};
use crsql_sync::sync::batch::Protocol;
use crsql_sync::sync::{
    ApplyError, Batch, Clock, Cursor, Origin, Page, Partial, Place, Range, Ranges, Replica, Request, Schema, Since, Sql,
    SqlLimits, VersionsRequest, Wanted,
};
use libfuzzer_sys::fuzz_target;
use rusqlite::Connection;
use rusqlite::types::Value;

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY NOT NULL, x, y DEFAULT 7); SELECT crsql_as_crr('t');";
const NEWER: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY NOT NULL, x, y DEFAULT 7, z); SELECT crsql_as_crr('t');";
const NUMBERS: [i64; 8] = [0, 1, 2, 3, 4, 5, 1 << 32, (1 << 53) - 1];
const COLUMNS: [&str; 5] = ["-1", "x", "y", "z", "id"];
const KEYS: [&[u8]; 4] = [b"\x01\x09\x01", b"\x01\x09\x02", b"\x01\x01", b"\x01"];
const WRITES: [&str; 4] = [
    "INSERT OR REPLACE INTO t VALUES (1, 1, 'a')",
    "INSERT OR REPLACE INTO t VALUES (2, 1, 'a'), (3, 2, 'b')",
    "UPDATE t SET x = 2",
    "DELETE FROM t WHERE id = 1",
];

#[derive(Arbitrary, Debug)]
enum Step {
    Apply(Shape),
    Write(u8),
    Read { since: Point, page: u8, known: bool },
    Versions { all: bool, clock: Vec<(u8, u8, u8)>, page: u8 },
    Migrate,
}

#[derive(Arbitrary, Debug)]
struct Point {
    kind: u8,
    site: u8,
    version: u8,
    origin: (u8, u8, u8),
}

#[derive(Arbitrary, Debug)]
struct Shape {
    from: u8,
    schema: u8,
    since: Option<Point>,
    start: Option<u8>,
    end: Option<u8>,
    covers: Vec<(u8, u8, u8)>,
    partial: Vec<(u8, u8, u8, u8, u8)>,
    next: Option<Point>,
    have: Option<(u8, u8)>,
    changes: Vec<(u8, u8, u8, u8, u8, u8, u8)>,
}

fuzz_target!(|steps: Vec<Step>| {
    let mut replica = Replica::open(Connection::open_in_memory().unwrap()).unwrap();
    thread_local! {
        static SCHEMAS: (Schema, Schema) = (Schema::parse(SCHEMA).unwrap(), Schema::parse(NEWER).unwrap());
    }
    let (schema, newer) = SCHEMAS.with(Clone::clone);
    replica.create_database_if_not_exists(&schema).unwrap();
    for step in steps.into_iter().take(30) {
        match step {
            Step::Apply(shape) => {
                let batch = shape.batch(replica.site(), &schema, &newer);
                let before = state(&replica);
                match replica.apply_changes(&batch) {
                    Ok(_) => {}
                    Err(ApplyError::Replica(error)) => panic!("{error}"),
                    Err(_) => assert_eq!(state(&replica), before),
                }
                // A second time it changes nothing.
                if let Ok(applied) = replica.apply_changes(&batch) {
                    assert_eq!(applied.applied, 0);
                }
            }
            Step::Write(which) => {
                let limits =
                    SqlLimits { rows: 9, bytes: 1 << 16, time: Duration::from_secs(9), read_only: false, tables: None };
                let _ = replica.sql(&[Sql { sql: WRITES[usize::from(which) % 4].into(), params: vec![] }], limits);
            }
            Step::Read { since, page, known } => {
                let known = known.then(|| replica.clock().unwrap().into());
                let page = Page { changes: usize::from(page % 8), bytes: 1 << 16 };
                let since = since.since(replica.site()).unwrap_or(Since::Beginning);
                let _ = replica.request_changes(&Request { page, known, ..Request::after(since) });
            }
            Step::Versions { all, clock, page } => {
                let clock = clock_of(&clock, replica.site());
                let wanted = if all { Wanted::AllBut(clock) } else { Wanted::Versions(clock) };
                let page = Page { changes: usize::from(page % 8), bytes: 1 << 16 };
                replica.request_versions(&VersionsRequest { page, ..VersionsRequest::new(wanted) }).unwrap();
            }
            Step::Migrate => drop(replica.create_or_migrate_database(&newer, &[])),
        }
        assert_eq!(replica.check().unwrap(), Vec::<String>::new());
        let (clock, missing) = (replica.clock().unwrap(), replica.missing().unwrap());
        assert!(clock.intersection(&missing).is_empty());
    }
});

/// All that an error must leave as it was.
fn state(replica: &Replica) -> (Vec<String>, Clock, Clock, String) {
    let conn = replica.connection();
    let mut select = conn.prepare("SELECT quote(pk), cid, quote(val), col_version, db_version, cl, seq FROM crsql_changes").unwrap();
    let rows = select.query_map([], |row| {
        let values: Result<Vec<Value>, _> = (0..7).map(|at| row.get(at)).collect();
        values.map(|values| format!("{values:?}"))
    });
    let rows = rows.unwrap().collect::<Result<_, _>>().unwrap();
    let status = format!("{:?}", replica.status().unwrap());
    (rows, replica.clock().unwrap(), replica.missing().unwrap(), status)
}

fn number(which: u8) -> i64 {
    NUMBERS[usize::from(which) % NUMBERS.len()]
}

fn version(which: u8) -> Version {
    Version::or_zero(number(which)).unwrap()
}

fn site(which: u8, own: SiteId) -> SiteId {
    match which % 4 {
        0 => own,
        other => SiteId::new([other; 16]),
    }
}

fn clock_of(ranges: &[(u8, u8, u8)], own: SiteId) -> Clock {
    let range = |&(of, first, last): &(u8, u8, u8)| {
        let (first, last) = (Version::new(number(first)).ok()?, Version::new(number(last)).ok()?);
        Some((site(of, own), Ranges::from(Range::new(first, last).ok()?)))
    };
    ranges.iter().take(8).filter_map(range).collect()
}

impl Point {
    fn since(&self, own: SiteId) -> Option<Since> {
        let cursor = Cursor { site: site(self.site, own), version: version(self.version) };
        Some(match self.kind % 3 {
            0 => Since::Beginning,
            1 => Since::After(cursor),
            _ => {
                let (author, of, seq) = self.origin;
                let version = Version::new(number(of)).ok()?;
                if cursor.version == Version::ZERO {
                    return None;
                }
                let last = Origin { site: site(author, own), version, seq: Seq::new(number(seq)).ok()? };
                Since::Within(Place { cursor, last })
            }
        })
    }
}

impl Shape {
    fn batch(self, own: SiteId, schema: &Schema, newer: &Schema) -> Batch {
        let (hash, text) = match self.schema % 4 {
            0 => (None, None),
            1 => (Some(schema.hash().clone()), None),
            2 => (Some(newer.hash().clone()), Some(newer.text().to_owned())),
            _ => (Some(newer.hash().clone()), None),
        };
        let partial = self.partial.iter().take(4).filter_map(|&(of, version, first, last, last_seq)| {
            let (first, last) = (Seq::new(number(first)).ok()?, Seq::new(number(last)).ok()?);
            let seqs = Range::new(first, last).map(Ranges::from).unwrap_or_default();
            let version = Version::new(number(version)).ok()?;
            Some(Partial { site: site(of, own), version, seqs, last_seq: Seq::new(number(last_seq)).ok()? })
        });
        let changes = self.changes.iter().take(16).filter_map(|&(key, cid, val, of, version, cl, seq)| {
            Some(Change {
                table: "t".into(),
                pk: KEYS[usize::from(key) % KEYS.len()].into(),
                cid: COLUMNS[usize::from(cid) % COLUMNS.len()].into(),
                val: if val % 3 == 0 { Value::Null } else { Value::Integer(val.into()) },
                col_version: ColVersion::new(number(val / 8)).ok()?,
                version: Version::new(number(version)).ok()?,
                site: site(of, own),
                cl: CausalLength::new(number(cl)).ok()?,
                seq: Seq::new(number(seq)).ok()?,
            })
        });
        Batch {
            protocol: Protocol,
            from: site(self.from, own),
            schema: hash,
            schema_text: text,
            since: self.since.as_ref().and_then(|place| place.since(own)),
            start: self.start.map(version),
            end: self.end.map(version),
            covers: clock_of(&self.covers, own),
            more: false,
            next: self.next.as_ref().and_then(|place| place.since(own)),
            have: self.have.map(|(of, at)| Cursor { site: site(of, own), version: version(at) }),
            seen: None,
            begins: false,
            left: Vec::new(),
            partial: partial.collect(),
            changes: changes.collect(),
        }
    }
}
