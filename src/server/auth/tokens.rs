use std::collections::HashMap;
use std::path::Path;
use std::time::SystemTime;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::grant::Grant;
use super::{bearer, no_token};
use crate::http::{Access, Verdict};
use crate::server::Failure;

/// The auth hook of static tokens.
///
/// Tokens are known by their hashes: finding one takes no time that tells how much of a guess was right.
#[derive(Default)]
pub(in crate::server) struct Tokens(HashMap<Hash, Entry>);

type Hash = [u8; 32];

struct Entry {
    grant: Grant,
    expires: Option<SystemTime>,
}

/// A file of tokens, as docs/auth.md describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    token: Vec<toml::Table>,
}

impl Tokens {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a token whose holder may do everything.
    pub(super) fn add(&mut self, token: &str) -> Result<(), Failure> {
        self.insert(hash(token)?, Entry { grant: Grant::default(), expires: None })
    }

    /// Adds the tokens of a file.
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), Failure> {
        let read = || -> Result<File, Failure> { Ok(toml::from_str(&std::fs::read_to_string(path)?)?) };
        let file = read().map_err(|error| format!("{}: {error}", path.display()))?;
        for (index, entry) in file.token.into_iter().enumerate() {
            let added = self.add_entry(entry);
            added.map_err(|error| format!("{}: token {}: {error}", path.display(), index + 1))?;
        }
        Ok(())
    }

    fn add_entry(&mut self, mut entry: toml::Table) -> Result<(), Failure> {
        let mut text = |name| match entry.remove(name) {
            None => Ok(None),
            Some(toml::Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("`{name}` is a text")),
        };
        let hash = match (text("token")?, text("sha256")?) {
            (Some(token), None) => hash(&token)?,
            (None, Some(digits)) => {
                let mut hash = Hash::default();
                hex::decode_to_slice(&digits, &mut hash).map_err(|_| "`sha256` has 64 hexadecimal digits")?;
                hash
            }
            _ => return Err("give either `token` or `sha256`".into()),
        };
        let expires = match entry.remove("expires") {
            None => None,
            Some(toml::Value::Datetime(time)) => Some(humantime::parse_rfc3339(&time.to_string())?),
            Some(_) => return Err("`expires` is a time, as in 2030-01-31T00:00:00Z".into()),
        };
        let grant = Grant::deserialize(entry)?;
        self.insert(hash, Entry { grant, expires })
    }

    fn insert(&mut self, hash: Hash, entry: Entry) -> Result<(), Failure> {
        match self.0.insert(hash, entry) {
            Some(_) => Err("the same token stands twice".into()),
            None => Ok(()),
        }
    }

    pub(super) fn judge(&self, access: &Access) -> Verdict {
        let Some(token) = bearer(access) else {
            return no_token();
        };
        match self.0.get::<Hash>(&Sha256::digest(token).into()) {
            Some(entry) => entry.grant.judge(&access.dbid, entry.expires),
            None => Verdict::Unauthorized("the token is not known here".into()),
        }
    }
}

fn hash(token: &str) -> Result<Hash, Failure> {
    if token.is_empty() || token.trim() != token {
        return Err("a token cannot be empty, nor begin or end with white space".into());
    }
    Ok(Sha256::digest(token).into())
}
