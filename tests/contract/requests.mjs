import { equal, ok, problem } from "./assert.mjs";
import { PEER, TODO, batch } from "./client.mjs";

export default {
  async "what is not there is not found and not made"(client) {
    for (const [method, path, body] of [
      ["GET", "/changes"], ["GET", "/events"], ["GET", "/status"], ["POST", "/changes", batch(1, "milk")], ["POST", "/changes/request", {}],
      ["POST", "/sql", { sql: "SELECT 1" }],
      ["GET", "/nothing"], ["GET", "/changes/x"], ["GET", "/"],
    ]) {
      problem(await client.call(method, path, { body }), 404, "not_found");
    }
  },

  async "an id that names no database is refused"(client) {
    for (const dbid of [".hidden", "a%20b", "a%00", "%ff", "ä", "x".repeat(129)]) {
      client.dbid = dbid;
      problem(await client.call("GET", "/status"), 400, "invalid_dbid");
      problem(await client.call("PUT", "", { body: { schema: TODO } }), 400, "invalid_dbid");
    }
  },

  async "a parameter that cannot be read is refused"(client) {
    await client.create();
    for (const query of ["since=1", "since=", "since=x.1", "since=0&since=0", "until=0", "limit=0", "limit=-1", "limit=x", "exclude=aa", "site=aa"]) {
      problem(await client.call("GET", `/changes?${query}`), 400, "invalid_request");
    }
    const other = { headers: { "crsql-site": "bb000000000000000000000000000001" } };
    problem(await client.call("GET", `/changes?site=${PEER}`, other), 400, "invalid_request");
    await client.changes("unknown=1");
  },

  async "a body that is not what it should be is refused"(client) {
    await client.create();
    const json = { "content-type": "application/json" };
    for (const body of ["{", "", "\ufeff{}", `${JSON.stringify(batch(1, "milk"))}x`]) {
      problem(await client.call("POST", "/changes", { body, headers: json }), 400, "invalid_request");
    }
    problem(await client.call("POST", "/changes", { body: "[".repeat(5000), headers: json }), 400, "invalid_batch");
    problem(await client.call("POST", "/changes", { body: "{}", headers: { "content-type": "text/plain" } }), 415, "unsupported_media_type");
    problem(await client.call("PUT", "", { body: { schema: 1 } }), 400, "invalid_request");
    const encoded = await client.call("POST", "/changes", { body: "{}", headers: { ...json, "content-encoding": "x" } });
    problem(encoded, 415, "unsupported_media_type");
    ok(encoded.headers.get("accept-encoding"), "it says what would be taken");
  },

  async "a method that a route does not take is answered with those that it takes"(client) {
    await client.create();
    for (const [method, path, allowed] of [
      ["DELETE", "", "PUT"], ["PUT", "/changes", "POST"], ["POST", "/events", "GET"], ["POST", "/status", "GET"], ["GET", "/sql", "POST"],
      ["GET", "/verify", "POST"],
    ]) {
      const answer = await client.call(method, path);
      problem(answer, 405, "method_not_allowed");
      ok(answer.headers.get("allow").includes(allowed));
    }
    for (const path of ["/changes", "/status"]) {
      const head = await client.call("HEAD", path);
      equal([head.status, await (await client.send("HEAD", path)).text()], [200, ""]);
      equal((await client.call("OPTIONS", path)).status, 204);
    }
  },

  async "several statements are one transaction, and one that fails undoes all"(client) {
    await client.create();
    const insert = (id) => ({ sql: "INSERT INTO todo (id) VALUES (?1)", params: [id] });
    const done = await client.get("POST", "/sql", { body: [insert("a"), insert("b")] });
    equal([done.results.map((result) => result.changes), done.at], [[1, 1], await client.at()]);
    problem(await client.call("POST", "/sql", { body: [insert("c"), insert("a")] }), 400, "query_refused");
    equal(await client.ids(), ["a", "b"]);
  },

  async "sql that reaches elsewhere is refused"(client) {
    await client.create();
    for (const sql of [
      "DROP TABLE todo", "ATTACH 'x' AS x", "PRAGMA journal_mode = OFF", "SELECT load_extension('x')", "SELEC", "SELECT 1; SELECT 2",
      "INSERT INTO todo (id) VALUES (NULL)", "BEGIN", "VACUUM INTO 'x'",
    ]) {
      problem(await client.call("POST", "/sql", { body: { sql } }), 400, "query_refused");
    }
  },

  async "a write that is sent twice with one key is done once"(client) {
    await client.create();
    const write = (key) => client.call("POST", "/sql", { body: { sql: "INSERT INTO todo (id) VALUES ('x') RETURNING id" }, headers: { "idempotency-key": key } });
    const first = await write("5ac3");
    equal([first.status, (await write("5ac3")).body.results], [200, first.body.results]);
    problem(await write("5ac4"), 400, "query_refused");
    problem(await write("two words"), 400, "invalid_request");
  },
};
