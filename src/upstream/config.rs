use std::sync::Arc;

use http::{HeaderMap, Uri};
use thiserror::Error;

use super::Identity;
use crate::store::Dbid;

/// Where the upstream is, and how to ask it.
#[derive(Clone)]
pub struct Config {
    base: String,
    headers: HeaderMap,
    identity: Option<Arc<dyn Identity>>,
}

/// Not an absolute `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "the upstream's URL must begin with http:// or https:// and end with its prefix, as in https://example.org/sync"
)]
pub struct InvalidUrl;

impl Config {
    /// `url` is that of the upstream's prefix; a database is at `URL/DBID`.
    pub fn new(url: &str) -> Result<Self, InvalidUrl> {
        let base = url.trim_end_matches('/');
        let uri: Uri = base.parse().map_err(|_| InvalidUrl)?;
        let web = matches!(uri.scheme_str(), Some("http" | "https"));
        if !web || uri.query().is_some() || base.contains('#') || uri.host().is_none_or(str::is_empty) {
            return Err(InvalidUrl);
        }
        Ok(Self { base: base.to_owned(), headers: HeaderMap::new(), identity: None })
    }

    /// Headers for every request that never change.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// Who says, before each request, who asks. Those headers come over the others.
    pub fn identity(mut self, identity: impl Identity) -> Self {
        self.identity = Some(Arc::new(identity));
        self
    }

    /// The URL of a database.
    pub(super) fn url(&self, dbid: &Dbid) -> String {
        format!("{}/{dbid}", self.base)
    }

    pub(super) fn common_headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(super) fn asks(&self) -> Option<&dyn Identity> {
        self.identity.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_an_absolute_web_address() {
        let config = Config::new("http://localhost:8080/sync/").unwrap();
        assert_eq!(config.url(&Dbid::new("todo").unwrap()), "http://localhost:8080/sync/todo");
        for url in ["", "/sync", "localhost", "ftp://a/b", "http://", "http://a/b?c", "http://a/b#c", "http://a b"] {
            assert_eq!(Config::new(url).err(), Some(InvalidUrl), "{url:?}");
        }
    }
}
