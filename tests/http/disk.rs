//! The binary on disks that are full or cannot be written to: real ones, in a mount namespace of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use crate::process::{Process, binary};
use crate::support::{Answer, TODO, send};

/// Whether this machine lets us mount. Where it does not, the tests here say so and end.
fn can_mount() -> bool {
    let mount = Command::new("unshare").args(IN_NAMESPACE).args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    let can = mount.as_ref().is_ok_and(|output| output.status.success());
    if !can {
        println!("skipped: nothing can be mounted here: {mount:?}");
    }
    can
}

const IN_NAMESPACE: [&str; 3] = ["--user", "--map-root-user", "--mount"];

/// A server on `data`, after `mount` was run in a namespace that it has for itself; `$0` is the folder there.
fn server(mount: &str, data: &Path) -> Command {
    let serve = binary();
    let mut command = Command::new("unshare");
    command.args(IN_NAMESPACE).args(["sh", "-ec", &format!("{mount}; exec \"$@\"")]).arg(data);
    command.arg(serve.get_program()).args(["serve", "--sql", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    command.env_remove("CRSQL_SYNC_TOKEN").env("CRSQL_SYNC_LOG_LEVEL", "off");
    command
}

async fn request(process: &Process, method: Method, path: &str, body: Value) -> Answer {
    send(process.client.request(method, format!("{}/{path}", process.url)).json(&body)).await
}

async fn create(process: &Process, dbid: &str) -> Answer {
    request(process, Method::PUT, dbid, json!({ "schema": TODO })).await
}

async fn add(process: &Process, dbid: &str, id: &str, bytes: usize) -> Answer {
    let sql = "INSERT INTO todo (id, title) VALUES (?1, hex(zeroblob(?2 / 2)))";
    request(process, Method::POST, &format!("{dbid}/sql"), json!({ "sql": sql, "params": [id, bytes] })).await
}

async fn count(process: &Process, dbid: &str) -> Value {
    let sql = json!({ "sql": "SELECT count(*) FROM todo" });
    request(process, Method::POST, &format!("{dbid}/sql"), sql).await.ok()["results"][0]["rows"][0][0].clone()
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_takes_them_again_when_there_is_room() {
    if !can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let process = Process::spawn(&mut server("mount -t tmpfs -o size=4m tmpfs \"$0\"", folder.path()));
    // The folder as the server sees it.
    let inside = PathBuf::from(format!("/proc/{}/root{}", process.child.id(), folder.path().display()));
    std::fs::write(inside.join("ballast"), vec![0; 1 << 20]).unwrap();
    for dbid in ["a", "b"] {
        create(&process, dbid).await.ok();
    }
    let mut written = 0;
    let refused = loop {
        let answer = add(&process, "a", &written.to_string(), 100_000).await;
        if answer.status >= 300 {
            break answer;
        }
        written += 1;
    };
    assert!(written > 3, "{written}");
    assert_eq!((refused.status, refused.code()), (507, "storage_full"));
    let created = create(&process, "c").await;
    assert_eq!((created.status, created.code()), (507, "storage_full"));
    assert_eq!(count(&process, "a").await, written);
    assert_eq!(count(&process, "b").await, 0);
    assert_eq!(request(&process, Method::GET, "a/status", Value::Null).await.status, 200);

    std::fs::remove_file(inside.join("ballast")).unwrap();
    for dbid in ["a", "b"] {
        add(&process, dbid, "more", 100_000).await.ok();
    }
    create(&process, "c").await.ok();
    assert_eq!(count(&process, "a").await, written + 1);
    for dbid in ["a", "b", "c"] {
        let inspected = Command::new("nsenter")
            .args(["--user", "--preserve-credentials", "--mount", "--target", &process.child.id().to_string()])
            .arg(binary().get_program())
            .args(["inspect", "--check"])
            .arg(folder.path().join(format!("{dbid}.db")))
            .output()
            .unwrap();
        assert!(inspected.status.success(), "{inspected:?}");
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_to_is_not_served() {
    if !can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let read_only = "mount --bind \"$0\" \"$0\"; mount -o remount,bind,ro \"$0\"";
    let output = server(read_only, folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("cannot write to the folder") && error.contains("Read-only file system"), "{error}");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_to_costs_no_other_database() {
    if !can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(&["--data", folder.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    for dbid in ["a", "b"] {
        create(&process, dbid).await.ok();
    }
    process.kill();
    let read_only = "mount --bind \"$0\"/a.db \"$0\"/a.db; mount -o remount,bind,ro \"$0\"/a.db";
    let process = Process::spawn(&mut server(read_only, folder.path()));
    for id in ["1", "2"] {
        let refused = add(&process, "a", id, 10).await;
        assert_eq!((refused.status, refused.code()), (503, "unavailable"));
        assert!(refused.body["detail"].as_str().unwrap().contains("read-only"), "{refused:?}");
        add(&process, "b", id, 10).await.ok();
    }
}

#[tokio::test]
async fn files_that_are_no_databases_are_answered_by_an_error_and_cost_no_other_database() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("garbage.db"), "nothing of the kind ".repeat(500)).unwrap();
    std::fs::create_dir(folder.path().join("folder.db")).unwrap();
    let other = rusqlite::Connection::open(folder.path().join("other.db")).unwrap();
    other.execute_batch("CREATE TABLE todo (id)").unwrap();
    let process = Process::start(&["--data", folder.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    for dbid in ["garbage", "folder", "other"] {
        for answer in [create(&process, dbid).await, add(&process, dbid, "x", 10).await] {
            assert_eq!((answer.status, answer.code()), (500, "internal"), "{dbid}");
            assert!(answer.body["detail"].as_str().unwrap().contains("the file of this database"), "{answer:?}");
        }
    }
    create(&process, "good").await.ok();
    add(&process, "good", "x", 10).await.ok();
}
