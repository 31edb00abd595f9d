/** Three sites of one engine, and how far each has read from each other. */

import { changes, contents, describe, mergeStatements } from "./changes.mjs";
import { SITES } from "./program.mjs";
import { Random } from "./random.mjs";

export class World {
  #peers = new Map();
  #names = new Map();
  #cursors = new Map();
  #onPurpose;

  static async open(engine, { tables }, onPurpose) {
    const world = new World();
    world.name = engine.name;
    world.#onPurpose = onPurpose;
    for (const site of SITES) {
      const peer = await engine.open(tables.flatMap(({ create }) => create).join(";\n"));
      world.#peers.set(site, peer);
      world.#names.set(await siteOf(peer), site);
    }
    return world;
  }

  /** Runs a step; of a merge it returns how many changes won. */
  async run(step) {
    if (step.from) return this.#merge(step);
    const everywhere = step.crr ? () => [`SELECT crsql_as_crr('${step.crr}')`] : (site) => alteration(step, site);
    const work = step.site ? [[step.site, step.run.map(({ sql }) => sql)]] : SITES.map((site) => [site, everywhere(site)]);
    for (const [site, statements] of work) {
      await this.#peers.get(site).exec(statements.join(";\n"));
      await this.#peers.get(site).settle();
    }
  }

  async #merge({ from, to, delta, shuffle, before = [], after = [] }) {
    const [sender, receiver] = [this.#peers.get(from), this.#peers.get(to)];
    // A row that was moved is not among what is new in cr-sqlite.
    const moved = this.#onPurpose.holdsMoved(from);
    const since = delta && !moved ? { since: this.#cursors.get(from + to), exclude: this.#idOf(to) } : {};
    const list = await changes(sender, since);
    const ordered = shuffle === undefined || moved ? list : new Random(shuffle).shuffled(list);
    const sqls = (statements) => statements.map(({ sql }) => sql);
    const won = "SELECT crsql_rows_impacted()";
    const transaction = ["BEGIN", ...sqls(before), ...mergeStatements(ordered), won, ...sqls(after), "COMMIT"];
    const rows = await receiver.query(transaction.join(";\n"));
    await receiver.settle();
    if (list.length > 0) this.#cursors.set(from + to, Math.max(...list.map(({ dbVersion }) => dbVersion)));
    // See `differences`: cells of version 0.
    return list.some(({ colVersion }) => Number(colVersion) === 0) ? [] : rows;
  }

  #idOf(site) {
    return [...this.#names].find(([, name]) => name === site)[0];
  }

  /** What a site tells of itself: its changes, its version, its rows. */
  async shown(site, tables) {
    const peer = this.#peers.get(site);
    const list = describe(await changes(peer), this.#names, (change) => this.#onPurpose.leftOut(site, change));
    const version = this.#onPurpose.comparesVersions(site) ? await peer.query("SELECT crsql_db_version()") : "not compared";
    return { changes: list, version, rows: await this.rows(site, tables) };
  }

  /** The contents of a site's tables. */
  async rows(site, tables) {
    const rows = {};
    for (const { name } of tables) rows[name] = await contents(this.#peers.get(site), name);
    return rows;
  }

  /** The packed form of a key. */
  async pack(key) {
    const [[packed]] = await this.#peers.get(SITES[0]).query(`SELECT hex(crsql_pack_columns(${key}))`);
    return packed;
  }

  async close() {
    await Promise.all([...this.#peers.values()].map((peer) => peer.close()));
  }
}

export async function siteOf(peer) {
  return (await peer.query("SELECT hex(crsql_site_id())"))[0][0];
}

function alteration({ alter, run, rows }, site) {
  return [`SELECT crsql_begin_alter('${alter}')`, ...run, ...(rows[site] ?? []), `SELECT crsql_commit_alter('${alter}')`];
}
