// Texts of the console: times, numbers, lists, and the guess whom a prompt is about. Knows no page and no server.

const OPENERS = new Set(
  (
    "a an the what what's where who who's whom whose when which why how in on at of for from by is are was were " +
    "does do did can could name i he she it they we you this that these those complete question answer tell"
  ).split(" "),
);
const JOINERS = "of|the|de|da|do|dos|du|von|van|der|den|la|le|el|al|bin|ibn|del|della|di|y|e|and|&";
const WORD = "\\p{Lu}[\\p{L}\\p{M}\\p{N}.'’-]*";
const RUN = new RegExp(`${WORD}(?:\\s+(?:(?:${JOINERS})\\s+){0,2}(?:${WORD}|\\p{N}+))*`, "gu");
const QUOTED = /["“«]([^"”»]+)["”»]/u;

/** Whom a prompt is most likely about, as it is written there: what is quoted, else the longest name; "" if none. */
export function guessSubject(prompt) {
  const quoted = prompt.match(QUOTED);
  if (quoted) return quoted[1].trim();
  const names = [...prompt.matchAll(RUN)].map(([run]) => withoutOpener(run)).filter(Boolean);
  return names.reduce((longest, name) => (name.length > longest.length ? name : longest), "");
}

function withoutOpener(run) {
  const words = run.split(/(?<=\s)(?=\S)/u);
  while (words.length && OPENERS.has(words[0].trim().toLowerCase())) words.shift();
  return words.join("").trim().replace(/(?:['’]s|[.'’-]+)$/u, "");
}

/** The lines of a text field, without empty ones. */
export const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** A number with three digits that matter. */
export function brief(number) {
  if (number === null || number === undefined) return "–";
  return Number.isInteger(number) && Math.abs(number) < 1e6 ? String(number) : String(Number(number.toPrecision(3)));
}

const CLOCK = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** An ISO time in the reader's own zone and manner. */
export const when = (iso) => CLOCK.format(new Date(iso));

/** How long ago that was, in words. */
export function ago(iso) {
  const seconds = (new Date(iso) - Date.now()) / 1000;
  const steps = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const [unit, size] = steps.find(([, size]) => Math.abs(seconds) >= size) ?? ["second", 1];
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(Math.round(seconds / size), unit);
}
