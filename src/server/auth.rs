//! The binary's auth hooks: static tokens, JWT, or a webhook. Without any, who can reach the address may do everything.
//!
//! Each finds out who the caller is, and says in the words of a [`Grant`] what that one may do.

mod fetch;
mod grant;
mod jwks;
mod jwt;
mod options;
mod signature;
mod tokens;
mod webhook;

use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;

use crate::http::{Access, Authorize, Verdict};

pub(super) use options::AuthOptions;

/// One of the hooks.
pub(super) enum Hook {
    Tokens(tokens::Tokens),
    Jwt(jwt::Jwt),
    Webhook(webhook::Webhook),
}

impl Authorize for Hook {
    fn authorize(&self, access: Access) -> BoxFuture<'_, Result<Verdict, String>> {
        Box::pin(async move {
            match self {
                Self::Tokens(tokens) => Ok(tokens.judge(&access)),
                Self::Jwt(jwt) => jwt.judge(&access).await,
                Self::Webhook(webhook) => webhook.judge(&access).await,
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
