use super::*;
use std::fs;

fn try_read(arguments: &[&str]) -> Result<Read, clap::Error> {
    read(arguments.iter().map(OsString::from).collect())
}

fn shown(arguments: &[&str]) -> String {
    let arguments = [&["crsql-sync", "serve", "--print-config"], arguments].concat();
    match try_read(&arguments).unwrap() {
        Read::Shown(text) => text,
        Read::Run(_) => panic!("it would run"),
    }
}

struct Written(tempfile::TempDir, String);

fn written(text: &str) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    fs::write(&path, text).unwrap();
    Written(folder, path.to_str().unwrap().to_owned())
}

fn refused(text: &str) -> String {
    let Written(_folder, path) = written(text);
    match try_read(&["crsql-sync", "serve", "--config", &path]) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{text} was taken"),
    }
}

#[test]
fn the_command_line_is_well_formed() {
    command().debug_assert();
}

#[test]
fn a_flag_is_taken_over_the_file_and_the_file_over_the_default() {
    let Written(_folder, path) =
        written("data = 'there'\nsql = true\nlimit-sql-rows = 7\ncors = ['https://a.example']\n");
    let text = shown(&["--config", &path, "--data", "here"]);
    for line in [
        "data = \"here\"  # flag",
        "sql = true  # file, line 2",
        "limit-sql-rows = 7  # file, line 3",
        "cors = [\"https://a.example\"]  # file, line 4",
        "prefix = \"/sync\"  # default",
        "# www is not set",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
    assert!(shown(&["--config", &path, "--sql=false"]).contains("sql = false  # flag"));
}

#[test]
fn what_is_shown_is_a_file_that_says_the_same() {
    let first = shown(&["--sql", "--cors", "https://a.example,https://b.example", "--limit-body", "1MiB"]);
    let Written(_folder, path) = written(&first);
    let without_source = |text: &str| text.lines().map(|line| line.split("  #").next().unwrap().into()).collect();
    let (first, second): (Vec<String>, Vec<String>) =
        (without_source(&first), without_source(&shown(&["--config", &path])));
    assert_eq!(first, second);
}

#[test]
fn secrets_are_not_shown() {
    let text = shown(&["--token", "hush", "--upstream", "https://a.example/sync", "--upstream-token", "hush"]);
    assert!(!text.contains("hush"));
    assert!(text.contains("# token is set, and not shown"));
}

#[test]
fn a_switch_that_is_off_in_a_file_is_as_if_it_did_not_stand_there() {
    let Written(_folder, path) = written("sql = false\ninsecure = false\n");
    let text = shown(&["--config", &path]);
    assert!(text.contains("sql = false  # default") && text.contains("insecure = false  # default"));
    assert!(shown(&["--config", &path, "--sql"]).contains("sql = true  # flag"));
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_the_line() {
    assert!(refused("\n\nunknown = 1").contains("c.toml, line 3: there is no option unknown"));
    assert!(refused("config = 'b.toml'").contains("line 1: there is no option config"));
    assert!(refused("sql = true\n= 1").contains("line 2"));
    assert!(refused("sql = true\nlisten = 'nowhere'").contains("c.toml, line 2"));
    assert!(refused("[limits]\nbody = 1").contains("line 1"));
    assert!(refused("limit-sql-rows = 0").contains("line 1"));
}
