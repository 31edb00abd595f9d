use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use futures_util::future::{BoxFuture, ready};
use http::{HeaderMap, HeaderValue, header};

use super::{Failure, Reqwest};
use crate::upstream::{Asked, Config, Credentials, Identity, Upstream};

/// The server that this one follows.
#[derive(Args)]
#[command(next_help_heading = "Upstream")]
pub(super) struct UpstreamOptions {
    /// Keep every database in step with the same one there, as in https://example.org/sync
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,

    /// The token to show to the upstream
    #[arg(long, value_name = "TOKEN", hide_env_values = true, conflicts_with = "upstream_token_file")]
    upstream_token: Option<String>,

    /// The file that holds the token to show to the upstream
    #[arg(long, value_name = "FILE")]
    upstream_token_file: Option<PathBuf>,

    /// Also trust the authorities whose certificates are in this file of PEM
    #[arg(long, value_name = "FILE")]
    upstream_ca: Option<PathBuf>,
}

impl UpstreamOptions {
    /// The links to the upstream, where one is asked for.
    pub(super) fn links(&self) -> Result<Option<Upstream>, Failure> {
        let Some(url) = &self.upstream else {
            return Ok(None);
        };
        let mut config = Config::new(url)?;
        if let Some(file) = self.upstream_token_file.clone() {
            let first = read_token(&file)?;
            config = config.identity(TokenFile { file, headers: Mutex::new(first) });
        } else if let Some(token) = &self.upstream_token {
            config = config.headers(bearer(token)?);
        }
        let transport = match &self.upstream_ca {
            Some(file) => {
                let pem = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
                Reqwest::trusting(&pem).map_err(|error| format!("{}: {error}", file.display()))?
            }
            None => Reqwest::new()?,
        };
        let spawn = Arc::new(|task| drop(tokio::spawn(task)));
        Ok(Some(Upstream::new(config, transport, spawn)))
    }
}

/// A token in a file, which is read again when the token is not taken: it may have been replaced.
struct TokenFile {
    file: PathBuf,
    headers: Mutex<HeaderMap>,
}

impl Identity for TokenFile {
    fn credentials(&self, asked: Asked) -> BoxFuture<'_, Result<Credentials, String>> {
        let mut headers = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = if asked.refresh { read_token(&self.file) } else { Ok(headers.clone()) };
        let credentials = newest.map_err(|error| error.to_string()).map(|newest| {
            headers.clone_from(&newest);
            Credentials { headers: newest, principal: None }
        });
        Box::pin(ready(credentials))
    }
}

fn read_token(file: &Path) -> Result<HeaderMap, Failure> {
    let token = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    bearer(token.trim())
}

fn bearer(token: &str) -> Result<HeaderMap, Failure> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| "the upstream's token is none")?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
}
