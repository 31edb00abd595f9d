//! A server of plain hyper, with the operations as a tower service. Who is on this machine may write, all others may read.
//!
//! ```sh
//! cargo run --example tower_hyper -- data 127.0.0.1:3000
//! curl localhost:3000/sync/todo/status
//! ```

use std::error::Error;

use crsql_sync::http::{Access, App, PeerAddr, Verdict};
use crsql_sync::store::Store;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::ServiceExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let data = arguments.next().unwrap_or("data".into());
    let listener = TcpListener::bind(arguments.next().unwrap_or("127.0.0.1:3000".into())).await?;

    let sync = App::builder(Store::at(data)?).authorize(writes_from_here).build();

    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().await?;
        let service = sync.clone().map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(PeerAddr(peer));
            request
        });
        tokio::spawn(async move {
            let service = TowerToHyperService::new(service);
            if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn writes_from_here(access: Access) -> Result<Verdict, String> {
    let is_here = access.peer.is_some_and(|peer| peer.ip().is_loopback());
    Ok(if is_here { Verdict::ALLOW } else { Verdict::READ_ONLY })
}
