//! An axum application that has users and a login of its own, with sync for each of them.
//!
//! The application knows its users by a session, which a cookie names. The auth hook asks the same sessions: whoever is logged
//! in may use the databases that begin with their name.
//!
//! ```sh
//! cargo run --example axum_app -- data 127.0.0.1:3000
//! curl -c jar -d 'name=ann&password=correct horse' localhost:3000/login
//! curl -b jar -X PUT localhost:3000/sync/ann-todo -H 'content-type: application/json' \
//!   -d '{"schema": "CREATE TABLE todo (id PRIMARY KEY NOT NULL, title); SELECT crsql_as_crr('"'todo'"')"}'
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Router, serve};
use crsql_sync::http::{Access, App, Bounds, Verdict};
use crsql_sync::store::Store;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let data = arguments.next().unwrap_or("data".into());
    let listener = TcpListener::bind(arguments.next().unwrap_or("127.0.0.1:3000".into())).await?;

    let sessions = Sessions::default();
    let sync = App::builder(Store::at(data)?).authorize(own_databases(sessions.clone())).build();
    let app = Router::new().route("/login", post(login)).route("/me", get(me)).with_state(sessions).merge(sync);

    println!("listening on http://{}", listener.local_addr()?);
    Ok(serve(listener, app).await?)
}

/// The auth hook: everybody's databases begin with their name.
fn own_databases(sessions: Sessions) -> impl Fn(Access) -> std::future::Ready<Result<Verdict, String>> {
    move |access| {
        std::future::ready(Ok(match sessions.user(&access.headers) {
            None => Verdict::Unauthorized("log in first".into()),
            Some(user) if access.dbid.as_str().starts_with(&format!("{user}-")) => {
                Bounds::default().principal(user).into()
            }
            Some(_) => Verdict::Forbidden("this is somebody else's".into()),
        }))
    }
}

/// The application's sessions: who is logged in, by the value of a cookie.
#[derive(Clone, Default)]
struct Sessions(Arc<Mutex<HashMap<String, String>>>);

impl Sessions {
    fn open(&self, user: String) -> Result<String, getrandom::Error> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret)?;
        let session = hex::encode(secret);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(session.clone(), user);
        Ok(session)
    }

    fn user(&self, headers: &HeaderMap) -> Option<String> {
        let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
        let session = cookies.split("; ").find_map(|cookie| cookie.strip_prefix("session="))?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(session).cloned()
    }
}

#[derive(serde::Deserialize)]
struct Login {
    name: String,
    password: String,
}

async fn login(State(sessions): State<Sessions>, Form(login): Form<Login>) -> impl IntoResponse {
    if !matches!((&*login.name, &*login.password), ("ann", "correct horse") | ("bob", "battery staple")) {
        return StatusCode::FORBIDDEN.into_response();
    }
    match sessions.open(login.name) {
        // Pages of other sites can then not have the browser show it.
        Ok(session) => [(header::SET_COOKIE, format!("session={session}; HttpOnly; SameSite=Strict"))].into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn me(State(sessions): State<Sessions>, headers: HeaderMap) -> String {
    sessions.user(&headers).unwrap_or("nobody".into())
}
