/** A caller of the operations, by nothing but `fetch`: so that it runs in Node and in a page. */

export const TODO = "CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, title, done INTEGER DEFAULT 0); SELECT crsql_as_crr('todo')";
export const PEER = "aa000000000000000000000000000001";
export const BINARY = "application/vnd.crsql-sync.batch";
const JSON_TYPE = "application/json";

export class Client {
  /** `base` is the URL of the operations without a slash at its end, as in `http://localhost:8080/sync`. */
  constructor({ base, fetch, dbid = `contract-${crypto.randomUUID()}` }) {
    this.base = base;
    this.fetch = fetch;
    this.dbid = dbid;
  }

  /** The same for another database. */
  other() {
    return new Client({ base: this.base, fetch: this.fetch });
  }

  /** Sends a request; a body that is an object goes as JSON. */
  send(method, path = "", { body, headers = {}, signal } = {}) {
    const plain = body === undefined || typeof body === "string" || body instanceof Uint8Array;
    const given = plain ? headers : { "content-type": JSON_TYPE, ...headers };
    return this.fetch(`${this.base}/${this.dbid}${path}`, { method, headers: given, body: plain ? body : JSON.stringify(body), signal });
  }

  /** The answer, its body read: as JSON where it is that, and as bytes otherwise. */
  async call(method, path, options) {
    const response = await this.send(method, path, options);
    const bytes = new Uint8Array(await response.arrayBuffer());
    const type = response.headers.get("content-type") ?? "";
    const body = type.endsWith("json") && bytes.length > 0 ? JSON.parse(new TextDecoder().decode(bytes)) : bytes;
    return { status: response.status, headers: response.headers, type, body };
  }

  /** The body of an answer that must be one of success. */
  async get(method, path, options) {
    const answer = await this.call(method, path, options);
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  create(schema = TODO) {
    return this.get("PUT", "", { body: { schema } });
  }

  async sql(sql, ...params) {
    const { results } = await this.get("POST", "/sql", { body: { sql, params } });
    return results[0];
  }

  add(id) {
    return this.sql("INSERT INTO todo (id, title) VALUES (?1, ?2)", id, `title of ${id}`);
  }

  async ids() {
    const { rows } = await this.sql("SELECT id FROM todo ORDER BY id");
    return rows.map(([id]) => id);
  }

  changes(query = "") {
    return this.get("GET", `/changes?${query}`);
  }

  apply(batch) {
    return this.get("POST", "/changes", { body: batch });
  }

  async at() {
    const { at } = await this.get("GET", "/status");
    return at;
  }

  /** The events of a stream. Leave the loop to end it. */
  async *events(query = "", headers = {}) {
    const abort = new AbortController();
    const response = await this.send("GET", `/events?${query}`, { headers, signal: abort.signal });
    if (!response.ok) throw new Error(`GET events: ${response.status}`);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        text += value;
        const blocks = text.split("\n\n");
        text = blocks.pop();
        for (const block of blocks) {
          const fields = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trimStart()]));
          if (fields.event) yield { event: fields.event, id: fields.id, data: JSON.parse(fields.data) };
        }
      }
    } finally {
      await reader.cancel().catch(() => {});
      abort.abort();
    }
  }
}

/** A batch of one new row, made by `PEER` as its transaction `version`. */
export function batch(version, id) {
  const hex = [...new TextEncoder().encode(id)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const pk = `010b${(hex.length / 2).toString(16).padStart(2, "0")}${hex}`;
  return {
    protocol: 1,
    from: PEER,
    start: version - 1,
    end: version,
    covers: { [PEER]: [[version, version]] },
    changes: [
      ["todo", pk, "title", `title of ${id}`, 1, version, PEER, 1, 0],
      ["todo", pk, "done", 0, 1, version, PEER, 1, 1],
    ],
  };
}
