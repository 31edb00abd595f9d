//! The binary's auth hooks: static tokens, JWT, or a webhook. Without any, who can reach the address may do everything.
//!
//! Each finds out who the caller is, and says in the words of a [`Grant`] what that one may do.

mod claimed;
mod fetch;
mod grant;
mod jwks;
mod jwt;
mod options;
mod signature;
mod tokens;
mod webhook;

use std::sync::{Arc, PoisonError, RwLock};

use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;

use crate::http::{Access, Authorize, Verdict};

pub(super) use options::AuthOptions;

/// One of the hooks.
enum Hook {
    Tokens(tokens::Tokens),
    Jwt(jwt::Jwt),
    Webhook(webhook::Webhook),
}

/// The hook that is in effect, until another one takes its place.
#[derive(Clone)]
pub(super) struct Current(Arc<RwLock<Arc<Hook>>>);

impl Current {
    fn new(hook: Hook) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(hook))))
    }

    fn set(&self, hook: Hook) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(hook);
    }

    fn get(&self) -> Arc<Hook> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Authorize for Current {
    fn authorize(&self, access: Access) -> BoxFuture<'_, Result<Verdict, String>> {
        let hook = self.get();
        Box::pin(async move {
            match &*hook {
                Hook::Tokens(tokens) => Ok(tokens.judge(&access)),
                Hook::Jwt(jwt) => jwt.judge(&access).await,
                Hook::Webhook(webhook) => webhook.judge(&access).await,
            }
        })
    }
}

/// The token that the caller shows.
fn bearer(access: &Access) -> Option<&str> {
    let (scheme, token) = access.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn no_token() -> Verdict {
    Verdict::Unauthorized("show a token: authorization: Bearer TOKEN".into())
}
