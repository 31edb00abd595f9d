//! The binary, killed at any moment while many write.
//!
//! `KILLS=50 cargo test --test http kill` kills it more often than the five times of every run.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use reqwest::RequestBuilder;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::process::{Process, binary};
use crate::support::{TODO, batch};

const DATABASES: [&str; 4] = ["a", "b", "c", "d"];

/// One who writes to one database, through all lives of the server.
struct Client {
    dbid: &'static str,
    name: String,
    kind: Kind,
    /// How many writes it was answered.
    answered: Vec<String>,
    /// The one that is on its way, or whose answer was lost.
    next: i64,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// By SQL, under a key, so that it can be asked again.
    Sql,
    /// By batches of a peer.
    Apply,
}

impl Client {
    fn id(&self) -> String {
        format!("{}{}", self.name, self.next)
    }

    fn request(&self, url: &str, client: &reqwest::Client) -> RequestBuilder {
        let (dbid, id) = (self.dbid, self.id());
        match self.kind {
            Kind::Sql => {
                let insert =
                    |id: &str| json!({ "sql": "INSERT INTO todo (id, title) VALUES (?1, 'x')", "params": [id] });
                // Two rows: one alone would be half a transaction.
                let body = json!([insert(&id), insert(&format!("{id}+"))]);
                client.post(format!("{url}/{dbid}/sql")).header("idempotency-key", &id).json(&body)
            }
            Kind::Apply => client.post(format!("{url}/{dbid}/changes")).json(&batch(self.next, &id)),
        }
    }

    /// Writes until the server is gone.
    async fn write(mut self, url: String, client: reqwest::Client) -> Self {
        loop {
            match self.request(&url, &client).send().await {
                Ok(answer) if answer.status().is_success() => {
                    // The status alone is the promise.
                    self.answered.push(self.id());
                    self.next += 1;
                }
                Ok(answer) => panic!("{} {:?}", answer.status(), answer.text().await),
                Err(_) => return self,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_there_however_often_the_server_is_killed() {
    let kills: usize = std::env::var("KILLS").map_or(5, |kills| kills.parse().unwrap());
    let seed = std::env::var("SEED").map_or_else(|_| u64::from(std::process::id()), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--data", folder.path().to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let mut clients = Vec::new();
    for dbid in DATABASES {
        for (name, kind) in [("s", Kind::Sql), ("t", Kind::Sql), ("p", Kind::Apply)] {
            clients.push(Client { dbid, name: name.into(), kind, answered: Vec::new(), next: 1 });
        }
    }
    for _ in 0..kills {
        let process = Process::start(&arguments);
        for dbid in DATABASES {
            let create = process.client.put(format!("{}/{dbid}", process.url)).json(&json!({ "schema": TODO }));
            assert!(create.send().await.unwrap().status().is_success());
        }
        let mut writes = JoinSet::new();
        for client in clients.drain(..) {
            writes.spawn(client.write(process.url.clone(), process.client.clone()));
        }
        tokio::time::sleep(Duration::from_millis(random.u64(5..600))).await;
        process.kill();
        clients = writes.join_all().await;
        for dbid in DATABASES {
            check(&folder.path().join(format!("{dbid}.db")));
        }
    }
    let process = Process::start(&arguments);
    let mut total = 0;
    for dbid in DATABASES {
        let request = process.client.post(format!("{}/{dbid}/sql", process.url));
        let request = request.json(&json!({ "sql": "SELECT group_concat(id, ' ') FROM todo" }));
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        let text = answer["results"][0]["rows"][0][0].as_str().unwrap_or_default();
        let rows: HashSet<&str> = text.split(' ').filter(|id| !id.is_empty()).collect();
        let mut known = 0;
        for client in clients.iter().filter(|client| client.dbid == dbid) {
            for id in client.answered.iter().chain([&client.id()]) {
                let there = rows.contains(id.as_str());
                assert!(there || *id == client.id(), "{id} of {dbid} was answered, and is gone");
                if client.kind == Kind::Sql {
                    assert_eq!(rows.contains(format!("{id}+").as_str()), there, "half of {id} of {dbid} is there");
                }
                known += usize::from(there) * if client.kind == Kind::Sql { 2 } else { 1 };
            }
            total += client.answered.len();
        }
        assert_eq!(rows.len(), known, "what nobody wrote is in {dbid}");
    }
    println!("{total} answers in {kills} lives");
    assert!(total > kills * DATABASES.len());
}

/// What a server left behind agrees with itself.
fn check(file: &Path) {
    let inspected = binary().args(["inspect", "--check"]).arg(file).output().unwrap();
    assert!(inspected.status.success(), "{} {inspected:?}", file.display());
    let conn = Connection::open(file).unwrap();
    let answer: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(answer, "ok", "{}", file.display());
}
