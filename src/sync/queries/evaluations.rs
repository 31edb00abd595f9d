//! What the queries of subscriptions read, kept in memory, so that they need not be run again for every write.
//!
//! Each query that was run has the rows that it read, and what it asked for ([`Scans`]). A row that was written matters to it if
//! it read the row, or if one of its scans finds the row by now; else the query would take the same steps again. One that
//! matters makes a query stale, to be run when it is asked for; but a simple one, whose rows are all that its scans find, is
//! kept right without being run: the row comes in, or leaves.
//!
//! Subscriptions with the same queries share them. Nothing of this is stored: whoever asks first after a start, or after a
//! change of the schema, has its queries run.

mod catch_up;

use std::collections::{BTreeSet, HashMap};

use super::SubscriptionId;
use crate::crr::{RowId, ScanIndex, Scans, Version};

/// What tells a query from others: its text and parameters, and which tables and rows it may read.
pub(super) type Key = [u8; 32];

/// How many rows and values are kept of all queries together; those that were asked for longest ago keep their tables only.
const MOST: usize = if cfg!(target_family = "wasm") { 200_000 } else { 1_000_000 };

/// How many subscriptions are known; where there come more, all are forgotten.
const MOST_SUBSCRIPTIONS: usize = 20_000;

/// The evaluations of a replica.
#[derive(Debug)]
pub(in crate::sync) struct Evaluations {
    /// How many rows and values are kept.
    most: usize,
    /// What the rest is true of.
    at: Option<At>,
    by_key: HashMap<Key, u64>,
    all: HashMap<u64, Evaluation>,
    next: u64,
    index: ScanIndex,
    /// Who read which rows.
    readers: BTreeSet<(RowId, u64)>,
    subscriptions: HashMap<SubscriptionId, Vec<u64>>,
    weight: usize,
    /// Counts uses.
    clock: u64,
    /// Counts runs of queries.
    pub(super) runs: u64,
}

/// A state of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct At {
    schema: i64,
    /// How many times rows changed of which the log does not tell.
    unlogged: i64,
    version: Version,
}

/// A query, and what is known of its last run.
#[derive(Debug)]
struct Evaluation {
    key: Key,
    holders: usize,
    used: u64,
    /// The last version in which something that it read, or would have read, was written.
    changed: Version,
    run: Known,
}

#[derive(Debug)]
enum Known {
    /// What it read, and asked for.
    Run(Run),
    /// What it asked for; what it read took too much room.
    Scans(Scans),
    /// Nothing: it would go otherwise by now.
    Stale,
}

/// What a run read, and asked for.
#[derive(Debug)]
pub(super) struct Run {
    /// In their order.
    pub(super) rows: Vec<RowId>,
    pub(super) scans: Scans,
    pub(super) is_simple: bool,
}

impl Run {
    fn weight(&self) -> usize {
        self.rows.len() + self.scans.weight()
    }
}

impl Default for Evaluations {
    fn default() -> Self {
        Self::with_room(MOST)
    }
}

impl Evaluations {
    /// Forgets all: each query is run when it is asked for next.
    fn clear(&mut self) {
        *self = Self { next: self.next, runs: self.runs, ..Self::with_room(self.most) };
    }

    fn with_room(most: usize) -> Self {
        Self {
            most,
            at: None,
            by_key: HashMap::new(),
            all: HashMap::new(),
            next: 0,
            index: ScanIndex::default(),
            readers: BTreeSet::new(),
            subscriptions: HashMap::new(),
            weight: 0,
            clock: 0,
            runs: 0,
        }
    }

    /// Takes what is known of a run out of the indexes.
    fn take_out(&mut self, of: u64, run: &Known) {
        match run {
            Known::Run(run) => {
                self.weight -= run.weight();
                self.index.remove(of, &run.scans);
                for &row in &run.rows {
                    self.readers.remove(&(row, of));
                }
            }
            Known::Scans(scans) => self.index.remove(of, scans),
            Known::Stale => {}
        }
    }

    /// The query of that key, which is known from now on.
    pub(super) fn of_key(&mut self, key: Key) -> u64 {
        *self.by_key.entry(key).or_insert_with(|| {
            self.next += 1;
            let new = Evaluation { key, holders: 0, used: 0, changed: Version::ZERO, run: Known::Stale };
            self.all.insert(self.next, new);
            self.next
        })
    }

    /// The rows that a query reads, unless it has to be run.
    pub(super) fn rows(&mut self, of: u64) -> Option<&[RowId]> {
        self.clock += 1;
        let evaluation = self.all.get_mut(&of)?;
        evaluation.used = self.clock;
        match &evaluation.run {
            Known::Run(run) => Some(&run.rows),
            _ => None,
        }
    }

    /// Takes over how a query was run.
    pub(super) fn set(&mut self, of: u64, mut run: Run) {
        self.runs += 1;
        let Some(evaluation) = self.all.get_mut(&of) else { return };
        let old = std::mem::replace(&mut evaluation.run, Known::Stale);
        self.take_out(of, &old);
        if run.scans.are_unsure() {
            return;
        }
        let known = if run.weight() > self.most / 2 {
            run.scans.forget_conditions();
            self.index.add(of, &run.scans);
            Known::Scans(run.scans)
        } else {
            self.index.add(of, &run.scans);
            self.readers.extend(run.rows.iter().map(|&row| (row, of)));
            self.weight += run.weight();
            Known::Run(run)
        };
        if let Some(evaluation) = self.all.get_mut(&of) {
            evaluation.run = known;
        }
        self.make_room();
    }

    fn make_room(&mut self) {
        while self.weight > self.most {
            let known = self.all.iter().filter(|(_, evaluation)| matches!(evaluation.run, Known::Run(_)));
            let Some((&oldest, _)) = known.min_by_key(|(_, evaluation)| evaluation.used) else { return };
            self.shrink(oldest);
        }
    }

    /// Keeps of a query the tables that it reads only.
    fn shrink(&mut self, of: u64) {
        let Some(evaluation) = self.all.get_mut(&of) else { return };
        let run = std::mem::replace(&mut evaluation.run, Known::Stale);
        self.take_out(of, &run);
        if let (Known::Run(mut run), Some(evaluation)) = (run, self.all.get_mut(&of)) {
            run.scans.forget_conditions();
            self.index.add(of, &run.scans);
            evaluation.run = Known::Scans(run.scans);
        }
    }

    /// Notes which queries a subscription has.
    pub(super) fn subscribe(&mut self, id: &SubscriptionId, queries: Vec<u64>) {
        if self.subscriptions.len() >= MOST_SUBSCRIPTIONS && !self.subscriptions.contains_key(id) {
            let at = self.at;
            self.clear();
            self.at = at;
            return;
        }
        for query in &queries {
            if let Some(evaluation) = self.all.get_mut(query) {
                evaluation.holders += 1;
            }
        }
        let before = self.subscriptions.insert(id.clone(), queries);
        self.let_go(before);
    }

    /// Forgets a subscription.
    pub(super) fn end(&mut self, id: &SubscriptionId) {
        let before = self.subscriptions.remove(id);
        self.let_go(before);
    }

    fn let_go(&mut self, queries: Option<Vec<u64>>) {
        for query in queries.into_iter().flatten() {
            if let Some(evaluation) = self.all.get_mut(&query) {
                evaluation.holders -= 1;
            }
            self.forget_unless_held(query);
        }
    }

    /// Forgets a query that is of no subscription.
    pub(super) fn forget_unless_held(&mut self, query: u64) {
        if self.all.get(&query).is_some_and(|evaluation| evaluation.holders == 0)
            && let Some(evaluation) = self.all.remove(&query)
        {
            self.by_key.remove(&evaluation.key);
            self.take_out(query, &evaluation.run);
        }
    }

    /// Whether something was written after a version that can change what a subscription's queries read.
    pub(super) fn has_news(&self, id: &SubscriptionId, since: Version) -> bool {
        let is_later = self.at.is_none_or(|at| at.version > since);
        let changed = |query: &u64| match self.all.get(query) {
            Some(Evaluation { run: Known::Stale, .. }) | None => true,
            Some(evaluation) => evaluation.changed > since,
        };
        is_later && self.subscriptions.get(id).is_none_or(|queries| queries.iter().any(changed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rusqlite::Connection;

    use super::*;
    use crate::sync::{Page, QueriesRequest, Replica, Schema, Sql, SubscriptionRequest};

    const SCHEMA: &str = "
        CREATE TABLE todo (id INTEGER PRIMARY KEY NOT NULL, owner INTEGER);
        CREATE TABLE other (id INTEGER PRIMARY KEY NOT NULL);
        SELECT crsql_as_crr('todo');
        SELECT crsql_as_crr('other');";

    /// A hundred rows of ten owners, and a subscription for each owner.
    fn subscribed(most: usize) -> Replica {
        let mut replica = Replica::open(Connection::open_in_memory().unwrap()).unwrap();
        replica.create_database_if_not_exists(&Schema::parse(SCHEMA).unwrap()).unwrap();
        let fill = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO todo SELECT i, i % 10 FROM n";
        replica.connection().execute_batch(fill).unwrap();
        replica.evaluations.most = most;
        (0..10).for_each(|owner| _ = ask(&mut replica, owner));
        replica
    }

    fn id(owner: i64) -> SubscriptionId {
        SubscriptionId { holder: "ann".into(), name: owner.to_string().into() }
    }

    /// How many changes there are for who has nothing.
    fn ask(replica: &mut Replica, owner: i64) -> usize {
        ask_for(replica, owner, format!("SELECT * FROM todo WHERE owner = {owner}"))
    }

    fn ask_for(replica: &mut Replica, subscription: i64, sql: String) -> usize {
        let all = Page { changes: usize::MAX, bytes: usize::MAX };
        let request = QueriesRequest {
            queries: vec![Sql { sql, params: vec![] }],
            subscription: Some(SubscriptionRequest { id: id(subscription), position: None, is_told: true, now: 0 }),
            exclude: None,
            schema: None,
            tables: None,
            filters: None,
            page: all,
            most: all,
            rows: usize::MAX,
            time: Duration::from_secs(60),
        };
        replica.changes_for_queries(&request).unwrap().0.changes.len()
    }

    fn news_after(replica: &mut Replica, sql: &str) -> Vec<i64> {
        let since = replica.version().unwrap();
        replica.connection().execute_batch(sql).unwrap();
        let news = replica.news().unwrap();
        (0..10).filter(|&owner| news.is_for(&id(owner), since)).collect()
    }

    #[test]
    fn where_there_is_room_a_write_is_news_to_whom_it_concerns() {
        let mut replica = subscribed(1000);
        assert_eq!(news_after(&mut replica, "UPDATE todo SET owner = 4 WHERE id = 13"), [3, 4]);
        assert_eq!((ask(&mut replica, 3), ask(&mut replica, 4)), (9, 11));
        assert_eq!(replica.query_runs(), 10);
    }

    #[test]
    fn where_there_is_none_the_queries_used_last_keep_their_rows_and_the_others_their_tables() {
        let mut replica = subscribed(60);
        assert!(replica.evaluations.weight <= 60);
        assert_eq!(news_after(&mut replica, "INSERT INTO other VALUES (1)"), [0; 0]);
        let told = news_after(&mut replica, "UPDATE todo SET owner = 4 WHERE id = 13");
        assert_eq!(told[..5], [0, 1, 2, 3, 4]);
        assert!(!told.contains(&9));
        assert_eq!((ask(&mut replica, 3), ask(&mut replica, 4)), (9, 11));
        assert!(replica.evaluations.weight <= 60);
    }

    #[test]
    fn a_query_that_reads_more_than_there_is_room_for_takes_nobody_elses() {
        let mut replica = subscribed(1000);
        replica.evaluations.most = 150;
        ask(&mut replica, 0);
        assert_eq!(ask_for(&mut replica, 100, "SELECT * FROM todo".into()), 100);
        assert_eq!(replica.query_runs(), 11);
        assert_eq!(news_after(&mut replica, "UPDATE todo SET owner = 4 WHERE id = 13"), [3, 4]);
    }

    #[test]
    fn a_query_is_forgotten_with_its_last_subscription() {
        let mut replica = subscribed(1000);
        (0..10).for_each(|owner| replica.evaluations.end(&id(owner)));
        let Evaluations { all, by_key, readers, weight, .. } = &replica.evaluations;
        assert!(all.is_empty() && by_key.is_empty() && readers.is_empty() && *weight == 0);
        assert!(replica.evaluations.index.of_table(1).is_empty() && replica.evaluations.index.of_table(2).is_empty());
    }

    #[test]
    fn after_a_large_transaction_queries_are_run_again() {
        let mut replica = subscribed(1000);
        let many = "WITH n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 12000) INSERT INTO todo SELECT i, 3 FROM n";
        assert_eq!(news_after(&mut replica, many), (0..10).collect::<Vec<_>>());
        assert_eq!((ask(&mut replica, 3), ask(&mut replica, 4)), (11011, 10));
        assert_eq!(replica.query_runs(), 12);
    }
}
