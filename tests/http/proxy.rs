//! The binary behind nginx, as packaging/README.md sets it up; nothing where nginx is not installed.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::{Certificate, Client, Version};
use serde_json::json;

use crate::events::Reader;
use crate::process::Process;
use crate::support::{TODO, eventually};

const README: &str = include_str!("../../packaging/README.md");

struct Nginx {
    child: Child,
    url: String,
    client: Client,
}

impl Nginx {
    /// Serves by the example; `None` where there is no nginx.
    async fn before(process: &Process, folder: &Path) -> Option<Self> {
        Command::new("nginx").arg("-v").output().ok()?;
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".into()]).unwrap();
        let (cert_file, key_file) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&cert_file, cert.pem()).unwrap();
        std::fs::write(&key_file, signing_key.serialize_pem()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let example = README.split("```nginx\n").nth(1).unwrap().split("```").next().unwrap();
        let address = process.url.strip_prefix("http://").unwrap().strip_suffix("/sync").unwrap();
        let certificate =
            format!("ssl_certificate {};\nssl_certificate_key {};", cert_file.display(), key_file.display());
        let mut site = example.to_owned();
        for (ours, theirs) in [
            ("127.0.0.1:8080", address),
            ("listen 443", &format!("listen 127.0.0.1:{port}")),
            ("sync.example.org", "localhost"),
            ("# ssl_certificate …", &certificate),
        ] {
            assert!(site.contains(ours), "{ours} is not in the example");
            site = site.replace(ours, theirs);
        }
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {};\n", folder.join(what).display()))
            .concat();
        let (config, log) = (folder.join("nginx.conf"), folder.join("error.log"));
        let pid = folder.join("pid");
        let text = format!(
            "daemon off; pid {}; error_log {};\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n",
            pid.display(),
            log.display()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("nginx").args(["-e", log.to_str().unwrap(), "-c"]).arg(&config).spawn().unwrap();
        let trusted = Certificate::from_pem(cert.pem().as_bytes()).unwrap();
        let client = Client::builder()
            .no_gzip()
            .no_zstd()
            .no_proxy()
            .tls_built_in_root_certs(false)
            .add_root_certificate(trusted);
        let nginx = Self { child, url: format!("https://localhost:{port}/sync"), client: client.build().unwrap() };
        eventually("nginx", || async { nginx.client.get(&nginx.url).send().await.is_ok() }).await;
        Some(nginx)
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth("token")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it only when it is asked to end.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn all_that_matters_comes_through_nginx() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let process = Process::start(&["--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0", "--token", "token"]);
    let Some(nginx) = Nginx::before(&process, folder.path()).await else {
        eprintln!("nginx is not installed: nothing was tested");
        return;
    };
    let create = nginx.request(reqwest::Method::PUT, "/a").json(&json!({ "schema": TODO })).send().await.unwrap();
    assert_eq!((create.status().as_u16(), create.version()), (201, Version::HTTP_2));

    // An event comes when it is written, and not when a buffer is full.
    let mut reader = Reader::with(nginx.request(reqwest::Method::GET, "/a/events?since=0")).await;
    let sql = |sql: String| nginx.request(reqwest::Method::POST, "/a/sql").json(&json!({ "sql": sql })).send();
    let began = Instant::now();
    assert_eq!(sql("INSERT INTO todo (id) VALUES ('1')".into()).await.unwrap().status(), 200);
    assert_eq!(reader.batch().await["changes"].as_array().unwrap().len(), 2);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());

    // A large body is the server's to judge.
    assert_eq!(sql(format!("SELECT length('{}')", "x".repeat(900_000))).await.unwrap().status(), 200);
    let too_large = sql("x".repeat(16 << 20)).await.unwrap();
    assert_eq!(too_large.status(), 413);
    assert_eq!(too_large.headers()["content-type"], "application/problem+json");

    // What the server compressed stays so.
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500) INSERT INTO todo SELECT 'k' || i, 'title', 0 FROM n";
    assert_eq!(sql(fill.into()).await.unwrap().status(), 200);
    let changes = nginx.request(reqwest::Method::GET, "/a/changes").header("accept-encoding", "gzip").send().await;
    assert_eq!(changes.unwrap().headers()["content-encoding"], "gzip");

    let metrics = nginx.client.get(nginx.url.replace("/sync", "/metrics")).send().await.unwrap();
    assert_eq!(metrics.status(), 404);
}
