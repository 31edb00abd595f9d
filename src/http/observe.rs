//! What a host can learn of the operations, for its log and its metrics.

use std::sync::Arc;
use std::time::Duration;

use http::Extensions;

use super::auth::Operation;
use crate::store::Dbid;

/// Told of what becomes of one request. Called on the way, so an observer does nothing that takes long.
///
/// What an answer shows needs no observer: the [code](super::problem::Code) of a problem is among the response's extensions.
pub trait Observer: Send + Sync + 'static {
    /// The request is for this operation, on this database, which need not exist. The auth hook was not asked yet.
    fn asked(&self, operation: Operation, dbid: &Dbid) {
        let _ = (operation, dbid);
    }

    /// The auth hook says who the caller is.
    fn known(&self, principal: &str) {
        let _ = principal;
    }

    /// A batch of so many changes came, and so many of them won; `None` where the batch was refused.
    fn received(&self, changes: usize, won: Option<u64>) {
        let _ = (changes, won);
    }

    /// A batch of so many changes is handed out; on an event stream, so long after the stream heard that there is one.
    fn sent(&self, changes: usize, lag: Option<Duration>) {
        let _ = (changes, lag);
    }
}

/// The observer of a request. A host that wants one puts it among the request's extensions.
#[derive(Clone)]
pub struct Observed(pub Arc<dyn Observer>);

impl Observer for () {}

impl Observed {
    /// The request's observer, or one that does nothing.
    pub(super) fn of(extensions: &Extensions) -> Arc<dyn Observer> {
        extensions.get().map_or_else(|| Arc::new(()) as Arc<dyn Observer>, |Self(observer)| observer.clone())
    }
}
