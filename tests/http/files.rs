//! Databases as files, over HTTP.

use std::io::Write;
use std::path::Path;

use crsql_sync::http::{Access, Bounds, Limits, Operation, Verdict};
use reqwest::{Method, RequestBuilder};
use rusqlite::Connection;
use serde_json::json;

use crate::support::{Answer, Server, TODO, send};

const SQLITE: &str = "application/vnd.sqlite3";

async fn server() -> Server {
    Server::with(|builder| builder.sql(true).files(true)).await
}

async fn export(server: &Server, dbid: &str) -> Vec<u8> {
    let answer = server.request(Method::GET, &format!("/{dbid}/file")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (200, &SQLITE.parse().unwrap()));
    let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let bytes = answer.bytes().await.unwrap().to_vec();
    assert_eq!(bytes.len(), length);
    bytes
}

fn importing(server: &Server, dbid: &str, file: Vec<u8>) -> RequestBuilder {
    server.request(Method::PUT, &format!("/{dbid}/file")).header("content-type", SQLITE).body(file)
}

async fn import(server: &Server, dbid: &str, file: Vec<u8>) -> Answer {
    send(importing(server, dbid, file)).await
}

/// The names of what is in the folder, but for the databases of these names.
fn others(server: &Server, dbids: &[&str]) -> Vec<String> {
    let entries = std::fs::read_dir(server.folder.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_known = |name: &str| name == ".lock" || dbids.iter().any(|dbid| name.starts_with(&format!("{dbid}.db")));
    names.filter(|name| !is_known(name)).collect()
}

fn open(file: &[u8], folder: &Path) -> Connection {
    let path = folder.join("exported");
    std::fs::File::create(&path).unwrap().write_all(file).unwrap();
    Connection::open(path).unwrap()
}

#[tokio::test]
async fn a_database_goes_out_as_a_file_and_comes_in_under_another_site() {
    let server = server().await;
    let original = server.create("a").await;
    for id in 0..50 {
        server.add("a", &format!("{id:02}")).await;
    }
    let file = export(&server, "a").await;
    let folder = tempfile::tempdir().unwrap();
    let conn = open(&file, folder.path());
    let one = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(one("PRAGMA integrity_check"), "ok");
    assert_eq!(one("PRAGMA journal_mode"), "delete", "the file needs no log");
    assert_eq!(one("SELECT count(*) || '' FROM todo"), "50");

    let answer = import(&server, "b", file).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!((&answer.body["status"], &answer.body["schema"]), (&json!("created"), &original["schema"]));
    assert_ne!(answer.body["site"], original["site"]);
    let status = server.status("b").await;
    assert_eq!((&status["site"], &status["at"]), (&answer.body["site"], &answer.body["at"]));
    assert_eq!(server.ids("b").await, server.ids("a").await);
    server.add("b", "new").await;
    assert_eq!(server.ids("b").await.len(), 51);
    assert_eq!(others(&server, &["a", "b"]), [""; 0], "nothing is left of what passed through");
}

#[tokio::test]
async fn an_import_takes_no_place_of_a_database() {
    let server = server().await;
    server.create("a").await;
    let file = export(&server, "a").await;
    server.add("a", "kept").await;
    let answer = import(&server, "a", file).await;
    assert_eq!((answer.status, answer.code()), (409, "database_exists"));
    assert_eq!(server.ids("a").await, ["kept"]);
}

#[tokio::test]
async fn of_two_imports_at_once_one_becomes_the_database() {
    let server = server().await;
    server.create("a").await;
    server.add("a", "x").await;
    let file = export(&server, "a").await;
    let create = server.put("/b", json!({ "schema": TODO }));
    let (one, two, create) = tokio::join!(import(&server, "b", file.clone()), import(&server, "b", file), create);
    let statuses = [one.status, two.status, create.status];
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    let won = if one.status == 201 {
        one
    } else if two.status == 201 {
        two
    } else {
        create
    };
    assert_eq!(server.status("b").await["site"], won.body["site"]);
}

#[tokio::test]
async fn what_is_no_copy_is_refused_and_leaves_nothing_behind() {
    let server = server().await;
    server.create("a").await;
    for id in 0..500 {
        server.add("a", &format!("{id:04}")).await;
    }
    let file = export(&server, "a").await;
    let mut damaged = file.clone();
    let middle = damaged.len() / 2 / 4096 * 4096;
    damaged[middle..middle + 4096].fill(0xA5);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("foreign");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
    let files = [
        ("no database", b"what?".repeat(500)),
        ("nothing", Vec::new()),
        ("half of one", file[..file.len() / 2].to_vec()),
        ("damaged", damaged),
        ("of another application", std::fs::read(path).unwrap()),
    ];
    for (what, file) in files {
        let answer = import(&server, "b", file).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_file"), "{what}: {answer:?}");
        assert_eq!(server.get("/b/status").await.status, 404, "{what}");
        assert_eq!(others(&server, &["a"]), [""; 0], "{what}");
    }
}

#[tokio::test]
async fn a_file_that_is_too_large_or_of_another_type_is_refused() {
    let mut limits = Limits::default();
    limits.file = 100_000;
    let server = Server::with(|builder| builder.files(true).limits(limits)).await;
    let answer = import(&server, "b", vec![0; 100_001]).await;
    assert_eq!((answer.status, answer.code()), (413, "payload_too_large"));
    let answer = send(server.request(Method::PUT, "/b/file").header("content-type", "text/plain").body("x")).await;
    assert_eq!((answer.status, answer.code()), (415, "unsupported_media_type"));
    assert_eq!(answer.headers["accept"], SQLITE);
    assert_eq!(others(&server, &[]), [""; 0]);
}

#[tokio::test]
async fn files_are_off_unless_asked_for_and_pass_the_hook() {
    let server = Server::start().await;
    server.create("a").await;
    assert_eq!(server.get("/a/file").await.code(), "not_found");

    let hook = |access: Access| async move {
        Ok(match access.operation {
            Operation::ExportFile | Operation::ImportFile => {
                let whole = access.headers.get("x-bound").is_none_or(|bound| bound != "tables");
                let bounds = Bounds::default();
                if whole { bounds.read_only().into() } else { bounds.tables(["todo"]).into() }
            }
            _ => Verdict::ALLOW,
        })
    };
    let server = Server::with(|builder| builder.files(true).authorize(hook)).await;
    server.create("a").await;
    let file = export(&server, "a").await;
    let answer = import(&server, "b", file.clone()).await;
    assert_eq!(answer.code(), "forbidden", "who may only read makes no database");
    let bound = |request: RequestBuilder| send(request.header("x-bound", "tables"));
    let answer = bound(server.request(Method::GET, "/a/file")).await;
    assert_eq!(answer.code(), "forbidden", "a file has all tables");
    let answer = bound(importing(&server, "b", file)).await;
    assert_eq!(answer.code(), "forbidden");
}
