// What went wrong, said where it went wrong. Knows refusals of the server; knows nothing of what was attempted.

import { asked } from "./effects.js";
import { button, byId, h, show } from "./dom.js";

/** Show an error in `place`, in words, with what can be done about it. An aborted request is no error. */
export function fail(place, error) {
  if (error.name === "AbortError") return;
  show(place, refused(error));
  if (!error.status && error.name !== "Error") console.error(error);
}

function refused(error) {
  const followed = (probe) => probe.after === probe.expected; // the edit itself: that it moves is what it is for
  const probes = (error.body?.probes ?? []).filter((probe) => !followed(probe));
  return h("div", { class: "notice bad", role: "alert" },
    h("p", {}, error.code === "gate" ? h("strong", {}, "Refused by the gate. ") : null, error.message),
    probes.length ? asked([{ title: "What it would have moved", rows: probes.map(moved) }]) : null,
    error.needsKey ? h("p", {}, button("Enter a key", () => byId("key-button").click())) : null);
}

const moved = (probe) => ({ ...probe, verdict: "moved", good: false });

export const clear = (place) => place.replaceChildren();
