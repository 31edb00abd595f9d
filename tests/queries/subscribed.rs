//! Subscriptions: asking again and again.

use crsql_sync::sync::{Batch, Position, Request, Since, SubscriptionId, SubscriptionRequest};
use fastrand::Rng;

use super::generate::{Generator, schema};
use super::*;

#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// A host and a partial copy with subscriptions to it.
struct Pair {
    full: Replica,
    copy: Replica,
    subscriptions: Vec<(String, Vec<Sql>)>,
    page: Page,
}

impl Pair {
    fn new(schema: &str) -> Self {
        Self { full: replica(schema), copy: replica(schema), subscriptions: Vec::new(), page: Page::default() }
    }

    /// Asks for one subscription; the answer is on its way.
    fn ask(&mut self, at: usize) -> Batch {
        self.give(at, self.position(at), true)
    }

    /// Where the copy is.
    fn position(&self, at: usize) -> Option<Position> {
        let name = &self.subscriptions[at].0;
        self.copy.subscribed(self.full.site(), name).unwrap().map(|subscribed| subscribed.position)
    }

    /// The host's answer to one who is at `position`.
    fn give(&mut self, at: usize, position: Option<Position>, is_told: bool) -> Batch {
        let (name, queries) = self.subscriptions[at].clone();
        let id = SubscriptionId { holder: "ann".into(), name: name.into() };
        let request = QueriesRequest {
            subscription: Some(SubscriptionRequest { id, position, is_told, now: 0 }),
            exclude: Some(self.copy.site()),
            page: self.page,
            most: Page { changes: 50, bytes: usize::MAX },
            ..asking(&queries)
        };
        let (answer, remember) = self.full.changes_for_queries(&request).unwrap();
        if let Some(remember) = remember {
            assert!(self.full.remember(&remember, 0).unwrap());
        }
        answer
    }

    fn take(&mut self, at: usize, answer: &Batch) {
        let name = self.subscriptions[at].0.clone();
        self.copy.apply_answer(&name, answer, true).unwrap();
    }

    /// Reads answers from a stream while the host writes; the last ones are lost when it breaks.
    fn stream(&mut self, at: usize, rng: &mut Rng, writes: impl IntoIterator<Item = String>) {
        let mut position = self.position(at);
        let mut answers = vec![self.give(at, position, true)];
        for sql in writes {
            let last = &answers[answers.len() - 1];
            let Some(Since::After(since)) = last.next else { panic!() };
            position = Some(Position { seen: last.seen.unwrap(), since });
            write(&mut self.full, &sql);
            answers.push(self.give(at, position, false));
        }
        answers.truncate(rng.usize(..=answers.len()));
        answers.iter().for_each(|answer| self.take(at, answer));
    }

    /// Asks until there is no more.
    fn catch_up(&mut self, at: usize) {
        loop {
            let answer = self.ask(at);
            self.take(at, &answer);
            if !answer.more {
                return;
            }
        }
    }

    /// Sends the copy's own writes to the host.
    fn push(&mut self) {
        let since = self.copy.acknowledged(self.full.site()).unwrap();
        let asked = Request { exclude: Some(self.full.site()), ..Request::after(since) };
        let batch = self.copy.request_changes(&asked).unwrap();
        let applied = self.full.apply_changes(&batch).unwrap();
        self.copy.acknowledge(self.full.site(), applied.received).unwrap();
    }

    /// How the copy's answers differ from the host's once everything was exchanged.
    fn difference(&mut self) -> Option<String> {
        self.push();
        // What one subscription drops another may have: the second round finds all of it there.
        for _ in 0..2 {
            (0..self.subscriptions.len()).for_each(|at| self.catch_up(at));
            let sent = self.copy.acknowledged(self.full.site()).unwrap();
            self.copy.forget_sent(sent, true).unwrap();
        }
        for (name, queries) in &self.subscriptions {
            for Sql { sql, .. } in queries {
                let (wanted, got) = (answer(&self.full, sql), answer(&self.copy, sql));
                if wanted != got {
                    return Some(format!("{name}: {sql}\nfull:    {wanted:?}\npartial: {got:?}"));
                }
            }
        }
        None
    }
}

#[test]
fn a_copy_stays_in_step_with_its_queries_through_writes_on_both_sides_lost_answers_and_short_pages() {
    for seed in 0..seeds(40, 300) {
        let mut rng = Rng::with_seed(seed ^ 0x5eed);
        let mut generator = Generator::new(seed);
        let mut pair = Pair::new(&schema(seed));
        pair.page = Page { changes: rng.usize(1..40), bytes: usize::MAX };
        for name in 0..rng.usize(1..4) {
            let queries = (0..rng.usize(1..3)).map(|_| query(&generator.query())).collect();
            pair.subscriptions.push((format!("s{name}"), queries));
        }
        let mut log = Vec::new();
        for _ in 0..rng.usize(1..25) {
            let at = rng.usize(..pair.subscriptions.len());
            match rng.u32(..14) {
                0..6 => {
                    let sql = generator.write();
                    log.push(format!("full: {sql}"));
                    write(&mut pair.full, &sql);
                }
                6 => {
                    let sql = generator.write();
                    log.push(format!("copy: {sql}"));
                    write(&mut pair.copy, &sql);
                }
                7 => {
                    log.push(format!("lost {at}"));
                    pair.ask(at);
                }
                8 => {
                    let sql = generator.query();
                    log.push(format!("other query {at}: {sql}"));
                    pair.subscriptions[at].1 = vec![query(&sql)];
                }
                9 => {
                    log.push("push".to_owned());
                    pair.push();
                }
                10 => {
                    log.push(format!("two answers {at}, in the wrong order"));
                    let (first, second) = (pair.ask(at), pair.ask(at));
                    pair.take(at, &second);
                    pair.take(at, &first);
                }
                11 | 12 => {
                    let writes: Vec<String> = (0..rng.usize(..6)).map(|_| generator.write()).collect();
                    log.push(format!("stream {at}: {writes:?}"));
                    pair.stream(at, &mut rng, writes);
                }
                _ => {
                    log.push(format!("take {at}"));
                    let answer = pair.ask(at);
                    pair.take(at, &answer);
                }
            }
            if rng.u32(..6) == 0
                && let Some(difference) = pair.difference()
            {
                panic!("seed {seed}\n{}\n{difference}", log.join("\n"));
            }
        }
        if let Some(difference) = pair.difference() {
            panic!("seed {seed}\n{}\n{difference}", log.join("\n"));
        }
    }
}
