use http::HeaderMap;
use thiserror::Error;

/// Where the upstream is, and how to ask it.
#[derive(Clone, Debug)]
pub struct Config {}

/// Not an absolute `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "the upstream's URL must begin with http:// or https:// and end with its prefix, as in https://example.org/sync"
)]
pub struct InvalidUrl;

impl Config {
    /// `url` is that of the upstream's prefix; a database is at `URL/DBID`.
    pub fn new(_url: &str) -> Result<Self, InvalidUrl> {
        unimplemented!()
    }

    /// Headers for every request, such as `authorization`.
    pub fn headers(self, _headers: HeaderMap) -> Self {
        unimplemented!()
    }
}
