//! Reading.

mod changes;

use super::reader::{Reader, Result};
use super::{Field, InvalidBinary, MAGIC, VERSION};
use crate::crr::{Seq, SiteId, Version};
use crate::sync::batch::{Batch, Partial, RowName, SchemaHash};
use crate::sync::clock::Clock;
use crate::sync::cursor::{Cursor, Origin, Place, Since};
use crate::sync::ranges::{Point, Range, Ranges};

pub(super) fn batch(bytes: &[u8]) -> Result<Batch> {
    let mut fields = Fields::open(bytes)?;
    let mut protocol = fields.required(Field::Protocol)?;
    if protocol.number()? != 1 {
        return Err(protocol.fail("another protocol than 1 is not spoken here"));
    }
    protocol.end()?;
    let sites = Sites::read(fields.required(Field::Sites)?)?;
    let mut batch = Batch::empty(sites.from);
    let mut columns = Columns(Vec::new());
    while let Some(mut field) = fields.next()? {
        match field.field {
            Field::Schema => batch.schema = Some(SchemaHash::new(field.text()?)),
            Field::SchemaText => batch.schema_text = Some(field.text()?.to_owned()),
            Field::Since => batch.since = Some(sites.since(&mut field)?),
            Field::Start => batch.start = Some(field.counter(Version::or_zero)?),
            Field::End => batch.end = Some(field.counter(Version::or_zero)?),
            Field::Covers => batch.covers = sites.clock(&mut field)?,
            Field::Partial => batch.partial = sites.partial(&mut field)?,
            Field::More => batch.more = true,
            Field::Next => batch.next = Some(sites.since(&mut field)?),
            Field::Have => batch.have = Some(sites.cursor(&mut field)?),
            Field::Seen => batch.seen = Some(field.counter(Ok)?),
            Field::Begins => batch.begins = true,
            Field::Left => batch.left = left(&mut field)?,
            _ => {
                columns.0.push(field);
                continue;
            }
        }
        field.end()?;
    }
    batch.changes = changes::all(&columns, &sites)?;
    Ok(batch)
}

/// The fields that this version knows, in the order of their tags.
struct Fields<'a> {
    batch: Reader<'a>,
    last: u64,
}

impl<'a> Fields<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self> {
        let (version, rest) = bytes.strip_prefix(&MAGIC).and_then(<[u8]>::split_first).ok_or(InvalidBinary::Foreign)?;
        if *version != VERSION {
            return Err(InvalidBinary::Version(*version).into());
        }
        Ok(Self { batch: Reader::new(Field::Batch, rest, bytes.len()), last: 0 })
    }

    /// The next one; `None` after the last.
    fn next(&mut self) -> Result<Option<Reader<'a>>> {
        loop {
            let tag = self.batch.number()?;
            if tag == 0 {
                self.batch.end()?;
                return Ok(None);
            }
            if tag <= self.last {
                return Err(self.batch.fail("a field that stands twice, or not in the order of tags"));
            }
            self.last = tag;
            let known = Field::of(tag);
            let content = self.batch.inner(known.unwrap_or(Field::Batch))?;
            if known.is_some() {
                return Ok(Some(content));
            }
        }
    }

    /// The next one, which must be `field`.
    fn required(&mut self, field: Field) -> Result<Reader<'a>> {
        let mut here = self.batch;
        here.field = field;
        self.next()?.filter(|next| next.field == field).ok_or_else(|| here.fail_next("it is missing"))
    }
}

/// The columns that are there.
struct Columns<'a>(Vec<Reader<'a>>);

impl<'a> Columns<'a> {
    /// A column; it has no entries where it is not there.
    fn get(&self, field: Field) -> Reader<'a> {
        self.0.iter().find(|column| column.field == field).copied().unwrap_or(Reader::new(field, &[], 0))
    }
}

/// The sites that the batch names.
struct Sites {
    /// The first one, which sends it.
    from: SiteId,
    all: Vec<SiteId>,
}

impl Sites {
    fn read(mut field: Reader<'_>) -> Result<Self> {
        let (sites, []) = field.take_all().as_chunks() else { return Err(field.fail("a site has 16 bytes")) };
        let all: Vec<_> = sites.iter().map(|site| SiteId::new(*site)).collect();
        let from = *all.first().ok_or_else(|| field.fail("it ends early"))?;
        Ok(Self { from, all })
    }

    /// The site whose number comes next in `field`.
    fn next(&self, field: &mut Reader<'_>) -> Result<SiteId> {
        let number = field.index()?;
        self.all.get(number).copied().ok_or_else(|| field.fail("a site that is not in `sites`"))
    }

    fn cursor(&self, field: &mut Reader<'_>) -> Result<Cursor> {
        Ok(Cursor { site: self.next(field)?, version: field.counter(Version::or_zero)? })
    }

    fn since(&self, field: &mut Reader<'_>) -> Result<Since> {
        if field.is_empty() {
            return Ok(Since::Beginning);
        }
        let cursor = self.cursor(field)?;
        if field.is_empty() {
            return Ok(Since::After(cursor));
        }
        if cursor.version == Version::ZERO {
            return Err(field.fail("a place inside version 0"));
        }
        let site = self.next(field)?;
        let last = Origin { site, version: field.counter(Version::new)?, seq: field.counter(Seq::new)? };
        Ok(Since::Within(Place { cursor, last }))
    }

    fn clock(&self, field: &mut Reader<'_>) -> Result<Clock> {
        let mut sites = Vec::<(SiteId, Ranges<Version>)>::new();
        while !field.is_empty() {
            let site = self.next(field)?;
            if sites.last().is_some_and(|(last, _)| *last >= site) {
                return Err(field.fail("a site that stands twice, or not in ascending order"));
            }
            let versions = ranges(field)?;
            if versions.is_empty() {
                return Err(field.fail("a site without versions"));
            }
            sites.push((site, versions));
        }
        Ok(sites.into_iter().collect())
    }

    fn partial(&self, field: &mut Reader<'_>) -> Result<Vec<Partial>> {
        let mut partial = Vec::new();
        while !field.is_empty() {
            let site = self.next(field)?;
            let version = field.counter(Version::new)?;
            let last_seq = field.counter(Seq::new)?;
            partial.push(Partial { site, version, last_seq, seqs: ranges(field)? });
        }
        Ok(partial)
    }
}

fn left(field: &mut Reader<'_>) -> Result<Vec<RowName>> {
    let mut rows = Vec::new();
    while !field.is_empty() {
        let table = field.prefixed_text()?.into();
        let length = field.number()?;
        rows.push(RowName { table, pk: field.take(length)?.into() });
    }
    Ok(rows)
}

/// Ranges, which in this form can neither be inverted nor overlap nor touch.
fn ranges<T: Point>(field: &mut Reader<'_>) -> Result<Ranges<T>> {
    let mut ranges = Ranges::default();
    let mut least = T::MIN.get();
    for _ in 0..field.number()? {
        let first: T = from(field, least)?;
        let last: T = from(field, first.get())?;
        ranges.insert(Range { first, last });
        least = last.get() + 2;
    }
    Ok(ranges)
}

/// A number that is told by how far it is from a smaller one.
fn from<T: Point>(field: &mut Reader<'_>, least: i64) -> Result<T> {
    let more = i64::try_from(field.number()?).ok();
    field.check(more.and_then(|more| least.checked_add(more)), T::new)
}
