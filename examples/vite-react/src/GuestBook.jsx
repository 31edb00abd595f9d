import { useQuery, useStatus } from "crsql-sync/react";
import { memo } from "react";

const STATES = { online: "In step with the server", offline: "Offline: what you write is kept, and sent later", connecting: "Connecting…" };

/** @param {{ db: import("crsql-sync").Database }} props */
export function GuestBook({ db }) {
  const { rows = [], error } = useQuery(db, "SELECT id, name, text, written FROM entry ORDER BY written DESC, id");
  return (
    <main>
      <h1>Guest book</h1>
      <Status db={db} />
      <form onSubmit={(event) => write(db, event)}>
        <input name="name" placeholder="Your name" aria-label="Your name" required />
        <textarea name="text" placeholder="What would you like to say?" aria-label="Text" rows={3} required />
        <button>Write</button>
      </form>
      {error && <p role="alert">{error.message}</p>}
      <ol>
        {rows.map((row) => (
          <Entry key={row.id} row={row} onDelete={() => db.exec("DELETE FROM entry WHERE id = ?", [row.id])} />
        ))}
      </ol>
      {rows.length === 0 && <p className="hint">Nobody has written yet.</p>}
    </main>
  );
}

/** Rows that did not change are the same objects, so they are not drawn again. */
const Entry = memo(
  function Entry({ row, onDelete }) {
    return (
      <li>
        <p>{row.text}</p>
        <footer>
          {row.name}, <time>{new Date(row.written).toLocaleString()}</time>
          <button onClick={onDelete} aria-label={`Delete the entry of ${row.name}`}>
            Delete
          </button>
        </footer>
      </li>
    );
  },
  (before, after) => before.row === after.row,
);

function Status({ db }) {
  const { state, unsent, mode } = useStatus(db);
  const waiting = unsent.changes > 0 ? ` · ${unsent.changes} unsent` : "";
  return (
    <p className="status" data-state={state} role="status">
      {STATES[state] ?? state}
      {waiting}
      {mode === "page" && " · without a service worker"}
    </p>
  );
}

async function write(db, event) {
  event.preventDefault();
  const form = event.currentTarget;
  const { name, text } = Object.fromEntries(new FormData(form));
  form.elements.text.value = "";
  await db.exec("INSERT INTO entry VALUES (?, ?, ?, ?)", [crypto.randomUUID(), name, text, Date.now()]);
}
