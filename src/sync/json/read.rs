//! Reads JSON in which whatever has named members is an object.
//!
//! serde's readers of structs take an array of the members as well, which no document of the protocol is: a query would be one
//! in any array that begins with a text. Each of them would be compiled with a second reader for that.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};

/// Reads a document.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = T::deserialize(Objects(&mut reader))?;
    reader.end()?;
    Ok(value)
}

/// What serde goes through on the way to a struct, which it is given as a map.
struct Objects<T>(T);

/// Methods that go to what is within: of what holds no other values, and of what may hold a struct.
macro_rules! deserialize {
    (plain: $($plain:ident)+; nested: $($nested:ident($($argument:ident: $of:ty),*))+;) => {
        $(fn $plain<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.$plain(visitor)
        })+
        $(fn $nested<V: Visitor<'de>>(self, $($argument: $of,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$nested($($argument,)* Objects(visitor))
        })+
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Objects<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    deserialize! {
        plain:
            deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
            deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char deserialize_str
            deserialize_string deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_identifier
            deserialize_ignored_any;
        nested:
            deserialize_any() deserialize_option() deserialize_seq() deserialize_map() deserialize_tuple(len: usize)
            deserialize_newtype_struct(name: &'static str) deserialize_unit_struct(name: &'static str)
            deserialize_tuple_struct(name: &'static str, len: usize);
    }
}

macro_rules! visit {
    ($($method:ident: $of:ty),+) => {
        $(fn $method<E: Error>(self, value: $of) -> Result<V::Value, E> {
            self.0.$method(value)
        })+
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Objects<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    visit! {
        visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str, visit_borrowed_str: &'de str,
        visit_string: String
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Objects(value))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Objects(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Objects(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(members))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(variant)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Objects(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Objects(seed))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Objects<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Objects(deserializer))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        inner: Vec<Inner>,
        maybe: Option<Inner>,
        pair: (i64, f64),
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        name: String,
    }

    #[test]
    fn objects_are_read_as_serde_json_reads_them() {
        let json = br#"{"inner":[{"name":"a\u00fc"},{"name":""}],"maybe":{"name":"b"},"pair":[-1,2],"other":{"x":[]}}"#;
        assert_eq!(read::<Outer>(json).unwrap(), serde_json::from_slice(json).unwrap());
        let json = br#"{"inner":[],"maybe":null,"pair":[1,1.5]}"#;
        assert_eq!(read::<Outer>(json).unwrap(), serde_json::from_slice(json).unwrap());
    }

    #[test]
    fn an_array_is_no_object_at_any_depth() {
        for json in
            [r#"[[],null,[1,2]]"#, r#"{"inner":[["a"]],"pair":[1,2]}"#, r#"{"inner":[],"maybe":["a"],"pair":[1,2]}"#]
        {
            assert!(serde_json::from_str::<Outer>(json).is_ok(), "{json}");
            let error = read::<Outer>(json.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with("invalid type: sequence, expected struct"), "{error}");
        }
    }

    #[test]
    fn what_follows_a_document_is_an_error() {
        assert!(read::<Inner>(br#"{"name":"a"} "#).is_ok());
        assert!(read::<Inner>(br#"{"name":"a"}{}"#).unwrap_err().is_syntax());
        assert!(read::<Inner>(br#"{"name":"a""#).unwrap_err().is_eof());
    }
}
