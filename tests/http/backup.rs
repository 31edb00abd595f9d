//! Copies of databases that are in use, and databases from copies.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::process::{Process, binary};
use crate::support::eventually;

fn run(arguments: &[&str], paths: [&Path; 2]) -> Output {
    binary().args(arguments).args(paths).output().unwrap()
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn serve(data: &Path, more: &[&str]) -> Process {
    let arguments = ["--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    Process::start(&[&arguments, more].concat())
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What `inspect --check` says of a file, which must be well.
fn inspected(file: &Path) -> Value {
    serde_json::from_str(&done(&binary().args(["inspect", "--check", "--json"]).arg(file).output().unwrap())).unwrap()
}

async fn ids(process: &Process) -> Vec<Value> {
    let rows = process.sql("SELECT id FROM todo ORDER BY id".into()).await.unwrap();
    rows.as_array().unwrap().iter().map(|row| row[0].clone()).collect()
}

async fn add(process: &Process, id: &str) {
    process.sql(format!("INSERT INTO todo (id, title) VALUES ('{id}', 'title of {id}')")).await.unwrap();
}

/// The author's coordinates of every change, and what stands there.
async fn authored(process: &Process) -> HashMap<(String, String, String), String> {
    let answer = process.client.get(format!("{}/a/changes?since=0", process.url)).send().await.unwrap();
    let batch: Value = answer.json().await.unwrap();
    assert_eq!(batch["more"], false);
    let mut found = HashMap::new();
    for change in batch["changes"].as_array().unwrap() {
        let coordinates = (change[6].to_string(), change[5].to_string(), change[8].to_string());
        let cell = format!("{} {} {} {}", change[0], change[1], change[2], change[3]);
        let before = found.insert(coordinates.clone(), cell);
        assert_eq!(before, None, "{coordinates:?} is the number of two changes");
    }
    found
}

#[tokio::test]
async fn a_copy_that_is_made_during_writes_is_restored_and_comes_together_with_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let (data, copy, restored) = (folder.path().join("data"), folder.path().join("a.db"), folder.path().join("new"));
    let original = serve(&data, &[]);
    original.create().await;
    add(&original, "before").await;
    let stop = AtomicBool::new(false);
    let writes = async {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) || count < 20 {
            add(&original, &format!("during {count:04}")).await;
            count += 1;
        }
        count
    };
    let source = data.join("a.db");
    let backup = async {
        let (source, copy) = (source.clone(), copy.clone());
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        let output = tokio::task::spawn_blocking(move || run(&["backup"], [&source, &copy])).await.unwrap();
        stop.store(true, Ordering::Relaxed);
        output
    };
    let (count, output) = tokio::join!(writes, backup);
    assert!(done(&output).contains("backed up"));
    assert_eq!(names(folder.path()), ["a.db", "data"], "a copy is one file");
    let backed_up = inspected(&copy);
    assert_eq!(backed_up["site"], inspected(&source)["site"]);

    fs::create_dir(&restored).unwrap();
    assert!(done(&run(&["restore"], [&copy, &restored.join("a.db")])).contains("restored"));
    assert_ne!(inspected(&restored.join("a.db"))["site"], backed_up["site"]);
    // Both write after the backup; had the copy kept its site, both would use the same numbers.
    add(&original, "after, here").await;
    let second = serve(&restored, &["--upstream", &original.url]);
    add(&second, "after, there").await;
    eventually("both hold all rows", || async {
        let (here, there) = (ids(&original).await, ids(&second).await);
        here.len() == count + 3 && here == there
    })
    .await;
    let (here, there) = (authored(&original).await, authored(&second).await);
    assert_eq!(here, there);
    let sites: HashSet<_> = here.keys().map(|(site, ..)| site).collect();
    assert_eq!(sites.len(), 2);
    original.kill();
    second.kill();
    inspected(&source);
    inspected(&restored.join("a.db"));
}

#[tokio::test]
async fn all_databases_of_a_folder_are_copied_and_restored() {
    let folder = tempfile::tempdir().unwrap();
    let (data, copies, restored) =
        (folder.path().join("data"), folder.path().join("copies"), folder.path().join("new"));
    let process = serve(&data, &[]);
    process.create().await;
    add(&process, "1").await;
    for dbid in ["b", "c.d"] {
        let url = format!("{}/{dbid}", process.url);
        let schema = serde_json::json!({ "schema": crate::support::TODO });
        assert!(process.client.put(url).json(&schema).send().await.unwrap().status().is_success());
    }
    let lines = done(&run(&["backup", "--json"], [&data, &copies]));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["file"], copies.join("a.db").to_str().unwrap());
    assert!(lines[0]["bytes"].as_u64().unwrap() > 0);
    assert_eq!(names(&copies), ["a.db", "b.db", "c.d.db"]);
    done(&run(&["restore"], [&copies, &restored]));
    let again = serve(&restored, &[]);
    assert_eq!(ids(&again).await, ["1"]);
}

#[tokio::test]
async fn nothing_is_replaced_unless_it_is_asked_for_and_no_servers_database_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (data, copy) = (folder.path().join("data"), folder.path().join("copy.db"));
    let process = serve(&data, &[]);
    process.create().await;
    add(&process, "1").await;
    let file = data.join("a.db");
    done(&run(&["backup"], [&file, &copy]));
    add(&process, "2").await;
    let before = fs::read(&copy).unwrap();
    assert!(refused(&run(&["backup"], [&file, &copy])).contains("exists already"));
    assert_eq!(fs::read(&copy).unwrap(), before);
    done(&run(&["backup", "--force"], [&file, &copy]));
    assert_ne!(fs::read(&copy).unwrap(), before);

    assert!(refused(&run(&["restore", "--force"], [&copy, &file])).contains("a server has the folder"));
    assert!(refused(&run(&["restore"], [&copy, &data.join("new.db")])).contains("a server has the folder"));
    add(&process, "3").await;
    process.kill();
    // Its log holds rows that the copy has not. It must not come back on top of the copy.
    assert!(data.join("a.db-wal").metadata().unwrap().len() > 0);
    assert!(refused(&run(&["restore"], [&copy, &file])).contains("exists already"));
    done(&run(&["restore", "--force"], [&copy, &file]));
    assert_eq!(ids(&serve(&data, &[])).await, ["1", "2"]);
}

#[test]
fn what_cannot_be_copied_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (source, destination) = (folder.path().join("a.db"), folder.path().join("b.db"));
    assert!(refused(&run(&["backup"], [&source, &destination])).contains("cannot open"));
    let mut damaged = b"SQLite format 3\0".to_vec();
    damaged.resize(8192, 7);
    fs::write(&source, damaged).unwrap();
    refused(&run(&["backup"], [&source, &destination]));
    fs::remove_file(&source).unwrap();
    // A database, but of no replica.
    done(&binary().arg("sql").arg(&source).arg("CREATE TABLE t (a)").output().unwrap());
    assert!(refused(&run(&["restore"], [&source, &destination])).contains("no copy"));
    assert_eq!(names(folder.path()), ["a.db"]);
}
