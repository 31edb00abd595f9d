//! The server as a process, and what the system says of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use serde_json::json;

use crate::Options;
use crate::workload::SCHEMA;

/// A server on a free port, as it is without any option. It ends when this is dropped.
pub struct Server {
    child: Child,
    url: String,
}

impl Server {
    pub fn start(options: &Options, data: &Path) -> Self {
        let mut command = Command::new(&options.server);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        // It logs each request, as it does by default; that nobody reads it is the reader's affair.
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, url }
    }

    pub fn address(&self) -> SocketAddr {
        let url: reqwest::Url = self.url.parse().unwrap();
        url.socket_addrs(|| None).unwrap()[0]
    }

    pub fn url(&self, dbid: &str, path: &str) -> String {
        format!("{}/{dbid}{path}", self.url)
    }

    pub async fn create(&self, client: &Client, dbid: &str) {
        let create = client.put(self.url(dbid, "")).json(&json!({ "schema": SCHEMA }));
        create.send().await.unwrap().error_for_status().unwrap();
    }

    /// Sends a batch, and returns when it is answered.
    pub async fn apply(&self, client: &Client, dbid: &str, media_type: &str, batch: Vec<u8>) {
        let apply = client.post(self.url(dbid, "/changes")).header(CONTENT_TYPE, media_type).body(batch);
        let answer = apply.send().await.unwrap();
        let status = answer.status();
        let body = answer.bytes().await.unwrap();
        assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    }

    /// The most memory that it ever had, in bytes; 0 where the system does not say.
    pub fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or_default() * 1024
    }

    /// The processor time that it has had.
    pub fn cpu(&self) -> Duration {
        cpu(&self.child.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processor time of a process, or of this one: `self`. Nothing where the system does not say.
pub fn cpu(process: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The 14th and 15th field, counted from behind the name, in hundredths of a second.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    Duration::from_millis(fields.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum::<u64>() * 10)
}

pub fn client() -> Client {
    Client::builder().no_proxy().tcp_nodelay(true).build().unwrap()
}
