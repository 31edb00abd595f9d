use futures_util::future::BoxFuture;
use http::HeaderMap;

use crate::store::Dbid;

/// For what credentials are asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Of which database.
    pub dbid: Dbid,
    /// To whom it belongs, where that was said.
    pub principal: Option<String>,
    /// Whether the credentials of before were not taken.
    pub refresh: bool,
}

/// Who asks the upstream.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The headers that say so, such as `authorization`.
    pub headers: HeaderMap,
    /// Whose they are. Credentials of one principal are not used for a database of another.
    pub principal: Option<String>,
}

/// Gives the credentials for requests to the upstream. Asked before each, and again, once, after the upstream answered 401.
///
/// An error, for people, or no answer within ten seconds, is as if the upstream had answered 401.
pub trait Identity: Send + Sync + 'static {
    /// The credentials for a request.
    fn credentials(&self, asked: Asked) -> BoxFuture<'_, Result<Credentials, String>>;
}

impl<F, A> Identity for F
where
    F: Fn(Asked) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Credentials, String>> + Send + 'static,
{
    fn credentials(&self, asked: Asked) -> BoxFuture<'_, Result<Credentials, String>> {
        Box::pin(self(asked))
    }
}
