// The view Gauges: reliability, locality and drawdown with their intervals, and how they lie over the stream of edits.
// Knows what /v1/evaluate returns, and what /v1/evaluations keeps of it.

import * as api from "./api.js";
import { announce, button, byId, h, once, show } from "./dom.js";
import { clear, fail } from "./notice.js";
import { numbers, plot } from "./plot.js";
import { inForce, running } from "./stream.js";
import { ago, percent, plural } from "./words.js";

const place = byId("gauges-body");
const same = (one, other) => one.trim() === other.trim();

// `grade` reads one answer about one edit; drawdown has none, as its questions belong to no edit.
const GAUGES = [
  {
    name: "reliability",
    meaning: "Edited prompts that get their right answer",
    grade: (answer) => Number(same(answer.said, answer.expected)),
  },
  {
    name: "locality",
    meaning: "Questions that no edit is about, and whose answers stayed",
    grade: (answer) => Number(answer.said === answer.before),
  },
  { name: "drawdown", meaning: "Right answers to other questions, lost through the edits", grade: null },
];

let latest = null; // the last report of this page, with all its answers
let history = []; // what was measured so far, here or elsewhere: [{head, time, figures}], oldest first

export async function enter() {
  const wrong = h("div");
  const cards = h("div", { class: "gauges" });
  const begin = (pressed) => once(pressed, "Measuring…", () => measure(cards, wrong));
  const hint = "Asks every question of the sheet, with the edits and without. This can take a while.";
  show(place,
    h("div", { class: "actions" }, button("Measure now", begin, { class: "main" }), h("span", { class: "hint" }, hint)),
    wrong, cards);
  try {
    await read(cards);
  } catch (error) {
    fail(wrong, error);
  }
}

async function measure(cards, wrong) {
  clear(wrong);
  try {
    latest = await api.evaluate();
    await read(cards);
    const measured = GAUGES.filter(({ name }) => latest.figures[name]);
    announce(measured.map(({ name }) => `${name} ${percent(latest.figures[name].value)}`).join(", "));
  } catch (error) {
    fail(wrong, error);
  }
}

async function read(cards) {
  history = (await api.evaluations()).data;
  draw(cards, await api.everyEvent());
}

/** The measurements that have a figure of this name. */
const measuredBy = (name) => history.filter((one) => one.figures[name]);

function draw(cards, events) {
  const last = events.at(-1)?.seq ?? 0;
  show(cards, GAUGES.map((gauge) => card(gauge, events, last)), stream(events, last));
}

function card(gauge, events, last) {
  const measured = measuredBy(gauge.name).at(-1);
  const figure = measured?.figures[gauge.name];
  return h("article", { class: "card gauge" },
    h("h2", {}, gauge.name),
    h("p", { class: "hint" }, `${gauge.meaning}.`),
    figure ? value(figure, measured, last) : h("p", { class: "soft" }, absent(gauge)),
    figure ? drawn(gauge, events, last) : null);
}

function absent(gauge) {
  if (!history.length) return "Not measured yet.";
  return `Not measured: ${latest?.unmeasured?.[gauge.name] ?? "no question was asked that it could be measured by"}.`;
}

function value(figure, measured, last) {
  const old = last > measured.head ? `, ${plural(last - measured.head, "event")} since` : "";
  const interval = `95 % interval ${percent(figure.low)} to ${percent(figure.high)}, n = ${figure.n}.`;
  return [
    h("p", { class: "figure" }, percent(figure.value)),
    h("p", { class: "soft" }, `${interval} At event ${measured.head}, ${ago(measured.time)}${old}.`),
  ];
}

/** What was measured at each event; and, of the last report, how the edits up to each event hold now. */
function drawn(gauge, events, last) {
  const answers = (latest?.answers ?? []).filter((answer) => answer.question.kind === gauge.name);
  const now = gauge.grade ? running(answers, events, gauge.grade) : [];
  const points = measuredBy(gauge.name).map((one) => point(one, gauge.name));
  const least = Math.min(0, ...points.map((one) => one.low));
  const most = gauge.name === "drawdown" ? Math.max(0.02, ...points.map((one) => one.high)) : 1;
  const range = [least, most];
  return [
    picture(points, { range, last, spelled: short }, `${gauge.name} as measured, with 95 % intervals`),
    now.length > 1
      ? picture(now, { range: [0, 1], last, spelled: short }, `${gauge.name} now, of the edits up to each event`)
      : null,
  ];
}

function point({ head, figures }, name) {
  const { value, low, high } = figures[name];
  return { x: head, y: value, low, high };
}

const short = (share) => `${Number((100 * share).toFixed(1))} %`;

function stream(events, last) {
  const points = inForce(events);
  const most = 2 * Math.ceil(Math.max(1, ...points.map((one) => one.y)) / 2); // even: the middle is a whole number too
  return h("article", { class: "card gauge" },
    h("h2", {}, "Edits in force"),
    h("p", { class: "hint" }, "After each event of the journal."),
    h("p", { class: "figure" }, String(points.at(-1).y)),
    h("p", { class: "soft" }, `${plural(events.length, "event")} so far.`),
    picture(points, { range: [0, most], last, spelled: String, step: true }, "edits in force after each event"));
}

function picture(points, how, caption) {
  const words = `${caption}: ${plural(points.length, "point")}, the last ${how.spelled(points.at(-1).y)}.`;
  return h("figure", {},
    plot({ points, words, ...how }), h("figcaption", {}, caption), numbers(caption, points, how.spelled));
}
