//! One request and its answer: who asks, in which encoding, and how long it may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::failure::{Failure, error};
use super::{Asked, ByteStream, Config, Credentials, Transport};
use crate::crr::SiteId;
use crate::http::SITE_HEADER;
use crate::http::patience::within;
use crate::store::Dbid;

/// How long an answer may take to begin, and each further piece of it to come.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long the host may take to say who asks.
const CREDENTIALS: Duration = Duration::from_secs(10);
/// A body that is smaller is sent as it is.
const WORTH_COMPRESSING: usize = 1 << 10;

/// Asks one database of the upstream, in the name of our site.
pub(super) struct Exchange {
    transport: Arc<dyn Transport>,
    config: Config,
    dbid: Dbid,
    site: SiteId,
    /// To whom our database belongs.
    principal: Option<String>,
    /// Whether the upstream said that it takes gzip. One that did not may well be behind something that does not let the
    /// header through.
    takes_gzip: AtomicBool,
}

/// A request, but for what every one has.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// Behind the database's URL.
    pub(super) path: String,
    pub(super) accept: &'static str,
    /// A body and its type.
    pub(super) body: Option<(Bytes, &'static str)>,
}

impl Exchange {
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        config: &Config,
        dbid: &Dbid,
        site: SiteId,
        principal: Option<String>,
    ) -> Self {
        let (config, dbid, takes_gzip) = (config.clone(), dbid.clone(), AtomicBool::new(false));
        Self { transport, config, dbid, site, principal, takes_gzip }
    }

    /// Sends a request, and once more with other credentials where it is answered 401.
    pub(super) async fn send(&self, ask: Ask) -> Result<Response<ByteStream>, Failure> {
        let zipped = self.zip(&ask).await;
        let response = self.send_as(&ask, zipped.as_ref(), false).await?;
        let response = if response.status() == StatusCode::UNAUTHORIZED && self.config.asks().is_some() {
            drop(response);
            self.send_as(&ask, zipped.as_ref(), true).await?
        } else {
            response
        };
        if response.status().is_redirection() {
            return Err(redirected(&response));
        }
        let encodings = response.headers().get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
        if let Some(encodings) = encodings {
            let takes_gzip = encodings.split(',').any(|encoding| encoding.trim().eq_ignore_ascii_case("gzip"));
            self.takes_gzip.store(takes_gzip, Ordering::Relaxed);
        }
        Ok(response)
    }

    async fn zip(&self, ask: &Ask) -> Option<Bytes> {
        match &ask.body {
            Some((body, _)) if body.len() >= WORTH_COMPRESSING && self.takes_gzip.load(Ordering::Relaxed) => {
                self.transport.gzip(body.clone()).await
            }
            _ => None,
        }
    }

    async fn send_as(&self, ask: &Ask, zipped: Option<&Bytes>, refresh: bool) -> Result<Response<ByteStream>, Failure> {
        let credentials = self.credentials(refresh).await?;
        let url = self.config.url(&self.dbid);
        let mut request = Request::builder().method(ask.method.clone()).uri(format!("{url}{}", ask.path));
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.config.common_headers().clone());
            headers.extend(credentials.headers);
            // Hexadecimal digits are a valid header value.
            if let Ok(site) = self.site.to_string().parse() {
                headers.insert(SITE_HEADER, site);
            }
            headers.insert(header::ACCEPT, HeaderValue::from_static(ask.accept));
            if let Some((_, media_type)) = &ask.body {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
            }
            if zipped.is_some() {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
        }
        let body = zipped.or(ask.body.as_ref().map(|(body, _)| body)).cloned().unwrap_or_default();
        let request = request.body(body).map_err(Failure::unreachable)?;
        match within(self.transport.send(request), PATIENCE).await {
            Some(response) => response.map_err(Failure::unreachable),
            None => Err(Failure::unreachable("no answer in time")),
        }
    }

    /// Who asks. Nothing is sent for one principal with the credentials of another.
    async fn credentials(&self, refresh: bool) -> Result<Credentials, Failure> {
        let Some(identity) = self.config.asks() else { return Ok(Credentials::default()) };
        let unknown = |detail: String| Failure::Unauthorized(error("unauthorized", None, detail));
        let asked = Asked { dbid: self.dbid.clone(), principal: self.principal.clone(), refresh };
        let credentials = match within(identity.credentials(asked), CREDENTIALS).await {
            Some(credentials) => credentials.map_err(unknown)?,
            None => return Err(unknown("this host did not say who asks in time".into())),
        };
        match credentials.principal {
            Some(principal) if self.principal.as_deref() != Some(&principal) => Err(Failure::OtherPrincipal(principal)),
            _ => Ok(credentials),
        }
    }
}

fn redirected(response: &Response<ByteStream>) -> Failure {
    let to = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("elsewhere");
    let detail =
        format!("it redirects to {to}, as the login pages of networks do; the upstream's URL must be the final one");
    Failure::not_a_sync_server(response.status().as_u16(), detail)
}
