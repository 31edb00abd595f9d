use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::RustlsAcceptor;
use http::{HeaderName, HeaderValue, Method, header};
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::health::{self, Readiness};
use super::metrics::{Metrics, Scene};
use super::stop::StopSignals;
use super::{Failure, cli, exchange, open_files, www};
use crate::http::compression;
use crate::http::links::Links;
use crate::http::problem::{Code, Problem};
use crate::http::{App, Drain, IDEMPOTENCY_KEY, InvalidRoutes, PeerAddr, Routes, SITE_HEADER};
use crate::store::{Error, Settings, Store};
use crate::upstream::Upstream;

/// How long the head of a connection's first request may take.
const PATIENCE: Duration = Duration::from_secs(30);

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
    let hook = options.auth.hook()?;
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
    // The other half is for connections.
    let store = Store::with(&options.data, Settings::within(open_files::raise() / 2))?;
    let drain = Drain::new();
    let mut app = App::builder(store.clone()).routes(routes).limits(options.limits.limits());
    app = app.sql(options.sql).files(options.files);
    app = app.drain(drain.clone());
    if let Some(hook) = hook {
        app = app.authorize(hook);
    }
    let upstream = options.upstream.links()?;
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
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(metrics, exchange::follow))
        .layer(from_fn(peer))
        .merge(health::routes(readiness.clone()));
    let metrics_listener = match options.metrics_listen {
        Some(address) => Some(listen(address).await?),
        None => {
            router = router.merge(measured.clone());
            None
        }
    };

    let listener = listen(options.listen).await?;
    let address = listener.local_addr()?;
    let tls = options.tls.start()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    println!("listening on {scheme}://{address}{prefix}");
    if options.www.is_some() {
        println!("open {scheme}://{address}/");
    }
    if let Some(listener) = metrics_listener {
        println!("metrics at http://{}/metrics", listener.local_addr()?);
        tokio::spawn(axum::serve(listener, measured).into_future());
    }
    tokio::spawn(start(store.clone(), upstream, readiness));

    let handle = Handle::new();
    tokio::spawn(stop(signals, drain, handle.clone(), options.grace));
    let server = axum_server::from_tcp(listener.into_std()?)?.handle(handle).first_request_timeout(PATIENCE);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    // A small answer must not wait for the acknowledgement of the one before.
    let plain = NoDelayAcceptor::new();
    match tls {
        Some(config) => server.acceptor(RustlsAcceptor::new(config).acceptor(plain)).serve(service).await?,
        None => server.acceptor(plain).serve(service).await?,
    }
    match tokio::time::timeout(options.grace, store.close()).await {
        Ok(closed) => closed?,
        Err(_) => tracing::warn!("databases that were still at work are recovered when they are opened next"),
    }
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| format!("{address}: {error}").into())
}

/// What is to be done before the server is ready.
async fn start(store: Store, upstream: Option<Upstream>, readiness: Readiness) {
    if let Some(upstream) = upstream
        && let Err(error) = attend_all(&store, &upstream).await
    {
        tracing::error!("the databases cannot be linked to the upstream: {error}");
    }
    readiness.start();
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
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = request.uri().authority().map(|authority| authority.as_str()).or(host);
    if is_local(host.unwrap_or_default()) {
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
