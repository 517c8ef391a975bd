// What the journal's events add up to: edits in force after each, and when each edit was applied.
// Knows events as /v1/journal gives them, and the sheet's rule: of one prompt, the newest edit that stands is in force.

/** How many edits are in force after each event: [{x: event, y: count}], from before the first. */
export function inForce(events) {
  const prompts = new Map(); // id -> prompt
  const standing = new Map(); // prompt -> ids that were applied and not undone
  const points = [{ x: 0, y: 0 }];
  for (const event of events) {
    for (const [id, stands] of changes(event, prompts)) {
      const ids = standing.get(prompts.get(id)) ?? new Set();
      if (stands) ids.add(id);
      else ids.delete(id);
      standing.set(prompts.get(id), ids);
    }
    points.push({ x: event.seq, y: [...standing.values()].filter((ids) => ids.size).length });
  }
  return points;
}

function changes(event, prompts) {
  if (event.kind === "apply") {
    const done = event.payload.edits.filter((item) => item.status === "done");
    done.forEach((item) => prompts.set(item.id, asked(item.edit)));
    return done.map((item) => [item.id, true]);
  }
  return (event.payload.ids ?? []).map((id) => [id, event.kind === "redo"]);
}

/** What an edit is about: of a conversation all messages, for another one may end with the same. */
const asked = ({ prompt, messages }) => (messages ? JSON.stringify(messages) : prompt);

/** The event that applied each edit, by the edit's id. */
export function appliedAt(events) {
  const applied = events.filter((event) => event.kind === "apply");
  return new Map(applied.flatMap((event) => event.payload.edits.map((item) => [item.id, event.seq])));
}

/**
 * Over the stream: of the edits up to each event, the mean of what `grade` gives their answers now.
 * `answers` are those of /v1/evaluate; those about no edit in the journal are left out.
 */
export function running(answers, events, grade) {
  const at = appliedAt(events);
  const known = answers.filter((answer) => at.has(answer.question.edit));
  const graded = known.map((answer) => [at.get(answer.question.edit), grade(answer)]);
  graded.sort(([one], [other]) => one - other);
  const points = new Map();
  let sum = 0;
  graded.forEach(([x, value], index) => {
    sum += value;
    points.set(x, { x, y: sum / (index + 1) });
  });
  return [...points.values()];
}
