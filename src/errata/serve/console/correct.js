// Correcting an answer: the form, the trial (a dry run), and the choice between Accept and Reject.
// Knows one correction at a time; nothing is recorded before Accept.

import * as api from "./api.js";
import { announce, button, byId, context, field, h, note, once, said, show, text } from "./dom.js";
import { effectsTable, firings, link, stayed } from "./effects.js";
import { clear, fail } from "./notice.js";
import { optionFields } from "./options.js";
import { brief, guessSubject, lines } from "./words.js";

const place = byId("correction");
let known = null; // the methods, asked for once
let form = null; // what is being corrected: {prompt, answered, again, options, trial, abort, accepting}

/** Open the form for an answer that is wrong. `again(prompt)` is called when the answer may have become another. */
export async function openForm(prompt, answered, again) {
  clear(byId("outcome"));
  show(place, h("p", { class: "soft", "aria-busy": "true" }, "Reading the methods…"));
  try {
    known ??= await api.methods();
  } catch (error) {
    return fail(place, error);
  }
  form = { prompt, answered, again, options: null, trial: null, abort: null, accepting: false };
  show(place, draw(), h("div", { id: "trial" }));
  chooseMethod();
  place.scrollIntoView({ block: "nearest" });
  byId("target").focus();
}

export function closeForm() {
  form?.abort?.abort();
  form = null;
  clear(place);
}

/** The next step: try what the form says, or accept what was tried. */
export const apply = () => (byId("accept-button") ?? byId("try-button"))?.click();

function draw() {
  const props = { class: "card correct", "aria-labelledby": "correct-title", oninput: changed, onsubmit: submitted };
  return h("form", props,
    h("h2", { id: "correct-title" }, "What is right?"),
    h("p", { class: "answer" }, context(form.prompt), said(form.answered, { class: "struck" })),
    h("div", { class: "fields" },
      field("Right answer", text("input", "target", { required: true })),
      field("Subject", text("input", "subject", { value: guessSubject(form.prompt) }),
        "Whom or what it is about, spelled as in the prompt; guessed. Some methods need it."),
      field("Method", h("select", { id: "method", onchange: chooseMethod }, known.data.map(choice)), " ")),
    h("details", {}, h("summary", {}, "Options of the method"), h("div", { class: "fields", id: "options" })),
    h("div", { class: "fields" },
      field("Rephrases", text("textarea", "rephrases", { rows: 3 }),
        "Other ways to ask, one a line. They should follow."),
      field("Neighbours to keep", text("textarea", "neighbours", { rows: 3 }),
        "Questions that must keep their answers, one a line.")),
    h("div", { class: "actions" },
      h("button", { type: "submit", class: "main", id: "try-button" }, "Try"),
      button("Cancel", reject, { class: "quiet" }),
      h("span", { class: "hint" }, "A trial changes nothing.")));
}

const choice = (method) => h("option", { value: method.name, selected: method.name === known.default }, method.name);

function chooseMethod() {
  const method = known.data.find((one) => one.name === byId("method").value);
  byId("method-hint").textContent = `${method.summary} (${method.paper})`;
  form.options = optionFields(method.schema);
  show(byId("options"), form.options.nodes);
}

/** A trial says nothing of a form that was changed since: what is accepted is exactly what was tried. */
function changed() {
  if (!form.trial) return;
  form.trial = null;
  show(byId("trial"), note("", h("p", {}, "Changed since it was tried. Try again before you accept.")));
}

function submitted(event) {
  event.preventDefault();
  tryOut();
}

function wanted() {
  const edit = { prompt: form.prompt, target: byId("target").value.trim() };
  const subject = byId("subject").value.trim();
  const rephrases = lines(byId("rephrases").value);
  const neighbours = lines(byId("neighbours").value);
  if (subject) edit.subject = subject;
  if (rephrases.length) edit.rephrases = rephrases;
  if (neighbours.length) edit.locality = neighbours.map((prompt) => ({ prompt }));
  return { edits: [edit], method: byId("method").value, options: form.options.values() };
}

async function tryOut() {
  const mine = form;
  if (mine.accepting) return;
  await once(byId("try-button"), "Trying…", async () => {
    const body = wanted();
    mine.trial = null;
    mine.abort = new AbortController();
    clear(byId("trial"));
    try {
      const told = await api.correct({ ...body, dry_run: true }, mine.abort.signal);
      if (mine !== form) return;
      mine.trial = body;
      show(byId("trial"), trial(told));
      byId("trial-title").focus();
    } catch (error) {
      if (mine === form) fail(byId("trial"), error);
    }
  });
}

function trial(told) {
  const [result] = told.results;
  const [effects] = told.effects;
  const reached = result.status === "done";
  const becomes = `The answer becomes “${effects.after.trim()}”. ${stayed(effects)}`;
  const verdict = reached ? becomes : `The answer was not reached: ${result.reason}`;
  announce(verdict);
  return h("section", { class: "card trial", "aria-labelledby": "trial-title" },
    h("h2", { id: "trial-title", tabindex: -1 }, "Before and after"),
    h("p", { class: reached ? "" : "notice bad" }, verdict),
    h("p", { class: "soft", id: "resolved-target" }, "Right answer: ", said(result.target ?? effects.target)),
    effectsTable(effects),
    effects.fired?.length ? [h("h3", {}, "Which edits would fire"), firings(effects.fired)] : null,
    told.gate.map((one) => h("p", { class: "hint" }, `Gate ${one.condition}: ${one.reason}.`)),
    h("p", { class: "soft" }, `Tried in ${brief(told.seconds)} s. Nothing has been recorded yet.`),
    h("div", { class: "actions" },
      reached ? button("Accept", accept, { class: "main", id: "accept-button" }) : null,
      button("Reject", reject, { id: "reject-button" })));
}

async function accept(pressed) {
  const mine = form;
  if (mine.accepting) return;
  mine.accepting = true;
  await once(pressed, "Accepting…", async () => {
    try {
      const told = await api.correct({ ...mine.trial, dry_run: false });
      accepted(told, mine);
    } catch (error) {
      const where = h("div");
      (byId("trial") ?? byId("outcome")).append(where);
      fail(where, error);
    }
  });
  mine.accepting = false;
}

function accepted(told, mine) {
  const [result] = told.results;
  if (result.status !== "done") throw new Error(`It was not accepted: ${result.reason}`);
  const again = () => mine.again(mine.prompt);
  const old = result.superseded.length ? ` It supersedes ${result.superseded.join(", ")}.` : "";
  show(byId("outcome"), note("good",
    h("p", {},
      h("strong", {}, "Accepted as "), link(result.id), `: event ${told.head} of the journal, and live.${old}`),
    h("div", { class: "actions" }, button(`Undo ${result.id}`, (pressed) => takeBack(pressed, result.id, again)))));
  announce(`Accepted as ${result.id}; live.`);
  if (mine !== form) return; // something else is being asked by now
  closeForm();
  again();
  byId("prompt").focus();
}

async function takeBack(pressed, id, again) {
  await once(pressed, "Undoing…", async () => {
    try {
      await api.undo(id);
      show(byId("outcome"), note("", h("p", {}, link(id), " is undone; it can be redone under Edits.")));
      again();
    } catch (error) {
      fail(byId("outcome"), error);
    }
  });
}

/** Nothing was recorded, so there is nothing to take back: forget the trial and the form. */
export function reject() {
  if (!form || form.accepting) return;
  const tried = form.trial !== null;
  closeForm();
  show(byId("outcome"), note("", h("p", {}, tried ? "Rejected. Nothing was recorded." : "Nothing was changed.")));
  byId("wrong-button")?.focus();
}
