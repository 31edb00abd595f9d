/** Runs one program in both engines and says what differs. */

import assert from "node:assert/strict";
import { OnPurpose } from "./differences.mjs";
import { OurPeer } from "./ours.mjs";
import { SITES } from "./program.mjs";
import { RealPeer } from "./real.mjs";
import { World } from "./world.mjs";

/** A program that cr-sqlite itself refuses says nothing. */
export class Refused extends Error {}

/** Returns the first difference as text, or `undefined`. Throws `Refused` if cr-sqlite cannot run the program. */
export async function difference(program) {
  const onPurpose = new OnPurpose();
  const real = await World.open(RealPeer, program, onPurpose);
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
    await converged(ours);
  } catch (error) {
    if (error instanceof Refused) throw error;
    return error.message;
  } finally {
    await real.close();
    await ours?.close();
  }
  return undefined;

  async function both(step, when) {
    let won;
    try {
      if (step.from) onPurpose.merged(step);
      won = await real.run(step);
    } catch (error) {
      throw new Refused(`cr-sqlite: ${when}: ${error.message}`);
    }
    const statements = step.site ? step.run : [...(step.before ?? []), ...(step.after ?? [])];
    await onPurpose.ran(step.site ?? step.to, statements, (key) => real.pack(key));
    const wonHere = await ours.run(step).catch((error) => {
      throw new Error(`${when} is refused here: ${error.message}`);
    });
    assert.deepEqual(wonHere, won, `another number of changes won in ${when} (+ ours, - cr-sqlite)`);
  }

  async function equal(site, when) {
    const shown = [];
    for (const world of [real, ours]) shown.push(await world.shown(site, program.tables));
    assert.deepEqual(shown[1], shown[0], `${site} differs after ${when} (+ ours, - cr-sqlite)`);
  }

  async function converged(world) {
    const [first, ...others] = await Promise.all(SITES.map((site) => world.rows(site, program.tables)));
    for (const other of others) assert.deepEqual(other, first, `${world.name}: the copies differ in the end`);
  }
}
