use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::claimed::ClaimedRows;
use super::grant::Grant;
use super::jwks::Jwks;
use super::{bearer, no_token, signature};
use crate::http::{Access, Verdict};
use crate::server::Failure;

/// The claims that say what a principal may do begin with this; the rest of a name is that of the bound.
const PREFIX: &str = "crsql_";
/// Whether the filters of rows that are configured here are not for a token's holder.
const ALL_ROWS: &str = "crsql_all_rows";
/// The shortest secret: as many bits as the hash has (RFC 7518, 3.2).
const MIN_SECRET: usize = 32;

/// The auth hook of signed tokens (RFC 7519).
pub(in crate::server) struct Jwt {
    keys: Keys,
    checks: Checks,
}

/// Whose signature counts.
pub(super) enum Keys {
    One(Key),
    Set(Jwks),
}

/// A key, and the one algorithm that it is for. What a token says of its algorithm chooses nothing.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// What must be so, besides the signature.
pub(super) struct Checks {
    pub(super) audiences: Vec<String>,
    pub(super) issuers: Vec<String>,
    /// By how much clocks may differ.
    pub(super) leeway: Duration,
    /// The rows to which a token's holder is kept, by its claims.
    pub(super) rows: Option<ClaimedRows>,
}

impl Key {
    /// A secret that the issuer has too: HS256. A line break at its end does not count.
    pub(super) fn of_secret(secret: &[u8]) -> Result<Self, Failure> {
        let secret = secret.strip_suffix(b"\n").unwrap_or(secret);
        if secret.len() < MIN_SECRET {
            return Err(format!("a secret has {MIN_SECRET} bytes at least").into());
        }
        Ok(Self { algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret) })
    }

    /// A public key in PEM: RS256 or ES256, by what it is.
    pub(super) fn of_pem(pem: &[u8]) -> Result<Self, Failure> {
        if pem.windows(11).any(|text| text == b"PRIVATE KEY") {
            return Err("this is a private key; give the public one".into());
        }
        let rsa = || Some(Self { algorithm: Algorithm::RS256, key: DecodingKey::from_rsa_pem(pem).ok()? });
        let ec = || Some(Self { algorithm: Algorithm::ES256, key: DecodingKey::from_ec_pem(pem).ok()? });
        Ok(rsa().or_else(ec).ok_or("this is no public key in PEM, of RSA or of the curve P-256")?)
    }
}

impl Jwt {
    pub(super) fn new(keys: Keys, checks: Checks) -> Self {
        signature::install();
        Self { keys, checks }
    }

    pub(super) async fn judge(&self, access: &Access) -> Result<Verdict, String> {
        let Some(token) = bearer(access) else {
            return Ok(no_token());
        };
        let key = match &self.keys {
            Keys::One(key) => key.clone(),
            Keys::Set(set) => {
                let Ok(header) = decode_header(token) else { return Ok(refused("it is no JWT")) };
                match set.find(header.kid.as_deref()).await? {
                    Some(key) => key,
                    None => return Ok(refused("its key is not known here")),
                }
            }
        };
        Ok(match decode::<Map<String, Value>>(token, &key.key, &self.checks.validation(key.algorithm)) {
            // Whoever does not know an extension that the issuer calls critical must refuse the token (RFC 7515, 4.1.11).
            Ok(token) if token.header.crit.is_some() => refused("it has extensions that are not known here"),
            Ok(token) => match self.checks.read(token.claims) {
                Ok((grant, expires)) => grant.judge(&access.dbid, Some(expires)),
                Err(reason) => refused(&reason),
            },
            Err(error) => refused(&error.to_string()),
        })
    }
}

impl Checks {
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = self.leeway.as_secs();
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if !self.audiences.is_empty() {
            validation.set_audience(&self.audiences);
            required.push("aud");
        }
        if !self.issuers.is_empty() {
            validation.set_issuer(&self.issuers);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        validation
    }

    /// What the claims of a token say: what its holder may do, and until when.
    fn read(&self, claims: Map<String, Value>) -> Result<(Grant, SystemTime), String> {
        let exp = claims.get("exp").and_then(Value::as_f64).and_then(|exp| Duration::try_from_secs_f64(exp).ok());
        let expires = exp.and_then(|exp| UNIX_EPOCH.checked_add(exp)?.checked_add(self.leeway));
        let expires = expires.ok_or("its `exp` is no time")?;
        let rows = match (&self.rows, claims.get(ALL_ROWS)) {
            (_, Some(Value::Bool(true))) | (None, _) => None,
            (Some(rows), _) => Some(rows.of(&claims)?),
        };
        let principal = claims.get("sub").cloned();
        let own = claims.into_iter().filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value)));
        let mut own: Map<String, Value> = own.collect();
        if own.remove("all_rows").is_some_and(|all| !all.is_boolean()) {
            return Err(format!("its claim {ALL_ROWS} is neither true nor false"));
        }
        own.extend(principal.map(|principal| ("principal".to_owned(), principal)));
        let grant = Grant::deserialize(Value::Object(own));
        let mut grant = grant.map_err(|error| format!("its claims {PREFIX}… cannot be read: {error}"))?;
        if rows.is_some_and(|rows| !grant.keep_to(rows)) {
            return Err(format!("its claim {PREFIX}rows is not taken where rows are configured here"));
        }
        Ok((grant, expires))
    }
}

fn refused(reason: &str) -> Verdict {
    Verdict::Unauthorized(format!("the token is not good: {reason}"))
}
