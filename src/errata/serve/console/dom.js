// Elements made from data. Text only ever becomes text nodes, so nothing a model says can become markup.
// Knows the DOM; knows nothing of the server.

const SVG = "http://www.w3.org/2000/svg";

function build(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  const shown = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  node.append(...shown);
  return node;
}

/** An HTML element: attributes, "on…" listeners, then children (nodes or texts; null and false are left out). */
export function h(tag, props = {}, ...children) {
  return build(document.createElement(tag), props, children);
}

/** An SVG element, in the same way. */
export function s(tag, props = {}, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

/** A button that does `act` with itself as the argument. */
export function button(label, act, props = {}) {
  const node = h("button", { type: "button", ...props, onclick: () => act(node) }, label);
  return node;
}

/** A control that takes text: an "input" or a "textarea". */
export const text = (tag, id, more) => h(tag, { id, dir: "auto", autocomplete: "off", spellcheck: "false", ...more });

/** A control with its label, and a hint below it. */
export function field(label, control, hint) {
  const about = `${control.id}-hint`;
  if (hint) control.setAttribute("aria-describedby", about);
  return h("div", { class: "field" },
    h("label", { for: control.id }, label), control, hint ? h("p", { class: "hint", id: about }, hint) : null);
}

/** A word to the user, in place: `look` is "", "good" or "bad". */
export const note = (look, ...children) => h("div", { class: `notice ${look}`, role: "status" }, children);

export const byId = (id) => document.getElementById(id);

export function show(place, ...children) {
  place.replaceChildren(...children.flat(Infinity).filter(Boolean));
}

/** Say something to those who listen rather than look. */
export function announce(text) {
  byId("said").textContent = text;
}

/** A text of the model or a user: its own direction, its own spaces; an empty one is said to be empty. */
export function said(text, props = {}) {
  if (text === null || text === undefined) return h("span", { ...props, class: "soft" }, "not asked");
  if (text.trim() === "") return h("span", { ...props, class: "soft" }, "(an empty answer)");
  return h("span", { ...props, dir: "auto", class: `said ${props.class ?? ""}` }, text);
}

/** The prompt before its answer. */
export const context = (prompt) => h("span", { class: "soft", dir: "auto" }, `${prompt.trimEnd()} `);

/** What an edit says: its prompt and its target, marked where it is in force. */
export function told(prompt, target, inForce, ...before) {
  return h("p", { class: "answer" }, before, said(prompt), " → ", said(target, { class: inForce ? "new" : "" }));
}

/**
 * Runs `action` for a button, once at a time: until it ends the button says how long it has taken, and does nothing.
 * The button keeps the focus, which a disabled one would lose.
 */
export async function once(button, doing, action) {
  if (button.getAttribute("aria-disabled") === "true") return;
  const label = button.textContent;
  const began = performance.now();
  const tick = () => {
    const seconds = Math.floor((performance.now() - began) / 1000);
    button.textContent = seconds ? `${doing} ${seconds} s` : doing;
  };
  button.setAttribute("aria-disabled", "true");
  button.setAttribute("aria-busy", "true");
  announce(doing);
  tick();
  const timer = setInterval(tick, 500);
  try {
    await action();
  } finally {
    clearInterval(timer);
    button.textContent = label;
    button.removeAttribute("aria-disabled");
    button.removeAttribute("aria-busy");
  }
}

/** Asks before something is done. Resolves to whether it was confirmed. */
export function confirmed(title, text, yes) {
  const dialog = byId("confirm-dialog");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
