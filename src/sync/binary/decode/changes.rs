//! The changes, put together from their columns.

use std::sync::Arc;

use rusqlite::types::Value;

use super::{Columns, Sites};
use crate::crr::{CausalLength, Change, ColVersion, Seq, SiteId, Version};
use crate::sync::binary::reader::{Reader, Result};
use crate::sync::binary::{Field, MOST_SHARED, value};

pub(super) fn all(columns: &Columns<'_>, sites: &Sites) -> Result<Vec<Change>> {
    let mut transactions = Transactions::new(columns, sites);
    let mut rows = Rows::new(columns);
    let mut cells = Cells::new(columns);
    let mut names = Names { field: columns.get(Field::Names), known: Vec::new() };
    let mut changes = Vec::with_capacity(cells.count().min(transactions.count()));
    while !rows.is_empty() {
        let (row, count) = rows.next(&mut names)?;
        for _ in 0..count {
            let (site, version, seq) = transactions.next()?;
            let cell = cells.next(&mut names)?;
            changes.push(Change {
                table: row.table.clone(),
                pk: row.pk.clone(),
                cid: cell.cid,
                val: cell.val,
                col_version: cell.col_version,
                version,
                site,
                cl: row.cl,
                seq,
            });
        }
    }
    names.field.end()?;
    rows.end()?;
    cells.end()?;
    transactions.end()?;
    Ok(changes)
}

/// The names of tables and columns. Each is read when it is first used, so that none takes memory for nothing.
struct Names<'a> {
    field: Reader<'a>,
    known: Vec<Arc<str>>,
}

impl Names<'_> {
    /// The name whose number comes next in `column`.
    fn next(&mut self, column: &mut Reader<'_>) -> Result<Arc<str>> {
        let number = column.index()?;
        if number == self.known.len() {
            self.known.push(self.field.prefixed_text()?.into());
        }
        self.known.get(number).cloned().ok_or_else(|| column.fail("a number that skips a name"))
    }
}

/// Who made each change: transactions, and how many changes that stand together each of them has.
struct Transactions<'a> {
    sites: &'a Sites,
    authors: Reader<'a>,
    versions: Reader<'a>,
    counts: Reader<'a>,
    seqs: Reader<'a>,
    site: SiteId,
    version: Version,
    /// How many changes of the transaction are still to come.
    left: u64,
    /// The position that is most likely to come next.
    seq: i64,
}

impl<'a> Transactions<'a> {
    fn new(columns: &Columns<'a>, sites: &'a Sites) -> Self {
        Self {
            sites,
            authors: columns.get(Field::Authors),
            versions: columns.get(Field::Versions),
            counts: columns.get(Field::TransactionChanges),
            seqs: columns.get(Field::Seqs),
            site: sites.from,
            version: Version::ZERO,
            left: 0,
            seq: 0,
        }
    }

    /// How many changes there are at the most.
    fn count(&self) -> usize {
        self.seqs.count()
    }

    /// The author's name for the next change.
    fn next(&mut self) -> Result<(SiteId, Version, Seq)> {
        if self.left == 0 {
            self.site = self.sites.next(&mut self.authors)?;
            let version = self.version.get().checked_add(self.versions.signed()?);
            self.version = self.versions.check(version, Version::new)?;
            self.left = count(&mut self.counts)?;
            self.seq = 0;
        }
        self.left -= 1;
        let seq = self.seq.checked_add(self.seqs.signed()?);
        let seq = self.seqs.check(seq, Seq::new)?;
        self.seq = seq.get() + 1;
        Ok((self.site, self.version, seq))
    }

    fn end(&self) -> Result<()> {
        [self.authors, self.versions, self.counts, self.seqs].into_iter().try_for_each(Reader::end)?;
        if self.left > 0 { Err(self.counts.fail("more changes than there are")) } else { Ok(()) }
    }
}

/// What all changes of a row that stand together have in common.
struct Row {
    table: Arc<str>,
    pk: Arc<[u8]>,
    cl: CausalLength,
}

/// The rows, and how many changes that stand together each of them has.
struct Rows<'a> {
    tables: Reader<'a>,
    counts: Reader<'a>,
    cls: Reader<'a>,
    shared: Reader<'a>,
    own: Reader<'a>,
    keys: Reader<'a>,
    /// The key of the last row.
    key: Vec<u8>,
}

impl<'a> Rows<'a> {
    fn new(columns: &Columns<'a>) -> Self {
        Self {
            tables: columns.get(Field::Tables),
            counts: columns.get(Field::RowChanges),
            cls: columns.get(Field::CausalLengths),
            shared: columns.get(Field::KeysShared),
            own: columns.get(Field::KeysOwn),
            keys: columns.get(Field::Keys),
            key: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    fn next(&mut self, names: &mut Names<'_>) -> Result<(Row, u64)> {
        let table = names.next(&mut self.tables)?;
        let cl = self.cls.counter(CausalLength::new)?;
        let shared = self.shared.index()?;
        if shared > self.key.len().min(MOST_SHARED) {
            return Err(self.shared.fail("more bytes than can be shared with the key before"));
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(self.keys.take(self.own.number()?)?);
        Ok((Row { table, pk: self.key.as_slice().into(), cl }, count(&mut self.counts)?))
    }

    fn end(&self) -> Result<()> {
        [self.counts, self.cls, self.shared, self.own, self.keys].into_iter().try_for_each(Reader::end)
    }
}

/// What a change has for itself.
struct Cell {
    cid: Arc<str>,
    val: Value,
    col_version: ColVersion,
}

/// The cells.
struct Cells<'a> {
    cids: Reader<'a>,
    col_versions: Reader<'a>,
    kinds: Reader<'a>,
    values: Reader<'a>,
}

impl<'a> Cells<'a> {
    fn new(columns: &Columns<'a>) -> Self {
        Self {
            cids: columns.get(Field::Columns),
            col_versions: columns.get(Field::ColVersions),
            kinds: columns.get(Field::Kinds),
            values: columns.get(Field::Values),
        }
    }

    /// How many there are: no more than the bytes of each column.
    fn count(&self) -> usize {
        self.cids.count().min(self.col_versions.count()).min(self.kinds.count())
    }

    fn next(&mut self, names: &mut Names<'_>) -> Result<Cell> {
        let cid = names.next(&mut self.cids)?;
        let col_version = self.col_versions.counter(ColVersion::new)?;
        let val = value::next(&mut self.kinds, &mut self.values)?;
        Ok(Cell { cid, val, col_version })
    }

    fn end(&self) -> Result<()> {
        [self.cids, self.col_versions, self.kinds, self.values].into_iter().try_for_each(Reader::end)
    }
}

/// How many changes: one at least.
fn count(field: &mut Reader<'_>) -> Result<u64> {
    match field.number()? {
        0 => Err(field.fail("no changes")),
        count => Ok(count),
    }
}
