// The view Edits: every edit of the sheet with its status, what it does, and the way back.
// Knows the list and its filter; effects are drawn in effects.js.

import * as api from "./api.js";
import { announce, button, byId, h, note, once, show, told } from "./dom.js";
import { effectsTable, firings, stayed } from "./effects.js";
import { clear, fail } from "./notice.js";
import { ago, plural, when } from "./words.js";

const STATUSES = ["", "active", "undone", "superseded", "failed"];
const PAGE = 50;
const place = byId("edits-body");
let status = "";

/** Enter the view; with an id, that one edit alone, its effects open. */
export async function enter(id) {
  const list = h("ul", { class: "list" });
  const below = h("div");
  show(place, id ? alone() : filter(), list, below);
  show(below, h("p", { class: "soft" }, "Reading the edits…"));
  try {
    if (id) await one(id, list, below);
    else await all(list, below);
  } catch (error) {
    fail(below, error);
  }
}

const alone = () => h("p", {}, h("a", { href: "#edits" }, "← All edits"));

function filter() {
  const options = STATUSES.map((name) => {
    const chosen = { checked: name === status, onchange: () => choose(name) };
    return h("label", {}, h("input", { type: "radio", name: "status", ...chosen }), h("span", {}, name || "all"));
  });
  return h("fieldset", { class: "segments" }, h("legend", { class: "unseen" }, "Status"), options);
}

async function choose(name) {
  status = name;
  await enter(null);
  document.querySelector("input[name=status]:checked").focus();
}

async function one(id, list, below) {
  const node = item(await api.oneEdit(id));
  show(list, node);
  clear(below);
  node.querySelector(".effects-button")?.click();
}

async function all(list, below) {
  const edits = await api.everyEdit(status);
  if (!list.isConnected) return; // another filter was chosen meanwhile
  announce(plural(edits.length, "edit"));
  show(below, edits.length ? null : empty());
  page(list, below, edits.reverse());
}

/** The newest edits first, as many as can be read. */
function page(list, below, edits) {
  list.append(...edits.slice(0, PAGE).map(item));
  const rest = edits.slice(PAGE);
  if (rest.length) show(below, button(`Show more (${rest.length} left)`, () => page(list, below, rest)));
  else if (list.children.length) clear(below);
}

function empty() {
  const what = status ? `No edit is ${status}.` : "No edits yet. Ask something, and say what is wrong.";
  return h("p", { class: "soft" }, what);
}

function item(edit) {
  const wrong = h("div");
  const body = h("div", { class: "more", id: `effects-${edit.id}`, hidden: true });
  return h("li", { class: "card edit", "data-id": edit.id },
    h("p", { class: "meta" },
      h("span", { class: "id" }, edit.id),
      h("span", { class: `status ${edit.status}` }, edit.status),
      h("span", {}, edit.method),
      h("time", { datetime: edit.time, title: when(edit.time) }, ago(edit.time)),
      h("span", {}, `by ${edit.who}`)),
    told(edit.prompt, edit.target, edit.status === "active"),
    edit.reason ? h("p", { class: "hint" }, edit.reason) : null,
    edit.superseded_by ? h("p", { class: "hint" }, `Superseded by ${edit.superseded_by}.`) : null,
    h("div", { class: "actions" }, buttons(edit, body, wrong)),
    wrong, body);
}

function buttons(edit, body, wrong) {
  const ask = h("a", { class: "button", href: `#ask/${encodeURIComponent(edit.prompt)}` }, "Ask");
  if (edit.status === "failed") return [ask];
  const opens = { class: "effects-button", "aria-expanded": "false", "aria-controls": body.id };
  const change = edit.status === "undone" ? ["Redo", "Redoing…", api.redo] : ["Undo", "Undoing…", api.undo];
  return [
    button("Effects", (pressed) => toggle(pressed, edit, body), opens),
    button(change[0], (pressed) => turn(pressed, change, edit, wrong), { class: "turn-button" }),
    ask,
  ];
}

async function turn(pressed, [, doing, action], edit, wrong) {
  await once(pressed, doing, async () => {
    clear(wrong);
    try {
      const { notes } = await action(edit.id);
      const fresh = item(await api.oneEdit(edit.id));
      pressed.closest("li").replaceWith(fresh);
      fresh.querySelector(".turn-button").focus();
      if (notes.length) fresh.append(note("", notes.map((text) => h("p", {}, text))));
      announce(`${edit.id} is ${fresh.querySelector(".status").textContent}.`);
    } catch (error) {
      fail(wrong, error);
    }
  });
}

async function toggle(pressed, edit, body) {
  const open = pressed.getAttribute("aria-expanded") === "true";
  pressed.setAttribute("aria-expanded", String(!open));
  body.hidden = open;
  if (open) return;
  await once(pressed, "Asking…", async () => {
    try {
      const reply = await api.effects(edit.id);
      show(body, h("p", {}, stayed(reply)), effectsTable(reply), h("h3", {}, "Which edits fire"), firings(reply.fired));
    } catch (error) {
      fail(body, error);
    }
  });
}
