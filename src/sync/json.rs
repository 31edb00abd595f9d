//! SQLite's values as JSON that no reader in any language can get wrong.
//!
//! | SQLite | JSON |
//! | --- | --- |
//! | NULL | `null` |
//! | TEXT | a string |
//! | INTEGER | a number; `{"$int":"9007199254740992"}` outside ±(2^53 − 1) |
//! | REAL | a number with a fraction; `{"$real":1}` where it has none, `{"$real":"inf"}`, `{"$real":"-inf"}` |
//! | BLOB | `{"$blob":"00ff"}` |
//!
//! Reading is as exact as writing: an untagged integer outside the bounds, which some reader on the way may have rounded,
//! is refused. Values go straight to and from [`Value`]; nesting beyond one tag is an error, never a recursion.

mod read;

use std::fmt;

use rusqlite::types::Value;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::crr::ids::MAX_COUNTER;
pub(crate) use read::read;

/// Counters, as numbers.
pub(super) mod point {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::sync::ranges::Point;

    pub(in crate::sync) fn serialize<S: Serializer, T: Point>(point: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(point.get())
    }

    pub(in crate::sync) fn deserialize<'de, D: Deserializer<'de>, T: Point>(deserializer: D) -> Result<T, D::Error> {
        T::new(i64::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// A value that writes and reads itself as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonValue(pub Value);

/// The same, of a borrowed value.
#[derive(Clone, Copy, Debug)]
pub struct JsonRef<'a>(pub &'a Value);

impl Serialize for JsonValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        JsonRef(&self.0).serialize(serializer)
    }
}

impl Serialize for JsonRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Integer(integer) if integer.unsigned_abs() <= MAX_COUNTER as u64 => {
                serializer.serialize_i64(*integer)
            }
            Value::Integer(integer) => tagged(serializer, "$int", &integer.to_string()),
            Value::Real(real) if real.fract() != 0.0 && real.is_finite() => serializer.serialize_f64(*real),
            Value::Real(real) => whole_real(serializer, *real),
            Value::Blob(blob) => tagged(serializer, "$blob", &hex::encode(blob)),
        }
    }
}

/// A REAL that a number alone would not show to be one.
fn whole_real<S: Serializer>(serializer: S, real: f64) -> Result<S::Ok, S::Error> {
    if real == f64::INFINITY {
        tagged(serializer, "$real", "inf")
    } else if real == f64::NEG_INFINITY {
        tagged(serializer, "$real", "-inf")
    } else if real.is_nan() {
        // SQLite stores NaN as NULL, so none comes from there.
        Err(serde::ser::Error::custom("NaN is not a value of SQLite"))
    } else if real.abs() <= MAX_COUNTER as f64 && !(real == 0.0 && real.is_sign_negative()) {
        tagged(serializer, "$real", &(real as i64))
    } else {
        tagged(serializer, "$real", &real)
    }
}

fn tagged<S: Serializer, T: Serialize + ?Sized>(serializer: S, tag: &str, value: &T) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(tag, value)?;
    map.end()
}

impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"null, a string, a number, {"$int":"…"}, {"$real":…} or {"$blob":"…"}"#)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_i64<E: de::Error>(self, integer: i64) -> Result<Value, E> {
        if integer.unsigned_abs() > MAX_COUNTER as u64 {
            return Err(E::custom(r#"an integer outside ±(2^53 − 1) must be written as {"$int":"…"}"#));
        }
        Ok(Value::Integer(integer))
    }

    fn visit_u64<E: de::Error>(self, integer: u64) -> Result<Value, E> {
        self.visit_i64(i64::try_from(integer).unwrap_or(i64::MAX))
    }

    fn visit_f64<E: de::Error>(self, real: f64) -> Result<Value, E> {
        if real.is_nan() {
            return Err(E::custom("NaN is not a value of SQLite"));
        }
        Ok(Value::Real(real))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let value = match map.next_key::<Tag>()? {
            Some(Tag::Int) => map.next_value::<IntText>()?.0,
            Some(Tag::Real) => map.next_value::<RealText>()?.0,
            Some(Tag::Blob) => map.next_value::<Hex>().map(|blob| Value::Blob(blob.0))?,
            None => return Err(de::Error::invalid_length(0, &self)),
        };
        if map.next_key::<de::IgnoredAny>()?.is_some() {
            return Err(de::Error::invalid_length(2, &self));
        }
        Ok(value)
    }
}

#[derive(serde::Deserialize)]
enum Tag {
    #[serde(rename = "$int")]
    Int,
    #[serde(rename = "$real")]
    Real,
    #[serde(rename = "$blob")]
    Blob,
}

/// Implements `Deserialize` for a type by one visitor, which is given what `$deserialize` reads.
macro_rules! deserialize_by {
    ($type:ty, $deserialize:ident, $expecting:literal, $($method:ident($argument:ident: $from:ty) $body:block)+) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Only;
                impl Visitor<'_> for Only {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    $(fn $method<E: de::Error>(self, $argument: $from) -> Result<$type, E> $body)+
                }
                deserializer.$deserialize(Only)
            }
        }
    };
}

/// The text of `$int`.
struct IntText(Value);

deserialize_by! { IntText, deserialize_str, "a 64-bit integer in decimal digits, as a string",
    visit_str(text: &str) {
        let integer = text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &"a 64-bit integer in decimal digits, as a string"))?;
        Ok(IntText(Value::Integer(integer)))
    }
}

/// The number or text of `$real`.
struct RealText(Value);

deserialize_by! { RealText, deserialize_any, r#"a number, "inf" or "-inf""#,
    visit_str(text: &str) {
        match text {
            "inf" => Ok(RealText(Value::Real(f64::INFINITY))),
            "-inf" => Ok(RealText(Value::Real(f64::NEG_INFINITY))),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &r#"a number, "inf" or "-inf""#)),
        }
    }
    visit_i64(integer: i64) { Ok(RealText(Value::Real(integer as f64))) }
    visit_u64(integer: u64) { Ok(RealText(Value::Real(integer as f64))) }
    visit_f64(real: f64) {
        if real.is_nan() {
            return Err(E::custom("NaN is not a value of SQLite"));
        }
        Ok(RealText(Value::Real(real)))
    }
}

/// Bytes in hexadecimal digits.
pub(super) struct Hex(pub(super) Vec<u8>);

deserialize_by! { Hex, deserialize_str, "an even number of hexadecimal digits",
    visit_str(text: &str) {
        hex::decode(text).map(Hex).map_err(|_| E::custom("not an even number of hexadecimal digits"))
    }
}

/// Serializes a value as its text, and reads it back: for site ids and cursors, `#[serde(with = "json::text")]`.
pub(crate) mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The same for an `Option`; absent is `None`.
pub(crate) mod optional_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let text = Option::<std::borrow::Cow<str>>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(value: Value) -> String {
        serde_json::to_string(&JsonValue(value)).unwrap()
    }

    fn read(text: &str) -> Result<Value, serde_json::Error> {
        serde_json::from_str::<JsonValue>(text).map(|value| value.0)
    }

    #[test]
    fn every_kind_of_value_survives_the_trip() {
        let vectors = [
            (Value::Null, "null"),
            (Value::Text("a\"\u{0}ü".into()), r#""a\"\u0000ü""#),
            (Value::Integer(0), "0"),
            (Value::Integer(-9007199254740991), "-9007199254740991"),
            (Value::Integer(9007199254740992), r#"{"$int":"9007199254740992"}"#),
            (Value::Integer(i64::MIN), r#"{"$int":"-9223372036854775808"}"#),
            (Value::Real(1.5), "1.5"),
            (Value::Real(1.0), r#"{"$real":1}"#),
            (Value::Real(-3.0), r#"{"$real":-3}"#),
            (Value::Real(1e300), r#"{"$real":1e+300}"#),
            (Value::Real(5e-324), "5e-324"),
            (Value::Real(2.5144381801892077e61), r#"{"$real":2.5144381801892077e+61}"#),
            (Value::Real(f64::INFINITY), r#"{"$real":"inf"}"#),
            (Value::Real(f64::NEG_INFINITY), r#"{"$real":"-inf"}"#),
            (Value::Blob(vec![]), r#"{"$blob":""}"#),
            (Value::Blob(vec![0, 255]), r#"{"$blob":"00ff"}"#),
        ];
        for (value, text) in vectors {
            assert_eq!(write(value.clone()), text);
            assert_eq!(read(text).unwrap(), value);
        }
        let Value::Real(zero) = read(&write(Value::Real(-0.0))).unwrap() else { panic!() };
        assert!(zero == 0.0 && zero.is_sign_negative());
    }

    #[test]
    fn a_value_that_could_have_been_rounded_or_misread_is_refused() {
        let texts = [
            "9007199254740992",
            "-9007199254740992",
            "18446744073709551615",
            "true",
            "[]",
            "{}",
            r#"{"$int":1}"#,
            r#"{"$int":"1.5"}"#,
            r#"{"$int":"9223372036854775808"}"#,
            r#"{"$real":"nan"}"#,
            r#"{"$real":null}"#,
            r#"{"$blob":"0"}"#,
            r#"{"$blob":"zz"}"#,
            r#"{"$blob":"00","$int":"1"}"#,
            r#"{"$other":1}"#,
            "1e999",
        ];
        for text in texts {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_recursion() {
        let deep = format!("{}1{}", r#"{"$int":"#.repeat(100_000), "}".repeat(100_000));
        assert!(read(&deep).is_err());
        assert!(read(&"[".repeat(1_000_000)).is_err());
    }

    #[test]
    fn a_number_with_an_exponent_is_a_real() {
        assert_eq!(read("1e3").unwrap(), Value::Real(1000.0));
        assert_eq!(read("1.0").unwrap(), Value::Real(1.0));
        assert_eq!(read(r#"{"$real":1}"#).unwrap(), Value::Real(1.0));
    }
}
