// The server, as functions. Knows the HTTP API, the key and what the connection is like; knows nothing of the page.

const KEY = "errata.key";
const ANSWER = 512; // tokens of an answer in chat at most
const ROWS = 1000; // the most that the server gives at once

/** What is known of the server. A "change" event says that something of it is new. */
export const server = new (class extends EventTarget {
  state = "waiting"; // waiting, live, starting (answers, but is not ready), locked (asking needs a key), lost
  model = null;
  parent = null;
  chat = false; // whether a prompt is a user message
  head = null;

  learn(news) {
    const fresh = Object.entries(news).filter(([name, value]) => this[name] !== value);
    if (!fresh.length) return;
    Object.assign(this, Object.fromEntries(fresh));
    this.dispatchEvent(new CustomEvent("change", { detail: fresh.map(([name]) => name) }));
  }
})();

/** A request that the server refused or that never reached it; `message` is meant to be read by people. */
export class Refusal extends Error {
  constructor(message, { status = 0, code = null, body = null, retry = null } = {}) {
    super(message);
    Object.assign(this, { status, code, body, retry });
  }

  /** Whether a key, or another one, would help. */
  get needsKey() {
    return this.status === 401 || this.code === "scope";
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** One request. Returns the JSON of the answer; raises Refusal, or AbortError where `signal` was aborted. */
export async function call(method, path, { body, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const request = { method, headers, signal, credentials: "omit", cache: "no-store" };
  if (body !== undefined) request.body = JSON.stringify(body);
  let reply;
  try {
    reply = await fetch(path, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    server.learn({ state: "lost" });
    throw new Refusal(unreached(method));
  }
  server.learn(headOf(reply));
  const told = await read(reply);
  if (!reply.ok) throw refusal(reply, told);
  return told;
}

function unreached(method) {
  const lost = "The server did not answer. Is it still running?";
  if (method === "GET") return lost;
  return `${lost} If this was a change, look in the journal whether it was recorded before you repeat it.`;
}

function headOf(reply) {
  const head = reply.headers.get("X-Errata-Head");
  return head === null ? {} : { head: Number(head) };
}

async function read(reply) {
  try {
    return await reply.json();
  } catch (error) {
    if (error instanceof SyntaxError) return null; // no JSON; a body that was broken off is no answer at all
    throw error;
  }
}

function refusal(reply, told) {
  const error = told?.error ?? {};
  const retry = reply.headers.get("Retry-After");
  let message = error.message ?? `The server answered ${reply.status} ${reply.statusText}.`;
  if (retry) message += ` Try again in ${retry} s.`;
  return new Refusal(message, { status: reply.status, code: error.code, body: error, retry });
}

const query = (values) => {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
};
const edit = (id) => `/v1/edits/${encodeURIComponent(id)}`;

export const explain = (prompt, signal) => call("POST", "/v1/explain", { body: { prompt }, signal });

/** What a model says to `prompt` as a user's message, greedily. */
export async function chat(model, prompt, signal) {
  const body = { model, messages: [{ role: "user", content: prompt }], temperature: 0, max_tokens: ANSWER };
  const told = await call("POST", "/v1/chat/completions", { body, signal });
  return told.choices[0].message.content.trim();
}

export const methods = () => call("GET", "/v1/methods");
export const oneEdit = (id) => call("GET", edit(id));
export const effects = (id) => call("GET", `${edit(id)}/effects`);
export const correct = (body, signal) => call("POST", "/v1/edits", { body, signal });
export const undo = (id) => call("DELETE", edit(id));
export const redo = (id) => call("POST", `${edit(id)}/redo`);
export const undoAll = (ids) => call("POST", "/v1/undo", { body: { ids } });
export const redoAll = (ids) => call("POST", "/v1/redo", { body: { ids } });
export const journal = (from) => call("GET", `/v1/journal${query(from)}`);
export const evaluate = () => call("POST", "/v1/evaluate", { body: {} });
export const evaluations = () => call("GET", `/v1/evaluations${query({ limit: ROWS })}`);
export const probes = () => call("GET", "/v1/probes");
export const addProbe = (probe) => call("POST", "/v1/probes", { body: { probes: [probe] } });
export const removeProbe = (id) => call("DELETE", `/v1/probes/${encodeURIComponent(id)}`);

/** Every edit of a status ("": of any), oldest first. */
export async function everyEdit(status) {
  const edits = [];
  for (;;) {
    const told = await call("GET", `/v1/edits${query({ status, after: edits.at(-1)?.id, limit: ROWS })}`);
    edits.push(...told.data);
    if (!told.has_more) return edits;
  }
}

/** Every event of the journal, oldest first. */
export async function everyEvent() {
  const events = [];
  for (;;) {
    const told = await journal({ after: events.at(-1)?.seq ?? 0, limit: ROWS });
    events.push(...told.data);
    if (!told.has_more) return events;
  }
}

/** Ask how the server is: whether it is ready, at which head, of which models. Never raises. */
export async function look() {
  try {
    await call("GET", "/readyz");
    if (server.state !== "live") await names();
    server.learn({ state: "live" });
  } catch (error) {
    if (error.status) server.learn({ state: error.needsKey ? "locked" : "starting" });
  }
}

async function names() {
  const [served, parent] = (await call("GET", "/v1/models")).data;
  server.learn({ model: served.id, parent: parent.id, chat: Boolean(served.chat) });
}
