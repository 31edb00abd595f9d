//! The binary's JWT.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use reqwest::Method;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use ring::{hmac, rsa};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::tokens::{Host, file, refusal};
use crate::events::Reader;
use crate::support::{PEER, batch};

const SECRET: &[u8] = b"a secret of more than 32 bytes, as it must be";
const RSA: &[u8] = include_bytes!("keys/rsa.der");
const RSA_PUBLIC: &[u8] = include_bytes!("keys/rsa.pub.pem");
const EC: &[u8] = include_bytes!("keys/ec.p8");
const EC_PUBLIC: &[u8] = include_bytes!("keys/ec.pub.pem");

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The claims of a token that is good for a minute, with others beside them.
fn claims(others: Value) -> Value {
    let mut claims = json!({ "sub": "ann", "exp": now() + 60 });
    claims.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
    claims
}

fn rsa_key() -> RsaKeyPair {
    RsaKeyPair::from_der(RSA).unwrap()
}

fn ec_key() -> EcdsaKeyPair {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, EC, &SystemRandom::new()).unwrap()
}

/// A token, signed by whatever `sign` does.
fn token(header: Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&header), part(claims));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn by_hmac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
}

fn by_rsa(message: &[u8]) -> Vec<u8> {
    let key = rsa_key();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

fn by_ec(message: &[u8]) -> Vec<u8> {
    ec_key().sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

fn hs256(claims: &Value) -> String {
    token(json!({ "alg": "HS256", "typ": "JWT" }), claims, |message| by_hmac(SECRET, message))
}

fn rs256(kid: &str, claims: &Value) -> String {
    token(json!({ "alg": "RS256", "kid": kid }), claims, by_rsa)
}

fn es256(kid: &str, claims: &Value) -> String {
    token(json!({ "alg": "ES256", "kid": kid }), claims, by_ec)
}

/// A server for tokens with a secret, and a database.
async fn with_secret(arguments: &[&str]) -> Host {
    let (_folder, secret) = file(SECRET);
    let host = Host::start(&[&["--jwt-secret", &secret], arguments].concat());
    host.create("a", &hs256(&claims(json!({ "aud": "sync", "iss": "us" })))).await;
    host
}

#[tokio::test]
async fn a_token_is_good_for_its_time_only() {
    let host = with_secret(&[]).await;
    for (others, status) in [
        (json!({}), 404),
        // The clocks of the issuer and the server may differ by a minute.
        (json!({ "exp": now() - 30 }), 404),
        (json!({ "exp": now() - 90 }), 401),
        (json!({ "exp": "tomorrow" }), 401),
        (json!({ "exp": -1 }), 401),
        (json!({ "exp": 1e300 }), 401),
        (json!({ "exp": null }), 401),
        (json!({ "nbf": now() + 30 }), 404),
        (json!({ "nbf": now() + 90 }), 401),
        (json!({ "nbf": "yesterday" }), 401),
    ] {
        assert_eq!(host.status("b", &hs256(&claims(others.clone()))).await, status, "{others}");
    }
    assert_eq!(host.status("b", &hs256(&json!({ "sub": "ann" }))).await, 401);
}

#[tokio::test]
async fn only_the_configured_algorithm_and_key_count() {
    let host = with_secret(&[]).await;
    let good = claims(json!({}));
    let of = |header: Value, secret: &'static [u8]| token(header, &good, move |message| by_hmac(secret, message));
    assert_eq!(host.status("b", &of(json!({ "alg": "HS256" }), SECRET)).await, 404);
    let none = token(json!({ "alg": "none" }), &good, |_| Vec::new());
    let mixed = token(json!({ "alg": "nOnE" }), &good, |_| Vec::new());
    let unsigned = token(json!({ "alg": "HS256" }), &good, |_| Vec::new());
    let longer = of(json!({ "alg": "HS512" }), SECRET);
    let critical = of(json!({ "alg": "HS256", "crit": ["b64"], "b64": true }), SECRET);
    let of_another = of(json!({ "alg": "HS256" }), b"another secret of more than 32 bytes, as it must be");
    let other_claims = {
        let signed = hs256(&good);
        let signature = signed.rsplit('.').next().unwrap().to_owned();
        let bare = token(json!({ "alg": "HS256", "typ": "JWT" }), &claims(json!({ "sub": "eve" })), |_| Vec::new());
        format!("{bare}{signature}")
    };
    for bad in
        [none, mixed, unsigned, longer, critical, of_another, other_claims, "a.b.c".into(), "x".into(), "..".into()]
    {
        assert_eq!(host.status("b", &bad).await, 401, "{bad}");
    }
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    let (_folder, public) = file(RSA_PUBLIC);
    let host = Host::start(&["--jwt-key", &public]);
    let good = claims(json!({}));
    assert_eq!(host.status("b", &rs256("any", &good)).await, 404);
    // Whoever has the public key could sign so, if the token chose the algorithm.
    let der = rsa_key().public().as_ref().to_vec();
    for secret in [RSA_PUBLIC, RSA_PUBLIC.trim_ascii_end(), &der] {
        let confused = token(json!({ "alg": "HS256" }), &good, |message| by_hmac(secret, message));
        assert_eq!(host.status("b", &confused).await, 401);
    }
    assert_eq!(host.status("b", &es256("any", &good)).await, 401);
    let (_folder, public) = file(EC_PUBLIC);
    let host = Host::start(&["--jwt-key", &public]);
    assert_eq!(host.status("b", &es256("any", &good)).await, 404);
    assert_eq!(host.status("b", &rs256("any", &good)).await, 401);
}

#[tokio::test]
async fn audience_and_issuer_must_be_those_that_are_configured() {
    let strict = ["--jwt-audience", "sync", "--jwt-audience", "sync2", "--jwt-issuer", "us"];
    let host = with_secret(&strict).await;
    for (others, status) in [
        (json!({ "aud": "sync", "iss": "us" }), 200),
        (json!({ "aud": ["else", "sync2"], "iss": "us" }), 200),
        (json!({ "aud": "else", "iss": "us" }), 401),
        (json!({ "aud": [], "iss": "us" }), 401),
        (json!({ "aud": 5, "iss": "us" }), 401),
        (json!({ "iss": "us" }), 401),
        (json!({ "aud": "sync", "iss": "them" }), 401),
        (json!({ "aud": "sync", "iss": 5 }), 401),
        (json!({ "aud": "sync" }), 401),
    ] {
        assert_eq!(host.status("a", &hs256(&claims(others.clone()))).await, status, "{others}");
    }
    // A token for somebody is not for a server that has no name.
    assert_eq!(with_secret(&[]).await.status("b", &hs256(&claims(json!({ "aud": "else" })))).await, 401);
}

#[tokio::test]
async fn claims_say_what_the_holder_may_do() {
    let host = with_secret(&["--jwt-audience", "sync"]).await;
    let with = |others: Value| {
        let mut claims = claims(others);
        claims["aud"] = json!("sync");
        hs256(&claims)
    };
    let select = "SELECT count(*) FROM todo";
    assert_eq!(host.sql("a", &with(json!({ "crsql_databases": ["a"] })), select).await, Ok(json!([[0]])));
    assert_eq!(host.sql("a", &with(json!({ "crsql_databases": ["b*"] })), select).await, Err("forbidden".into()));
    let reader = with(json!({ "crsql_read_only": true }));
    assert_eq!(host.sql("a", &reader, "DELETE FROM todo").await, Err("forbidden".into()));
    assert_eq!(host.sql("a", &with(json!({ "crsql_tables": [] })), select).await, Err("query_refused".into()));
    let device = with(json!({ "crsql_sites": [PEER], "crsql_tables": ["todo"] }));
    let mut of_other = batch(1, "milk");
    of_other["from"] = json!("bb000000000000000000000000000001");
    assert_eq!(host.apply("a", &device, &of_other).await, 403);
    assert_eq!(host.apply("a", &device, &batch(1, "milk")).await, 200);
    // A bound that cannot be read is not no bound.
    for spoilt in
        [json!({ "crsql_table": ["todo"] }), json!({ "crsql_read_only": "yes" }), json!({ "crsql_sites": ["9a"] })]
    {
        assert_eq!(host.sql("a", &with(spoilt.clone()), select).await, Err("unauthorized".into()), "{spoilt}");
    }
}

#[tokio::test]
async fn the_claims_of_a_token_choose_the_rows_of_its_holder() {
    let (_folder, rows) = file("todo.sql = 'title = :tenant OR title = :sub'");
    let (_other_folder, secret) = file(SECRET);
    let host = Host::start(&["--jwt-secret", &secret, "--jwt-rows", &rows]);
    let root = hs256(&claims(json!({ "crsql_all_rows": true })));
    assert_eq!(host.create("a", &hs256(&claims(json!({ "tenant": "red" })))).await, 403);
    assert_eq!(host.create("a", &root).await, 201);
    host.sql("a", &root, "INSERT INTO todo (id, title) VALUES ('1', 'red'), ('2', 'blue'), ('3', 'ann')")
        .await
        .unwrap();
    let select = "SELECT id FROM todo ORDER BY id";
    for (others, ids) in [
        (json!({ "tenant": "red" }), json!([["1"], ["3"]])),
        (json!({ "tenant": "blue", "sub": "bob" }), json!([["2"]])),
        (json!({ "tenant": "blue' OR '1" }), json!([["3"]])),
        (json!({ "tenant": ["red", "blue"], "crsql_all_rows": false }), json!([["3"]])),
    ] {
        assert_eq!(host.sql("a", &hs256(&claims(others.clone())), select).await, Ok(ids), "{others}");
    }
    for spoilt in [
        json!({}),
        json!({ "tenant": null }),
        json!({ "tenant": "red", "crsql_rows": { "todo": { "sql": "1" } } }),
        json!({ "tenant": "red", "crsql_all_rows": "yes" }),
    ] {
        assert_eq!(
            host.sql("a", &hs256(&claims(spoilt.clone())), select).await,
            Err("unauthorized".into()),
            "{spoilt}"
        );
    }
    let (_folder, unnamed) = file("todo.sql = 'title = ?'");
    assert!(refusal(&["--jwt-secret", &secret, "--jwt-rows", &unnamed]).contains(":sub"));
    assert!(refusal(&["--jwt-rows", &rows]).contains("required"));
}

#[tokio::test]
async fn an_event_stream_ends_when_its_token_does() {
    let host = with_secret(&["--jwt-audience", "sync", "--jwt-leeway", "0s"]).await;
    let short = hs256(&claims(json!({ "aud": "sync", "exp": now() + 2 })));
    let mut stream = Reader::with(host.request(Method::GET, "/a/events", &short)).await;
    let last = stream.event().await.unwrap();
    let problem: Value = serde_json::from_str(&last.data).unwrap();
    assert_eq!((last.event.as_str(), &problem["code"]), ("problem", &json!("unauthorized")));
    assert!(stream.event().await.is_none());
    assert_eq!(host.status("a", &short).await, 401);
}

/// An issuer that publishes its keys.
#[derive(Clone, Default)]
struct Issuer {
    keys: Arc<Mutex<Value>>,
    asked: Arc<AtomicUsize>,
    down: Arc<AtomicBool>,
}

impl Issuer {
    /// Begins to publish, and returns where.
    async fn publish(&self, keys: Value) -> String {
        *self.keys.lock().unwrap() = keys;
        let serve = |State(issuer): State<Self>| async move {
            issuer.asked.fetch_add(1, Ordering::SeqCst);
            match issuer.down.load(Ordering::SeqCst) {
                true => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                false => issuer.keys.lock().unwrap().to_string().into_response(),
            }
        };
        let router = Router::new().route("/keys", get(serve)).with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        url
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn rsa_jwk(kid: &str) -> Value {
    let rsa::PublicKeyComponents { n, e } = rsa::PublicKeyComponents::<Vec<u8>>::from(rsa_key().public());
    json!({ "kty": "RSA", "kid": kid, "use": "sig", "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e) })
}

fn ec_jwk(kid: &str) -> Value {
    let point = ec_key();
    let (x, y) = point.public_key().as_ref()[1..].split_at(32);
    json!({ "kty": "EC", "kid": kid, "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) })
}

#[tokio::test]
async fn keys_of_a_set_are_found_by_their_id() {
    let issuer = Issuer::default();
    let secret = json!({ "kty": "oct", "kid": "o", "k": URL_SAFE_NO_PAD.encode(SECRET) });
    let for_encryption = json!({ "kty": "RSA", "kid": "e", "use": "enc", "n": rsa_jwk("e")["n"], "e": "AQAB" });
    let strange = json!({ "kty": "EC", "kid": "s", "crv": "secp256k1", "x": "AA", "y": "AA" });
    let set = json!({ "keys": [strange, rsa_jwk("r"), ec_jwk("c"), secret, for_encryption] });
    let host = Host::start(&["--jwks", &issuer.publish(set).await]);
    let good = claims(json!({}));
    assert_eq!(host.status("b", &rs256("r", &good)).await, 404);
    assert_eq!(host.status("b", &es256("c", &good)).await, 404);
    assert_eq!(issuer.asked(), 1);
    for bad in [
        rs256("c", &good),
        es256("r", &good),
        rs256("e", &good),
        token(json!({ "alg": "RS256" }), &good, by_rsa),
        token(json!({ "alg": "HS256", "kid": "o" }), &good, |message| by_hmac(SECRET, message)),
        token(json!({ "alg": "HS256", "kid": "r" }), &good, |message| by_hmac(RSA_PUBLIC, message)),
        token(json!({ "alg": "none", "kid": "r" }), &good, |_| Vec::new()),
    ] {
        assert_eq!(host.status("b", &bad).await, 401, "{bad}");
    }
}

#[tokio::test]
async fn made_up_keys_do_not_become_requests_to_the_issuer() {
    let issuer = Issuer::default();
    let host = Host::start(&["--jwks", &issuer.publish(json!({ "keys": [rsa_jwk("r")] })).await]);
    let good = claims(json!({}));
    for n in 0..10 {
        assert_eq!(host.status("b", &rs256(&format!("unknown-{n}"), &good)).await, 401);
    }
    assert_eq!(issuer.asked(), 1);
    // What is known stays good while the issuer is away.
    issuer.down.store(true, Ordering::SeqCst);
    assert_eq!(host.status("b", &rs256("r", &good)).await, 404);
    assert_eq!(host.status("b", &rs256("unknown", &good)).await, 401);
}

#[tokio::test]
async fn a_token_does_not_say_where_its_key_is() {
    let (issuer, mallory) = (Issuer::default(), Issuer::default());
    let host = Host::start(&["--jwks", &issuer.publish(json!({ "keys": [rsa_jwk("r")] })).await]);
    let url = mallory.publish(json!({ "keys": [ec_jwk("m")] })).await;
    let good = claims(json!({}));
    assert_eq!(host.status("b", &rs256("r", &good)).await, 404);
    let long = "k".repeat(10_000);
    for kid in ["../../../../etc/passwd", "/dev/null", "r\0", "' OR 1=1 --", "R", " r", "", "r/../r", &url, &long] {
        assert_eq!(host.status("b", &rs256(kid, &good)).await, 401, "{kid:.50}");
        let empty = token(json!({ "alg": "HS256", "kid": kid }), &good, |message| by_hmac(b"", message));
        assert_eq!(host.status("b", &empty).await, 401, "{kid:.50}");
    }
    for header in [
        json!({ "alg": "ES256", "kid": "m", "jku": url }),
        json!({ "alg": "ES256", "jku": url }),
        json!({ "alg": "ES256", "kid": "m", "x5u": url }),
        json!({ "alg": "ES256", "jwk": ec_jwk("m") }),
        json!({ "alg": "ES256", "kid": "r", "jwk": ec_jwk("r") }),
        json!({ "alg": "ES256", "kid": ["r"] }),
        json!({ "alg": ["ES256"], "kid": "r" }),
    ] {
        assert_eq!(host.status("b", &token(header.clone(), &good, by_ec)).await, 401, "{header}");
    }
    assert_eq!(mallory.asked(), 0);
}

#[tokio::test]
async fn a_token_that_is_huge_or_deep_is_refused() {
    let host = with_secret(&[]).await;
    let deep = (0..500).fold(json!(1), |inner, _| json!([inner]));
    for large in [json!({ "x": "y".repeat(60_000) }), json!({ "x": vec![0; 20_000] }), json!({ "crsql_sites": deep })] {
        let status = host.status("b", &hs256(&claims(large))).await;
        // A claim that is not ours is none of our business.
        assert!([401, 404, 431].contains(&status), "{status}");
    }
    let status = host.status("b", &hs256(&claims(json!({ "x": "y".repeat(1 << 20) })))).await;
    assert_eq!(status, 431);
    assert_eq!(host.status("b", &hs256(&claims(json!({})))).await, 404);
}

#[tokio::test]
async fn without_keys_nobody_is_let_in() {
    let issuer = Issuer::default();
    issuer.down.store(true, Ordering::SeqCst);
    let host = Host::start(&["--jwks", &issuer.publish(json!({ "keys": [rsa_jwk("r")] })).await]);
    let good = rs256("r", &claims(json!({})));
    assert_eq!(host.status("b", &good).await, 403);
    assert_eq!(host.status("b", &good).await, 403);
    assert_eq!(issuer.asked(), 1);
    let host = Host::start(&["--jwks", "http://127.0.0.1:1/keys"]);
    assert_eq!(host.status("b", &good).await, 403);
    let (_folder, no_set) = file("{}");
    assert_eq!(Host::start(&["--jwks", &no_set]).status("b", &good).await, 403);
    let (_folder, set) = file(json!({ "keys": [rsa_jwk("r")] }).to_string());
    assert_eq!(Host::start(&["--jwks", &set]).status("b", &good).await, 404);
}

#[test]
fn keys_that_cannot_be_meant_are_refused() {
    let (_folder, short) = file("short");
    assert!(refusal(&["--jwt-secret", &short]).contains("32 bytes"));
    let (_folder, private) = file("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n");
    assert!(refusal(&["--jwt-key", &private]).contains("the public one"));
    let (_folder, garbage) = file("garbage");
    assert!(refusal(&["--jwt-key", &garbage]).contains("PEM"));
    assert!(refusal(&["--jwt-secret", &short, "--jwt-key", &garbage]).contains("cannot be used with"));
    assert!(refusal(&["--jwt-audience", "sync"]).contains("required"));
}
