/**
 * One of two people on one database, each with a partial copy: the rows that their query reads. Both copies are in this
 * browser, so each person has a worker of their own, which stores under a name of its own.
 */

import "./demo.css";
import "./team.css";
import { type Database, SyncError, type SyncStatus, connect } from "../client.js";
import { STATES } from "./states.js";

interface Task {
  [column: string]: string;
  id: string;
  title: string;
}

const SCHEMA = `
  CREATE TABLE task (
    id TEXT PRIMARY KEY NOT NULL,
    title TEXT NOT NULL DEFAULT '',
    owner TEXT NOT NULL DEFAULT '',
    created REAL NOT NULL DEFAULT 0
  );
  SELECT crsql_as_crr('task');
`;
/** Whose page this is, and who the other one is. */
const { user = "", other = "" } = document.body.dataset;

const get = <E extends HTMLElement>(id: string) => document.getElementById(id) as E;
const network = get<HTMLInputElement>("network");
const newTitle = get<HTMLInputElement>("new-title");
const rows = new Map<string, HTMLElement>();
let shown = false;

start().catch(fail);

async function start(): Promise<void> {
  const worker = { url: `/sw.js?storage=${user}`, scope: `/team/${user}/` };
  const db = await connect({ dbid: "team", schema: SCHEMA, worker, partial: true });
  Object.assign(globalThis, { db });
  const mine = db.subscribe([["SELECT * FROM task WHERE owner = ?", [user]]], { id: "mine" });
  // All that this copy has: what is the other's never gets here.
  db.watch<Task>("SELECT id, title FROM task WHERE owner = ? ORDER BY created, id", [user], show, { onError: fail });
  db.watch<{ count: number }>("SELECT count(*) AS count FROM task", [], ([row]) => (get("rows").textContent = String(row?.count)));
  mine.status.subscribe(({ state, error }) => {
    get("subscription").textContent = { pending: "catching up", complete: "complete", error: "refused" }[state];
    if (error) fail(new SyncError(error.code, error.message));
  });
  db.status.subscribe(showStatus);
  wire(db);
}

function wire(db: Database): void {
  const write = (sql: string, params: (string | number)[]) => void db.exec(sql, params).catch(fail);
  get<HTMLFormElement>("add").addEventListener("submit", (event) => {
    event.preventDefault();
    const title = newTitle.value.trim();
    newTitle.value = "";
    if (title) write("INSERT INTO task (id, title, owner, created) VALUES (?, ?, ?, ?)", [crypto.randomUUID(), title, user, Date.now()]);
  });
  get("list").addEventListener("click", ({ target }) => {
    const button = (target as Element).closest("button");
    const id = button?.closest<HTMLElement>("li")?.dataset["id"];
    if (!button || !id) return;
    if (button.classList.contains("give")) write("UPDATE task SET owner = ? WHERE id = ?", [other.toLowerCase(), id]);
    else write("DELETE FROM task WHERE id = ?", [id]);
  });
  network.addEventListener("change", async () => {
    network.disabled = true;
    await (network.checked ? db.resume() : db.pause()).catch(fail);
    network.disabled = false;
  });
  for (const control of document.querySelectorAll<HTMLInputElement>("input, #add button")) control.disabled = false;
}

function show(tasks: readonly Task[]): void {
  const ids = new Set(tasks.map(({ id }) => id));
  for (const [id, row] of rows) if (!ids.has(id)) rows.delete(id) && row.remove();
  // A row that is moved loses its focus, and what draws attention to it begins again.
  let before = get("list").firstChild;
  for (const task of tasks) {
    const row = rows.get(task.id) ?? add(task.id);
    row.querySelector(".task")!.textContent = task.title;
    row.querySelector(".delete")!.setAttribute("aria-label", `Delete ${task.title}`);
    if (row === before) before = row.nextSibling;
    else get("list").insertBefore(row, before);
  }
  get("empty").hidden = tasks.length > 0;
  shown = true;
}

function add(id: string): HTMLElement {
  const row = (get<HTMLTemplateElement>("item").content.cloneNode(true) as DocumentFragment).querySelector("li")!;
  row.dataset["id"] = id;
  if (shown) row.classList.add("arrived");
  rows.set(id, row);
  return row;
}

function showStatus({ state, unsent, error }: SyncStatus): void {
  get("state").dataset["state"] = state;
  get("state-text").textContent = STATES[state];
  get("state").title = error?.message ?? "";
  if (!network.disabled) network.checked = state !== "paused";
  get("unsent").textContent = unsent.changes === 0 ? "nothing" : `${unsent.changes} changes`;
}

function fail(error: unknown): void {
  console.error(error);
  get("notice").textContent = error instanceof SyncError ? `${error.message} (${error.code})` : String(error);
  get("notice").hidden = false;
}
