/** The demo: a to-do list shared by every browser that opens the page. `?list=NAME` opens another list. */

import "./demo.css";
import { type Database, SyncError, type SyncStatus, connect } from "../client.js";
import { ListView, type Item } from "./list.js";
import { STATES } from "./states.js";

const SCHEMA = `
  CREATE TABLE todo (
    id TEXT PRIMARY KEY NOT NULL,
    title TEXT NOT NULL DEFAULT '',
    done INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL DEFAULT 0
  );
  SELECT crsql_as_crr('todo');
`;

const get = <E extends HTMLElement>(id: string) => document.getElementById(id) as E;
const network = get<HTMLInputElement>("network");
const newTitle = get<HTMLInputElement>("new-title");
const progress = get("progress");

let shown: SyncStatus | undefined;

start().catch(fail);

async function start(): Promise<void> {
  const dbid = new URLSearchParams(location.search).get("list") ?? "demo";
  // In windows without service workers the page does it all by itself.
  const page = { upstream: "/sync", wasmUrl: `/${__WASM_FILE__}` };
  const db = await connect({ dbid, schema: SCHEMA, worker: "/sw.js", page });
  // For whoever wants to try it in the console.
  Object.assign(globalThis, { db });
  wire(db);
  db.watch<Item>("SELECT id, title, done FROM todo ORDER BY created DESC, id", [], show, { onError: fail });
  db.status.subscribe(showStatus);
}

function wire(db: Database): void {
  get<HTMLFormElement>("add").addEventListener("submit", (event) => {
    event.preventDefault();
    const title = newTitle.value.trim();
    if (!title) return;
    newTitle.value = "";
    void write(db, "INSERT INTO todo (id, title, created) VALUES (?, ?, ?)", [crypto.randomUUID(), title, Date.now()]);
  });
  // Asked when there is something to lose.
  get("add").addEventListener("submit", () => void db.persist(), { once: true });
  view.onToggle = (id, done) => write(db, "UPDATE todo SET done = ? WHERE id = ?", [done, id]);
  view.onRename = (id, title) => write(db, "UPDATE todo SET title = ? WHERE id = ?", [title, id]);
  view.onDelete = (id) => write(db, "DELETE FROM todo WHERE id = ?", [id]);
  get("clear").addEventListener("click", () => write(db, "DELETE FROM todo WHERE done", []));

  network.addEventListener("change", async () => {
    network.disabled = true;
    await busy(() => (network.checked ? db.resume() : db.pause()));
    network.disabled = false;
    network.focus();
    // It did not go as the user wanted if that failed.
    if (shown) showStatus(shown);
  });
  get("apply-update").addEventListener("click", () => {
    get("update").hidden = true;
    // The worker brings the page of its release with it. If none waits any more, another tab was first.
    void busy(async () => {
      await db.applyUpdate();
      location.reload();
    });
  });
  for (const control of document.querySelectorAll<HTMLInputElement>("#add input, #add button, #network")) control.disabled = false;
  get("host").textContent = db.mode === "worker" ? `Service worker ${__VERSION__}` : `This page ${__VERSION__}`;
  newTitle.focus({ preventScroll: true });
}

const view = new ListView(get("list"), get<HTMLTemplateElement>("item"));

async function write(db: Database, sql: string, params: (string | number | boolean)[]): Promise<void> {
  const begin = performance.now();
  await busy(async () => {
    await db.exec(sql, params);
    get("took").textContent = `${(performance.now() - begin).toFixed(1)} ms, on disk`;
    get("notice").hidden = true;
  });
}

function show(items: readonly Item[]): void {
  progress.classList.add("done");
  view.show(items);
  const done = items.filter((item) => item.done).length;
  get("empty").hidden = items.length > 0;
  get("count").textContent = items.length > 0 ? `${items.length - done} of ${items.length} open` : "";
  get("clear").hidden = done === 0;
}

function showStatus(status: SyncStatus): void {
  const { state, unsent, error, document } = status;
  get("state").dataset["state"] = state;
  get("state-text").textContent = STATES[state];
  get("state").title = error?.message ?? "";
  shown = status;
  // What the user just chose is still being done.
  if (!network.disabled) network.checked = state !== "paused";

  const { changes, since } = unsent;
  get("unsent").hidden = changes === 0;
  get("unsent").textContent = `${changes} unsent ${changes === 1 ? "change" : "changes"}${since === null ? "" : ` since ${clock(since)}`}`;
  get("update").hidden = !status.updateAvailable;

  if (!document) return;
  const [site = "", version = ""] = document.at.split(".");
  get("me").textContent = site.slice(0, 8);
  get("me").title = `This browser's site id: ${site}`;
  get("version").textContent = version;
  get("size").textContent = size(document.size.bytes);
}

function clock(ms: number): string {
  return new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

function size(bytes: number): string {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Shows that something goes on if it takes longer than the eye notices. */
async function busy(work: () => Promise<unknown>): Promise<void> {
  const timer = setTimeout(() => progress.classList.remove("done"), 300);
  try {
    await work();
  } catch (error) {
    fail(error);
  } finally {
    clearTimeout(timer);
    progress.classList.add("done");
  }
}

function fail(error: unknown): void {
  console.error(error);
  progress.classList.add("done");
  get("notice").textContent = error instanceof SyncError ? `${error.message} (${error.code})` : String(error);
  get("notice").hidden = false;
}
