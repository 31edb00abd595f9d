/** What stands in for a test's context in the `before` of a suite, whose own has no `after` in every version of Node. */

import { after } from "node:test";

/** Called in the body of a suite. What it is given to end is ended when the suite is. */
export function suiteContext() {
  const ends = [];
  after(async () => {
    for (const end of ends.reverse()) await end();
  });
  return { after: (end) => ends.push(end) };
}
