use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use http::{HeaderMap, HeaderValue, header};

use super::{Failure, Reqwest};
use crate::upstream::{Config, Upstream};

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
        if let Some(token) = self.token()? {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| "the upstream's token is none")?;
            value.set_sensitive(true);
            config = config.headers(HeaderMap::from_iter([(header::AUTHORIZATION, value)]));
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

    fn token(&self) -> Result<Option<String>, Failure> {
        match &self.upstream_token_file {
            Some(file) => {
                let token = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
                Ok(Some(token.trim().to_owned()))
            }
            None => Ok(self.upstream_token.clone()),
        }
    }
}
