use std::fmt::Write;

use clap::builder::ValueHint;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::file::File;
use super::{CONFIG, key};

/// What is in effect, as a configuration file; each line says where it comes from.
pub(super) fn effective(command: &Command, matches: &ArgMatches, file: Option<&File>) -> String {
    let mut text = String::new();
    for argument in command.get_arguments() {
        if let Some(key) = key(argument).filter(|key| *key != CONFIG) {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{}", line(key, argument, matches, file));
        }
    }
    text
}

fn line(key: &str, argument: &Arg, matches: &ArgMatches, file: Option<&File>) -> String {
    let id = argument.get_id().as_str();
    let values: Vec<String> = matches
        .get_raw(id)
        .map(|values| values.map(|value| value.to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let source = match matches.value_source(id) {
        Some(ValueSource::CommandLine) => match file.and_then(|file| file.line(key)) {
            Some(line) => format!("file, line {line}"),
            None => "flag".to_owned(),
        },
        Some(ValueSource::EnvVariable) => "environment".to_owned(),
        _ => "default".to_owned(),
    };
    let texts: Vec<String> = values.iter().map(|value| literal(argument, value)).collect();
    match (texts.first(), argument.get_action()) {
        (None, _) => format!("# {key} is not set"),
        _ if argument.is_hide_env_values_set() => format!("# {key} is set, and not shown  # {source}"),
        (_, ArgAction::Append) => format!("{key} = [{}]  # {source}", texts.join(", ")),
        (Some(text), _) => format!("{key} = {text}  # {source}"),
    }
}

/// Switches and numbers as they are; anything else as a text, whose escapes are JSON's.
fn literal(argument: &Arg, value: &str) -> String {
    let is_path = matches!(argument.get_value_hint(), ValueHint::AnyPath);
    if !is_path && (matches!(value, "true" | "false") || value.parse::<i64>().is_ok()) {
        value.to_owned()
    } else {
        serde_json::to_string(value).unwrap_or_default()
    }
}
