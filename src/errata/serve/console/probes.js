// The view Probes: the sheet's own questions, which gates, trials and evaluations ask; to be listed, added and removed.
// Knows the list and one form; what the questions are worth is measured under Gauges.

import * as api from "./api.js";
import { announce, button, byId, field, h, once, said, show, text } from "./dom.js";
import { clear, fail } from "./notice.js";
import { plural } from "./words.js";

const KINDS = ["upstream", "locality"];
const place = byId("probes-body");

export async function enter() {
  const list = h("ul", { class: "list probes" });
  const count = h("p", { class: "soft", role: "status" }, "Reading the probes…");
  const wrong = h("div");
  show(place, form(list, count, wrong), wrong, count, list);
  try {
    draw(list, count, (await api.probes()).data);
  } catch (error) {
    fail(wrong, error);
    clear(count);
  }
}

function form(list, count, wrong) {
  const add = h("button", { type: "submit", class: "main", id: "probe-add" }, "Add");
  const submitted = (event) => {
    event.preventDefault();
    once(add, "Adding…", () => added(list, count, wrong));
  };
  const kinds = KINDS.map((kind) => h("option", { value: kind }, kind));
  return h("form", { class: "card correct", "aria-label": "Add a probe", onsubmit: submitted },
    h("div", { class: "fields" },
      field("Question", text("input", "probe-prompt", { required: true }), "One that no edit is about."),
      field("Right answer", text("input", "probe-answer"), "Left out: what the model says without edits."),
      field("Kind", h("select", { id: "probe-kind" }, kinds), "Drawdown counts upstream ones that were right; of locality ones every answer must stay."),
      field("About", text("input", "probe-about"), "A word by which figures are told apart.")),
    h("div", { class: "actions" }, add, h("span", { class: "hint" }, "Edits are judged by it from the next one on.")));
}

const value = (id) => byId(id).value.trim();

async function added(list, count, wrong) {
  clear(wrong);
  const probe = { prompt: value("probe-prompt"), kind: value("probe-kind"), about: value("probe-about") };
  if (value("probe-answer")) probe.answer = value("probe-answer");
  try {
    await api.addProbe(probe);
    draw(list, count, (await api.probes()).data);
    for (const id of ["probe-prompt", "probe-answer"]) byId(id).value = "";
    byId("probe-prompt").focus();
    announce("Added.");
  } catch (error) {
    fail(wrong, error);
  }
}

function draw(list, count, probes) {
  show(count, probes.length ? `${plural(probes.length, "probe")}.` : "No probes yet.");
  show(list, [...probes].reverse().map((probe) => item(probe, list, count)));
}

function item(probe, list, count) {
  const wrong = h("div");
  const remove = (pressed) => once(pressed, "Removing…", () => removed(probe, pressed, list, count, wrong));
  const answer = probe.answer ? ["→ ", said(probe.answer)] : h("span", { class: "soft" }, "whatever it says unedited");
  return h("li", { class: "card edit probe", "data-id": probe.id },
    h("p", { class: "meta" }, h("span", { class: "id" }, probe.kind), probe.about ? h("span", {}, probe.about) : null),
    h("p", { class: "answer" }, said(probe.prompt), " ", answer),
    h("div", { class: "actions" }, button("Remove", remove, { "aria-label": `Remove: ${probe.prompt}` })),
    wrong);
}

/** The focus goes to the probe that takes the removed one's place, so that several can be removed in a row. */
async function removed(probe, pressed, list, count, wrong) {
  clear(wrong);
  const at = [...list.children].indexOf(pressed.closest("li"));
  try {
    await api.removeProbe(probe.id);
    draw(list, count, (await api.probes()).data);
    const next = list.children[Math.min(at, list.children.length - 1)];
    (next?.querySelector("button") ?? byId("probe-prompt")).focus();
    announce("Removed.");
  } catch (error) {
    fail(wrong, error);
  }
}
