use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;
use crate::http::{Access, App, Verdict};
use crate::server::Reqwest;
use crate::sync::Schema;
use crate::upstream::Config;

const SCHEMA: &str = "CREATE TABLE t (a PRIMARY KEY NOT NULL); SELECT crsql_as_crr('t')";
const PACE: Pace = Pace {
    links: 0,
    at_once: 2,
    look: Duration::from_millis(5),
    patience: Duration::from_secs(20),
    pause: Duration::from_millis(50),
};

/// A server, a client of it with a folder of its own, and what was asked of the server.
struct World {
    hub: Store,
    store: Store,
    folder: TempDir,
    upstream: Upstream,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
    refused: Arc<Mutex<Option<&'static str>>>,
    _hub_folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let (hub_folder, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (hub, store) = (Store::at(hub_folder.path()).unwrap(), Store::at(folder.path()).unwrap());
        let (asked, refused) = (Arc::<Mutex<BTreeMap<_, _>>>::default(), Arc::<Mutex<Option<_>>>::default());
        let (counted, refusing) = (asked.clone(), refused.clone());
        let hook = move |access: Access| {
            *counted.lock().unwrap().entry(access.dbid.to_string()).or_default() += 1;
            let refused = *refusing.lock().unwrap() == Some(access.dbid.as_str());
            std::future::ready(Ok(if refused { Verdict::Forbidden("not yet".into()) } else { Verdict::ALLOW }))
        };
        let router = App::builder(hub.clone()).authorize(hook).build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router).into_future());
        let config = Config::new(&format!("http://{address}/sync")).unwrap();
        let spawn = Arc::new(|task| drop(tokio::spawn(task)));
        let upstream = Upstream::new(config, Reqwest::new().unwrap(), spawn);
        Self { hub, store, folder, upstream, asked, refused, _hub_folder: hub_folder }
    }

    /// Writes a row, to a database that is created if need be, without anybody being told.
    async fn write(&self, id: &str) {
        let database = self.store.open_or_create(&dbid(id)).await.unwrap();
        let schema = Schema::parse(SCHEMA).unwrap();
        let write = move |replica: &mut Replica| {
            replica.create_database_if_not_exists(&schema).unwrap();
            replica.connection().execute("INSERT INTO t VALUES (randomblob(16))", []).unwrap();
        };
        database.call(write).await.unwrap();
    }

    async fn follow(&self, pace: Pace) {
        let follows = go_through(&self.store, self.folder.path().to_owned(), &self.upstream, pace);
        tokio::time::timeout(Duration::from_secs(60), follows).await.expect("it came to an end").unwrap();
    }

    /// The rows that the server has of a database.
    async fn sent(&self, id: &str) -> i64 {
        match self.hub.open(&dbid(id)).await {
            Ok(database) => {
                let count = |replica: &mut Replica| {
                    replica.connection().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
                };
                database.read(count).await.unwrap()
            }
            Err(Error::NotFound) => 0,
            Err(error) => panic!("{error}"),
        }
    }

    /// For which databases the server was asked something since this was last called.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap()).into_keys().collect()
    }
}

fn dbid(id: &str) -> Dbid {
    Dbid::new(id).unwrap()
}

#[tokio::test]
async fn what_is_unsent_is_sent_and_only_the_newest_stay_linked() {
    let world = World::new().await;
    for id in ["a", "b", "c", "d", "e"] {
        world.write(id).await;
    }
    world.follow(Pace { links: 2, ..PACE }).await;
    for id in ["a", "b", "c", "d", "e"] {
        assert_eq!(world.sent(id).await, 1, "{id}");
    }
    assert!(world.upstream.status(&dbid("e")).is_some() && world.upstream.status(&dbid("d")).is_some());
    assert_eq!(world.upstream.states().len(), 2);
}

#[tokio::test]
async fn a_database_with_nothing_unsent_is_not_linked() {
    let world = World::new().await;
    for id in ["a", "b", "c"] {
        world.write(id).await;
    }
    world.follow(PACE).await;
    assert_eq!(world.asked(), ["a", "b", "c"]);
    world.write("b").await;
    world.follow(PACE).await;
    assert_eq!((world.asked(), world.sent("b").await), (vec!["b".to_owned()], 2));
    assert_eq!(world.upstream.states().len(), 0);
}

#[tokio::test]
async fn a_database_that_is_asked_for_meanwhile_stays_linked() {
    let world = World::new().await;
    world.write("a").await;
    *world.refused.lock().unwrap() = Some("a");
    let asks = async {
        while world.upstream.status(&dbid("a")).is_none() {
            tokio::task::yield_now().await;
        }
        world.upstream.attend(&world.store.open(&dbid("a")).await.unwrap());
        *world.refused.lock().unwrap() = None;
        world.upstream.wake();
    };
    tokio::join!(world.follow(PACE), asks);
    assert_eq!((world.sent("a").await, world.upstream.states().len()), (1, 1));
}

#[tokio::test]
async fn a_refusal_holds_up_no_others_and_is_tried_again() {
    let world = World::new().await;
    for id in ["a", "b", "c", "d"] {
        world.write(id).await;
    }
    *world.refused.lock().unwrap() = Some("d");
    let allows = async {
        while world.sent("a").await == 0 || world.sent("b").await == 0 || world.sent("c").await == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(world.sent("d").await, 0);
        *world.refused.lock().unwrap() = None;
    };
    tokio::join!(world.follow(Pace { at_once: 1, ..PACE }), allows);
    assert_eq!(world.sent("d").await, 1);
}

#[tokio::test]
async fn a_link_that_is_paused_stays_so() {
    let world = World::new().await;
    world.write("a").await;
    let database = world.store.open(&dbid("a")).await.unwrap();
    database.call(|replica| replica.set_paused(true)).await.unwrap().unwrap();
    world.follow(PACE).await;
    assert_eq!((world.asked(), world.sent("a").await), (vec![], 0));
}
