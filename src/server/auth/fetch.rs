use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};

use crate::server::Failure;

/// A client for calls that must be answered soon, and from where they were sent to.
pub(super) fn client(patience: Duration) -> Result<Client, Failure> {
    let user_agent = concat!("crsql-sync/", env!("CARGO_PKG_VERSION"));
    Ok(Client::builder().timeout(patience).redirect(Policy::none()).user_agent(user_agent).build()?)
}

/// Sends a request, and returns the status and the body, which has `limit` bytes at most.
pub(super) async fn send(request: RequestBuilder, limit: usize) -> Result<(StatusCode, Vec<u8>), String> {
    let mut response = request.send().await.map_err(broken)?;
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(broken)? {
        if body.len() + piece.len() > limit {
            return Err(format!("the answer has more than {limit} bytes"));
        }
        body.extend_from_slice(&piece);
    }
    Ok((response.status(), body))
}

fn broken(error: reqwest::Error) -> String {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}
