/** For Vite: serves the worker and its wasm file in development, and puts them beside the page when it builds. */

import { REQUIRED, contents } from "./files.mjs";

const TYPES = { js: "text/javascript", wasm: "application/wasm" };

/** The files are at the root of the site: `/crsql-sync-sw.js`, below Vite's `base`. */
export function crsqlSync() {
  let base = "/";
  return {
    name: "crsql-sync",
    // Bundled by the development server, the core would look for its wasm file in the wrong place.
    config: () => ({ optimizeDeps: { exclude: ["crsql-sync"] } }),
    configResolved: (config) => void (base = config.base),
    configureServer: ({ middlewares }) =>
      void middlewares.use((request, response, next) => {
        const { pathname } = new URL(request.url, "http://localhost");
        const file = REQUIRED.find(({ to }) => pathname === base + to || pathname === "/" + to);
        if (!file) return next();
        response.setHeader("content-type", TYPES[file.to.split(".").pop()]);
        response.setHeader("cache-control", "no-cache");
        response.end(contents(file));
      }),
    generateBundle() {
      // Of several environments only one has the pages.
      if (this.environment && this.environment.name !== "client") return;
      for (const file of REQUIRED) this.emitFile({ type: "asset", fileName: file.to, source: contents(file) });
    },
  };
}

export default crsqlSync;
