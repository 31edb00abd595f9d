use std::fs;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::Args;
use http::{HeaderMap, HeaderValue, header};

use super::reload::Reload;
use super::{Failure, Reqwest};
use crate::upstream::{Asked, Config, Credentials, Upstream};

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
    /// The links to the upstream, where one is asked for. They try again at once when another token stands in its file.
    pub(super) fn links(&self, reload: &mut Reload) -> Result<Option<Upstream>, Failure> {
        let Some(url) = &self.upstream else {
            return Ok(None);
        };
        let mut config = Config::new(url)?;
        let mut token = None;
        if let Some(file) = self.upstream_token_file.clone() {
            let read = Arc::new(TokenFile { headers: Mutex::new(read_token(&file)?), file });
            token = Some(read.clone());
            config = config.identity(move |asked: Asked| ready(read.credentials(asked.refresh)));
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
        let upstream = Upstream::new(config, transport, spawn);
        if let Some(token) = token {
            let links = upstream.clone();
            reload.add("the token for the upstream", [token.file.clone()], move || {
                if token.read()? {
                    links.wake();
                }
                Ok(())
            });
        }
        Ok(Some(upstream))
    }
}

/// A token in a file, which is read again when the file changes, and when the token is not taken: the file may have been replaced
/// a moment ago.
struct TokenFile {
    file: PathBuf,
    headers: Mutex<HeaderMap>,
}

impl TokenFile {
    fn headers(&self) -> MutexGuard<'_, HeaderMap> {
        self.headers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the token that stands in the file. Returns whether it is another one.
    fn read(&self) -> Result<bool, Failure> {
        let newest = read_token(&self.file)?;
        let mut headers = self.headers();
        let is_another = *headers != newest;
        *headers = newest;
        Ok(is_another)
    }

    /// The token as links ask for it.
    fn credentials(&self, refresh: bool) -> Result<Credentials, String> {
        if refresh {
            self.read().map_err(|error| error.to_string())?;
        }
        Ok(Credentials { headers: self.headers().clone(), principal: None })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_not_taken_is_read_again_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, "one\n").unwrap();
        let token = TokenFile { headers: Mutex::new(read_token(&file).unwrap()), file: file.clone() };
        let shown =
            |refresh| token.credentials(refresh).map(|credentials| credentials.headers["authorization"].clone());
        fs::write(&file, "two\n").unwrap();
        assert_eq!(shown(false).unwrap(), "Bearer one");
        assert_eq!(shown(true).unwrap(), "Bearer two");
        // What cannot be read changes nothing.
        fs::remove_file(&file).unwrap();
        assert!(shown(true).unwrap_err().contains("token"));
        assert_eq!(shown(false).unwrap(), "Bearer two");
    }

    #[test]
    fn only_another_token_is_news() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, "one").unwrap();
        let token = TokenFile { headers: Mutex::default(), file: file.clone() };
        assert!(token.read().unwrap());
        fs::write(&file, "one\n").unwrap();
        assert!(!token.read().unwrap());
    }
}
