/** Runs one program in both engines and says what differs. */

import assert from "node:assert/strict";
import { OnPurpose } from "./differences.mjs";
import { OurPeer } from "./ours.mjs";
import { SITES } from "./program.mjs";
import { RealPeer } from "./real.mjs";
import { World } from "./world.mjs";

/** A program that cr-sqlite itself refuses says nothing. */
export class Refused extends Error {}

/** What differs, and what kind of difference it is, so that a smaller program can be told to fail alike. */
class Difference extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

/** Returns the first difference, or `undefined`. Throws `Refused` if cr-sqlite cannot run the program. */
export async function difference(program) {
  const onPurpose = new OnPurpose();
  const real = await World.open(RealPeer, program, onPurpose).catch((error) => {
    throw new Refused(`cr-sqlite: the tables: ${error.message}`);
  });
  let ours;
  try {
    ours = await World.open(OurPeer, program, onPurpose);
    for (const [at, step] of program.steps.entries()) {
      await both(step, `step ${at + 1}`);
      if (step.from) await equal(step.to, `step ${at + 1}`);
    }
    for (const site of SITES) await equal(site, "the last step");
    // The first hears everybody, then everybody hears the first.
    const [hub, ...others] = SITES;
    for (const from of others) await both({ from, to: hub }, `the merge from ${from}`);
    for (const to of others) await both({ from: hub, to }, `the merge into ${to}`);
    for (const site of SITES) await equal(site, "everybody was told everything");
    // What is updated during an alteration is told to nobody.
    if (!program.steps.some(({ alter }) => alter)) await converged(ours);
  } catch (error) {
    if (!(error instanceof Difference)) throw error;
    return error;
  } finally {
    await real.close();
    await ours?.close();
  }
  return undefined;

  async function both(step, when) {
    let won;
    try {
      if (step.from) onPurpose.merged(step);
      if (step.alter) onPurpose.altered(step.alter);
      won = await real.run(step);
    } catch (error) {
      throw new Refused(`cr-sqlite: ${when}: ${error.message}`);
    }
    const statements = step.site ? step.run : [...(step.before ?? []), ...(step.after ?? [])];
    await onPurpose.ran(step.site ?? step.to, statements, (key) => real.pack(key));
    const wonHere = await ours.run(step).catch((error) => {
      throw new Difference("refused", `${when} is refused here: ${error.message}`);
    });
    same("won", wonHere, won, `another number of changes won in ${when} (+ ours, - cr-sqlite)`);
  }

  async function equal(site, when) {
    const shown = [];
    for (const world of [real, ours]) shown.push(await world.shown(site, program.tables));
    for (const kind of Object.keys(shown[0])) same(kind, shown[1][kind], shown[0][kind], `the ${kind} of ${site} differ after ${when} (+ ours, - cr-sqlite)`);
  }

  async function converged(world) {
    const [first, ...others] = await Promise.all(SITES.map((site) => world.rows(site, program.tables)));
    for (const other of others) same("copies", other, first, `${world.name}: the copies differ in the end`);
  }
}

function same(kind, ours, real, message) {
  try {
    assert.deepEqual(ours, real);
  } catch (error) {
    throw new Difference(kind, `${message}\n${error.message}`);
  }
}
