import { equal, ok, problem } from "./assert.mjs";
import { TODO } from "./client.mjs";

const WITH_NOTE = TODO.replace("done", "note, done");
const WITHOUT_TITLE = TODO.replace("title, ", "");

export default {
  async "a database is created once"(client) {
    const first = await client.call("PUT", "", { body: { schema: TODO } });
    equal([first.status, first.body.status], [201, "created"]);
    const again = await client.call("PUT", "", { body: { schema: `-- the list\n${TODO}` } });
    equal([again.status, again.body.status, again.body.site, again.body.schema], [200, "exists", first.body.site, first.body.schema]);
  },

  async "another schema for a database that is there is refused"(client) {
    const { schema } = await client.create();
    const answer = await client.call("PUT", "", { body: { schema: WITH_NOTE } });
    problem(answer, 409, "schema_mismatch");
    equal(answer.body.schema, schema);
  },

  async "what is no schema makes no database"(client) {
    for (const schema of ["", "DROP TABLE x", "SELECT 1", "PRAGMA user_version = 1", "ATTACH 'x' AS x", "CREATE TABLE t (a); SELECT crsql_as_crr('t')"]) {
      problem(await client.call("PUT", "", { body: { schema } }), 400, "invalid_schema");
      problem(await client.call("POST", "/migrate", { body: { schema } }), 400, "invalid_schema");
    }
    problem(await client.call("GET", "/status"), 404, "not_found");
  },

  async "a migration creates, changes, or leaves as it is"(client) {
    const created = await client.call("POST", "/migrate", { body: { schema: TODO } });
    equal([created.status, created.body.status], [201, "created"]);
    await client.add("milk");
    equal((await client.get("POST", "/migrate", { body: { schema: TODO } })).status, "unchanged");
    const migrated = await client.get("POST", "/migrate", { body: { schema: WITH_NOTE } });
    equal([migrated.status, migrated.site], ["migrated", created.body.site]);
    ok(migrated.plan.length > 0 && migrated.plan.every(({ loses }) => loses.length === 0));
    equal((await client.sql("SELECT id, note FROM todo")).rows, [["milk", null]]);
  },

  async "values go only where they are named"(client) {
    await client.create();
    await client.add("milk");
    const refused = await client.call("POST", "/migrate", { body: { schema: WITHOUT_TITLE } });
    problem(refused, 409, "migration_refused");
    const loses = refused.body.plan.flatMap((step) => step.loses);
    equal(loses, ["todo.title"]);
    equal((await client.sql("SELECT title FROM todo")).rows, [["title of milk"]]);
    const body = { schema: WITHOUT_TITLE, allow_destructive: loses };
    equal((await client.get("POST", "/migrate", { body })).status, "migrated");
    equal((await client.sql("SELECT * FROM todo")).columns, ["id", "done"]);
  },

  async "the status tells of the database"(client) {
    const { site, schema } = await client.create();
    await client.add("milk");
    const status = await client.get("GET", "/status?clock=true");
    equal([status.site, status.schema, status.gaps, status.waiting], [site, schema, {}, 0]);
    equal(status.clock[site], [[1, Number(status.at.split(".")[1])]]);
    ok(status.size.bytes > 0);
    ok(!("clock" in (await client.get("GET", "/status"))), "the clock is for those who ask");
  },

  async "a new copy of an upstream can be a partial one, which holds what it subscribes to"(client) {
    const full = client.other();
    await full.create();
    const created = await client.call("PUT", "", { body: { schema: TODO, partial: true } });
    const { upstream } = await full.get("GET", "/status");
    if (!upstream) {
      problem(created, 400, "invalid_request");
      problem(await client.call("GET", "/status"), 404, "not_found");
      problem(await full.call("GET", "/upstream/subscriptions"), 404, "not_found");
      return;
    }
    equal(created.status, 201);
    problem(await full.call("PUT", "", { body: { schema: TODO, partial: true } }), 409, "database_exists");
    const queries = [{ sql: "SELECT * FROM todo WHERE done = ?", params: [0] }];
    problem(await full.call("PUT", "/upstream/subscriptions/open", { body: { queries } }), 400, "invalid_request");
    problem(await client.call("PUT", "/upstream/subscriptions/open", { body: { queries: [] } }), 400, "invalid_request");
    problem(await client.call("GET", "/upstream/subscriptions/open"), 404, "not_found");
    await client.add("milk");
    const one = await client.get("PUT", "/upstream/subscriptions/open", { body: { queries, forget: false } });
    equal([one.id, one.forget, one.error], ["open", false, null]);
    // When it is complete is the upstream's affair.
    const { id, complete, rows } = await client.get("GET", "/upstream/subscriptions/open");
    equal([id, typeof complete, typeof rows], ["open", "boolean", "number"]);
    equal(await client.ids(), ["milk"]);
    equal((await client.get("GET", "/upstream/subscriptions")).subscriptions.map(({ id }) => id), ["open"]);
    equal((await client.get("GET", "/status")).subscriptions.length, 1);
    for (let twice = 0; twice < 2; twice++) equal((await client.call("DELETE", "/upstream/subscriptions/open")).status, 204);
    problem(await client.call("GET", "/upstream/subscriptions/open"), 404, "not_found");
  },
};
