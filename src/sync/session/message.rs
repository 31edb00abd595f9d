//! What peers say to each other over a link.

use serde::{Deserialize, Serialize};

use crate::crr::SiteId;
use crate::sync::batch::{Batch, SchemaHash};
use crate::sync::clock::Clock;
use crate::sync::cursor::{Cursor, Since};
use crate::sync::json;
use crate::sync::partials::Piece;

/// A message. As JSON an object whose `type` is the name in lower case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Message {
    /// Who the sender is; the first message in each direction.
    Hello(Hello),
    /// Send what comes after `since`.
    Want {
        /// What the sender has received of the receiver's local versions.
        #[serde(with = "json::text")]
        since: Since,
        /// How many batches may be sent ahead of what is confirmed.
        credit: u32,
    },
    /// Changes: by cursors as an answer to `want`, by versions as an answer to `need`, or because they are new.
    Batch(Box<Batch>),
    /// What was received is durable up to here.
    Have {
        /// What the sender has received of the receiver's local versions.
        #[serde(with = "json::text")]
        received: Since,
        /// How many batches may be sent ahead of that.
        credit: u32,
    },
    /// Send these transactions, as far as they are held. The answer is a batch, if only an empty one.
    Need {
        /// Transactions that lack.
        versions: Clock,
        /// Of transactions that are there in pieces, what lacks.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pieces: Vec<Piece>,
        /// What was received of the receiver's local versions: what lacks is not among them.
        #[serde(default, with = "json::optional_text", skip_serializing_if = "Option::is_none")]
        since: Option<Cursor>,
    },
    /// What was asked or sent cannot be done.
    Error(Failure),
    /// The sender closes the link.
    Bye,
}

/// Who one is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// One's site.
    #[serde(with = "json::text")]
    pub site: SiteId,
    /// One's schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaHash>,
    /// One's own cursor.
    #[serde(with = "json::text")]
    pub at: Cursor,
    /// Whether one knows who the receiver is. If not, and it should, it is told again.
    pub known: bool,
}

/// Why something was not done: a stable code as over HTTP, and a text for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `invalid_batch`, `schema_mismatch`, `cursor_ahead`, `cursor_unknown`, `same_site`
    pub code: String,
    /// What happened.
    pub detail: String,
}

impl Failure {
    pub(super) fn new(code: &str, detail: impl ToString) -> Self {
        Self { code: code.to_owned(), detail: detail.to_string() }
    }
}

impl From<Batch> for Message {
    fn from(batch: Batch) -> Self {
        Self::Batch(Box::new(batch))
    }
}
