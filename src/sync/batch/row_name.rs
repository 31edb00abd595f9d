use std::sync::Arc;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use crate::sync::json::Hex;

/// A row by its table and packed primary key. As JSON: `[table, pk]`, the key in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowName {
    /// The table.
    pub table: Arc<str>,
    /// The packed primary key.
    pub pk: Arc<[u8]>,
}

impl Serialize for RowName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&*self.table, hex::encode(&self.pk)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RowName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (table, pk) = <(String, Hex)>::deserialize(deserializer)?;
        Ok(Self { table: table.into(), pk: pk.0.into() })
    }
}
