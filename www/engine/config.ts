/** Settings of an engine, as the page's address makes them whole. */

import type { SyncWorkerConfig } from "crsql-sync:engine";

/** `sync/` and `/sync` are the same. An empty prefix would take every request of the page. */
export function normalizePrefix(prefix: string): string {
  const path = "/" + prefix.split("/").filter(Boolean).join("/");
  if (path === "/") throw new TypeError('crsql-sync: the prefix must name a path, such as "/sync"');
  return path;
}

/** With an absolute URL of the upstream. */
export function engineConfig(config: SyncWorkerConfig, prefix: string): SyncWorkerConfig {
  const upstream = config.upstream == null ? null : new URL(config.upstream, location.href).href;
  return { ...config, prefix, upstream };
}
