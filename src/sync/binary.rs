//! A batch as few bytes: the same message as JSON's, several times smaller and faster to read.
//!
//! Like things stand together: all keys, all kinds of values, all positions are a *column* each, so that a general
//! compressor finds what repeats. A column holds numbers, mostly one byte each, and neither count nor index of it is
//! believed: what a batch takes in memory is bounded by a small multiple of the bytes that it came in. Unknown fields are
//! passed over, as in JSON.
//!
//! `docs/encoding.md` describes it byte by byte.

mod decode;
mod encode;
mod reader;
mod value;

use super::batch::Batch;

/// What a batch in this form begins with. The first byte occurs in no text of UTF-8, so it is taken for no JSON.
const MAGIC: [u8; 4] = *b"\xfecrb";

/// The version of the form, which follows. Fields may be added without another one.
const VERSION: u8 = 1;

/// How many bytes of a key may be those of the key before: more would let a short batch hold a long key many times.
const MOST_SHARED: usize = 127;

/// Why bytes are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBinary {
    /// They are something else altogether.
    #[error("not a batch in the binary form, which begins with fe 63 72 62")]
    Foreign,
    /// They are a batch in a later form.
    #[error("version {0} of the binary form is not read here, only 1")]
    Version(u8),
    /// They are damaged, or were not written by the rules.
    #[error("`{field}`, byte {at}: {reason}")]
    Invalid {
        /// The field that is wrong.
        field: &'static str,
        /// Where in the bytes it is wrong.
        at: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Batch {
    /// The batch in the [binary form](self).
    ///
    /// A NaN, which SQLite takes for NULL, is written as NULL; a site's name that is shorter than 16 bytes is followed by
    /// zeros, as in JSON.
    pub fn to_binary(&self) -> Vec<u8> {
        encode::batch(self)
    }

    /// Reads what [`to_binary`](Self::to_binary) wrote, or another writer by the same rules.
    ///
    /// ```
    /// use crsql_sync::sync::Batch;
    ///
    /// let batch: Batch = serde_json::from_str(r#"{"protocol":1,"from":"9a000000000000000000000000000000"}"#)?;
    /// let bytes = batch.to_binary();
    /// assert_eq!(bytes.len(), 27);
    /// assert_eq!(Batch::from_binary(&bytes)?, batch);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_binary(bytes: &[u8]) -> Result<Self, InvalidBinary> {
        decode::batch(bytes).map_err(|error| *error)
    }
}

macro_rules! fields {
    ($($field:ident = $tag:literal, $name:literal;)+) => {
        /// A field of the batch, by its tag. Those from 32 on are the columns of the changes.
        #[derive(Clone, Copy, PartialEq, Eq)]
        enum Field {
            $($field = $tag,)+
        }

        impl Field {
            /// The names, for messages.
            const NAMES: &[(Self, &str)] = &[$((Self::$field, $name)),+];
        }
    };
}

fields! {
    // Not a field: what is said of the batch as a whole.
    Batch = 0, "batch";
    Protocol = 1, "protocol";
    Sites = 2, "sites";
    Names = 3, "names";
    Schema = 4, "schema";
    SchemaText = 5, "schema_text";
    Since = 6, "since";
    Start = 7, "start";
    End = 8, "end";
    Covers = 9, "covers";
    Partial = 10, "partial";
    More = 11, "more";
    Next = 12, "next";
    Have = 13, "have";
    Seen = 14, "seen";
    Begins = 15, "begins";
    Left = 16, "left";
    // One number for each transaction.
    Authors = 32, "authors";
    Versions = 33, "versions";
    TransactionChanges = 34, "transaction_changes";
    // One number for each change.
    Seqs = 35, "seqs";
    // One number for each row.
    Tables = 36, "tables";
    RowChanges = 37, "row_changes";
    CausalLengths = 38, "cls";
    KeysShared = 39, "keys_shared";
    KeysOwn = 40, "keys_own";
    Keys = 41, "keys";
    // One number for each change.
    Columns = 42, "cids";
    ColVersions = 43, "col_versions";
    Kinds = 44, "kinds";
    Values = 45, "values";
}

impl Field {
    /// The field of a tag, where this version knows it.
    fn of(tag: u64) -> Option<Self> {
        Self::NAMES.iter().map(|(field, _)| *field).find(|field| field.tag() == tag)
    }

    fn tag(self) -> u64 {
        self as u64
    }

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(field, _)| *field == self).map_or("", |(_, name)| name)
    }
}
