//! Reading.

mod changes;

use super::reader::{Reader, Result};
use super::{Field, InvalidBinary, MAGIC, VERSION};
use crate::crr::{Seq, SiteId, Version};
use crate::sync::batch::{Batch, Partial, Protocol, SchemaHash};
use crate::sync::clock::Clock;
use crate::sync::cursor::{Cursor, Origin, Place, Since};
use crate::sync::ranges::{Point, Range, Ranges};

pub(super) fn batch(bytes: &[u8]) -> Result<Batch> {
    let fields = Fields::read(bytes)?;
    fields.required(Field::Protocol, |field| match field.number()? {
        1 => Ok(()),
        _ => Err(field.fail("another protocol than 1 is not spoken here")),
    })?;
    let sites = fields.required(Field::Sites, Sites::read)?;
    let version = |field: &mut Reader<'_>| field.counter(Version::or_zero);
    let text = |field: &mut Reader<'_>| field.text().map(str::to_owned);
    Ok(Batch {
        protocol: Protocol,
        from: sites.from,
        schema: fields.optional(Field::Schema, |field| field.text().map(SchemaHash::new))?,
        schema_text: fields.optional(Field::SchemaText, text)?,
        since: fields.optional(Field::Since, |field| sites.since(field))?,
        start: fields.optional(Field::Start, version)?,
        end: fields.optional(Field::End, version)?,
        covers: sites.clock(fields.all(Field::Covers))?,
        partial: sites.partial(fields.all(Field::Partial))?,
        more: fields.optional(Field::More, |_| Ok(()))?.is_some(),
        next: fields.optional(Field::Next, |field| sites.since(field))?,
        have: fields.optional(Field::Have, |field| sites.cursor(field))?,
        changes: changes::all(&fields, &sites)?,
    })
}

/// The fields that this version knows.
struct Fields<'a>(Vec<(Field, Reader<'a>)>);

impl<'a> Fields<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self> {
        let (version, rest) = bytes.strip_prefix(&MAGIC).and_then(<[u8]>::split_first).ok_or(InvalidBinary::Foreign)?;
        if *version != VERSION {
            return Err(InvalidBinary::Version(*version));
        }
        let mut batch = Reader::of_all(rest, bytes.len());
        let mut fields = Vec::with_capacity(Field::NAMES.len());
        let mut last = 0;
        let mut here = batch;
        while let Some((tag, field)) = batch.field()? {
            if tag <= last {
                return Err(here.fail("a field that stands twice, or not in the order of tags"));
            }
            fields.extend(Field::of(tag).map(|known| (known, field)));
            (last, here) = (tag, batch);
        }
        Ok(Self(fields))
    }

    fn find(&self, field: Field) -> Option<Reader<'a>> {
        self.0.iter().find(|(known, _)| *known == field).map(|(_, reader)| *reader)
    }

    /// A field that means the same when it is not there as when it is empty.
    fn all(&self, field: Field) -> Reader<'a> {
        self.find(field).unwrap_or_else(|| Reader::absent(field))
    }

    /// What `read` finds in a field, all of which it must take.
    fn optional<T>(&self, field: Field, read: impl FnOnce(&mut Reader<'a>) -> Result<T>) -> Result<Option<T>> {
        let Some(mut reader) = self.find(field) else { return Ok(None) };
        let found = read(&mut reader)?;
        reader.end()?;
        Ok(Some(found))
    }

    fn required<T>(&self, field: Field, read: impl FnOnce(&mut Reader<'a>) -> Result<T>) -> Result<T> {
        self.optional(field, read)?.ok_or_else(|| self.all(field).fail("it is missing"))
    }
}

/// The sites that the batch names.
struct Sites {
    /// The first one, which sends it.
    from: SiteId,
    all: Vec<SiteId>,
}

impl Sites {
    fn read(field: &mut Reader<'_>) -> Result<Self> {
        let here = *field;
        let (sites, []) = field.take_all().as_chunks() else { return Err(here.fail("a site has 16 bytes")) };
        let all: Vec<_> = sites.iter().map(|site| SiteId::new(*site)).collect();
        let from = *all.first().ok_or_else(|| here.fail("it ends early"))?;
        Ok(Self { from, all })
    }

    /// The site whose number comes next in `field`.
    fn next(&self, field: &mut Reader<'_>) -> Result<SiteId> {
        let here = *field;
        let site = usize::try_from(field.number()?).ok().and_then(|number| self.all.get(number));
        site.copied().ok_or_else(|| here.fail("a site that is not in `sites`"))
    }

    fn cursor(&self, field: &mut Reader<'_>) -> Result<Cursor> {
        Ok(Cursor { site: self.next(field)?, version: field.counter(Version::or_zero)? })
    }

    fn since(&self, field: &mut Reader<'_>) -> Result<Since> {
        if field.is_empty() {
            return Ok(Since::Beginning);
        }
        let here = *field;
        let cursor = self.cursor(field)?;
        if field.is_empty() {
            return Ok(Since::After(cursor));
        }
        let site = self.next(field)?;
        let last = Origin { site, version: field.counter(Version::new)?, seq: field.counter(Seq::new)? };
        if cursor.version == Version::ZERO {
            return Err(here.fail("a place inside version 0"));
        }
        Ok(Since::Within(Place { cursor, last }))
    }

    fn clock(&self, mut field: Reader<'_>) -> Result<Clock> {
        let mut sites = Vec::<(SiteId, Ranges<Version>)>::new();
        while !field.is_empty() {
            let here = field;
            let site = self.next(&mut field)?;
            if sites.last().is_some_and(|(last, _)| *last >= site) {
                return Err(here.fail("a site that stands twice, or not in ascending order"));
            }
            let versions = ranges(&mut field)?;
            if versions.is_empty() {
                return Err(here.fail("a site without versions"));
            }
            sites.push((site, versions));
        }
        Ok(sites.into_iter().collect())
    }

    fn partial(&self, mut field: Reader<'_>) -> Result<Vec<Partial>> {
        let mut partial = Vec::new();
        while !field.is_empty() {
            let site = self.next(&mut field)?;
            let version = field.counter(Version::new)?;
            let last_seq = field.counter(Seq::new)?;
            partial.push(Partial { site, version, last_seq, seqs: ranges(&mut field)? });
        }
        Ok(partial)
    }
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
