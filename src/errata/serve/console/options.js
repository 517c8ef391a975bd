// Form fields from a JSON schema: one field for each option of a method, and the values that were changed.
// Knows JSON schema as /v1/methods writes it; knows no method by name.

import { h } from "./dom.js";

const NOTHING = "default";

/** Fields for the options of a method's schema, and `values()`: what differs from the defaults, typed. */
export function optionFields(schema) {
  const properties = Object.entries(schema?.properties ?? {});
  const fields = properties.map(([name, property]) => field(name, property));
  return {
    nodes: fields.map((one) => one.node),
    values: () => Object.fromEntries(fields.map((one) => one.value()).filter(([, value]) => value !== undefined)),
  };
}

function field(name, property) {
  const id = `option-${name}`;
  const choices = choicesOf(property);
  const control = choices ? select(id, choices, property) : input(id, property);
  control.setAttribute("aria-describedby", `${id}-help`);
  const node = h("div", { class: "field" },
    h("label", { for: id }, name),
    control,
    h("p", { class: "hint", id: `${id}-help` }, property.description ?? ""));
  return { node, value: () => [name, chosen(control, property)] };
}

const branches = (property) => property.anyOf ?? property.oneOf ?? [property];

const literal = (branch) => (branch.enum ?? [branch.const]).map((value) => typeof value);

const types = (property) => branches(property).flatMap((branch) => branch.type ?? literal(branch));

/** The values to choose from, where the schema lists all of them. */
function choicesOf(property) {
  const lists = branches(property).map((branch) => {
    if (branch.type === "boolean") return [true, false];
    if (branch.type === "null") return [null];
    return branch.enum ?? ("const" in branch ? [branch.const] : null);
  });
  return lists.includes(null) ? null : lists.flat();
}

function select(id, choices, property) {
  const first = h("option", { value: NOTHING }, `${spelled(property.default)} (default)`);
  const rest = choices.map((choice, at) => [choice, at]).filter(([choice]) => choice !== property.default);
  const node = h("select", { id }, first, rest.map(([choice, at]) => h("option", { value: at }, spelled(choice))));
  node.choices = choices;
  return node;
}

function input(id, property) {
  const whole = types(property).every((type) => type === "integer" || type === "number");
  const placeholder = spelled(property.default);
  return h("input", { id, placeholder, inputmode: whole ? "decimal" : null, autocomplete: "off", spellcheck: "false" });
}

function chosen(control, property) {
  if (control.choices) return control.value === NOTHING ? undefined : control.choices[Number(control.value)];
  const text = control.value.trim();
  return text === "" ? undefined : typed(text, types(property));
}

/** The text as the first type that it can be; a text that fits none is sent as it is, for the server to refuse. */
function typed(text, of) {
  if ((of.includes("integer") || of.includes("number")) && Number.isFinite(Number(text))) return Number(text);
  if (of.includes("boolean") && (text === "true" || text === "false")) return text === "true";
  if (of.includes("null") && text === "none") return null;
  if (of.includes("array")) return text.split(",").map((part) => typed(part.trim(), ["number"]));
  return text;
}

function spelled(value) {
  if (value === null || value === undefined) return "none";
  if (typeof value === "boolean") return value ? "on" : "off";
  return String(value);
}
