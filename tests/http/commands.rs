//! The small commands of the binary.

use crate::process::{Process, binary};

fn output(arguments: &[&str]) -> String {
    let output = binary().args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn health_tells_whether_a_server_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(&["--data", folder.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let url = process.url.trim_end_matches("/sync").to_owned();
    let ready = || binary().args(["health", &url]).output().unwrap();
    crate::support::eventually("ready", || async { ready().status.success() }).await;
    process.kill();
    assert_eq!(ready().status.code(), Some(1));
}

#[test]
fn every_shell_is_told_the_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = output(&["completions", shell]);
        assert!(script.contains("metrics-listen") && script.contains("restore"), "{shell}");
    }
}

#[test]
fn every_command_has_a_manual_page() {
    assert!(output(&["man"]).starts_with(".ie"));
    let folder = tempfile::tempdir().unwrap();
    output(&["man", folder.path().to_str().unwrap()]);
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(page("crsql-sync.1").contains("serve"));
    assert!(page("crsql-sync-serve.1").contains("tls\\-cert"));
    assert!(page("crsql-sync-backup.1").contains("DST"));
}
