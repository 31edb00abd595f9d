//! Arbitrary batches.

use std::sync::Arc;

use crsql_sync::crr::{CausalLength, Change, ColVersion, Seq, SiteId, Version};
use crsql_sync::sync::{
    Batch, Clock, Cursor, Origin, Partial, Place, Point, Range, Ranges, RowName, SchemaHash, Since,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rusqlite::types::Value;

const LAST: i64 = Version::MAX.get();

/// A few sites, of which two begin alike, and any other.
pub fn site() -> impl Strategy<Value = SiteId> {
    prop_oneof![
        4 => (0..3u8).prop_map(|n| SiteId::new([n; 16])),
        1 => any::<[u8; 16]>().prop_map(SiteId::new),
    ]
}

/// A counter: mostly small, sometimes at the other end.
fn number(least: i64) -> impl Strategy<Value = i64> {
    prop_oneof![6 => least..least + 5, 1 => least..=LAST, 1 => LAST - 2..=LAST]
}

fn point<T: Point>() -> impl Strategy<Value = T> {
    number(T::MIN.get()).prop_map(|number| T::new(number).unwrap())
}

fn cursor() -> impl Strategy<Value = Cursor> {
    (site(), number(0)).prop_map(|(site, version)| Cursor { site, version: Version::or_zero(version).unwrap() })
}

fn since() -> impl Strategy<Value = Since> {
    let place = (site(), point::<Version>(), site(), point::<Version>(), point::<Seq>());
    let place = place.prop_map(|(site, version, author, of, seq)| {
        let last = Origin { site: author, version: of, seq };
        Since::Within(Place { cursor: Cursor { site, version }, last })
    });
    prop_oneof![Just(Since::Beginning), cursor().prop_map(Since::After), place]
}

fn ranges<T: Point>() -> impl Strategy<Value = Ranges<T>> {
    let range = (point::<T>(), point::<T>()).prop_map(|(a, b)| Range::new(a.min(b), a.max(b)).unwrap());
    vec(range, 0..4).prop_map(|ranges| ranges.into_iter().collect())
}

fn clock() -> impl Strategy<Value = Clock> {
    vec((site(), ranges()), 0..4).prop_map(|sites| sites.into_iter().collect())
}

fn partial() -> impl Strategy<Value = Partial> {
    let fields = (site(), point(), ranges(), point());
    fields.prop_map(|(site, version, seqs, last_seq)| Partial { site, version, seqs, last_seq })
}

/// Any value but NaN, which is none of SQLite's.
pub fn value() -> impl Strategy<Value = Value> {
    let integers = vec![i64::MIN, i64::MAX, -LAST, LAST, LAST + 1, -129, -128, -1, 0, 127, 128, 255, 256];
    let reals = vec![0.0, -0.0, 1.0, f64::INFINITY, f64::NEG_INFINITY, 5e-324, f64::MAX, LAST as f64];
    prop_oneof![
        Just(Value::Null),
        prop::sample::select(integers).prop_map(Value::Integer),
        any::<i64>().prop_map(Value::Integer),
        prop::sample::select(reals).prop_map(Value::Real),
        any::<f64>().prop_filter("NaN", |real| !real.is_nan()).prop_map(Value::Real),
        ".{0,20}".prop_map(Value::Text),
        Just(Value::Text("a\0b".into())),
        vec(any::<u8>(), 0..20).prop_map(Value::Blob),
    ]
}

fn name() -> impl Strategy<Value = Arc<str>> {
    let known = prop::sample::select(vec!["todo", "title", "done", "-1", ""]);
    prop_oneof![9 => known.prop_map(str::to_owned), 1 => ".{0,9}"].prop_map(Arc::from)
}

/// Keys that begin alike, also for longer than one may take from another, and any bytes.
fn key() -> impl Strategy<Value = Arc<[u8]>> {
    let alike = (prop::sample::select(vec![0, 1, 9, 127, 128, 300]), vec(any::<u8>(), 0..3));
    prop_oneof![
        3 => alike.prop_map(|(length, end)| [vec![7; length], end].concat()),
        1 => vec(any::<u8>(), 0..9),
    ]
    .prop_map(Arc::from)
}

/// Some changes that stand together: mostly of one row and one transaction.
fn row() -> impl Strategy<Value = Vec<Change>> {
    let origin = (site(), point::<Version>(), number(0));
    let cell = (name(), value(), number(0), 0..9u8);
    (name(), key(), number(0), origin, vec(cell, 1..4)).prop_map(|(table, pk, cl, (site, version, seq), cells)| {
        let change = |(i, (cid, val, col_version, kind)): (usize, (Arc<str>, Value, i64, u8))| Change {
            table: table.clone(),
            pk: pk.clone(),
            cid,
            val,
            col_version: ColVersion::new(col_version).unwrap(),
            version: if kind == 0 { Version::MAX } else { version },
            site,
            cl: CausalLength::new(if kind == 1 { 0 } else { cl }).unwrap(),
            seq: Seq::new((seq + i as i64).min(LAST)).unwrap(),
        };
        cells.into_iter().enumerate().map(change).collect()
    })
}

/// A batch of any fields, whether they make sense together or not.
pub fn batch() -> impl Strategy<Value = Batch> {
    let schema = option::of(".{0,9}").prop_map(|text| text.map(|text| schema_hash(&text)));
    let bound = || option::of(number(0).prop_map(|number| Version::or_zero(number).unwrap()));
    let claims = (option::of(since()), bound(), bound(), clock(), vec(partial(), 0..3));
    let left = vec((name(), key()).prop_map(|(table, pk)| RowName { table, pk }), 0..3);
    let answer = (option::of(number(0)), any::<bool>(), left);
    let rest = (any::<bool>(), option::of(since()), option::of(cursor()), answer, vec(row(), 0..8));
    (site(), schema, option::of(".{0,9}"), claims, rest).prop_map(|(from, schema, schema_text, claims, rest)| {
        let ((since, start, end, covers, partial), (more, next, have, (seen, begins, left), rows)) = (claims, rest);
        Batch {
            protocol: Default::default(),
            from,
            schema,
            schema_text,
            since,
            start,
            end,
            covers,
            partial,
            more,
            next,
            have,
            seen,
            begins,
            left,
            changes: rows.concat(),
        }
    })
}

fn schema_hash(text: &str) -> SchemaHash {
    serde_json::from_str(&serde_json::to_string(text).unwrap()).unwrap()
}
