// The console: what is in the header, which view is shown, and the keyboard. Starts everything.

import * as api from "./api.js";
import * as ask from "./ask.js";
import { apply, reject } from "./correct.js";
import { byId, h, show } from "./dom.js";
import * as edits from "./edits.js";
import * as gauges from "./gauges.js";
import * as journal from "./journal.js";
import * as probes from "./probes.js";

const VIEWS = { ask, edits, journal, gauges, probes };
const LOOK = 4000; // milliseconds between two looks at the server
const WORDS = { waiting: "connecting", live: "live", starting: "not ready", locked: "needs a key", lost: "lost" };

const SHORTCUTS = [
  ["Enter", "ask (in the prompt)"],
  ["Shift Enter", "a new line in the prompt"],
  ["Ctrl Enter", "try the correction, then accept what was tried"],
  ["Esc", "reject or close the correction"],
  ["/", "go to the prompt"],
  ["w", "this answer is wrong"],
  ["1 2 3 4 5", "Ask, Edits, Journal, Gauges, Probes"],
  ["k", "enter a key"],
  ["?", "this list"],
];

// -- views ------------------------------------------------------------------------------------------------------------

function route() {
  const [name, ...rest] = location.hash.slice(1).split("/");
  const view = VIEWS[name] ? name : "ask";
  for (const one of Object.keys(VIEWS)) byId(one).hidden = one !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${byId(`${view}-title`).textContent} – Errata console`;
  const detail = rest.length ? decodeURIComponent(rest.join("/")) : null;
  VIEWS[view].enter(detail);
  byId(`${view}-title`).focus({ preventScroll: true });
}

const go = (view) => (location.hash = view);

// -- header -----------------------------------------------------------------------------------------------------------

function header() {
  const { state, model, head } = api.server;
  byId("model").textContent = model ?? "…";
  byId("head").textContent = head === null ? "…" : `#${head}`;
  byId("connection").textContent = WORDS[state];
  byId("connection").dataset.state = state;
  byId("key-button").textContent = api.key.get() ? "Key set" : "Enter key";
}

function keyDialog() {
  byId("key").value = "";
  byId("key-forget").hidden = !api.key.get();
  byId("key-dialog").returnValue = "";
  byId("key-dialog").showModal();
}

function keyChosen() {
  const dialog = byId("key-dialog");
  if (dialog.returnValue === "keep" && byId("key").value.trim()) api.key.set(byId("key").value.trim());
  if (dialog.returnValue === "forget") api.key.forget();
  byId("key").value = "";
  header();
  api.look();
}

async function watch() {
  if (!document.hidden) await api.look();
  setTimeout(watch, LOOK);
}

// -- keyboard ---------------------------------------------------------------------------------------------------------

const KEYS = {
  "?": () => byId("help-dialog").showModal(),
  "/": () => (byId("ask").hidden ? go("ask") : byId("prompt").focus()),
  1: () => go("ask"),
  2: () => go("edits"),
  3: () => go("journal"),
  4: () => go("gauges"),
  5: () => go("probes"),
  k: keyDialog,
  w: ask.wrong,
};

function pressed(event) {
  if (document.querySelector("dialog[open]") || event.isComposing) return;
  const asking = !byId("ask").hidden;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && asking) {
    event.preventDefault();
    return apply();
  }
  if (event.key === "Escape" && asking) return reject();
  const typing = event.target.matches("input:not([type=radio]), textarea, select");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
}

function start() {
  show(byId("shortcuts"), SHORTCUTS.map(([keys, does]) => h("div", {},
    h("dt", {}, keys.split(" ").map((one, at) => [at ? " " : "", h("kbd", {}, one)])), h("dd", {}, does))));
  ask.start();
  api.server.addEventListener("change", header);
  byId("key-button").addEventListener("click", keyDialog);
  byId("key-dialog").addEventListener("close", keyChosen);
  byId("help-button").addEventListener("click", KEYS["?"]);
  document.addEventListener("keydown", pressed);
  addEventListener("hashchange", route);
  header();
  route();
  watch();
}

start();
