//! The columns of the changes.

use super::dictionary::Dictionary;
use super::{Output, Sites};
use crate::crr::Change;
use crate::crr::varint::{put, put_unsigned, zigzag};
use crate::sync::binary::{Field, MOST_SHARED, value};

/// Changes taken apart, a column for each thing that is told of a transaction, of a row or of a change.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) names: Names,

    authors: Vec<u8>,
    versions: Vec<u8>,
    transaction_changes: Vec<u8>,
    seqs: Vec<u8>,

    tables: Vec<u8>,
    row_changes: Vec<u8>,
    cls: Vec<u8>,
    keys_shared: Vec<u8>,
    keys_own: Vec<u8>,
    keys: Vec<u8>,

    cids: Vec<u8>,
    col_versions: Vec<u8>,
    kinds: Vec<u8>,
    values: Vec<u8>,
}

impl Columns {
    pub(super) fn of(changes: &[Change], sites: &mut Sites) -> Self {
        let mut columns = Self::default();
        let mut version = 0;
        for transaction in changes.chunk_by(|a, b| (a.version, a.site) == (b.version, b.site)) {
            columns.put_transaction(transaction, &mut version, sites);
        }
        let mut key: &[u8] = &[];
        for row in changes.chunk_by(|a, b| a.cl == b.cl && a.pk == b.pk && a.table == b.table) {
            columns.put_row(row, &mut key);
        }
        columns
    }

    /// Changes that stand together and are of one transaction; `before` is the version of the last such ones.
    fn put_transaction(&mut self, changes: &[Change], before: &mut i64, sites: &mut Sites) {
        let Some(first) = changes.first() else { return };
        let version = first.version.get();
        put_unsigned(&mut self.authors, sites.number(first.site));
        put_unsigned(&mut self.versions, zigzag(version - *before));
        put_unsigned(&mut self.transaction_changes, changes.len() as u64);
        *before = version;
        let mut expected = 0;
        for change in changes {
            let seq = change.seq.get();
            put_unsigned(&mut self.seqs, zigzag(seq - expected));
            expected = seq + 1;
        }
    }

    /// Changes that stand together and are of one row; `before` is the key of the last such ones.
    fn put_row<'a>(&mut self, changes: &'a [Change], before: &mut &'a [u8]) {
        let Some(first) = changes.first() else { return };
        put_unsigned(&mut self.tables, self.names.number(&first.table));
        put_unsigned(&mut self.row_changes, changes.len() as u64);
        put(&mut self.cls, first.cl.get());

        let same = first.pk.iter().zip(*before).take_while(|(a, b)| a == b).count();
        let (shared, own) = first.pk.split_at(same.min(MOST_SHARED));
        put_unsigned(&mut self.keys_shared, shared.len() as u64);
        put_unsigned(&mut self.keys_own, own.len() as u64);
        self.keys.extend_from_slice(own);
        *before = &first.pk;

        for change in changes {
            put_unsigned(&mut self.cids, self.names.number(&change.cid));
            put(&mut self.col_versions, change.col_version.get());
            value::put(&mut self.kinds, &mut self.values, &change.val);
        }
    }

    pub(super) fn put(&self, out: &mut Output) {
        let columns = [
            (Field::Authors, &self.authors),
            (Field::Versions, &self.versions),
            (Field::TransactionChanges, &self.transaction_changes),
            (Field::Seqs, &self.seqs),
            (Field::Tables, &self.tables),
            (Field::RowChanges, &self.row_changes),
            (Field::CausalLengths, &self.cls),
            (Field::KeysShared, &self.keys_shared),
            (Field::KeysOwn, &self.keys_own),
            (Field::Keys, &self.keys),
            (Field::Columns, &self.cids),
            (Field::ColVersions, &self.col_versions),
            (Field::Kinds, &self.kinds),
            (Field::Values, &self.values),
        ];
        columns.into_iter().for_each(|(field, bytes)| out.column(field, bytes));
    }
}

/// The names of tables and columns.
#[derive(Default)]
pub(super) struct Names {
    known: Dictionary,
    pub(super) written: Vec<u8>,
}

impl Names {
    fn number(&mut self, name: &str) -> u64 {
        let (number, new) = self.known.number(name.as_bytes());
        if new {
            put_unsigned(&mut self.written, name.len() as u64);
            self.written.extend_from_slice(name.as_bytes());
        }
        number
    }
}
