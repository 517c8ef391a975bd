// The view Journal: what happened to the sheet, newest first, and the undoing of any entry.
// Knows events; that nothing is ever taken out of a journal (an undo is an entry of its own).

import * as api from "./api.js";
import { announce, button, byId, confirmed, h, note, once, show, told } from "./dom.js";
import { link, links } from "./effects.js";
import { clear, fail } from "./notice.js";
import { ago, plural, when } from "./words.js";

const PAGE = 50;
const SHOWN = 5;
const place = byId("journal-body");

export async function enter() {
  const list = h("ol", { class: "list journal", reversed: true });
  const below = h("div");
  const rule = "Nothing is ever taken out: to undo an entry adds another one.";
  show(place, h("p", { class: "soft lead" }, rule), list, below);
  show(below, h("p", { class: "soft" }, "Reading the journal…"));
  try {
    await older(list, below, await newest());
  } catch (error) {
    fail(below, error);
  }
}

async function newest() {
  await api.look();
  return api.server.head ?? 0;
}

/** Events are numbered without a gap, so the page that ends at `last` begins right after `last - PAGE`. */
async function older(list, below, last) {
  const after = Math.max(0, last - PAGE);
  const reply = last ? await api.journal({ after, limit: last - after }) : { data: [] };
  list.append(...reply.data.map(entry).reverse());
  const count = list.children.length;
  announce(`${plural(count, "entry", "entries")} shown.`);
  show(below, after ? more(list, below, after) : count ? null : h("p", { class: "soft" }, "No events yet."));
}

function more(list, below, last) {
  const read = () => older(list, below, last).catch((error) => fail(below, error));
  return button("Show older", (pressed) => once(pressed, "Reading…", read));
}

function entry(event) {
  const wrong = h("div");
  const step = backward(event);
  return h("li", { class: "entry", value: event.seq },
    h("p", { class: "meta" },
      h("span", { class: "id" }, `#${event.seq}`),
      h("time", { datetime: event.time, title: ago(event.time) }, when(event.time)),
      h("span", {}, event.who)),
    h("div", { class: "what" },
      what(event),
      step && button(`Undo #${event.seq}`, (pressed) => takeBack(pressed, event, step, wrong))),
    wrong);
}

function what(event) {
  if (event.kind === "export") return h("p", {}, "exported ", Object.values(event.payload.detail).join(" to "));
  if (event.kind === "apply") return applied(event);
  return h("p", {}, event.kind === "undo" ? "undid " : "redid ", links(event.payload.ids));
}

function applied(event) {
  const items = event.payload.edits;
  const rest = items.length - SHOWN;
  const shown = items.slice(0, SHOWN).map((item) => edited(item, event.method));
  return h("div", {}, shown, rest > 0 ? h("p", { class: "soft" }, `and ${plural(rest, "more edit")}`) : null);
}

function edited({ id, edit, status, reason }, method) {
  const done = status === "done";
  const line = h("p", {}, "edited ", link(id), ` with ${method}`, done ? "" : ` (failed: ${reason})`);
  return [line, told(edit.prompt ?? edit.messages.at(-1).content, edit.target, done)];
}

/** What takes an entry back: the action, the edits it is done to, and how to say it; null where nothing does. */
function backward(event) {
  if (event.kind === "undo") return { action: api.redoAll, verb: "redo", of: event.payload.ids };
  if (event.kind === "redo") return { action: api.undoAll, verb: "undo", of: event.payload.ids };
  if (event.kind !== "apply") return null;
  const done = event.payload.edits.filter((item) => item.status === "done").map((item) => item.id);
  return done.length ? { action: api.undoAll, verb: "undo", of: done } : null;
}

async function takeBack(pressed, event, step, wrong) {
  const some = step.of.slice(0, 8).join(", ") + (step.of.length > 8 ? ", …" : "");
  const does = `This will ${step.verb} ${plural(step.of.length, "edit")} (${some}) for everyone who asks.`;
  const text = `${does} It is an entry of its own, and can be undone.`;
  const yes = await confirmed(`Undo entry #${event.seq}?`, text, "Undo");
  if (!yes) return pressed.focus();
  clear(wrong);
  await once(pressed, "Undoing…", async () => {
    try {
      const { changed } = await step.action(step.of);
      if (!changed.length) return show(wrong, note("", h("p", {}, "Nothing changed: it was undone by a later entry.")));
      await enter();
      announce(`Entry ${event.seq} is undone.`);
      byId("journal-title").focus();
    } catch (error) {
      fail(wrong, error);
    }
  });
}
