use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reqwest::Url;

use super::claimed::ClaimedRows;
use super::jwks::Jwks;
use super::jwt::{Checks, Jwt, Key, Keys};
use super::tokens::Tokens;
use super::webhook::Webhook;
use super::{Current, Hook};
use crate::server::Failure;
use crate::server::reload::Reload;

/// Who may come in: by tokens, by JWT, or as a webhook says.
#[derive(Args, Clone)]
#[command(next_help_heading = "Who may come in")]
pub(in crate::server) struct AuthOptions {
    /// Let in whoever shows this token, as `authorization: Bearer TOKEN`; may be given several times
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    token: Vec<String>,

    /// Let in whoever shows a token of this TOML file, within the bounds that stand there
    #[arg(long, value_name = "FILE")]
    tokens_file: Option<PathBuf>,

    /// Let in by JWT that are signed with the secret in this file (HS256)
    #[arg(long, value_name = "FILE", group = "jwt")]
    jwt_secret: Option<PathBuf>,

    /// Let in by JWT of this public key in PEM (RS256 or ES256)
    #[arg(long, value_name = "FILE", group = "jwt")]
    jwt_key: Option<PathBuf>,

    /// Let in by JWT of one of the public keys at this URL or in this file (RS256, ES256)
    #[arg(long, value_name = "SOURCE", group = "jwt")]
    jwks: Option<String>,

    /// The audience of which a JWT must be; may be given several times
    #[arg(long, value_name = "AUD", requires = "jwt")]
    jwt_audience: Vec<String>,

    /// The issuer of which a JWT must be; may be given several times
    #[arg(long, value_name = "ISS", requires = "jwt")]
    jwt_issuer: Vec<String>,

    /// By how much the clocks of issuer and server may differ
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    jwt_leeway: Duration,

    /// Keep the holder of a JWT to the rows that its claims choose, by the filters of this TOML file
    #[arg(long, value_name = "FILE", requires = "jwt")]
    jwt_rows: Option<PathBuf>,

    /// Ask this program about every request
    #[arg(long, value_name = "URL")]
    auth_webhook: Option<Url>,

    /// How long the webhook may take
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    auth_webhook_timeout: Duration,

    /// Let everybody in who can reach the address
    #[arg(long)]
    pub(in crate::server) insecure: bool,
}

impl AuthOptions {
    /// The hook, or `None` where everybody may come in. It is made anew when the files that it was made of are read again.
    pub(in crate::server) fn hook(&self, reload: &mut Reload) -> Result<Option<Current>, Failure> {
        let Some(hook) = self.read()? else { return Ok(None) };
        let current = Current::new(hook);
        let files: Vec<_> = [&self.tokens_file, &self.jwt_secret, &self.jwt_key, &self.jwt_rows]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        if !files.is_empty() {
            let (options, current) = (self.clone(), current.clone());
            reload.add("who may come in", files, move || {
                if let Some(hook) = options.read()? {
                    current.set(hook);
                }
                Ok(())
            });
        }
        Ok(Some(current))
    }

    fn read(&self) -> Result<Option<Hook>, Failure> {
        let mut hooks =
            [self.tokens()?.map(Hook::Tokens), self.jwt()?.map(Hook::Jwt), self.webhook()?.map(Hook::Webhook)]
                .into_iter()
                .flatten();
        match (hooks.next(), hooks.next()) {
            (_, Some(_)) => Err("choose one: tokens, JWT or a webhook".into()),
            (Some(_), None) if self.insecure => Err("not everybody is let in, so leave out --insecure".into()),
            (hook, None) => Ok(hook),
        }
    }

    fn tokens(&self) -> Result<Option<Tokens>, Failure> {
        let mut tokens = Tokens::default();
        for token in &self.token {
            tokens.add(token)?;
        }
        if let Some(path) = &self.tokens_file {
            tokens.add_file(path)?;
            if tokens.is_empty() {
                tracing::warn!("{} holds no token: nobody is let in", path.display());
            }
        }
        Ok((!tokens.is_empty() || self.tokens_file.is_some()).then_some(tokens))
    }

    fn jwt(&self) -> Result<Option<Jwt>, Failure> {
        let keys = match (&self.jwt_secret, &self.jwt_key, &self.jwks) {
            (Some(path), _, _) => Keys::One(key(path, Key::of_secret)?),
            (_, Some(path), _) => Keys::One(key(path, Key::of_pem)?),
            (_, _, Some(place)) => Keys::Set(Jwks::new(place)?),
            (None, None, None) => return Ok(None),
        };
        let checks = Checks {
            audiences: self.jwt_audience.clone(),
            issuers: self.jwt_issuer.clone(),
            leeway: self.jwt_leeway,
            rows: self.jwt_rows.as_deref().map(ClaimedRows::read).transpose()?,
        };
        Ok(Some(Jwt::new(keys, checks)))
    }

    fn webhook(&self) -> Result<Option<Webhook>, Failure> {
        self.auth_webhook.clone().map(|url| Webhook::new(url, self.auth_webhook_timeout)).transpose()
    }
}

fn key(path: &Path, parse: impl FnOnce(&[u8]) -> Result<Key, Failure>) -> Result<Key, Failure> {
    let read = || parse(&std::fs::read(path)?);
    read().map_err(|error| format!("{}: {error}", path.display()).into())
}
