/** Makes a failing program smaller, as long as it fails: first steps, then statements, then what is left of either. */

/** `fails` answers whether a program still shows a difference. */
export async function shrink(program, fails) {
  let best = program;
  for (let before = Infinity; size(best) < before; ) {
    before = size(best);
    best = await fewer(best, "steps", fails);
    best = await fewer(best, "tables", fails);
    for (let at = 0; at < best.steps.length; at++) {
      for (const part of ["run", "before", "after"]) best = await inStep(best, at, part, fails);
      for (const simpler of simplifications(best.steps[at])) best = await better(best, withStep(best, at, simpler), fails);
    }
    for (let at = 0; at < best.tables.length; at++) best = await inTable(best, at, fails);
  }
  return best;
}

/** Takes out ever smaller pieces of one list of the program. */
async function fewer(program, part, fails) {
  let best = program;
  for (let piece = Math.ceil(best[part].length / 2); piece >= 1; piece = piece === 1 ? 0 : Math.ceil(piece / 2)) {
    for (let at = best[part].length - piece; at >= 0; at -= piece) {
      best = await better(best, { ...best, [part]: best[part].toSpliced(at, piece) }, fails);
    }
  }
  return best;
}

async function inStep(program, at, part, fails) {
  const statements = program.steps[at][part];
  if (statements === undefined) return program;
  const inner = async (list) => fails(withStep(program, at, { ...program.steps[at], [part]: list }));
  let best = statements;
  // What surrounds goes in pairs: BEGIN and COMMIT, SAVEPOINT and RELEASE.
  for (let start = 0; start < best.length; start++) {
    for (let end = best.length - 1; end > start; end--) {
      const without = best.filter((_, index) => index !== start && index !== end);
      if (end < best.length && surrounds(best[start], best[end]) && (await inner(without))) best = without;
    }
  }
  for (let index = best.length - 1; index >= 0; index--) {
    const without = best.toSpliced(index, 1);
    if (await inner(without)) best = without;
  }
  return withStep(program, at, { ...program.steps[at], [part]: best });
}

async function inTable(program, at, fails) {
  let best = program;
  for (let index = best.tables[at].create.length - 1; index > 0; index--) {
    const table = { ...best.tables[at], create: best.tables[at].create.toSpliced(index, 1) };
    best = await better(best, { ...best, tables: best.tables.with(at, table) }, fails);
  }
  return best;
}

function* simplifications(step) {
  if (step.shuffle !== undefined) yield { ...step, shuffle: undefined };
  if (step.delta) yield { ...step, delta: false };
  if (step.before?.length === 0) yield { ...step, before: undefined };
  if (step.after?.length === 0) yield { ...step, after: undefined };
  for (const site of Object.keys(step.rows ?? {})) yield { ...step, rows: { ...step.rows, [site]: undefined } };
}

function surrounds({ sql: start }, { sql: end }) {
  const name = /^SAVEPOINT (\w+)/.exec(start)?.[1];
  return start === "BEGIN" ? end === "COMMIT" : name !== undefined && end === `RELEASE ${name}`;
}

function withStep(program, at, step) {
  return { ...program, steps: program.steps.with(at, step) };
}

async function better(best, candidate, fails) {
  return JSON.stringify(candidate) !== JSON.stringify(best) && (await fails(candidate)) ? candidate : best;
}

function size(program) {
  return JSON.stringify(program).length;
}
