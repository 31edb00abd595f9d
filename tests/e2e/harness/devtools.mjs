/** A profile's service worker under the debugger: held at a step of storing, and stopped or killed there. */

import { readFileSync } from "node:fs";

const STEPS = readFileSync(new URL("steps.js", import.meta.url), "utf8").replace(/;\s*$/, "");

export class Debugger {
  #cdp;
  #session;
  #waiting = new Map();
  #last = 0;
  #paused = withResolvers();

  /** Attaches to the worker that runs in `profile` now. */
  static async attach(profile) {
    const self = new Debugger();
    const cdp = (self.#cdp = await profile.page.context().browser().newBrowserCDPSession());
    cdp.on("Target.receivedMessageFromTarget", ({ message }) => self.#take(JSON.parse(message)));
    const { targetInfos } = await cdp.send("Target.getTargets");
    const { targetId } = targetInfos.find(({ type }) => type === "service_worker");
    self.#session = (await cdp.send("Target.attachToTarget", { targetId, flatten: false })).sessionId;
    await self.#send("Debugger.enable");
    return self;
  }

  /** From now on the worker is held where it is when it reaches the step of this name for the `nth` time. */
  async hold(step, nth = 1) {
    const here = `(name) => { if (name === ${JSON.stringify(step)} && --left === 0) debugger; }`;
    await this.#evaluate(`{ let left = ${nth}; (${STEPS})(${here}); }`);
  }

  /** From now on the worker keeps its answers to itself: the first that it has ready counts as holding it. */
  async holdAnswers() {
    await this.#send("Runtime.enable");
    await this.#send("Runtime.addBinding", { name: "held" });
    await this.#evaluate(`{
      const respondWith = FetchEvent.prototype.respondWith;
      FetchEvent.prototype.respondWith = function (answer) {
        respondWith.call(this, Promise.resolve(answer).then(() => (held(""), new Promise(() => {}))));
      };
      const postMessage = MessagePort.prototype.postMessage;
      MessagePort.prototype.postMessage = function (message) {
        if (message.status === undefined) postMessage.call(this, message);
        else held("");
      };
    }`);
  }

  /** Resolves when it is held. */
  held() {
    return this.#paused.promise;
  }

  async #evaluate(expression) {
    const { result } = await this.#send("Runtime.evaluate", { expression });
    if (result.exceptionDetails) throw new Error(JSON.stringify(result.exceptionDetails));
  }

  #send(method, params = {}) {
    const id = ++this.#last;
    const answer = new Promise((resolve) => this.#waiting.set(id, resolve));
    return this.#cdp.send("Target.sendMessageToTarget", { sessionId: this.#session, message: JSON.stringify({ id, method, params }) }).then(() => answer);
  }

  #take({ id, method, ...answer }) {
    if (method === "Debugger.paused" || method === "Runtime.bindingCalled") this.#paused.resolve();
    this.#waiting.get(id)?.(answer);
    this.#waiting.delete(id);
  }
}

function withResolvers() {
  let resolve;
  const promise = new Promise((settle) => (resolve = settle));
  return { promise, resolve };
}
