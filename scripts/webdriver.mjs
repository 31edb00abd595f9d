// Prints the WebDriver capabilities of the given file with the browser's path added.
import { readFileSync } from "node:fs";

const [file, browser] = process.argv.slice(2);
const capabilities = JSON.parse(readFileSync(file, "utf8"));
if (browser) capabilities["goog:chromeOptions"].binary = browser;
console.log(JSON.stringify(capabilities, null, 2));
