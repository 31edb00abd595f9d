use std::collections::BTreeMap;
use std::sync::Arc;

/// The rows that queries read: for each table the integer keys by which the engine knows them.
#[derive(Debug, Default)]
pub struct Reads(BTreeMap<Arc<str>, Keys>);

/// Keys, of which the newest may stand there twice.
#[derive(Debug, Default)]
struct Keys {
    keys: Vec<i64>,
    /// How many of them are sorted and each there once.
    settled: usize,
}

/// How many keys may wait to be sorted where there are few.
const WAITING: usize = 1024;

impl Reads {
    pub(super) fn add(&mut self, table: &Arc<str>, key: i64) {
        let Keys { keys, settled } = match self.0.get_mut(table) {
            Some(keys) => keys,
            None => self.0.entry(table.clone()).or_default(),
        };
        keys.push(key);
        // Nested loops read the same rows again and again.
        if keys.len() > WAITING + 2 * *settled {
            keys.sort_unstable();
            keys.dedup();
            *settled = keys.len();
        }
    }

    /// The tables, each with the keys of its rows in their order.
    pub fn into_tables(self) -> impl Iterator<Item = (Arc<str>, Vec<i64>)> {
        self.0.into_iter().map(|(table, Keys { mut keys, .. })| {
            keys.sort_unstable();
            keys.dedup();
            (table, keys)
        })
    }
}
