// What an answer from documents rests on, as data: the passages that were found, the places that are
// cited, what was searched, how sure the answer is.
//
//   {passages: [place], citations: [place], marks: [{end, number}], doubts: [{end, support}],
//    steps: [{name, text}], notes: [text], refusal: text or null,
//    outcome: {id, refused, probability, inScope, writtenBy} or null, good: true, false or null}
//
// A place is {source, start, end, text, title, page}; offsets are characters (code points) of the stored
// text. `marks` say at which character of the answer which citation, from 1, supports what stands before.

const MOST = 200; // of each list
const LONGEST = 20_000; // characters of a text that is kept

export function newEvidence() {
  return { passages: [], citations: [], marks: [], doubts: [], steps: [], notes: [], refusal: null, outcome: null, good: null };
}

/** Take in a piece of the server's: `{type, ...}`. Whether it was one of these. */
export function note(evidence, piece) {
  switch (piece?.type) {
    case "passage":
      return add(evidence.passages, placeOf(piece));
    case "citation":
      return cite(evidence, placeOf(piece), count(piece.answer_end));
    case "claim":
      if (piece.support !== "supported") add(evidence.doubts, { end: count(piece.answer_end), support: text(piece.support) });
      return true;
    case "status":
      return piece.state !== "writing" && add(evidence.steps, { name: text(piece.state), text: text(piece.text) });
    case "error":
      return add(evidence.steps, { name: "failed", text: text(piece.text) });
    case "decision":
      return add(evidence.notes, [text(piece.outcome), text(piece.reason)].filter(Boolean).join(": "));
    case "outcome":
      evidence.outcome = outcomeOf(piece.id, piece.refused, piece.probability, piece.in_scope, piece.written_by);
      return true;
    default:
      return false;
  }
}

function cite(evidence, place, end) {
  if (!place) return true;
  const same = (other) => other.source === place.source && other.start === place.start && other.end === place.end;
  let number = evidence.citations.findIndex(same) + 1;
  if (!number && add(evidence.citations, place)) number = evidence.citations.length;
  const known = evidence.marks.some((mark) => mark.end === end && mark.number === number);
  return number && !known ? add(evidence.marks, { end, number }) : true;
}

function add(list, value) {
  if (value !== null && list.length < MOST) list.push(value);
  return value !== null;
}

/** Whether there is anything that an answer of a model alone would not have. */
export function isBare(evidence) {
  return !evidence.passages.length && !evidence.citations.length && !evidence.steps.length && !evidence.refusal && !evidence.outcome;
}

/** What is kept of evidence from elsewhere, such as a file: only what is well-formed; null where it is none. */
export function checkedEvidence(value) {
  if (typeof value !== "object" || value === null) return null;
  const evidence = newEvidence();
  const list = (name) => (Array.isArray(value[name]) ? value[name] : []);
  for (const name of ["passages", "citations"]) for (const place of list(name)) add(evidence[name], placeOf(place));
  for (const { end, number } of list("marks").filter(Boolean)) {
    if (count(number) >= 1 && number <= evidence.citations.length) add(evidence.marks, { end: count(end), number });
  }
  for (const doubt of list("doubts").filter(Boolean)) add(evidence.doubts, { end: count(doubt.end), support: text(doubt.support) });
  for (const step of list("steps").filter(Boolean)) add(evidence.steps, { name: text(step.name), text: text(step.text) });
  for (const said of list("notes")) add(evidence.notes, text(said));
  if (typeof value.refusal === "string") evidence.refusal = text(value.refusal);
  const outcome = value.outcome;
  if (outcome) evidence.outcome = outcomeOf(outcome.id, outcome.refused, outcome.probability, outcome.inScope, outcome.writtenBy);
  if (typeof value.good === "boolean") evidence.good = value.good;
  return isBare(evidence) ? null : evidence;
}

function outcomeOf(id, refused, probability, inScope, writtenBy) {
  return { id: text(id).slice(0, 100), refused: refused === true, probability: share(probability), inScope: share(inScope), writtenBy: text(writtenBy) };
}

function placeOf(piece) {
  const found = { source: text(piece?.source), start: count(piece?.start), end: count(piece?.end), text: text(piece?.text), title: text(piece?.title) };
  found.page = Number.isInteger(piece?.page) ? piece.page : null;
  return found.source && found.end > found.start ? found : null;
}

function text(value) {
  return typeof value === "string" ? value.slice(0, LONGEST) : "";
}

function count(value) {
  return Number.isSafeInteger(value) && value >= 0 ? value : 0;
}

function share(value) {
  return Number.isFinite(value) && value >= 0 && value <= 1 ? value : null;
}

/** How sure an answer is, in words; "" where nothing was fitted that could tell. */
export function sureness(outcome) {
  const { probability, inScope, refused } = outcome ?? {};
  if (probability === null || probability === undefined) return "";
  if (refused) return inScope !== null && inScope < 0.5 ? "The documents do not seem to be about this." : "What was found is too uncertain to be shown as an answer.";
  const percent = `${Math.round(100 * Math.min(probability, 0.99))} %`;
  if (probability >= 0.95) return `Almost certainly right (${percent})`;
  if (probability >= 0.8) return `Very likely right (${percent})`;
  if (probability >= 0.6) return `Probably right (${percent})`;
  return `Uncertain (${percent}): check the sources`;
}

/** Where a place stands, in a few words: the document and its page. */
export function named(place) {
  const file = place.source.split("/").at(-1);
  const title = place.title && place.title !== file ? place.title : file;
  return place.page === null ? title : `${title}, page ${place.page}`;
}
