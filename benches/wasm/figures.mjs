/** What the runs took, and the table of their medians. */

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const ratio = (a, b) => (a && b ? a.map((value, run) => value / b[run]) : undefined);
const ms = (values) => (values ? median(values).toFixed(1) : "-");
const times = (ratios) => (ratios ? `${median(ratios).toFixed(2)}x` : "-");
const range = (ratios) => (ratios ? `${Math.min(...ratios).toFixed(2)}..${Math.max(...ratios).toFixed(2)}` : "-");

export class Figures {
  /** Milliseconds of each run by "side work". */
  #runs = new Map();

  /** Measures `work` of `side` once more. */
  async time(side, name, work) {
    globalThis.gc?.(); // nobody pays for what the one before left
    const start = performance.now();
    const result = await work();
    const taken = performance.now() - start;
    const key = `${side} ${name}`;
    this.#runs.set(key, [...(this.#runs.get(key) ?? []), taken]);
    return result;
  }

  /**
   * Prints a line for each of `operations`: what we do against what they do, beside the same with plain SQLite in the
   * same module. A ratio is the median of the ratios of single runs, whose least and most follow.
   */
  print(operations) {
    const titles = ["plain", "ours", "their plain", "cr-sqlite", "ours/plain", "theirs/plain", "cr-sqlite/ours"];
    const runs = this.#runs.values().next().value.length;
    console.log(row(`ms, the median of ${runs} runs`, [...titles, "least..most"], "goal"));
    for (const { name, ours, theirs = ours, plain, goal } of operations) {
      const [a, b] = [this.#runs.get(`ours ${ours}`), this.#runs.get(`theirs ${theirs}`)];
      const [plainA, plainB] = [this.#runs.get(`ours ${plain}`), this.#runs.get(`theirs ${plain}`)];
      const over = ratio(b, a);
      const cells = [plainA, a, plainB, b].map(ms);
      cells.push(times(ratio(a, plainA)), times(ratio(b, plainB)), times(over), range(over));
      console.log(row(name, cells, goal ? `>= ${goal}x cr-sqlite ${median(over) >= goal ? "ok" : "missed"}` : ""));
    }
  }
}

function row(name, cells, goal) {
  return `${name.padEnd(44)}${cells.map((cell) => cell.padStart(15)).join("")}  ${goal}`.trimEnd();
}
