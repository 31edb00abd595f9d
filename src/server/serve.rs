use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use http::{HeaderName, HeaderValue, Method, header};
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::tokens::Tokens;
use super::{Failure, cli, www};
use crate::http::links::Links;
use crate::http::problem::{Code, Problem};
use crate::http::{App, Drain, IDEMPOTENCY_KEY, InvalidRoutes, PeerAddr, Routes, SITE_HEADER};
use crate::store::{Error, Store};
use crate::upstream::Upstream;

/// Serves until a signal to stop.
pub(super) fn run(options: cli::Serve) -> Result<(), Failure> {
    options.log.begin()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(options))
}

async fn serve(options: cli::Serve) -> Result<(), Failure> {
    let open = options.token.is_empty();
    if open && !options.insecure && !options.listen.ip().is_loopback() {
        return Err(format!(
            "{} can be reached from other machines, and everybody would be let in; give a --token, or --insecure",
            options.listen
        )
        .into());
    }
    if !open && options.insecure {
        return Err("with a --token, not everybody is let in: leave out --insecure".into());
    }
    if options.token.iter().any(|token| token.trim().is_empty()) {
        return Err("a token cannot be empty".into());
    }
    let routes = routes(&options)?;
    let prefix = routes.as_prefix().to_owned();
    let store = Store::at(&options.data)?;
    let drain = Drain::new();
    let mut app = App::builder(store.clone()).routes(routes).limits(options.limits.limits()).sql(options.sql);
    app = app.drain(drain.clone());
    if !open {
        app = app.authorize(Tokens(options.token.clone()));
    }
    if let Some(upstream) = options.upstream.links()? {
        attend_all(&store, &upstream).await?;
        app = app.links(Arc::new(upstream));
    }
    let mut router = app.build();
    if let Some(cors) = cors(&options.cors)? {
        router = router.layer(cors);
    }
    if let Some(dir) = &options.www {
        router = match prefix.as_str() {
            "" => return Err("--www needs a --prefix to tell files from operations".into()),
            _ => router.merge(www::files(dir)),
        };
    }
    if open && !options.insecure {
        router = router.layer(from_fn(only_local_names));
    }
    let router = router.merge(health(drain.clone()));
    let router = router.layer(from_fn(peer)).layer(CatchPanicLayer::custom(panicked));

    let listener = TcpListener::bind(options.listen).await.map_err(|error| format!("{}: {error}", options.listen))?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}{prefix}");
    if options.www.is_some() {
        println!("open http://{address}/");
    }
    // A small answer must not wait for the acknowledgement of the one before.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let stopping = drain.clone();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move {
        stop_signal().await;
        tracing::info!("stopping");
        stopping.drain();
    });
    tokio::select! {
        served = server.into_future() => Ok(served?),
        () = overdue(&drain, options.grace) => {
            tracing::warn!("requests that took longer than {:?} were broken off", options.grace);
            Ok(())
        }
    }
}

fn routes(options: &cli::Serve) -> Result<Routes, InvalidRoutes> {
    let routes = Routes::default().prefix(&options.prefix)?;
    options.route.iter().try_fold(routes, |routes, (name, path)| routes.rename(name, path))
}

/// Links the databases that are there already; others are linked when they are created.
async fn attend_all(store: &Store, upstream: &Upstream) -> Result<(), Failure> {
    for dbid in store.list().await? {
        match store.open(&dbid).await {
            Ok(database) => upstream.attend(&database),
            Err(Error::NotFound) => {}
            Err(error) => tracing::error!(%dbid, "cannot be linked to the upstream: {error}"),
        }
    }
    Ok(())
}

fn cors(origins: &[String]) -> Result<Option<CorsLayer>, Failure> {
    if origins.is_empty() {
        return Ok(None);
    }
    let origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().map(|origin| origin.parse()).collect::<Result<Vec<HeaderValue>, _>>()?)
    };
    let headers = [header::AUTHORIZATION, header::CONTENT_TYPE, HeaderName::from_static(SITE_HEADER)];
    let headers = headers.into_iter().chain(["last-event-id", IDEMPOTENCY_KEY].map(HeaderName::from_static));
    let layer = CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::PUT])
        .allow_headers(headers.collect::<Vec<_>>())
        .max_age(Duration::from_secs(3600));
    Ok(Some(layer))
}

/// `/healthz`: the process answers. `/readyz`: it takes new work.
fn health(drain: Drain) -> Router {
    let ready = |State(drain): State<Drain>| async move {
        if drain.has_begun() {
            Problem::new(Code::Unavailable, "the server is stopping").into_response()
        } else {
            "ready\n".into_response()
        }
    };
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready)).with_state(drain)
}

async fn peer(mut request: Request, next: Next) -> Response {
    if let Some(ConnectInfo(address)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
        let peer = PeerAddr(*address);
        request.extensions_mut().insert(peer);
    }
    next.run(request).await
}

/// Without tokens, being able to connect is the permission. A page of another site has it too, when its host's name is
/// made to point to this machine; so the name by which the server was asked for must be one of this machine's.
async fn only_local_names(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if is_local(host) {
        next.run(request).await
    } else {
        let detail = "the server answers only to localhost; start it with --token or --insecure to serve other names";
        Problem::new(Code::Forbidden, detail).into_response()
    }
}

fn is_local(host: &str) -> bool {
    let authority: Option<http::uri::Authority> = host.parse().ok();
    authority.is_some_and(|authority| {
        let name = authority.host();
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    })
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Problem::new(Code::Internal, "the operation failed; the log of the host says why").into_response()
}

async fn stop_signal() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}

async fn overdue(drain: &Drain, grace: Duration) {
    drain.begun().await;
    tokio::time::sleep(grace).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:1", "127.1.2.3", "[::1]:80", "LOCALHOST"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["", "example.org", "localhost.example.org", "10.0.0.1", "127.0.0.1.example.org:80", "::"] {
            assert!(!is_local(host), "{host}");
        }
    }
}
