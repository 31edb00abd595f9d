use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::{Client, Url};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::fetch;
use super::jwt::Key;
use crate::server::Failure;

/// How long the set may take to come.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest set that is taken, in bytes.
const MAX_SET: usize = 1 << 20;
/// How long a set is asked for at most once: tokens with made-up keys must not become requests to the issuer.
const PAUSE: Duration = Duration::from_secs(60);
/// How old a set may become before it is asked for again, so that a key that was taken out of it counts no longer.
const MAX_AGE: Duration = Duration::from_secs(600);

/// The issuer's keys (RFC 7517), kept, and read again when a token names one that is not among them.
pub(super) struct Jwks {
    source: Source,
    keys: RwLock<Arc<Known>>,
    /// When the set was asked for last. Who holds it asks.
    asked: Mutex<Option<Instant>>,
}

enum Source {
    File(PathBuf),
    Url(Client, Url),
}

#[derive(Default)]
struct Known {
    keys: Vec<(Option<String>, Key)>,
    /// When they came; `None` where they never did.
    since: Option<Instant>,
}

impl Jwks {
    /// The set at a URL, or else in a file.
    pub(super) fn new(place: &str) -> Result<Self, Failure> {
        let source = match Url::parse(place) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Source::Url(fetch::client(PATIENCE)?, url),
            _ => Source::File(place.into()),
        };
        Ok(Self { source, keys: RwLock::default(), asked: Mutex::default() })
    }

    /// The key of that id, or the only one where a token names none. An error where the set could not be had.
    pub(super) async fn find(&self, kid: Option<&str>) -> Result<Option<Key>, String> {
        let known = self.known();
        let key = known.find(kid);
        if key.is_some() && known.since.is_some_and(|since| since.elapsed() < MAX_AGE) {
            return Ok(key);
        }
        let mut asked = match &key {
            None => self.asked.lock().await,
            // An old set serves until the new one is there.
            Some(_) => match self.asked.try_lock() {
                Ok(asked) => asked,
                Err(_) => return Ok(key),
            },
        };
        // Another call may have had it meanwhile.
        if asked.is_none_or(|asked| asked.elapsed() >= PAUSE) {
            *asked = Some(Instant::now());
            match self.read().await {
                Ok(keys) => {
                    let known = Known { keys, since: Some(Instant::now()) };
                    *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
                }
                Err(error) => tracing::error!("the set of keys cannot be had: {error}"),
            }
        }
        let known = self.known();
        match (known.find(kid), known.since) {
            (None, None) => Err("the set of keys was never to be had".into()),
            (key, _) => Ok(key),
        }
    }

    fn known(&self) -> Arc<Known> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn read(&self) -> Result<Vec<(Option<String>, Key)>, String> {
        let text = match &self.source {
            Source::File(path) => {
                tokio::fs::read(path).await.map_err(|error| format!("{}: {error}", path.display()))?
            }
            Source::Url(client, url) => match fetch::send(client.get(url.clone()), MAX_SET).await? {
                (status, text) if status.is_success() => text,
                (status, _) => return Err(format!("{url} answered {status}")),
            },
        };
        let set: JwkSet = serde_json::from_slice(&text).map_err(|error| format!("it is no set of keys: {error}"))?;
        Ok(set.keys.iter().filter_map(|jwk| Some((jwk.common.key_id.clone(), usable(jwk)?))).collect())
    }
}

impl Known {
    fn find(&self, kid: Option<&str>) -> Option<Key> {
        let key = match (kid, self.keys.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|(known, _)| known.as_deref() == Some(kid)),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        key.map(|(_, key)| key.clone())
    }
}

/// A public key for signatures, with the algorithm that its type is used with here.
fn usable(jwk: &Jwk) -> Option<Key> {
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        _ => return None,
    };
    let fits = jwk.common.key_algorithm.is_none_or(|algorithm| algorithm == named)
        && jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
    if fits { Some(Key { algorithm, key: DecodingKey::from_jwk(jwk).ok()? }) } else { None }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn set(kids: &[&str]) -> String {
        let key = |kid: &&str| format!(r#"{{"kty":"RSA","kid":"{kid}","n":"AQAB","e":"AQAB"}}"#);
        format!(r#"{{"keys":[{}]}}"#, kids.iter().map(key).collect::<Vec<_>>().join(","))
    }

    #[tokio::test(start_paused = true)]
    async fn keys_come_and_go_as_the_issuer_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set");
        std::fs::write(&path, set(&["old"])).unwrap();
        let jwks = Jwks::new(path.to_str().unwrap()).unwrap();
        let knows = async |kid| jwks.find(Some(kid)).await.unwrap().is_some();
        assert!(knows("old").await && !knows("new").await);
        // A new key is known a minute after the set was asked for last.
        std::fs::write(&path, set(&["old", "new"])).unwrap();
        assert!(!knows("new").await);
        advance(PAUSE).await;
        assert!(knows("new").await && knows("old").await);
        // One that is gone counts no longer than a set is kept, unless the set cannot be had.
        std::fs::write(&path, set(&["new"])).unwrap();
        assert!(knows("old").await);
        advance(MAX_AGE).await;
        assert!(!knows("old").await && knows("new").await);
        std::fs::remove_file(&path).unwrap();
        advance(MAX_AGE).await;
        assert!(knows("new").await);
    }

    #[tokio::test]
    async fn a_token_that_names_no_key_is_of_the_only_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set");
        for (kids, known) in [(&["a"][..], true), (&["a", "b"], false), (&[], false)] {
            std::fs::write(&path, set(kids)).unwrap();
            let jwks = Jwks::new(path.to_str().unwrap()).unwrap();
            assert_eq!(jwks.find(None).await.unwrap().is_some(), known);
        }
    }
}
