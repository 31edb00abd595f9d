/** Figures of ours beside theirs, and what they come to. */

export const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
export const percentile = (values, part) => values.toSorted((a, b) => a - b)[Math.floor(values.length * part)];
export const sum = (values) => values.reduce((a, b) => a + b, 0);

/** A goal for ours. */
export const atMost = (limit) => ({ text: `<= ${limit}`, isMet: (ours) => ours <= limit });
/** A goal for ours over theirs that is durable. */
export const atLeast = (times) => ({ text: `>= ${times}x strict`, isMet: (_, ratio) => ratio >= times });

const WIDTH = 52;
const row = (what, cells, goals = "") => `${what.padEnd(WIDTH)}${cells.map((cell) => cell.padStart(10)).join("")}  ${goals}`.trimEnd();

export class Table {
  #goals = [];

  head() {
    console.log(row("", ["ours", "strict", "relaxed", "strict/", "relaxed/"], "goal"));
  }

  /** A line: a number for each side, ours being compared with theirs. */
  line(what, unit, { ours, strict, relaxed }, goals = [], moreIsBetter = false) {
    const over = (theirs) => (ours && theirs ? (moreIsBetter ? ours / theirs : theirs / ours) : undefined);
    const number = (value) => (value === undefined ? "-" : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0));
    const ratio = (value) => (value === undefined ? "-" : `${value.toFixed(1)}x`);
    const verdicts = goals.map(({ text, isMet }) => {
      // Without their figure there is nothing to compare with.
      const verdict = isMet(ours, over(strict)) ? "ok" : "MISSED";
      this.#goals.push(verdict);
      return `${text} ${verdict}`;
    });
    console.log(row(`${what}, ${unit}`, [number(ours), number(strict), number(relaxed), ratio(over(strict)), ratio(over(relaxed))], verdicts.join(", ")));
  }

  end() {
    const met = this.#goals.filter((verdict) => verdict === "ok").length;
    console.log(`${met} of ${this.#goals.length} goals met`);
  }
}
