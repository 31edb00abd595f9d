import { connect } from "crsql-sync";
import { StrictMode, Suspense, use } from "react";
import { createRoot } from "react-dom/client";
import { GuestBook } from "./GuestBook.jsx";
import "./style.css";

const SCHEMA = `
  CREATE TABLE entry (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL DEFAULT '',
    text TEXT NOT NULL DEFAULT '',
    written REAL NOT NULL DEFAULT 0
  );
  SELECT crsql_as_crr('entry');
`;

/** Once for the page, not for a component: React may throw away what it renders, and databases are worth keeping. */
const opening = connect({
  dbid: "guest-book",
  schema: SCHEMA,
  worker: "/crsql-sync-sw.js?upstream=/sync",
  // Where a window has no service workers, the page does it all by itself.
  page: { upstream: "/sync" },
});

function App() {
  return <GuestBook db={use(opening)} />;
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <Suspense fallback={<p className="hint">Opening the book…</p>}>
      <App />
    </Suspense>
  </StrictMode>,
);
