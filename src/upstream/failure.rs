use std::time::Duration;

use crate::http::links::LinkError;
use crate::store;
use crate::sync::{self, ApplyError, Refusal, RequestError, Since};

/// Why a call on the upstream, or on our own database on its behalf, did not succeed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// No answer, a broken one, one that is not from a sync server, or one that says to come back.
    Retry {
        error: LinkError,
        /// When to come back, where the upstream says so.
        after: Option<Duration>,
    },
    /// The upstream must know who asks, and was not told, or does not believe it.
    Unauthorized(LinkError),
    /// The credentials for a request are of this principal, and the database is not.
    OtherPrincipal(String),
    /// The upstream will not do this, now or when asked again; a person has to do something.
    Refused(LinkError),
    /// The upstream finds fault with what was sent. It may take a part of it.
    Rejected(LinkError),
    /// The batch is larger than the upstream takes.
    TooLarge(LinkError),
    /// The upstream does not take bodies of this type or encoding.
    Unsupported(LinkError),
    /// The upstream holds less of ours than it acknowledged.
    OutOfOrder(Since),
    /// The upstream has not what we received of it: it was restored or replaced.
    CursorLost,
}

impl Failure {
    /// No answer.
    pub(super) fn unreachable(detail: impl std::fmt::Display) -> Self {
        Self::retry("unreachable", None, detail)
    }

    /// An answer that no sync server gives, such as the page of a hotel's network.
    pub(super) fn not_a_sync_server(status: u16, detail: impl std::fmt::Display) -> Self {
        Self::retry("not_a_sync_server", Some(status), detail)
    }

    /// The upstream's side of a link is to begin from the first request again.
    pub(super) fn again(detail: impl std::fmt::Display) -> Self {
        Self::retry("interrupted", None, detail)
    }

    fn retry(code: &str, status: Option<u16>, detail: impl std::fmt::Display) -> Self {
        Self::Retry { error: error(code, status, detail), after: None }
    }
}

pub(super) fn error(code: &str, status: Option<u16>, detail: impl std::fmt::Display) -> LinkError {
    LinkError { status, code: code.into(), detail: detail.to_string() }
}

impl From<LinkError> for Refusal {
    fn from(error: LinkError) -> Self {
        let LinkError { status, code, detail } = error;
        Self { status, code, detail }
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::retry("storage", None, format_args!("this host's own database failed: {error}"))
    }
}

impl From<sync::Error> for Failure {
    fn from(error: sync::Error) -> Self {
        store::Error::from(error).into()
    }
}

/// What reading our own database for the upstream can fail with.
impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Replica(error) => error.into(),
            // Our own cursors fit our own database, unless it was replaced while the link ran.
            error => Self::again(error),
        }
    }
}

/// What merging the upstream's batches into our own database can fail with.
impl From<ApplyError> for Failure {
    fn from(failure: ApplyError) -> Self {
        match failure {
            ApplyError::InvalidBatch(reason) => Self::Refused(error("invalid_batch", None, reason)),
            ApplyError::SchemaMismatch { .. } => Self::Refused(error("schema_mismatch", None, failure)),
            ApplyError::HiddenRow { .. } => Self::Refused(error("forbidden", None, failure)),
            ApplyError::OutOfOrder { .. } => Self::again("a batch of the upstream was lost on the way"),
            ApplyError::Replica(error) => error.into(),
        }
    }
}
