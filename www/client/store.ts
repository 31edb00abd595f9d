/** Values that change, for whoever draws them. React, Svelte and signals all fit this shape. */

/** Ends what it was given for. `using stop = …` ends it at the end of the block. */
export type Stop = (() => void) & Disposable;

/** A value that can be read at any time and tells when it is another one. */
export interface Store<T> {
  /** The value now. It is the same object until it changes. */
  readonly current: T;
  /** Calls back with the value now, and with each one that comes. */
  subscribe(callback: (value: T) => void): Stop;
}

/** A function that ends something, once. */
export function stop(end: () => void): Stop {
  const once = () => {
    end();
    end = () => {};
  };
  return Object.assign(once, { [Symbol.dispose]: once });
}

/** The callbacks of a store. */
export class Listeners<T> {
  readonly #callbacks = new Set<{ call: (value: T) => void }>();

  get size(): number {
    return this.#callbacks.size;
  }

  add(call: (value: T) => void, removed: () => void): Stop {
    // The same function may be given twice.
    const entry = { call };
    this.#callbacks.add(entry);
    return stop(() => {
      this.#callbacks.delete(entry);
      removed();
    });
  }

  tell(value: T): void {
    for (const { call } of [...this.#callbacks]) safely(() => call(value));
  }
}

/** Calls what the page gave us. Its mistake is not ours, nor that of others who listen. */
export function safely(call: () => void): void {
  try {
    call();
  } catch (error) {
    reportError(error);
  }
}
