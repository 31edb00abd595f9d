//! Values: the order in which two of one cell are compared when everything else about them is equal, and their way into and
//! out of statements.

use std::cmp::Ordering;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};

/// Compares as cr-sqlite does: INTEGER > REAL > TEXT > BLOB > NULL, and within a class numerically or bytewise. No
/// collation, no affinity: every copy must come to the same answer, whatever its schema says about the column.
pub(super) fn compare(a: ValueRef<'_>, b: ValueRef<'_>) -> Ordering {
    match (a, b) {
        (ValueRef::Integer(a), ValueRef::Integer(b)) => a.cmp(&b),
        (ValueRef::Real(a), ValueRef::Real(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        (ValueRef::Text(a), ValueRef::Text(b)) | (ValueRef::Blob(a), ValueRef::Blob(b)) => a.cmp(b),
        _ => class(a).cmp(&class(b)),
    }
}

/// Values as parameters of a statement.
pub(super) fn bound<'a>(values: &'a [ValueRef<'a>]) -> impl Iterator<Item = ToSqlOutput<'a>> + Clone {
    values.iter().map(|value| ToSqlOutput::Borrowed(*value))
}

/// A value for other copies. SQLite takes any bytes for text; text that is not UTF-8 travels as a blob of the same bytes.
pub(super) fn owned(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Integer(value),
        ValueRef::Real(value) => Value::Real(value),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Blob(text.to_vec()),
        },
        ValueRef::Blob(blob) => Value::Blob(blob.to_vec()),
    }
}

fn class(value: ValueRef<'_>) -> u8 {
    match value {
        ValueRef::Null => 0,
        ValueRef::Blob(_) => 1,
        ValueRef::Text(_) => 2,
        ValueRef::Real(_) => 3,
        ValueRef::Integer(_) => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_beats_a_real_of_any_size() {
        assert_eq!(compare(ValueRef::Integer(1), ValueRef::Real(1e9)), Ordering::Greater);
    }

    #[test]
    fn classes_are_ordered_before_values() {
        let ascending =
            [ValueRef::Null, ValueRef::Blob(b"z"), ValueRef::Text(b"a"), ValueRef::Real(9.5), ValueRef::Integer(-1)];
        for (a, b) in ascending.iter().zip(&ascending[1..]) {
            assert_eq!(compare(*a, *b), Ordering::Less);
        }
    }

    #[test]
    fn text_is_compared_bytewise_and_a_prefix_is_smaller() {
        assert_eq!(compare(ValueRef::Text(b"a"), ValueRef::Text(b"ab")), Ordering::Less);
        assert_eq!(compare(ValueRef::Text(b"a"), ValueRef::Text(b"B")), Ordering::Greater);
    }
}
