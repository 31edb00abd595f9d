/** Components for react.test.mjs: two lists of one query, and the status. */

import { StrictMode, createElement as h, memo, useState } from "react";
import { createRoot } from "react-dom/client";
import { connect } from "crsql-sync";
import { useQuery, useStatus, useSubscription } from "crsql-sync/react";

const schema = "CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, list TEXT, title TEXT); SELECT crsql_as_crr('todo')";

/** How often a row was drawn, by its id. */
const drawn = {};

const Item = memo(function Item({ row }) {
  drawn[row.id] = (drawn[row.id] ?? 0) + 1;
  return h("li", null, row.title);
});

function List({ db, list, id }) {
  const { rows, error, isLoading } = useQuery(db, "SELECT id, title FROM todo WHERE list = ? ORDER BY title", [list]);
  if (error) return h("p", { id, className: "error" }, error.code);
  if (isLoading) return h("p", { id }, "loading");
  return h("ul", { id }, rows.map((row) => h(Item, { key: row.id, row })));
}

function Broken({ db }) {
  const { error } = useQuery(db, "SELECT nothing FROM nowhere");
  return h("p", { id: "broken" }, error?.code ?? "");
}

function Status({ db }) {
  const { state, unsent } = useStatus(db);
  return h("p", { id: "status" }, `${state} ${unsent.changes}`);
}

function Subscribed({ db, list }) {
  const { state, rows } = useSubscription(db, [["SELECT * FROM todo WHERE list = ?", [list]]]);
  const { rows: held = [] } = useQuery(db, "SELECT title FROM todo ORDER BY title");
  return h("p", { id: "subscribed" }, `${state} ${rows}: ${held.map(({ title }) => title)}`);
}

function App({ db, partial }) {
  const [shown, setShown] = useState({ a: true, b: true, list: "home" });
  Object.assign(globalThis, { show: (change) => setShown((shown) => ({ ...shown, ...change })) });
  return [shown.a && h(List, { key: "a", id: "a", db, list: shown.list }), shown.b && h(List, { key: "b", id: "b", db, list: "home" }), h(Broken, { key: "c", db }), h(Status, { key: "s", db }), shown.subscribed && h(Subscribed, { key: "p", db: partial, list: shown.subscribed })];
}

const db = await connect({ dbid: "react", schema, worker: "/crsql-sync-sw.js?upstream=/sync" });
// The other end of the same worker's upstream: a server's database, which this browser has some rows of.
const partial = await connect({ dbid: "partial", schema, worker: "/crsql-sync-sw.js?upstream=/sync", partial: true });
Object.assign(globalThis, { db, partial, drawn, lib: {} });
createRoot(document.getElementById("root")).render(h(StrictMode, null, h(App, { db, partial })));
