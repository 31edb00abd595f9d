//! The description of the operations, `docs/openapi.yaml`, beside the operations. Every answer that the other tests get is
//! checked against it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{LazyLock, Mutex};

use crsql_sync::http::problem::Code;
use crsql_sync::http::{Operation, Routes};
use jsonschema::Validator;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Server, send};

static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../../docs/openapi.yaml");
    serde_yaml_ng::from_str(text).unwrap()
});

/// What a reference refers to.
fn resolve(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(reference) => DESCRIPTION.pointer(reference.trim_start_matches('#')).expect(reference),
        None => value,
    }
}

/// The operation that is described for a method and a path.
fn described(method: &Method, path: &str) -> Option<&'static Value> {
    let path = path.strip_prefix("/sync")?;
    let is_it = |template: &str| {
        let mut parts = path.split('/').zip(template.split('/'));
        path.split('/').count() == template.split('/').count()
            && parts.all(|(part, name)| part == name || (name.starts_with('{') && !part.is_empty()))
    };
    let (_, operations) = DESCRIPTION["paths"].as_object()?.iter().find(|(template, _)| is_it(template))?;
    operations.get(method.as_str().to_ascii_lowercase())
}

/// The validators that were made, by their schemas.
static VALIDATORS: LazyLock<Mutex<HashMap<String, &'static Validator>>> = LazyLock::new(Mutex::default);

fn validator(schema: &Value) -> &'static Validator {
    let make = || {
        let schema = json!({ "allOf": [schema], "components": DESCRIPTION["components"] });
        &*Box::leak(Box::new(jsonschema::draft202012::new(&schema).unwrap()))
    };
    VALIDATORS.lock().unwrap().entry(schema.to_string()).or_insert_with(make)
}

fn validate(schema: &Value, value: &Value, what: &str) {
    let validator = validator(schema);
    if let Err(error) = validator.validate(value) {
        panic!("{what}: {} is not as described: {error}, {value}", error.instance_path);
    }
}

/// Panics unless the answer is described. What is no operation is passed over.
pub(crate) fn check(method: &Method, path: &str, answer: &Answer) {
    let Some(operation) = described(method, path) else { return };
    let what = format!("{method} {path}: {}", answer.status);
    let response = operation["responses"].get(answer.status.to_string());
    let response = resolve(response.unwrap_or_else(|| panic!("{what} is not described: {answer:?}")));
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let header = resolve(header);
        match answer.headers.get(name) {
            Some(value) => validate(&header["schema"], &json!(value.to_str().unwrap()), &format!("{what}, {name}")),
            None => assert_ne!(header["required"], json!(true), "{what} lacks {name}"),
        }
    }
    match response["content"].as_object() {
        None => assert_eq!(answer.body, Value::Null, "{what}"),
        Some(content) => {
            let media_type = answer.headers["content-type"].to_str().unwrap();
            let media = content.get(media_type).unwrap_or_else(|| panic!("{what}: {media_type} is not described"));
            validate(&media["schema"], &answer.body, &what);
        }
    }
}

#[test]
fn the_description_has_the_routes_that_there_are() {
    let mut described = BTreeSet::new();
    for (path, operations) in DESCRIPTION["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            // All of one operation, but in a description each has its own name.
            let name = if path.contains("/upstream/") { "upstream".into() } else { name };
            described.insert((name, method.to_ascii_uppercase(), path.clone()));
        }
    }
    let routes = Routes::default();
    let there = |(operation, method, path): (Operation, &str, _)| (operation.as_str().to_owned(), method.into(), path);
    assert_eq!(described, routes.iter().map(there).collect());
}

#[tokio::test]
async fn every_operation_that_is_described_answers() {
    let server = Server::start().await;
    server.create("a").await;
    for (operation, method, path) in Routes::default().iter() {
        let request = server.request(method.parse().unwrap(), &path.replace("{dbid}", "a")).body("{");
        let expected = match operation {
            // It does not end.
            Operation::Events => continue,
            // Only where there is an upstream, or they are switched on.
            Operation::Upstream | Operation::ExportFile | Operation::ImportFile => continue,
            // Without a body.
            Operation::GetChanges | Operation::Status | Operation::Ticket => 200,
            // Without its subscription.
            Operation::EndSubscription => 400,
            _ => 415,
        };
        let answer = send(request.header("content-type", "text/plain")).await;
        assert_eq!(answer.status, expected, "{operation:?}");
    }
}

#[test]
fn the_description_has_the_codes_that_there_are() {
    let codes = DESCRIPTION.pointer("/components/schemas/Problem/properties/code/enum").unwrap();
    assert_eq!(codes, &json!(Code::ALL.map(Code::as_str)));
}

#[test]
fn an_answer_that_is_not_described_would_be_noticed() {
    let answer = |status, body: Value| {
        let headers = [("content-type", "application/json"), ("cache-control", "no-store")];
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Answer { status, headers: headers.into_iter().collect(), body }
    };
    let check = |answer| std::panic::catch_unwind(|| check(&Method::PUT, "/sync/a", &answer));
    let created = json!({ "status": "created", "site": "0".repeat(32), "schema": "5b", "at": format!("{:032}.1", 0) });
    check(answer(201, created.clone())).unwrap();
    assert!(check(answer(202, created.clone())).is_err());
    for (name, value) in [("status", json!("made")), ("site", json!("9a")), ("at", json!(1))] {
        let mut other = created.clone();
        other[name] = value;
        assert!(check(answer(201, other)).is_err(), "{name}");
    }
}
