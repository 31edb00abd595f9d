// Prints the WebDriver capabilities of one browser, by the name of its options in the given file, with the browser's path added.
import { readFileSync } from "node:fs";

const [file, name, binary] = process.argv.slice(2);
const { [name]: options = {} } = JSON.parse(readFileSync(file, "utf8"));
console.log(JSON.stringify({ [name]: { ...options, binary } }, null, 2));
