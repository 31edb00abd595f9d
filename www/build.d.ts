/** Set by build.mjs when the sources are bundled. */

/** Version of the package. */
declare const __VERSION__: string;
/** Name of the wasm file, which contains the hash of its content. */
declare const __WASM_FILE__: string;
/** For the demo's worker: paths of everything that the page is made of. */
declare const __SHELL__: string[];
/** For the demo's worker: a hash of their contents. */
declare const __BUILD__: string;
