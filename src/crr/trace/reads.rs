use std::sync::Arc;

/// The rows that queries read: for each table the integer keys by which the engine knows them.
#[derive(Debug, Default)]
pub struct Reads {
    tables: Vec<(Arc<str>, Keys)>,
    /// How many rows these are, some of them counted twice.
    count: usize,
}

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
    /// Adds a row; false where these are more than `most` then.
    pub(super) fn add(&mut self, table: &Arc<str>, key: i64, most: usize) -> bool {
        let at = self.tables.iter().position(|(known, _)| known == table).unwrap_or_else(|| {
            self.tables.push((table.clone(), Keys::default()));
            self.tables.len() - 1
        });
        let Some((_, keys)) = self.tables.get_mut(at) else { return false };
        keys.keys.push(key);
        self.count += 1;
        // Nested loops read the same rows again and again.
        if keys.keys.len() > WAITING + 2 * keys.settled {
            self.count -= keys.settle();
        }
        if self.count > most {
            self.count -= self.tables.iter_mut().map(|(_, keys)| keys.settle()).sum::<usize>();
        }
        self.count <= most
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The tables, each with the keys of its rows in their order.
    pub fn into_tables(self) -> impl Iterator<Item = (Arc<str>, Vec<i64>)> {
        self.tables.into_iter().map(|(table, mut keys)| {
            keys.settle();
            (table, keys.keys)
        })
    }
}

impl Keys {
    /// Leaves each key there once, and tells how many went.
    fn settle(&mut self) -> usize {
        let before = self.keys.len();
        self.keys.sort_unstable();
        self.keys.dedup();
        self.settled = self.keys.len();
        before - self.settled
    }
}
