//! Writing.

mod changes;
mod dictionary;

use dictionary::Dictionary;

use super::{Field, MAGIC, VERSION};
use crate::crr::SiteId;
use crate::crr::varint::put_unsigned;
use crate::sync::batch::{Batch, Partial, RowName};
use crate::sync::clock::Clock;
use crate::sync::cursor::{Cursor, Since};
use crate::sync::ranges::{Point, Ranges};

pub(super) fn batch(batch: &Batch) -> Vec<u8> {
    let mut sites = Sites::new(batch.from);
    let since = batch.since.map(|since| sites.since(since));
    let covers = sites.clock(&batch.covers);
    let partial = sites.partial(&batch.partial);
    let next = batch.next.map(|next| sites.since(next));
    let have = batch.have.map(|have| sites.cursor(have));
    let changes = changes::Columns::of(&batch.changes, &mut sites);
    let number = |number: Option<i64>| number.map(|number| numbers([number.cast_unsigned()]));

    let mut out = Output::new();
    out.put(Field::Protocol, &[1]);
    out.put(Field::Sites, &sites.written);
    out.column(Field::Names, &changes.names.written);
    out.optional(Field::Schema, batch.schema.as_ref().map(|schema| schema.as_str()));
    out.optional(Field::SchemaText, batch.schema_text.as_ref());
    out.optional(Field::Since, since);
    out.optional(Field::Start, number(batch.start.map(|start| start.get())));
    out.optional(Field::End, number(batch.end.map(|end| end.get())));
    out.column(Field::Covers, &covers);
    out.column(Field::Partial, &partial);
    out.optional(Field::More, batch.more.then_some([]));
    out.optional(Field::Next, next);
    out.optional(Field::Have, have);
    out.optional(Field::Seen, number(batch.seen));
    out.optional(Field::Begins, batch.begins.then_some([]));
    out.column(Field::Left, &left(&batch.left));
    changes.put(&mut out);
    out.end()
}

/// The batch as it is put together: fields in the order of their tags.
struct Output(Vec<u8>);

impl Output {
    fn new() -> Self {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        Self(out)
    }

    /// Without what stands here, a batch of which the end was lost would pass for one with fewer fields.
    fn end(mut self) -> Vec<u8> {
        self.0.push(0);
        self.0
    }

    fn put(&mut self, field: Field, bytes: &[u8]) {
        put_unsigned(&mut self.0, field.tag());
        put_unsigned(&mut self.0, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn optional(&mut self, field: Field, bytes: Option<impl AsRef<[u8]>>) {
        if let Some(bytes) = bytes {
            self.put(field, bytes.as_ref());
        }
    }

    /// A field that means the same when it is not there as when it is empty.
    fn column(&mut self, field: Field, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.put(field, bytes);
        }
    }
}

/// The sites that the batch names, `from` first.
#[derive(Default)]
struct Sites {
    known: Dictionary,
    written: Vec<u8>,
}

impl Sites {
    fn new(from: SiteId) -> Self {
        let mut sites = Self::default();
        sites.number(from);
        sites
    }

    fn number(&mut self, site: SiteId) -> u64 {
        let mut name = [0; 16];
        name.iter_mut().zip(site.as_bytes()).for_each(|(place, byte)| *place = *byte);
        let (number, new) = self.known.number(&name);
        if new {
            self.written.extend_from_slice(&name);
        }
        number
    }

    /// `SITE VERSION`
    fn cursor(&mut self, cursor: Cursor) -> Vec<u8> {
        numbers([self.number(cursor.site), cursor.version.get().cast_unsigned()])
    }

    /// Nothing, `SITE VERSION` or `SITE VERSION AUTHOR VERSION SEQ`
    fn since(&mut self, since: Since) -> Vec<u8> {
        match since {
            Since::Beginning => Vec::new(),
            Since::After(cursor) => self.cursor(cursor),
            Since::Within(place) => {
                let mut bytes = self.cursor(place.cursor);
                bytes.extend(self.cursor(Cursor { site: place.last.site, version: place.last.version }));
                put_unsigned(&mut bytes, place.last.seq.get().cast_unsigned());
                bytes
            }
        }
    }

    /// `SITE RANGES`, for each site
    fn clock(&mut self, clock: &Clock) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (site, versions) in clock.iter() {
            put_unsigned(&mut bytes, self.number(site));
            put_ranges(&mut bytes, versions);
        }
        bytes
    }

    /// `SITE VERSION LAST_SEQ RANGES`, for each transaction
    fn partial(&mut self, partial: &[Partial]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in partial {
            bytes.extend(self.cursor(Cursor { site: piece.site, version: piece.version }));
            put_unsigned(&mut bytes, piece.last_seq.get().cast_unsigned());
            put_ranges(&mut bytes, &piece.seqs);
        }
        bytes
    }
}

/// `TABLE KEY`, each after its length, for each row
fn left(rows: &[RowName]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for RowName { table, pk } in rows {
        for part in [table.as_bytes(), pk] {
            put_unsigned(&mut bytes, part.len() as u64);
            bytes.extend_from_slice(part);
        }
    }
    bytes
}

fn numbers<const N: usize>(numbers: [u64; N]) -> Vec<u8> {
    let mut bytes = Vec::new();
    numbers.into_iter().for_each(|number| put_unsigned(&mut bytes, number));
    bytes
}

/// How many ranges, and of each how far it lies from where it could begin at the least, and how far its end from there.
fn put_ranges<T: Point>(out: &mut Vec<u8>, ranges: &Ranges<T>) {
    put_unsigned(out, ranges.iter().len() as u64);
    let mut least = T::MIN.get();
    for range in ranges.iter() {
        put_unsigned(out, (range.first.get() - least).cast_unsigned());
        put_unsigned(out, (range.last.get() - range.first.get()).cast_unsigned());
        least = range.last.get() + 2;
    }
}
