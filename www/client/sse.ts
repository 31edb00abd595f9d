/** The text of an event stream, taken apart as the HTML standard says, as far as the protocol uses it. */

/** One event. */
export interface ServerEvent {
  event: string;
  data: string;
  id: string | undefined;
}

/** Takes bytes as they arrive and gives the events that are complete. */
export class EventParser {
  readonly #decoder = new TextDecoder();
  #rest = "";
  #event = "";
  #data: string[] = [];
  #id: string | undefined;

  push(chunk: Uint8Array): ServerEvent[] {
    const events: ServerEvent[] = [];
    const lines = (this.#rest + this.#decoder.decode(chunk, { stream: true })).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") this.#dispatch(events);
      else if (!line.startsWith(":")) this.#field(line);
    }
    return events;
  }

  #field(line: string): void {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "event") this.#event = value;
    else if (name === "data") this.#data.push(value);
    else if (name === "id") this.#id = value;
  }

  #dispatch(events: ServerEvent[]): void {
    if (this.#data.length > 0 || this.#event !== "") {
      events.push({ event: this.#event || "message", data: this.#data.join("\n"), id: this.#id });
    }
    this.#event = "";
    this.#data = [];
  }
}
