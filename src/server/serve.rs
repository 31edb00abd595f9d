use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsAcceptor;
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use tokio::net::{TcpListener, TcpSocket};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::connections::Doorkeeper;
use super::health::{self, Readiness};
use super::metrics::{Metrics, Scene};
use super::pace::Pace;
use super::reload::Reload;
use super::stop::StopSignals;
use super::{Failure, cli, exchange, follow, memory, open_files, pace, www};
use crate::http::compression;
use crate::http::problem::{Code, Problem};
use crate::http::{App, Drain, IDEMPOTENCY_KEY, InvalidRoutes, PeerAddr, Routes, SITE_HEADER};
use crate::store::{Store, limit_memory};

/// How many connections may wait to be taken, as far as the system allows it: those that find no room try again after a second.
const BACKLOG: u32 = 4096;
/// A database that nobody used for this long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// Serves until a signal to stop.
pub(super) fn run(options: cli::Serve) -> Result<(), Failure> {
    options.log.begin()?;
    let grace = options.grace;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(options));
    // What works in the background lets go of the databases, which writes their logs back.
    runtime.shutdown_timeout(grace);
    served
}

async fn serve(options: cli::Serve) -> Result<(), Failure> {
    let mut reload = Reload::listen();
    let hook = options.auth.hook(&mut reload)?;
    let only_local = hook.is_none() && !options.auth.insecure;
    if only_local && !options.listen.ip().is_loopback() {
        return Err(format!(
            "{} can be reached from other machines, and everybody would be let in; give a --token, or --insecure",
            options.listen
        )
        .into());
    }
    let signals = StopSignals::listen();
    let routes = routes(&options)?;
    let prefix = routes.as_prefix().to_owned();
    limit_memory(options.limits.limit_memory);
    let (settings, files) = open_files::settings(options.open_databases)?;
    let connections = options.limits.connections(files);
    tracing::info!(databases = settings.open_databases, files = settings.files(), "may be open");
    let store = Store::with(&options.data, settings)?;
    let drain = Drain::new();
    let mut app = App::builder(store.clone()).routes(routes).limits(options.limits.limits());
    app = app.sql(options.sql).files(options.files);
    app = app.drain(drain.clone());
    if let Some(hook) = hook {
        app = app.authorize(hook);
    }
    let upstream = options.upstream.links(&mut reload)?;
    if let Some(upstream) = &upstream {
        app = app.links(Arc::new(upstream.clone()));
    }
    let mut router = compression::compressed(app.build());
    if let Some(cors) = cors(&options.cors)? {
        router = router.layer(cors);
    }
    if let Some(dir) = &options.www {
        router = match prefix.as_str() {
            "" => return Err("--www needs a --prefix to tell files from operations".into()),
            _ => router.merge(www::files(dir)),
        };
    }
    let metrics = Arc::new(Metrics::new());
    let scene = Scene { store: store.clone(), data: options.data.clone(), upstream: upstream.clone() };
    let mut measured = health::metrics(metrics.clone(), scene);
    if only_local {
        router = router.layer(from_fn(only_local_names));
        measured = measured.layer(from_fn(only_local_names));
    }
    let readiness = Readiness::new(drain.clone(), options.data.clone());
    let mut router = router
        .layer(from_fn(close_after_what_was_not_read))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(metrics, exchange::follow))
        .layer(from_fn(peer))
        .layer(from_fn_with_state(Pace::begin(connections.stall), pace::follow))
        .merge(health::routes(readiness));
    let metrics_listener = match options.metrics_listen {
        Some(address) => Some(listen(address)?),
        None => {
            router = router.merge(measured.clone());
            None
        }
    };

    let listener = listen(options.listen)?;
    let address = listener.local_addr()?;
    let tls = options.tls.config(&mut reload)?;
    reload.start();
    let scheme = if tls.is_some() { "https" } else { "http" };
    println!("listening on {scheme}://{address}{prefix}");
    if options.www.is_some() {
        println!("open {scheme}://{address}/");
    }
    if let Some(listener) = metrics_listener {
        println!("metrics at http://{}/metrics", listener.local_addr()?);
        tokio::spawn(axum::serve(listener, measured).into_future());
    }
    if let Some(upstream) = upstream {
        tokio::spawn(follow::follow(store.clone(), options.data.clone(), upstream));
    }
    tokio::spawn(close_idle(store.clone()));

    let handle = Handle::new();
    tokio::spawn(stop(signals, drain, handle.clone(), options.grace));
    let patience = options.limits.limit_head_time;
    let mut server = axum_server::from_tcp(listener.into_std()?)?.handle(handle).first_request_timeout(patience);
    server.http_builder().http1().header_read_timeout(patience);
    server.http_builder().http2().keep_alive_interval(patience);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let doorkeeper = Doorkeeper::new(connections, tls.is_none());
    match tls {
        Some(config) => server.acceptor(RustlsAcceptor::new(config).acceptor(doorkeeper)).serve(service).await?,
        None => server.acceptor(doorkeeper).serve(service).await?,
    }
    match tokio::time::timeout(options.grace, store.close()).await {
        Ok(closed) => closed?,
        Err(_) => tracing::warn!("databases that were still at work are recovered when they are opened next"),
    }
    Ok(())
}

fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A server that starts again finds connections of the one before, which are about to end.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error: io::Error| format!("{address}: {error}").into())
}

/// Gives back what databases take that nobody uses.
async fn close_idle(store: Store) {
    loop {
        tokio::time::sleep(IDLE / 4).await;
        let databases = store.close_idle(IDLE).await;
        if databases > 0 {
            let _ = tokio::task::spawn_blocking(memory::trim).await;
            tracing::debug!(databases, "closed, since nobody used them");
        }
    }
}

/// Ends the server when it is asked to: at the first signal with what is under way, at the second without.
async fn stop(mut signals: StopSignals, drain: Drain, handle: Handle<SocketAddr>, grace: Duration) {
    signals.next().await;
    tracing::info!("stopping");
    drain.drain();
    handle.graceful_shutdown(Some(grace));
    let code = signals.next().await;
    tracing::warn!("stopped by a second signal");
    std::process::exit(code.into());
}

fn routes(options: &cli::Serve) -> Result<Routes, InvalidRoutes> {
    let routes = Routes::default().prefix(&options.prefix)?;
    options.route.iter().try_fold(routes, |routes, (name, path)| routes.rename(name, path))
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
    let headers = [header::AUTHORIZATION, header::CONTENT_TYPE, header::CONTENT_ENCODING, header::IF_NONE_MATCH];
    let headers = headers.into_iter().chain([HeaderName::from_static(SITE_HEADER)]);
    let headers = headers.chain(["last-event-id", IDEMPOTENCY_KEY].map(HeaderName::from_static));
    let layer = CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::PUT])
        .allow_headers(headers.collect::<Vec<_>>())
        .max_age(Duration::from_secs(3600));
    Ok(Some(layer))
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
    // HTTP/2 has the name in the URI, HTTP/1 in a header.
    let mut hosts = request.headers().get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let all_local = match request.uri().authority() {
        Some(authority) => is_local(authority.as_str()),
        None => hosts.next().is_some_and(is_local) && hosts.all(is_local),
    };
    if all_local {
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

/// Says that the connection will be closed, as it is where a body was not read to its end: the caller must not send the next
/// request by it. HTTP/2 has streams for that, and no such header.
async fn close_after_what_was_not_read(request: Request, next: Next) -> Response {
    let version = request.version();
    let mut response = next.run(request).await;
    if matches!(response.status(), StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE)
        && version < Version::HTTP_2
    {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Problem::new(Code::Internal, "the operation failed; the log of the host says why").into_response()
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
