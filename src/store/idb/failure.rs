use wasm_bindgen::{JsCast, JsValue};
use web_sys::DomException;

use super::record::Damaged;
use crate::store::Error;

/// Why the storage of an open database came to its end. Everyone who waits for it gets a copy.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// There is no database of this name.
    Missing,
    /// The browser lets us store nothing at all: the user has it switched off, or the window is a private one.
    Refused(String),
    /// The quota, the disk or the memory is exhausted.
    Full,
    /// Another instance has the database, or took it over.
    Taken,
    /// The connection is gone: the browser closed it, or the data was deleted.
    Closed,
    /// What is stored is not a database of this software.
    Damaged(String),
    /// Anything else that IndexedDB reports.
    Other(String),
}

impl Failure {
    /// Reads what IndexedDB threw or reported.
    pub(super) fn from_js(error: &JsValue) -> Self {
        let Some(exception) = error.dyn_ref::<DomException>() else {
            return Self::Other(format!("{error:?}"));
        };
        match exception.name().as_str() {
            "QuotaExceededError" => Self::Full,
            "SecurityError" | "NotAllowedError" => Self::Refused(exception.message()),
            // A closing connection refuses new transactions with the first and aborts running ones with the second.
            "InvalidStateError" | "AbortError" => Self::Closed,
            "ConstraintError" => Self::Taken,
            "VersionError" => Self::Damaged("it was stored by a newer version of this software".into()),
            name => Self::Other(format!("{name}: {}", exception.message())),
        }
    }
}

impl Failure {
    /// Says on the console what nobody may be waiting for. A database that was let go on purpose is nothing to tell.
    pub(super) fn tell(&self) {
        match self {
            Self::Closed | Self::Missing | Self::Refused(_) => {}
            failure => tracing::warn!("{}", Error::from(failure.clone())),
        }
    }
}

impl From<Damaged> for Failure {
    fn from(damaged: Damaged) -> Self {
        match damaged {
            Damaged::OutOfMemory(_) => Self::Full,
            Damaged::Malformed(what) => Self::Damaged(what.into()),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Missing => Self::NotFound,
            Failure::Refused(why) => Self::Unavailable(format!("the browser gives no storage: {why}")),
            Failure::Full => Self::StorageFull,
            Failure::Taken => Self::Unavailable("another worker of this site has it open; try again".into()),
            Failure::Closed => Self::Unavailable("the browser closed its storage; try again".into()),
            Failure::Damaged(what) => Self::Io(format!("the stored database cannot be read: {what}")),
            Failure::Other(what) => Self::Io(what),
        }
    }
}
