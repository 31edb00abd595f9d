//! The binary behind a certificate.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::{Certificate, Client, Version};
use serde_json::json;

use crate::process::Process;
use crate::support::{TODO, eventually};

struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn in_folder(folder: &Path) -> Self {
        Self { cert: folder.join("cert.pem"), key: folder.join("key.pem") }
    }

    /// Puts a new certificate in place, and returns a client that trusts no other.
    fn renew(&self) -> Client {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()]).unwrap();
        fs::write(&self.cert, cert.pem()).unwrap();
        fs::write(&self.key, signing_key.serialize_pem()).unwrap();
        client(&cert.pem()).build().unwrap()
    }

    fn serve(&self, data: &Path, more: &[&str]) -> Process {
        let (cert, key) = (self.cert.to_str().unwrap(), self.key.to_str().unwrap());
        let arguments = ["--data", data.to_str().unwrap(), "--tls-cert", cert, "--tls-key", key];
        Process::start(&[&arguments, more].concat())
    }
}

fn client(pem: &str) -> reqwest::ClientBuilder {
    let certificate = Certificate::from_pem(pem.as_bytes()).unwrap();
    Client::builder().no_proxy().tls_built_in_root_certs(false).add_root_certificate(certificate)
}

#[tokio::test]
async fn a_server_with_a_certificate_speaks_both_versions_of_http() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::in_folder(folder.path());
    let client_2 = files.renew();
    let process = files.serve(&folder.path().join("data"), &["--listen", "127.0.0.1:0"]);
    assert!(process.url.starts_with("https://"));
    let create = client_2.put(format!("{}/a", process.url)).json(&json!({ "schema": TODO })).send().await.unwrap();
    assert_eq!((create.status().as_u16(), create.version()), (201, Version::HTTP_2));
    let client_1 = client(&fs::read_to_string(&files.cert).unwrap()).http1_only().build().unwrap();
    let status = client_1.get(format!("{}/a/status", process.url)).send().await.unwrap();
    assert_eq!((status.status().as_u16(), status.version()), (200, Version::HTTP_11));
    let stranger = process.client.get(format!("{}/a/status", process.url)).send().await;
    assert!(stranger.is_err(), "a certificate that nobody vouches for was trusted");
    let plain = process.client.get(process.url.replace("https", "http")).send().await;
    assert!(plain.is_err());
}

#[tokio::test]
async fn a_new_certificate_is_taken_without_closing_connections() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::in_folder(folder.path());
    let old = files.renew();
    let process = files.serve(&folder.path().join("data"), &["--listen", "127.0.0.1:0"]);
    let create = old.put(format!("{}/a", process.url)).json(&json!({ "schema": TODO })).send().await.unwrap();
    assert_eq!(create.status(), 201);
    let stream = old.get(format!("{}/a/events", process.url)).send().await.unwrap();

    let new = files.renew();
    assert!(new.get(format!("{}/a/status", process.url)).send().await.is_err(), "it is not read yet");
    process.signal("HUP");
    eventually("the new certificate", || async { new.get(format!("{}/a/status", process.url)).send().await.is_ok() })
        .await;
    // The connection that was there goes on.
    assert_eq!(old.get(format!("{}/a/status", process.url)).send().await.unwrap().status(), 200);
    let write =
        new.post(format!("{}/a/sql", process.url)).json(&json!({ "sql": "INSERT INTO todo (id) VALUES ('1')" }));
    assert_eq!(write.send().await.unwrap().status(), 200);
    // A file that is no certificate changes nothing.
    fs::write(&files.cert, "nonsense").unwrap();
    process.signal("HUP");
    assert_eq!(new.get(format!("{}/a/status", process.url)).send().await.unwrap().status(), 200);
    process.signal("TERM");
    let text = stream.text().await.unwrap();
    assert!(text.contains("event: batch") && text.ends_with("event: drain\ndata: {}\n\n"), "{text}");
}

#[tokio::test]
async fn a_new_certificate_is_taken_when_its_files_change() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::in_folder(folder.path());
    drop(files.renew());
    let process = files.serve(&folder.path().join("data"), &["--listen", "127.0.0.1:0"]);
    let new = files.renew();
    eventually("the new certificate", || async { new.get(format!("{}/a/status", process.url)).send().await.is_ok() })
        .await;
}

#[test]
fn a_certificate_without_its_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::in_folder(folder.path());
    drop(files.renew());
    for (cert, key) in [(Some(&files.cert), None), (Some(&files.cert), Some(&files.cert)), (None, Some(&files.key))] {
        let mut command = crate::process::binary();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path().join("data"));
        command.args(cert.iter().flat_map(|file| ["--tls-cert", file.to_str().unwrap()]));
        command.args(key.iter().flat_map(|file| ["--tls-key", file.to_str().unwrap()]));
        assert_eq!(command.output().unwrap().status.code(), Some(1));
    }
}
