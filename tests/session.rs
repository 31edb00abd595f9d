//! Replicas that talk over links which lose, repeat and reorder what they carry.
//!
//! The same bodies run natively and, in a service worker, in wasm.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::replicas::{replica, run};
use crsql_sync::crr::Version;
use crsql_sync::sync::session::{Config, Hello, LinkId, Message, Output, Session};
use crsql_sync::sync::{Clock, Page, Replica, Request, Since, VersionsRequest, Wanted};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

struct Node {
    replica: Replica,
    session: Session,
    wake_at: Option<Duration>,
}

/// What the network does to a message.
#[derive(Clone, Copy)]
struct Weather {
    /// Of a hundred messages.
    lost: u64,
    repeated: u64,
    /// The longest delay, in milliseconds; with more than 0 messages overtake each other.
    delay: u64,
}

const FAIR: Weather = Weather { lost: 0, repeated: 0, delay: 0 };
const STORM: Weather = Weather { lost: 20, repeated: 20, delay: 400 };

struct World {
    nodes: Vec<Node>,
    /// Messages under way by time of arrival and a number: to whom, over which link.
    air: BTreeMap<(Duration, u64), (usize, LinkId, Message)>,
    sent: u64,
    links: Vec<(usize, usize)>,
    now: Duration,
    random: u64,
    weather: Weather,
}

impl World {
    fn new(count: usize, config: Config, seed: u64) -> Self {
        let node = |_| Node { replica: replica(), session: Session::new(config), wake_at: None };
        Self {
            nodes: (0..count).map(node).collect(),
            air: BTreeMap::new(),
            sent: 0,
            links: Vec::new(),
            now: Duration::ZERO,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            weather: FAIR,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }

    fn link(&mut self, a: usize, b: usize) -> LinkId {
        let id = LinkId(self.links.len() as u64);
        self.links.push((a, b));
        for node in [a, b] {
            let Node { replica, session, .. } = &mut self.nodes[node];
            let output = session.connect(replica, self.now, id).unwrap();
            self.sent_by(node, output);
        }
        id
    }

    fn cut(&mut self, id: LinkId) {
        let (a, b) = self.links[id.0 as usize];
        self.air.retain(|_, (_, link, _)| *link != id);
        for node in [a, b] {
            let Node { replica, session, .. } = &mut self.nodes[node];
            let output = session.disconnect(replica, self.now, id).unwrap();
            self.sent_by(node, output);
        }
    }

    fn run(&mut self, node: usize, sql: &str) {
        let Node { replica, session, .. } = &mut self.nodes[node];
        run(replica, sql);
        let output = session.written(replica, self.now).unwrap();
        self.sent_by(node, output);
    }

    fn add(&mut self, node: usize, id: &str) {
        self.run(node, &format!("INSERT INTO todo (id, title) VALUES ('{id}', 'title of {id}')"));
    }

    fn sent_by(&mut self, node: usize, output: Output) {
        self.nodes[node].wake_at = output.wake_at;
        for (id, message) in output.messages {
            let (a, b) = self.links[id.0 as usize];
            let to = if node == a { b } else { a };
            // Through JSON, as they would travel.
            let message: Message = serde_json::from_str(&serde_json::to_string(&message).unwrap()).unwrap();
            if self.random(100) < self.weather.lost {
                continue;
            }
            let copies = if self.random(100) < self.weather.repeated { 2 } else { 1 };
            for _ in 0..copies {
                let delay = Duration::from_millis(1 + self.random(self.weather.delay));
                self.sent += 1;
                self.air.insert((self.now + delay, self.sent), (to, id, message.clone()));
            }
        }
    }

    /// Lets time pass until nothing happens any more, and returns how many messages arrived.
    fn settle(&mut self) -> usize {
        let mut arrived = 0;
        for _ in 0..100_000 {
            let woken = self.nodes.iter().filter_map(|node| node.wake_at).min();
            let arrives = self.air.keys().next().map(|(time, _)| *time);
            match (arrives, woken) {
                (Some(time), woken) if woken.is_none_or(|woken| time <= woken) => {
                    let ((time, _), (node, id, message)) = self.air.pop_first().unwrap();
                    self.now = self.now.max(time);
                    arrived += 1;
                    let Node { replica, session, .. } = &mut self.nodes[node];
                    let output = session.receive(replica, self.now, id, message).unwrap();
                    self.sent_by(node, output);
                }
                (_, Some(time)) => {
                    self.now = self.now.max(time);
                    for node in 0..self.nodes.len() {
                        if self.nodes[node].wake_at.is_some_and(|time| time <= self.now) {
                            let Node { replica, session, .. } = &mut self.nodes[node];
                            let output = session.wake(replica, self.now).unwrap();
                            self.sent_by(node, output);
                        }
                    }
                }
                (_, None) => return arrived,
            }
        }
        panic!("the network does not come to rest");
    }

    fn ids(&self, node: usize) -> Vec<String> {
        let conn = self.nodes[node].replica.connection();
        let mut select = conn.prepare("SELECT id FROM todo ORDER BY id").unwrap();
        select.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// That all nodes hold the same and know it.
    fn check_equal(&mut self) {
        let all = |node: &mut Node| {
            let conn = node.replica.connection();
            let mut select = conn
                .prepare(
                    "SELECT \"table\", pk, cid, val, col_version, site_id, cl, seq, site_version FROM crsql_changes",
                )
                .unwrap();
            let rows = select.query_map([], |row| {
                (0..9).map(|column| row.get::<_, rusqlite::types::Value>(column).map(|v| format!("{v:?}"))).collect()
            });
            let mut rows = rows.unwrap().collect::<Result<Vec<Vec<String>>, _>>().unwrap();
            rows.sort();
            (rows, node.replica.clock().unwrap())
        };
        let expected = all(&mut self.nodes[0]);
        for node in &mut self.nodes {
            assert_eq!(all(node), expected);
            assert!(node.session.is_idle(&node.replica).unwrap());
            assert!(node.replica.status().unwrap().is_complete());
        }
    }
}

fn small() -> Config {
    Config { credit: 2, page: Page { changes: 3, bytes: 1 << 20 }, ..Config::default() }
}

#[test]
fn what_is_written_at_one_end_of_a_line_arrives_at_the_other_under_its_authors_name() {
    let mut world = World::new(4, Config::default(), 1);
    for node in 0..3 {
        world.link(node, node + 1);
    }
    world.add(0, "a");
    world.add(3, "b");
    world.settle();
    world.add(0, "c");
    world.settle();
    world.check_equal();
    assert_eq!(world.ids(2), ["a", "b", "c"]);
    let author = world.nodes[0].replica.site();
    let at = world.nodes[0].replica.version().unwrap();
    assert!(world.nodes[3].replica.clock().unwrap().contains(author, at));
}

#[test]
fn what_came_from_a_peer_does_not_go_back_to_it() {
    let mut world = World::new(2, Config::default(), 1);
    world.link(0, 1);
    world.settle();
    world.add(0, "a");
    // The batch, and that it is on disk.
    assert_eq!(world.settle(), 2);
    world.check_equal();
}

#[test]
fn a_ring_does_not_send_in_circles() {
    let mut world = World::new(3, Config::default(), 1);
    for node in 0..3 {
        world.link(node, (node + 1) % 3);
    }
    world.settle();
    world.add(0, "a");
    let messages = world.settle();
    // To two neighbours, who may tell each other at the same time; each message is answered.
    assert!(messages <= 8, "{messages} messages");
    world.check_equal();
}

#[test]
fn a_transaction_larger_than_a_page_appears_whole() {
    let mut world = World::new(2, small(), 1);
    world.link(0, 1);
    let rows: Vec<_> = (0..20).map(|n| format!("('{n:02}', 'x')")).collect();
    world.run(0, &format!("INSERT INTO todo (id, title) VALUES {}", rows.join(",")));
    loop {
        let seen = world.ids(1).len();
        assert!(seen == 0 || seen == 20, "{seen} rows");
        let Some(((time, _), (node, id, message))) = world.air.pop_first() else { break };
        world.now = time;
        let Node { replica, session, .. } = &mut world.nodes[node];
        let output = session.receive(replica, world.now, id, message).unwrap();
        world.sent_by(node, output);
    }
    world.settle();
    assert_eq!(world.ids(1).len(), 20);
    world.check_equal();
}

#[test]
fn no_weather_keeps_replicas_apart() {
    for seed in 0..20 {
        let mut world = World::new(4, small(), seed);
        world.weather = STORM;
        let links: Vec<_> = (0..4).map(|node| world.link(node, (node + 1) % 4)).collect();
        for step in 0..12 {
            let node = world.random(4) as usize;
            match world.random(4) {
                0 => world.run(node, "UPDATE todo SET done = done + 1"),
                1 => world.run(node, &format!("DELETE FROM todo WHERE id = 'r{}'", step / 2)),
                _ => world.add(node, &format!("r{step}")),
            }
            if step == 6 {
                let cut = links[world.random(4) as usize];
                world.cut(cut);
            }
            if world.random(2) == 0 {
                world.settle();
            }
        }
        world.settle();
        world.check_equal();
    }
}

#[test]
fn what_a_broadcast_left_out_is_asked_of_one_peer_that_holds_it() {
    let mut world = World::new(3, Config::default(), 1);
    world.add(0, "a");
    world.add(0, "b");
    let (author, at) = (world.nodes[0].replica.site(), world.nodes[0].replica.version().unwrap());
    // The second transaction reaches node 1 by itself; the first one is known to lack.
    let newest = Clock::after(author, Version::new(at.get() - 1).unwrap(), at);
    let request = VersionsRequest::new(Wanted::Versions(newest));
    let batch = world.nodes[0].replica.request_versions(&request).unwrap();
    world.nodes[1].replica.apply_changes(&batch).unwrap();
    assert_eq!(world.ids(1), ["b"]);
    assert!(!world.nodes[1].replica.missing().unwrap().is_empty());
    world.link(1, 2);
    world.link(0, 2);
    world.settle();
    world.check_equal();
}

/// Who a replica says that it is.
fn hello(replica: &Replica) -> Message {
    Message::Hello(Hello { site: replica.site(), schema: None, at: replica.at().unwrap(), known: true })
}

#[test]
fn what_lacks_of_a_transaction_is_asked_of_a_peer_that_sent_a_piece_of_it() {
    let mut world = World::new(2, Config::default(), 1);
    world.run(0, "INSERT INTO todo (id, title) VALUES ('a', 'x'), ('b', 'x'), ('c', 'x')");
    let [author, reader] = &mut world.nodes[..] else { unreachable!() };
    let (id, all) = (LinkId(0), Wanted::AllBut(Clock::default()));
    let Node { replica, session, .. } = reader;
    session.connect(replica, Duration::ZERO, id).unwrap();
    session.receive(replica, Duration::ZERO, id, hello(&author.replica)).unwrap();
    let page = Page { changes: 2, ..Page::default() };
    let piece = author.replica.request_versions(&VersionsRequest { page, ..VersionsRequest::new(all) }).unwrap();
    let output = session.receive(replica, Duration::ZERO, id, Message::Batch(Box::new(piece))).unwrap();
    let output = session.wake(replica, output.wake_at.unwrap()).unwrap();
    let [(_, Message::Need { versions, pieces, since })] = &output.messages[..] else {
        panic!("{:?}", output.messages);
    };
    let wanted = Wanted::Versions(versions.clone());
    let request = VersionsRequest { pieces: pieces.clone(), since: *since, ..VersionsRequest::new(wanted) };
    let rest = author.replica.request_versions(&request).unwrap();
    session.receive(replica, Duration::ZERO, id, Message::Batch(Box::new(rest))).unwrap();
    assert_eq!(world.ids(1), ["a", "b", "c"]);
}

#[test]
fn a_message_over_a_link_that_is_gone_takes_back_no_wake_up() {
    let mut world = World::new(1, Config::default(), 1);
    let Node { replica, session, .. } = &mut world.nodes[0];
    let wake_at = session.connect(replica, Duration::ZERO, LinkId(2)).unwrap().wake_at;
    assert!(wake_at.is_some());
    let late = session.receive(replica, Duration::ZERO, LinkId(1), Message::Bye).unwrap();
    assert_eq!(late.wake_at, wake_at);
}

#[test]
fn a_claim_that_was_added_when_a_batch_was_sent_again_is_repeated_if_the_first_one_arrived() {
    let config = Config { page: Page { changes: 2, ..Page::default() }, credit: 1, ..Config::default() };
    let mut world = World::new(3, config, 1);
    world.add(2, "a");
    let mut nodes = world.nodes.into_iter();
    let (mut writer, mut reader, mut other) = (nodes.next().unwrap(), nodes.next().unwrap(), nodes.next().unwrap());
    let all = Request::after(Since::Beginning);
    writer.replica.apply_changes(&other.replica.request_changes(&all).unwrap()).unwrap();

    let (id, mut now) = (LinkId(0), Duration::ZERO);
    let Node { replica, session, .. } = &mut writer;
    session.connect(replica, now, id).unwrap();
    session.receive(replica, now, id, hello(&reader.replica)).unwrap();
    let want = Message::Want { since: Since::Beginning, credit: 1 };
    let batch = |output: &Output| {
        let mut batches = output.messages.iter().filter_map(|(_, message)| match message {
            Message::Batch(batch) => Some(batch.clone()),
            _ => None,
        });
        batches.next_back().unwrap()
    };
    let first = batch(&session.receive(replica, now, id, want).unwrap());
    let (site, merge) = (replica.site(), Version::new(1).unwrap());
    // The number of a merge is claimed with the next transaction. That one does not fit in the page.
    assert!(!first.covers.contains(site, merge));
    run(replica, "INSERT INTO todo (id, title) VALUES ('b', 'x')");
    now += config.patience;
    let again = batch(&session.wake(replica, now).unwrap());
    assert_eq!(again.end, first.end);
    assert!(again.covers.contains(site, merge));
    // It is lost, and the first one arrives.
    let received = reader.replica.apply_changes(&first).unwrap().received;
    let next = batch(&session.receive(replica, now, id, Message::Have { received, credit: 1 }).unwrap());
    reader.replica.apply_changes(&next).unwrap();
    assert_eq!(reader.replica.clock().unwrap(), replica.clock().unwrap());
}

#[test]
fn a_copy_under_the_same_site_id_is_told_and_let_go() {
    let mut world = World::new(1, Config::default(), 1);
    world.add(0, "a");
    let Node { replica, session, .. } = &mut world.nodes[0];
    let id = LinkId(0);
    session.connect(replica, Duration::ZERO, id).unwrap();
    let hello = hello(replica);
    let output = session.receive(replica, Duration::ZERO, id, hello).unwrap();
    assert!(matches!(&output.messages[..], [(_, Message::Error(failure))] if failure.code == "same_site"));
    assert_eq!(output.closed, [id]);
}
