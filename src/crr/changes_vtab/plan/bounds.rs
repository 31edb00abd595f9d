//! How SQLite compares an INTEGER column that is never NULL with a value of any type (datatype3, section 4).

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension};

use super::super::super::Result;
use super::super::super::ids::MAX_COUNTER;

/// No number at all.
const NONE: (i64, i64) = (MAX_COUNTER, -1);
/// Every number that a counter can be.
const ALL: (i64, i64) = (-1, MAX_COUNTER);

/// The counters that meet `counter operator value`: those after the first and up to the second. All for `!`, of which
/// they could not tell.
pub(super) fn bounds(conn: &Connection, operator: char, value: ValueRef<'_>) -> Result<(i64, i64)> {
    Ok(match value {
        _ if operator == '!' => ALL,
        // Nothing compares with NULL.
        ValueRef::Null => NONE,
        ValueRef::Integer(number) => integer(operator, number),
        ValueRef::Real(number) => real(operator, number),
        // Numeric affinity is applied to what looks like a number; all other text is larger than any number.
        ValueRef::Text(_) => match number(conn, value)? {
            Some(Value::Integer(number)) => integer(operator, number),
            Some(Value::Real(number)) => real(operator, number),
            _ => above(operator),
        },
        ValueRef::Blob(_) => above(operator),
    })
}

pub(super) fn integer(operator: char, number: i64) -> (i64, i64) {
    let below = number.saturating_sub(1);
    match operator {
        '=' => (below, number),
        '>' => (number, MAX_COUNTER),
        'g' => (below, MAX_COUNTER),
        '<' => (-1, below),
        _ => (-1, number),
    }
}

fn real(operator: char, number: f64) -> (i64, i64) {
    // Beyond the counters, which are exact as reals, it makes no difference how far.
    let whole = number.clamp(-2.0, MAX_COUNTER as f64 + 2.0).floor();
    let (floor, is_whole) = (whole as i64, whole == number);
    match operator {
        _ if is_whole => integer(operator, floor),
        '=' => NONE,
        '>' | 'g' => (floor, MAX_COUNTER),
        _ => (-1, floor),
    }
}

/// Of a value that is larger than every number.
fn above(operator: char) -> (i64, i64) {
    if matches!(operator, '<' | 'l') { ALL } else { NONE }
}

/// The number that a text is, as a whole. SQLite says so: only then is the text equal to what it is cast to.
fn number(conn: &Connection, text: ValueRef<'_>) -> Result<Option<Value>> {
    let mut statement = conn.prepare_cached("SELECT CAST(?1 AS NUMERIC) WHERE CAST(?1 AS NUMERIC) = ?1")?;
    Ok(statement.query_row([ToSqlOutput::Borrowed(text)], |row| row.get(0)).optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_sqlite() {
        let conn = Connection::open_in_memory().unwrap();
        let counters = [0, 1, 2, 5, 6, MAX_COUNTER - 1, MAX_COUNTER];
        conn.execute_batch("CREATE TABLE t (n INTEGER NOT NULL)").unwrap();
        for counter in counters {
            conn.execute("INSERT INTO t VALUES (?)", [counter]).unwrap();
        }
        let texts =
            ["5", " 5 ", "5.0", "5.5", "+5", "5e0", "5x", "", "abc", "inf", "nan", "-0", ".5", "5.", "0x5", "1e30"];
        let mut values: Vec<Value> = texts.iter().map(|text| Value::Text((*text).into())).collect();
        values.extend([0, 5, 6, -1, i64::MIN, i64::MAX, MAX_COUNTER].map(Value::Integer));
        values.extend(
            [5.0, 5.5, -0.5, -1e300, 1e300, f64::INFINITY, f64::NEG_INFINITY, 9007199254740991.0].map(Value::Real),
        );
        values.extend([Value::Null, Value::Blob(b"5".to_vec())]);
        for (operator, sql) in [('=', "="), ('=', "IS"), ('>', ">"), ('g', ">="), ('<', "<"), ('l', "<=")] {
            for value in &values {
                let mut query = conn.prepare(&format!("SELECT n FROM t WHERE n {sql} ? ORDER BY n")).unwrap();
                let found = query.query_map([ToSqlOutput::Borrowed(value.into())], |row| row.get(0)).unwrap();
                let found: Vec<i64> = found.collect::<Result<_, _>>().unwrap();
                let (after, until) = bounds(&conn, operator, value.into()).unwrap();
                let ours: Vec<i64> = counters.into_iter().filter(|n| after < *n && *n <= until).collect();
                assert_eq!(ours, found, "n {sql} {value:?}");
            }
        }
    }
}
