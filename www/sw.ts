/**
 * The worker for those who write none: a file to copy and register. Its settings are in the query of its URL:
 *
 *     navigator.serviceWorker.register("/crsql-sync-sw.js?upstream=https://example.com/sync");
 *
 * `prefix`, `upstream`, `auth` (`page`: pages say who asks the upstream), `sql` and `files` (`on` or `off`), `storage` (a
 * name under which its databases are kept apart from others of this site) and `wasm` (URL of the wasm file) are known. Another query is another script to the browser: it is installed as an update.
 */

import { installSyncWorker, type SyncWorkerConfig } from "./worker.js";

declare const self: ServiceWorkerGlobalScope;

installSyncWorker(configFrom(new URL(self.location.href)));

function configFrom(url: URL): SyncWorkerConfig {
  const known = ["prefix", "upstream", "auth", "sql", "files", "storage", "wasm"];
  const config: SyncWorkerConfig = { wasmUrl: new URL(url.searchParams.get("wasm") ?? __WASM_FILE__, url) };
  for (const [name, value] of url.searchParams) {
    // A misspelt setting that is quietly ignored would cost its author an evening.
    if (!known.includes(name)) throw new TypeError(`crsql-sync: unknown setting "${name}" in the worker's URL; known are ${known.join(", ")}`);
    if (name === "prefix") config.prefix = value;
    if (name === "upstream") config.upstream = value;
    if (name === "auth" && value === "page") config.upstreamHeaders = value;
    if (name === "sql") config.sql = value !== "off";
    if (name === "files") config.files = value === "on";
    if (name === "storage") config.storage = value;
  }
  return config;
}
