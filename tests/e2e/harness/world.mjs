/** A server and the people around it; and what has to be true of them in the end. */

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Profile } from "./profile.mjs";
import { Server } from "./server.mjs";

export class World {
  server;
  people = [];

  /** Starts a server, and a browser for each name. */
  static async open(names, options) {
    const world = new World();
    try {
      world.server = await Server.start(options);
      for (const name of names) world.people.push(await Profile.open(world.server.url, { name }));
      return world;
    } catch (error) {
      await world.close();
      throw error;
    }
  }

  /** Waits until everybody and the server hold the same rows, and returns them. */
  async agreed(timeout = 30_000) {
    const deadline = Date.now() + timeout;
    for (;;) {
      const copies = await Promise.all([this.server.rows(), ...this.people.map((person) => person.rows())]);
      const [first, ...others] = copies.map((rows) => JSON.stringify(rows, ["id", "title", "done", "created"]));
      if (others.every((copy) => copy === first)) return copies[0];
      if (Date.now() > deadline) {
        const states = await Promise.all(this.people.map(async (person) => `${person.name}: ${JSON.stringify(await person.status())}`));
        assert.deepEqual(copies.slice(1), copies.slice(1).map(() => copies[0]), `the copies still differ after ${timeout} ms\n${states.join("\n")}`);
      }
      await sleep(100);
    }
  }

  async close() {
    await Promise.all(this.people.map((person) => person.close()));
    await this.server?.close();
  }
}
