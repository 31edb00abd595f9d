//! The configuration of `serve`: every option has one name, as a flag, in the environment and in a file.
//!
//! `--limit-body` is `CRSQL_SYNC_LIMIT_BODY` in the environment, and `limit-body` in the file. A flag is taken over the
//! environment, that over the file, and that over the default. An option is configurable by standing in [`cli::Serve`] or in a
//! struct that is flattened into it: what clap knows of it holds for all three. One with `hide_env_values` is a secret.

mod file;
mod show;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};

use super::cli::Cli;
use file::File;

/// What the names in the environment begin with.
const PREFIX: &str = "CRSQL_SYNC_";
const SERVE: &str = "serve";
/// The options that say where the others are, or to show them.
const CONFIG: &str = "config";
const PRINT: &str = "print-config";

/// The command line of this process, with what the environment and the file add to it; `None` where it only asked to be shown
/// what is in effect, which was done. What is wrong with any of them ends the process, with exit code 2.
pub(super) fn parse() -> Option<Cli> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match read(arguments).unwrap_or_else(|error| error.exit()) {
        Read::Run(cli) => Some(*cli),
        Read::Shown(text) => {
            print!("{text}");
            None
        }
    }
}

/// The command line, as clap sees it.
pub(super) fn command() -> Command {
    Cli::command().mut_subcommand(SERVE, |serve| serve.mut_args(configurable))
}

enum Read {
    Run(Box<Cli>),
    Shown(String),
}

fn read(mut arguments: Vec<OsString>) -> Result<Read, clap::Error> {
    let mut command = command();
    let mut matches = command.try_get_matches_from_mut(&arguments)?;
    let mut file = None;
    if let Some((path, taken)) = from_file(&mut command, &matches)? {
        // As flags, which say what is wrong with them, and with each other.
        arguments.extend(taken.arguments());
        matches = command.try_get_matches_from_mut(&arguments).map_err(|error| located(error, &path, &taken))?;
        file = Some(taken);
    }
    match (matches.subcommand_matches(SERVE), command.find_subcommand(SERVE)) {
        (Some(serve), Some(known)) if serve.get_flag("print_config") => {
            Ok(Read::Shown(show::effective(known, serve, file.as_ref())))
        }
        _ => Ok(Read::Run(Box::new(Cli::from_arg_matches(&matches)?))),
    }
}

/// What the file says and nothing else said before it.
fn from_file(command: &mut Command, matches: &ArgMatches) -> Result<Option<(PathBuf, File)>, clap::Error> {
    let serve = matches.subcommand_matches(SERVE);
    let path = serve.and_then(|serve| serve.get_one::<PathBuf>(CONFIG)).cloned();
    let (Some(serve), Some(path), Some(known)) = (serve, path, command.find_subcommand(SERVE).cloned()) else {
        return Ok(None);
    };
    let file = File::read(&path).and_then(|file| file.known_to(&known));
    let file = file.map_err(|reason| command.error(ErrorKind::ValueValidation, reason))?;
    let said = |id: &str| matches!(serve.value_source(id), Some(ValueSource::CommandLine | ValueSource::EnvVariable));
    Ok(Some((path, file.without(&known, said))))
}

/// Says where in the file the wrong value stands, if it is one of the file's.
fn located(mut error: clap::Error, path: &Path, file: &File) -> clap::Error {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let key = argument.trim_start_matches('-').split([' ', '=', '[']).next().unwrap_or_default();
    if let Some(line) = file.line(key) {
        let place = format!("it stands in {}, line {line}", path.display());
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![place.into()]));
    }
    error
}

/// Whether an option can stand in the environment and, but for `--config` itself, in the file.
fn key(argument: &Arg) -> Option<&str> {
    argument.get_long().filter(|long| !matches!(*long, PRINT | "help" | "version"))
}

fn configurable(argument: Arg) -> Arg {
    let Some(key) = key(&argument) else {
        return argument;
    };
    let name = format!("{PREFIX}{}", key.replace('-', "_").to_ascii_uppercase());
    let argument = argument.env(name).hide_env(true);
    match argument.get_action() {
        // What a file switches on, a flag can switch off: --sql=false.
        ArgAction::SetTrue => argument
            .action(ArgAction::Set)
            .value_parser(BoolishValueParser::new())
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .value_name("BOOL")
            .hide_default_value(true)
            .hide_possible_values(true),
        ArgAction::Append => argument.value_delimiter(','),
        _ => argument,
    }
}

#[cfg(test)]
mod tests;
