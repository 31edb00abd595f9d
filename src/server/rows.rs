//! Rows as text, for people and for programs.

use std::io::{self, Write};

use rusqlite::types::ValueRef;

/// Writes a row as a JSON array: integers exact, REAL with a point or an exponent, blobs as `{"$blob":"hex"}`,
/// infinities as `{"$real":"inf"}`. Text that is no UTF-8 is shown with replacement characters.
pub(super) fn write_json(out: &mut impl Write, row: &[ValueRef<'_>]) -> io::Result<()> {
    for (index, value) in row.iter().enumerate() {
        out.write_all(if index == 0 { b"[" } else { b"," })?;
        match value {
            ValueRef::Null => out.write_all(b"null")?,
            ValueRef::Integer(integer) => write!(out, "{integer}")?,
            ValueRef::Real(real) if real.is_infinite() => write!(out, r#"{{"$real":"{real}"}}"#)?,
            ValueRef::Real(real) => out.write_all(real_text(*real).as_bytes())?,
            ValueRef::Text(text) => serde_json::to_writer(&mut *out, &String::from_utf8_lossy(text))?,
            ValueRef::Blob(blob) => write!(out, r#"{{"$blob":"{}"}}"#, hex::encode(blob))?,
        }
    }
    out.write_all(if row.is_empty() { b"[]\n" } else { b"]\n" })
}

/// Writes a row as the sqlite3 shell does: values between bars, NULL as nothing, blobs as they are.
pub(super) fn write_list(out: &mut impl Write, row: &[ValueRef<'_>]) -> io::Result<()> {
    for (index, value) in row.iter().enumerate() {
        if index > 0 {
            out.write_all(b"|")?;
        }
        match value {
            ValueRef::Null => {}
            ValueRef::Integer(integer) => write!(out, "{integer}")?,
            ValueRef::Real(real) if real.is_infinite() => out.write_all(if *real > 0.0 { b"Inf" } else { b"-Inf" })?,
            ValueRef::Real(real) => out.write_all(real_text(*real).as_bytes())?,
            ValueRef::Text(text) | ValueRef::Blob(text) => out.write_all(text)?,
        }
    }
    out.write_all(b"\n")
}

/// The shortest text that reads as the same number, always with a point or an exponent.
fn real_text(real: f64) -> String {
    // Rust's `{:?}` is that text: `1.0`, `1e300`, `0.1`.
    format!("{real:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(row: &[ValueRef<'_>]) -> String {
        let mut out = Vec::new();
        write_json(&mut out, row).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_row_shows_the_type_of_every_value() {
        let row = [
            ValueRef::Null,
            ValueRef::Integer(i64::MIN),
            ValueRef::Real(1.0),
            ValueRef::Real(0.1),
            ValueRef::Real(1e300),
            ValueRef::Real(-1e-7),
            ValueRef::Real(f64::INFINITY),
            ValueRef::Real(f64::NEG_INFINITY),
            ValueRef::Text(b"a\"\n"),
            ValueRef::Blob(&[0, 255]),
        ];
        let expected = concat!(
            r#"[null,-9223372036854775808,1.0,0.1,1e300,-1e-7,{"$real":"inf"},{"$real":"-inf"},"a\"\n",{"$blob":"00ff"}]"#,
            "\n"
        );
        assert_eq!(json(&row), expected);
        assert_eq!(json(&[]), "[]\n");
    }
}
