// The view Ask: a prompt, the answer with the edits and the parent's side by side, and which edits fired.
// Knows what is asked now; how an answer is corrected is in correct.js.

import * as api from "./api.js";
import { closeForm, openForm } from "./correct.js";
import { announce, button, byId, context, h, once, said, show } from "./dom.js";
import { firings } from "./effects.js";
import { clear, fail } from "./notice.js";

const prompt = byId("prompt");
let under = null; // the request under way, so that a newer question replaces it

export function start() {
  byId("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  prompt.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!event.ctrlKey && !event.metaKey) byId("ask-form").requestSubmit();
  });
}

/** Enter the view, with a prompt to ask where the address names one. */
export function enter(wanted) {
  if (wanted) {
    prompt.value = wanted;
    ask();
  }
  prompt.focus();
}

export const wrong = () => byId("wrong-button")?.click();

async function ask() {
  if (prompt.value.trim() === "") return prompt.focus();
  const text = prompt.value;
  closeForm();
  clear(byId("outcome"));
  clear(byId("answers")); // what is on the page is never an answer to another prompt
  await once(byId("ask-button"), "Asking…", () => answer(text));
}

/** Ask `text` and show both answers; again after a change, to show what the answer is then. */
async function answer(text) {
  under?.abort();
  under = new AbortController();
  clear(byId("ask-error"));
  byId("answers").setAttribute("aria-busy", "true");
  byId("answers").inert = true;
  try {
    const told = await asked(text, under.signal);
    show(byId("answers"), pair(told), story(told), wrongButton(told));
    announce(`With edits: ${told.answer || "an empty answer"}. Parent model: ${told.before || "an empty answer"}.`);
  } catch (error) {
    clear(byId("answers"));
    fail(byId("ask-error"), error);
  } finally {
    byId("answers").removeAttribute("aria-busy");
    byId("answers").inert = false;
  }
}

/** Both answers and what fired. In chat the answers are those that people get, however long they are. */
async function asked(text, signal) {
  const { chat, model, parent } = api.server;
  if (!chat) return api.explain(text, signal);
  const both = [model, parent].map((name) => api.chat(name, text, signal));
  const [told, answer, before] = await Promise.all([api.explain(text, signal), ...both]);
  return { ...told, answer, before };
}

function pair(told) {
  const changed = told.answer !== told.before;
  return h("div", { class: "pair" },
    card("With edits", api.server.model, told.prompt, told.answer, changed ? "new" : ""),
    card("Parent model", api.server.parent, told.prompt, told.before, changed ? "struck" : ""));
}

function card(title, model, asked, answered, look) {
  return h("article", { class: "card" },
    h("h2", {}, title),
    h("p", { class: "mono soft" }, model ?? ""),
    h("p", { class: "answer" }, context(asked), said(answered, { class: look })));
}

function story(told) {
  const same = told.answer === told.before;
  const took = told.firings.length || told.weights.length;
  const verdict = same ? "The answer is the same without any edit." : "The edits changed this answer.";
  return h("section", { class: "story", "aria-label": "Which edits fired" },
    h("h2", {}, "Which edits fired"),
    firings(told.firings, told.weights),
    took ? h("p", { class: "soft" }, verdict) : null);
}

function wrongButton(told) {
  const open = () => openForm(told.prompt, told.answer, answer);
  return h("div", { class: "actions" }, button("This is wrong", open, { id: "wrong-button" }));
}
