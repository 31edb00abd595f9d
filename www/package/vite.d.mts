import type { Plugin } from "vite";

/**
 * Serves the worker and its wasm file at the root of the site, as `/crsql-sync-sw.js`: by the development server, and beside
 * the page when Vite builds.
 */
export declare function crsqlSync(): Plugin;
export default crsqlSync;
