// Small line plots as inline SVG: points with intervals over the journal's events.
// Knows numbers and where to draw them.

import { h, s } from "./dom.js";

const W = 320;
const H = 150;
const LEFT = 48;
const RIGHT = 10;
const TOP = 10;
const FOOT = 26;

/**
 * A plot of [{x, y, low, high}] in the order of x; low and high may be missing, all of them lie in `range`.
 * `range` is [least, most] of y; `spelled` writes a value of y; `step` draws stairs; `words` says all of it at once.
 */
export function plot({ points, range, last, spelled, step = false, words }) {
  const x = (value) => LEFT + ((W - LEFT - RIGHT) * value) / Math.max(1, last);
  const y = (value) => TOP + (H - TOP - FOOT) * (1 - (value - range[0]) / (range[1] - range[0] || 1));
  const dot = points.length > 60 ? 1 : 3.2;
  return s("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": words, class: "plot" },
    ticks(range).map((value) => [
      s("line", { x1: LEFT, x2: W - RIGHT, y1: y(value), y2: y(value), class: "grid" }),
      s("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, spelled(value))]),
    s("text", { x: LEFT, y: H - 8 }, "0"),
    s("text", { x: W - RIGHT, y: H - 8, "text-anchor": "end" }, `event ${last}`),
    points.filter((one) => one.low !== undefined).map((one) =>
      s("line", { x1: x(one.x), x2: x(one.x), y1: y(one.low), y2: y(one.high), class: "interval" })),
    s("path", { d: path(points, x, y, step), class: "line" }),
    step ? null : points.map((one) => s("circle", { cx: x(one.x), cy: y(one.y), r: dot, class: "dot" })));
}

const ticks = ([least, most]) => [least, (least + most) / 2, most];

function path(points, x, y, step) {
  return points.map((point, at) => {
    if (!at) return `M${x(point.x)} ${y(point.y)}`;
    return step ? `H${x(point.x)}V${y(point.y)}` : `L${x(point.x)} ${y(point.y)}`;
  }).join("");
}

/** The same numbers for those who read rather than look. */
export function numbers(caption, points, spelled) {
  return h("details", { class: "numbers" }, h("summary", {}, "Numbers"),
    h("table", {}, h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Event"), h("th", { scope: "col" }, "Value"))),
      h("tbody", {}, points.map((point) => h("tr", {}, h("td", {}, String(point.x)), h("td", {}, spelled(point.y)))))));
}
