// What an edit does to answers, as a table, and which edits fired, as distances within radii.
// Knows the shapes of /v1/edits/{id}/effects and /v1/explain; knows nothing of requests.

import { h, s, said } from "./dom.js";
import { brief, plural } from "./words.js";

const COLUMNS = ["Question", "Before", "After", "Verdict"];

const same = (one, other) => (one ?? "").trim() === (other ?? "").trim();

/** Groups of questions with the answers before and after: [{title, rows: [{prompt, before, after, verdict, good}]}]. */
export function asked(groups) {
  const filled = groups.filter((group) => group.rows.length);
  return h("table", { class: "asked" },
    h("thead", {}, h("tr", {}, COLUMNS.map((name) => h("th", { scope: "col" }, name)))),
    filled.map((group) => h("tbody", {},
      h("tr", { class: "group" }, h("th", { colspan: 4, scope: "rowgroup" }, group.title)),
      group.rows.map(line))));
}

function line(row) {
  const changed = !same(row.before, row.after);
  return h("tr", {},
    h("th", { scope: "row", "data-name": "Question" }, said(row.prompt), row.note ? h("small", {}, row.note) : null),
    h("td", { "data-name": "Before" }, said(row.before, { class: changed ? "struck" : "" })),
    h("td", { "data-name": "After" }, said(row.after, { class: changed ? "new" : "" })),
    h("td", { "data-name": "Verdict" }, h("span", { class: `verdict ${row.good ? "good" : "bad"}` }, row.verdict)));
}

/** All that one edit does: the prompt itself, its rephrases, what must not move, and the sheet's other questions. */
export function effectsTable(effects) {
  const follows = (yes, no) => (row) => {
    const good = same(row.after, effects.target);
    return { ...row, good, verdict: good ? yes : no };
  };
  const entailed = (row) => {
    const good = same(row.after, row.expected);
    return { ...row, note: `expected: ${row.expected}`, good, verdict: good ? "follows" : "does not follow" };
  };
  const stays = (row) => {
    const verdict = row.moved ? "moved" : "unchanged";
    return { ...row, note: row.kind ?? row.id, good: !row.moved, verdict };
  };
  return asked([
    { title: "The edit", rows: [effects].map(follows("corrected", "not corrected")) },
    { title: "Rephrases", rows: (effects.rephrases ?? []).map(follows("follows", "does not follow")) },
    { title: "What follows from it", rows: (effects.portability ?? []).map(entailed) },
    { title: "Must not move", rows: (effects.locality ?? []).map(stays) },
    { title: "Other edits and the sheet's questions", rows: (effects.neighbours ?? []).map(stays) },
  ]);
}

/** In one sentence: how many of the questions that should stay did. */
export function stayed(effects) {
  const others = [...(effects.locality ?? []), ...(effects.neighbours ?? [])];
  const moved = others.filter((row) => row.moved).length;
  if (!others.length) return "No other question was asked: add neighbours to see whether they stay.";
  if (!moved) return `No other question moved (${others.length} asked).`;
  return `${moved} of ${plural(others.length, "other question")} moved.`;
}

/** Which keys fired, and the weight edits, which act on every answer. */
export function firings(fired, weights = []) {
  if (!fired.length && !weights.length) return h("p", { class: "soft" }, "No edit had a part in this answer.");
  return h("div", { class: "fired" },
    fired.length ? h("ul", {}, fired.map(firing)) : null,
    weights.length ? h("p", {}, "Weight edits, in force on every answer: ", links(weights)) : null);
}

export const link = (id) => h("a", { href: `#edits/${encodeURIComponent(id)}`, class: "id" }, id);

/** Links to edits, with commas; no more than twelve of them. */
export function links(ids) {
  const shown = ids.slice(0, 12).map((id, at) => [at ? ", " : "", link(id)]);
  return ids.length > 12 ? [shown, ` and ${ids.length - 12} more`] : shown;
}

function firing(fired) {
  const token = fired.token === undefined ? "" : ` “${fired.token.trim()}”`;
  return h("li", {},
    h("p", {}, link(fired.edit), " fired at block ", String(fired.layer), `, token ${fired.position}${token}`,
      fired.edit_prompt ? h("small", {}, said(fired.edit_prompt), " → ", said(fired.target)) : null),
    nearness(fired));
}

function nearness({ distance, radius }) {
  const share = radius > 0 ? Math.min(1, distance / radius) : 0;
  const words = `distance ${brief(distance)} within radius ${brief(radius)}`;
  return h("div", { class: "near" },
    s("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
      s("rect", { x: 0, y: 3, width: 100, height: 2, class: "track" }),
      s("rect", { x: 0, y: 3, width: 100 * share, height: 2, class: "reach" }),
      s("rect", { x: Math.min(98.6, 100 * share), y: 0, width: 1.4, height: 8, class: "reach" })),
    h("span", {}, words));
}
