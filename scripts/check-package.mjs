// Checks pkg/ as npm would pack it: that every entry is there for whoever may import it (publint), and that TypeScript
// finds the types of what Node and bundlers find (are the types wrong?). Fails on anything that they report.
import { execFileSync } from "node:child_process";
import { publint } from "publint";
import { formatMessage } from "publint/utils";

const [pkg] = process.argv.slice(2);
const { messages, pkg: manifest } = await publint({ pkgDir: pkg, strict: true });
for (const message of messages) console.log(`publint, ${message.type}: ${formatMessage(message, manifest)}`);
if (messages.length > 0) process.exitCode = 1;

// Scripts and the module are no imports of TypeScript's.
const scripts = Object.keys(manifest.exports).filter((entry) => /\.(js|wasm)$/.test(entry));
try {
  execFileSync("node_modules/.bin/attw", ["--pack", pkg, "--profile", "esm-only", "--format", "table-flipped", "--no-color", "--exclude-entrypoints", ...scripts], { stdio: "inherit" });
} catch {
  process.exitCode = 1;
}
