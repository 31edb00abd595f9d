use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use toml::de::{DeTable, DeValue};

use super::{CONFIG, key};

/// A configuration file: keys with one or more values each.
pub(super) struct File {
    path: PathBuf,
    entries: Vec<Entry>,
}

struct Entry {
    key: String,
    line: usize,
    values: Vec<String>,
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(path, &text)
    }

    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, String> {
        let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            format!("{}, line {}: {}", path.display(), line(at), error.message())
        })?;
        let mut entries = Vec::new();
        for (key, value) in table.into_inner() {
            let (line, key) = (line(key.span().start), key.into_inner().into_owned());
            let values = match value.into_inner() {
                DeValue::Array(values) => values.into_iter().map(|value| scalar(value.get_ref())).collect(),
                value => scalar(&value).map(|value| vec![value]),
            };
            let Some(values) = values else {
                let problem = "a value is a text, a number, true, false, or a list of those";
                return Err(format!("{}, line {line}: {key}: {problem}", path.display()));
            };
            entries.push(Entry { key, line, values });
        }
        entries.sort_by_key(|entry| entry.line);
        Ok(Self { path: path.to_owned(), entries })
    }

    /// Refuses keys that are no options.
    pub(super) fn known_to(self, command: &Command) -> Result<Self, String> {
        let known = |name: &str| name != CONFIG && command.get_arguments().any(|argument| key(argument) == Some(name));
        match self.entries.iter().find(|entry| !known(&entry.key)) {
            Some(entry) => {
                Err(format!("{}, line {}: there is no option {}", self.path.display(), entry.line, entry.key))
            }
            None => Ok(self),
        }
    }

    /// What the file adds: without the options that were given elsewhere, and without the switches that it leaves off, which as
    /// flags would be in conflict with what excludes them.
    pub(super) fn without(mut self, command: &Command, given: impl Fn(&str) -> bool) -> Self {
        self.entries.retain(|entry| {
            let argument = command.get_arguments().find(|argument| key(argument) == Some(&entry.key));
            argument.is_none_or(|argument| {
                let off = entry.values == ["false"] && argument.get_default_values() == ["false"];
                !off && !given(argument.get_id().as_str())
            })
        });
        self
    }

    /// The file as flags.
    pub(super) fn arguments(&self) -> impl Iterator<Item = OsString> {
        let flag = |entry: &Entry, value: &String| OsString::from(format!("--{}={value}", entry.key));
        self.entries.iter().flat_map(move |entry| entry.values.iter().map(move |value| flag(entry, value)))
    }

    /// Where a key stands.
    pub(super) fn line(&self, key: &str) -> Option<usize> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| entry.line)
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(on) => Some(on.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
