//! The service worker host as JavaScript sees it, inside a service worker.

#![cfg(target_family = "wasm")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use crsql_sync::worker::SyncWorker;
use js_sys::{Function, JSON, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_service_worker);

/// What the scripts below are written with. `worker` is the one under test, `db` the URL of a database of its own.
const PRELUDE: &str = r#"
    const db = "/sync/db-" + Math.random().toString(36).slice(2);
    const schema = "CREATE TABLE t(id INTEGER PRIMARY KEY NOT NULL, text TEXT); SELECT crsql_as_crr('t');";
    const call = (method, path, body, worker_ = worker) => worker_.handle(new Request(path, {
        method,
        ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    }));
    const json = async (...args) => (await call(...args)).json();
    const create = (path = db, worker_ = worker) => call("PUT", path, { schema }, worker_);
    const sql = async (sql, params = [], path = db, worker_ = worker) =>
        (await json("POST", path + "/sql", { sql, params }, worker_)).results[0].rows;
    const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    const until = async (condition) => {
        for (let i = 0; i < 1000; i++) {
            if (await condition()) return true;
            await pause(20);
        }
        return false;
    };
    const reader = (response) => response.body.pipeThrough(new TextDecoderStream()).getReader();
    const read = async (reader) => (await reader.read()).value;
"#;

fn worker(config: &str, authorize: Option<&str>) -> SyncWorker {
    let config = JSON::parse(config).unwrap();
    let authorize = authorize.map(|code| js_sys::eval(&format!("({code})")).unwrap().unchecked_into::<Function>());
    SyncWorker::new(config, authorize).unwrap()
}

/// Runs a script with `worker`, and returns its result as JSON.
async fn run(worker: SyncWorker, script: &str) -> String {
    let function = Function::new_with_args("worker", &format!("return (async () => {{ {PRELUDE} {script} }})()"));
    let promise = function.call1(&JsValue::UNDEFINED, &worker.into()).unwrap();
    let result = JsFuture::from(js_sys::Promise::from(promise)).await.unwrap();
    JSON::stringify(&result).unwrap().into()
}

#[wasm_bindgen_test]
async fn a_page_creates_writes_and_reads() {
    let script = r#"
        const created = await create();
        const again = await create();
        await sql("INSERT INTO t VALUES (?, ?)", [1, "milk"]);
        const batch = await json("GET", db + "/changes?since=0");
        return [created.status, again.status, await sql("SELECT text FROM t"), batch.changes.length, batch.changes[0][3]];
    "#;
    assert_eq!(run(worker("{}", None), script).await, r#"[201,200,[["milk"]],1,"milk"]"#);
}

#[wasm_bindgen_test]
async fn a_request_in_a_message_is_answered_as_one_by_fetch_is() {
    let script = r#"
        const ask = async (method, path, body) => {
            const headers = [["content-type", "application/json"], ["accept", "application/json"]];
            const question = { method, url: new URL(path, location.href).href, headers };
            return worker.ask(body === undefined ? question : { ...question, body: JSON.stringify(body) });
        };
        const created = await ask("PUT", db, { schema });
        const written = await ask("POST", db + "/sql", { sql: "INSERT INTO t VALUES (1, 'Käse ☕')" });
        const query = { sql: "SELECT text FROM t" };
        const asked = await ask("POST", db + "/sql", query);
        const fetched = await call("POST", db + "/sql", query);
        const missing = await ask("GET", db + "x/status");
        return [
            created.status, written.status, asked.status, JSON.parse(asked.body).results[0].rows,
            asked.body === await fetched.text(),
            JSON.stringify(asked.headers.toSorted()) === JSON.stringify([...fetched.headers]),
            missing.status, Object.fromEntries(missing.headers)["content-type"], JSON.parse(missing.body).code,
        ];
    "#;
    assert_eq!(
        run(worker("{}", None), script).await,
        r#"[201,200,200,[["Käse ☕"]],true,true,404,"application/problem+json","not_found"]"#
    );
}

#[wasm_bindgen_test]
async fn what_was_answered_is_there_for_the_next_worker() {
    let script = r#"
        await create();
        await sql("INSERT INTO t VALUES (1, 'kept')");
        worker.free();
        return db;
    "#;
    let db: String = JSON::parse(&run(worker("{}", None), script).await).unwrap().as_string().unwrap();
    let script = format!("return await sql('SELECT text FROM t', [], '{db}')");
    assert_eq!(run(worker("{}", None), &script).await, r#"[["kept"]]"#);
}

#[wasm_bindgen_test]
async fn errors_are_problem_documents() {
    let script = r#"
        const missing = await call("GET", db + "/status");
        const problem = await missing.json();
        return [missing.status, missing.headers.get("content-type"), problem.code, (await call("DELETE", db)).status];
    "#;
    assert_eq!(run(worker("{}", None), script).await, r#"[404,"application/problem+json","not_found",405]"#);
}

#[wasm_bindgen_test]
async fn a_body_over_the_limit_is_refused_while_it_arrives() {
    let script = r#"
        let pulled = 0;
        const body = new ReadableStream({
            pull(controller) {
                pulled += 1;
                if (pulled > 1000) controller.close();
                else controller.enqueue(new Uint8Array(1000).fill(32));
            },
        });
        const headers = { "content-type": "application/json" };
        const request = new Request(db, { method: "PUT", body, headers, duplex: "half" });
        const response = await worker.handle(request);
        return [response.status, (await response.json()).code, pulled < 100];
    "#;
    assert_eq!(run(worker(r#"{"limits": {"body": 20000}}"#, None), script).await, r#"[413,"payload_too_large",true]"#);
}

#[wasm_bindgen_test]
async fn an_event_stream_brings_changes_until_it_is_cancelled() {
    let script = r#"
        await create();
        const response = await call("GET", db + "/events?since=0");
        const stream = reader(response);
        const first = await read(stream);
        await sql("INSERT INTO t VALUES (1, 'streamed')");
        let text = "";
        while (!text.includes("streamed")) text += await read(stream);
        await stream.cancel();
        await sql("INSERT INTO t VALUES (2, '')");
        return [response.headers.get("content-type"), first.startsWith("retry:"), /^event: batch$/m.test(text)];
    "#;
    assert_eq!(run(worker("{}", None), script).await, r#"["text/event-stream",true,true]"#);
}

#[wasm_bindgen_test]
async fn a_stream_that_nobody_reads_piles_nothing_up() {
    let script = r#"
        await create();
        const response = await call("GET", db + "/events?since=0");
        for (let i = 0; i < 50; i++) await sql("INSERT INTO t VALUES (?, hex(randomblob(100)))", [i]);
        const stream = reader(response);
        let pieces = 0;
        let text = "";
        while ((text.match(/"t",/g) ?? []).length < 50) {
            text += await read(stream);
            pieces += 1;
        }
        await stream.cancel();
        return pieces < 6;
    "#;
    assert_eq!(run(worker("{}", None), script).await, "true");
}

#[wasm_bindgen_test]
async fn a_page_that_gives_up_gets_no_answer_and_breaks_nothing() {
    let script = r#"
        await create();
        const cut = new AbortController();
        const request = (signal) => new Request(db + "/sql", {
            method: "POST", signal, headers: { "content-type": "application/json" },
            body: JSON.stringify({ sql: "INSERT INTO t VALUES (NULL, 'x')".replace("NULL", Math.random() * 1e9 | 0) }),
        });
        const answer = worker.handle(request(cut.signal));
        cut.abort();
        const early = await worker.handle(request(AbortSignal.abort()));
        return [(await answer).type, early.type, (await call("GET", db + "/status")).status];
    "#;
    assert_eq!(run(worker("{}", None), script).await, r#"["error","error",200]"#);
}

#[wasm_bindgen_test]
async fn a_drain_ends_the_streams_and_the_next_ones_run() {
    let script = r#"
        await create();
        const stream = reader(await call("GET", db + "/events?since=0"));
        await read(stream);
        worker.drain();
        const last = await read(stream);
        const end = (await stream.read()).done;
        const next = reader(await call("GET", db + "/events?since=0"));
        await read(next);
        await sql("INSERT INTO t VALUES (1, 'later')");
        const batch = await read(next);
        await next.cancel();
        return [last.startsWith("event: drain"), end, batch.includes("later")];
    "#;
    assert_eq!(run(worker("{}", None), script).await, "[true,true,true]");
}

#[wasm_bindgen_test]
async fn only_a_clear_yes_of_the_hook_allows() {
    let hook = r#"async ({ operation, dbid, headers, method, sql }) => {
        if (operation === "createDatabaseIfNotExists") return true;
        if (operation === "getChanges") return { allow: false, status: 401, message: "who?" };
        if (operation === "startSSE") throw new Error("the hook is broken");
        if (operation === "status") return undefined;
        if (operation === "applyChanges") return new Promise(() => {});
        return { allow: true, readOnly: sql[0].startsWith("INSERT"), message: dbid + headers["x"] + method };
    }"#;
    let script = r#"
        const created = (await create()).status;
        const changes = await call("GET", db + "/changes");
        const events = (await call("GET", db + "/events")).status;
        const status = (await call("GET", db + "/status")).status;
        const apply = (await call("POST", db + "/changes", {})).status;
        const write = (await call("POST", db + "/sql", { sql: "INSERT INTO t VALUES (1, '')" })).status;
        const select = (await call("POST", db + "/sql", { sql: "SELECT 1" })).status;
        return [created, changes.status, (await changes.json()).detail, events, status, apply, write, select];
    "#;
    let config = r#"{"limits": {"authorizeMs": 100}}"#;
    assert_eq!(run(worker(config, Some(hook)), script).await, r#"[201,401,"who?",403,403,403,403,200]"#);
}

#[wasm_bindgen_test]
async fn a_hook_may_set_bounds_and_what_is_no_bound_denies() {
    let hook = r#"({ operation, sql }) => operation === "createDatabaseIfNotExists" || {
        free: { allow: true },
        few: { allow: true, tables: ["other"], sites: ["aa000000000000000000000000000001"], principal: "ann" },
        own: { allow: true, queries: [{ sql: "SELECT ?", params: [{ $int: "7" }] }] },
        later: { allow: true, expires: Date.now() + 60000 },
        late: { allow: true, expires: Date.now() - 1 },
        never: { allow: true, expires: NaN },
        misspelt: { allow: true, table: ["t"] },
        nobody: { allow: true, sites: ["9a"] },
    }[sql[0].split(" ").pop()]"#;
    let script = r#"
        await create();
        const answers = [];
        for (const who of ["free", "few", "own", "later", "late", "never", "misspelt", "nobody"]) {
            const response = await call("POST", db + "/sql", { sql: "SELECT count(*) FROM t AS " + who });
            answers.push(response.ok ? (await response.json()).results[0].rows[0][0] : response.status);
        }
        return answers;
    "#;
    assert_eq!(run(worker("{}", Some(hook)), script).await, "[0,400,7,0,401,403,403,403]");
}

#[wasm_bindgen_test]
fn a_setting_that_cannot_be_is_named() {
    for (config, word) in [
        (r#"{"prefx": "/sync"}"#, "prefx"),
        (r#"{"upstream": "ftp://example.org"}"#, "http"),
        (r#"{"upstream": "http://example.org/sync", "headers": {"a b": ""}}"#, "header"),
        (r#"{"routes": {"nothing": "x"}}"#, "nothing"),
        (r#"{"limits": {"body": "much"}}"#, "much"),
        (r#"{"limits": {"bodyTime": 1}}"#, "bodyTimeMs"),
        (r#"{"upstream": "http://example.org/sync", "upstreamHeaders": "authorization"}"#, "upstreamHeaders"),
    ] {
        let error = SyncWorker::new(JSON::parse(config).unwrap(), None).err().unwrap();
        assert!(error.is_instance_of::<js_sys::TypeError>());
        let message = Reflect::get(&error, &"message".into()).unwrap().as_string().unwrap();
        assert!(message.contains(word), "{message}");
    }
}

/// A `fetch` that asks another worker. `reachable` is the network, `intercept` what may answer instead, `bodies` what was sent;
/// the databases have other names there.
const UPSTREAM: &str = r#"
    const there = new self.TestUpstream();
    let reachable = true;
    let intercept = () => undefined;
    const bodies = [];
    const streams = new Set();
    const original = self.fetch;
    const remote = (path) => path.replace("/db-", "/up-");
    self.fetch = async (request) => {
        if (!request.url.startsWith("http://up.test/")) return original(request);
        if (!reachable) throw new TypeError("Failed to fetch");
        const instead = intercept(request);
        if (instead) return instead;
        const path = remote(new URL(request.url).pathname + new URL(request.url).search);
        const { method } = request;
        const headers = new Headers(request.headers);
        let body;
        if (method !== "GET") {
            bodies.push([headers.get("content-type"), headers.get("content-encoding")].join(" "));
            const plain = headers.get("content-encoding") === "gzip"
                ? request.body.pipeThrough(new DecompressionStream("gzip")) : request.body;
            headers.delete("content-encoding");
            body = await new Response(plain).arrayBuffer();
        }
        const answered = await there.handle(new Request(path, { method, headers, body }));
        const response = new Response(answered.body, answered);
        response.headers.set("accept-encoding", "gzip");
        const cut = new AbortController();
        streams.add(cut);
        if (!response.body) return response;
        const { readable, writable } = new TransformStream();
        response.body.pipeTo(writable, { signal: AbortSignal.any([cut.signal, request.signal]) }).catch(() => {});
        return new Response(readable, response);
    };
    const unplug = () => { reachable = false; for (const cut of streams) cut.abort(new TypeError("network error")); };
    const status = async (worker_ = worker) => json("GET", db + "/status", undefined, worker_);
    const state = (state, worker_ = worker) => until(async () => (await status(worker_)).upstream?.state === state);
    const problem = (status, code) => new Response(JSON.stringify({ title: "x", status, code, detail: "says the test" }),
        { status, headers: { "content-type": "application/problem+json" } });
    const sent = (worker_ = worker) => until(async () => {
        const { upstream, unsent } = await status(worker_);
        return upstream?.state === "online" && unsent.changes === 0;
    });
"#;

async fn run_with_upstream(script: &str) -> String {
    let config = r#"{"upstream": "http://up.test/sync"}"#;
    let make = js_sys::eval("(upstream) => { self.TestUpstream = function () { return upstream; } }").unwrap();
    let upstream: JsValue = worker("{}", None).into();
    Function::from(make).call1(&JsValue::UNDEFINED, &upstream).unwrap();
    let script = format!("{UPSTREAM} try {{ {script} }} finally {{ self.fetch = original; }}");
    run(worker(config, None), &script).await
}

#[wasm_bindgen_test]
async fn changes_go_to_the_upstream_and_come_from_it() {
    let script = r#"
        await create();
        await sql("INSERT INTO t VALUES (1, 'here')");
        const pushed = await until(async () =>
            (await call("GET", remote(db) + "/status", undefined, there)).status === 200 &&
            (await sql("SELECT text FROM t", [], remote(db), there)).length === 1);
        await sql("INSERT INTO t VALUES (2, 'there')", [], remote(db), there);
        const pulled = await until(async () => (await sql("SELECT text FROM t WHERE id = 2")).length === 1);
        const settled = await until(async () => (await status()).unsent.changes === 0);
        return [pushed, pulled, settled, (await status()).upstream.state];
    "#;
    assert_eq!(run_with_upstream(script).await, r#"[true,true,true,"online"]"#);
}

#[wasm_bindgen_test]
async fn without_the_network_writes_wait_and_a_wake_sends_them() {
    let script = r#"
        await create();
        await until(async () => (await status()).upstream.state === "online");
        unplug();
        await sql("INSERT INTO t VALUES (1, 'offline')");
        const offline = await until(async () => (await status()).upstream.state === "offline");
        const unsent = (await status()).unsent.changes;
        reachable = true;
        worker.wake();
        const sent = await until(async () => (await status()).unsent.changes === 0);
        return [offline, unsent, sent, await sql("SELECT text FROM t", [], remote(db), there)];
    "#;
    assert_eq!(run_with_upstream(script).await, r#"[true,1,true,[["offline"]]]"#);
}

#[wasm_bindgen_test]
async fn a_new_worker_sends_what_an_earlier_one_could_not() {
    let script = r#"
        const earlier = new worker.constructor();
        await create(db, earlier);
        await sql("INSERT INTO t VALUES (1, 'left over')", [], db, earlier);
        earlier.free();
        worker.wake();
        const sent = await until(async () =>
            (await call("GET", remote(db) + "/status", undefined, there)).status === 200 &&
            (await sql("SELECT text FROM t", [], remote(db), there)).length === 1);
        return sent;
    "#;
    assert_eq!(run_with_upstream(script).await, "true");
}

#[wasm_bindgen_test]
async fn the_first_request_of_a_new_worker_is_answered_while_it_looks_for_unsent_changes() {
    let script = r#"
        const statuses = [];
        for (let i = 0; i < 5; i++) {
            const path = db + "-" + i;
            const earlier = new worker.constructor();
            await create(path, earlier);
            earlier.free();
            const next = new worker.constructor({ upstream: "http://up.test/sync" });
            statuses.push((await call("POST", path + "/sql", { sql: "SELECT count(*) FROM t" }, next)).status);
        }
        return statuses;
    "#;
    assert_eq!(run_with_upstream(script).await, "[200,200,200,200,200]");
}

#[wasm_bindgen_test]
async fn batches_go_to_the_upstream_in_the_binary_form_and_in_gzip() {
    let script = r#"
        await create();
        await state("online");
        await sql("INSERT INTO t VALUES (1, hex(randomblob(2000)))");
        await sent();
        await until(async () => bodies.length > 1);
        const [row] = await sql("SELECT text FROM t", [], remote(db), there);
        return [bodies.at(-1), row[0].length];
    "#;
    assert_eq!(run_with_upstream(script).await, r#"["application/vnd.crsql-sync.batch gzip",4000]"#);
}

#[wasm_bindgen_test]
async fn whoever_asks_the_upstream_is_told_by_the_application_before_each_request() {
    let script = r#"
        const asked = [];
        let token = "old";
        const mine = new worker.constructor({
            upstream: "http://up.test/sync",
            headers: { "x-app": "1" },
            upstreamHeaders: async (question) => { asked.push(question); return { authorization: token }; },
        });
        const seen = [];
        intercept = ({ headers }) => {
            seen.push(headers.get("x-app") + headers.get("authorization"));
            return headers.get("authorization") === "new" ? undefined : problem(401, "unauthorized");
        };
        await create(db, mine);
        await sql("INSERT INTO t VALUES (1, 'x')", [], db, mine);
        const waits = await state("unauthorized", mine);
        const [{ dbid, principal, refresh }, again] = asked;
        token = "new";
        mine.wake();
        const goes = await sent(mine);
        return [waits, db.endsWith(dbid), principal, refresh, again.refresh, goes, seen[0], seen.at(-1)];
    "#;
    assert_eq!(run_with_upstream(script).await, r#"[true,true,null,false,true,true,"1old","1new"]"#);
}

#[wasm_bindgen_test]
async fn credentials_that_do_not_come_are_as_none() {
    let script = r#"
        const answers = [];
        for (const upstreamHeaders of [() => { throw new Error("no page is open") }, () => 7, () => ({ a: 1 })]) {
            const mine = new worker.constructor({ upstream: "http://up.test/sync", upstreamHeaders });
            await create(db + answers.length, mine);
            const path = db + answers.length + "/status";
            await until(async () => (await json("GET", path, undefined, mine)).upstream.state === "unauthorized");
            answers.push((await json("GET", path, undefined, mine)).upstream.error.detail.slice(0, 17));
        }
        return answers;
    "#;
    let neither = "`upstreamHeaders`";
    assert_eq!(run_with_upstream(script).await, format!(r#"["no page is open","{neither}","{neither}"]"#));
}

#[wasm_bindgen_test]
async fn changes_of_one_user_wait_while_another_one_is_signed_in() {
    let script = r#"
        let who = "ann";
        const mine = new worker.constructor({
            upstream: "http://up.test/sync",
            upstreamHeaders: () => ({ headers: { authorization: who }, principal: who }),
        });
        await create(db, mine);
        await sql("INSERT INTO t VALUES (1, 'of ann')", [], db, mine);
        await sent(mine);
        await call("PUT", db + "/upstream", { paused: true }, mine);
        await sql("INSERT INTO t VALUES (2, 'of ann too')", [], db, mine);
        who = "ben";
        await call("PUT", db + "/upstream", { paused: false }, mine);
        const stops = await state("principal_changed", mine);
        const { upstream, unsent } = await status(mine);
        const before = await sql("SELECT id FROM t", [], remote(db), there);
        who = "ann";
        mine.wake();
        const goes = await sent(mine);
        return [stops, upstream.principal, unsent.changes, before, goes, await sql("SELECT id FROM t", [], remote(db), there)];
    "#;
    assert_eq!(run_with_upstream(script).await, r#"[true,"ann",1,[[1]],true,[[1],[2]]]"#);
}

#[wasm_bindgen_test]
async fn scenario_11_a_poisoned_change_does_not_hold_up_the_rest() {
    let script = r#"
        await create();
        await sql("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')");
        await sent();
        await call("PUT", db + "/upstream", { paused: true });
        const narrower = schema.replace(", text TEXT", "");
        await call("POST", remote(db) + "/migrate", { schema: narrower, allow_destructive: ["t.text"] }, there);
        await sql("DELETE FROM t WHERE id = 1");
        await sql("UPDATE t SET text = 'poison' WHERE id = 2");
        await sql("DELETE FROM t WHERE id = 3");
        await call("PUT", db + "/upstream", { paused: false });
        const goes = await until(async () => (await sql("SELECT id FROM t", [], remote(db), there)).length === 1) && await sent();
        const { quarantined } = await status();
        await call("POST", remote(db) + "/migrate", { schema }, there);
        await call("PUT", db + "/upstream", { retry: true });
        const taken = await until(async () => (await status()).quarantined.count === 0);
        return [goes, quarantined.count, quarantined.transactions[0].code, taken, await sql("SELECT text FROM t", [], remote(db), there)];
    "#;
    assert_eq!(run_with_upstream(script).await, r#"[true,1,"invalid_batch",true,[["poison"]]]"#);
}

#[wasm_bindgen_test]
async fn scenario_11_the_pages_of_captive_portals_are_not_taken_for_success() {
    let script = r#"
        await create();
        await sent();
        const codes = [];
        for (const portal of [
            () => new Response("<h1>Welcome!</h1>", { headers: { "content-type": "text/html" } }),
            () => Response.json({ ok: true }),
            () => new Response(null, { status: 302, headers: { location: "/login" } }),
        ]) {
            intercept = portal;
            await sql("INSERT INTO t VALUES (?, '')", [codes.length]);
            await state("offline");
            codes.push((await status()).upstream.error.code);
            intercept = () => undefined;
            worker.wake();
            await sent();
        }
        return [codes, (await sql("SELECT id FROM t", [], remote(db), there)).length];
    "#;
    let code = "\"not_a_sync_server\"";
    assert_eq!(run_with_upstream(script).await, format!("[[{code},{code},{code}],3]"));
}

#[wasm_bindgen_test]
async fn scenario_8_an_upload_that_failed_once_is_tried_again_without_another_write() {
    let script = r#"
        await create();
        await sent();
        let failures = 0;
        intercept = ({ url }) => url.endsWith(db + "/changes") && failures++ === 0 ? problem(500, "internal") : undefined;
        await sql("INSERT INTO t VALUES (1, 'x')");
        const goes = await until(async () => (await sql("SELECT id FROM t", [], remote(db), there)).length === 1);
        return [goes, failures];
    "#;
    assert_eq!(run_with_upstream(script).await, "[true,2]");
}
