/** What Node's `assert` does, where there is no Node. */

export function ok(value, message = "not so") {
  if (!value) throw new Error(message);
}

/** Equal as JSON, whatever the order of members. */
export function equal(actual, expected, message = "") {
  const [left, right] = [actual, expected].map((value) => JSON.stringify(value, sorted));
  if (left !== right) throw new Error(`${message}\nactual   ${left}\nexpected ${right}`);
}

function sorted(_, value) {
  const isObject = value !== null && typeof value === "object" && !Array.isArray(value);
  return isObject ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))) : value;
}

/** An answer that is the problem document of a code. */
export function problem(answer, status, code) {
  equal([answer.status, answer.body.code, answer.body.status, answer.type], [status, code, status, "application/problem+json"], JSON.stringify(answer.body));
  ok(answer.body.title && answer.body.detail, "a problem says what it is");
}
