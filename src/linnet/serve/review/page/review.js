// Reviewing examples: one at a time, by keyboard or by hand. What is shown comes from the server,
// which holds all decisions; the page keeps nothing but the reviewer's choice of examples.

import { byId, count, element } from "./dom.js";

const NAMES = {
  question: "Question", cloze: "Gap", instruction: "Instruction", summary: "Summary",
  extraction: "Extraction", follow_up: "Follow-up", multi_part: "Several parts",
  unanswerable: "Not answerable", near_miss: "Near miss", off_topic: "Off topic",
};
const FILTERS = { kind: "All kinds", generator: "All generators", split: "All splits" };

const key = takeKey();
const sitting = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
const chosen = { kind: "", generator: "", split: "" };
let shown = null; // what the server said last
let form = null; // the fields while an example is being mended
let waiting = false;

/** The key stands behind "#" once; a reload finds it in the tab's own storage. */
function takeKey() {
  const given = location.hash.slice(1);
  if (!given) return sessionStorage.getItem("linnet-review") ?? "";
  try {
    sessionStorage.setItem("linnet-review", given);
    history.replaceState(null, "", location.pathname);
  } catch {
    // A browser that keeps nothing: the address goes on holding it.
  }
  return given;
}

async function ask(what, more = {}) {
  if (waiting) return;
  waiting = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(`review/${what}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
      body: JSON.stringify({ sitting, filter: chosen, ...more }),
    });
    const found = await answer.json();
    if (!answer.ok) throw new Error(answer.status === 401 ? "This address has no key (any more): open the one that the terminal shows." : found.error.message);
    shown = found;
    form = null;
    show();
  } catch (error) {
    trouble(error instanceof TypeError ? "The server does not answer; nothing was decided. Is it still running?" : error.message);
  } finally {
    waiting = false;
    document.body.removeAttribute("aria-busy");
  }
}

function trouble(message) {
  const place = byId("trouble");
  place.textContent = message ?? "";
  place.hidden = !message;
  if (message) place.scrollIntoView({ block: "nearest" });
}

function show() {
  trouble(null);
  showFigures(shown.precision, shown.strayed);
  showFilters(shown.choices);
  showActions();
  byId("example").replaceChildren(...(shown.example ? exampleNodes(shown.example) : doneNodes()));
  byId("main").scrollTop = 0;
  byId("main").focus({ preventScroll: true });
}

function percent(share) {
  return `${(100 * share).toFixed(share > 0 && share < 1 ? 1 : 0)} %`;
}

function showFigures(precision, strayed) {
  const { decided, total, share, low, high, accepted, mended, rejected } = precision;
  const bar = element("span");
  bar.style.width = `${total ? (100 * decided) / total : 0}%`;
  const parts = [
    element("span", {}, element("strong", {}, count(decided)), ` of ${count(total)}`),
    element("span", { class: "progress", "aria-hidden": "true" }, bar),
    share === null
      ? element("span", {}, "Precision shows once you decide")
      : element("span", { title: "Accepted as they are, of all decided; the interval is Wilson's at 95 %" },
        "Precision ", element("strong", {}, percent(share)), ` (${percent(low)} to ${percent(high)})`),
    decided ? element("span", {}, `${count(accepted)} accepted, ${count(mended)} mended, ${count(rejected)} rejected`) : null,
    strayed ? element("span", { title: "They are kept, and count again when the same examples are made again" },
      `${count(strayed)} earlier decisions have no example here`) : null,
  ];
  byId("figures").replaceChildren(...parts.filter(Boolean));
}

function showFilters(choices) {
  const fields = Object.entries(FILTERS).map(([name, all]) => {
    const options = [["", all], ...choices[name].map((value) => [value, name === "kind" ? NAMES[value] ?? value : value])];
    const select = element("select", { "aria-label": all, name, change: () => { chosen[name] = select.value; ask("next"); } },
      ...options.map(([value, label]) => element("option", { value }, label)));
    select.value = chosen[name];
    return select;
  });
  byId("filters").replaceChildren(...fields);
}

function showActions() {
  byId("actions").hidden = !shown.example && !shown.can_undo;
  const editing = form !== null;
  for (const name of ["accept", "mend", "reject", "skip"]) byId(name).disabled = !shown.example;
  byId("undo").disabled = !shown.can_undo;
  label("accept", editing ? "Save" : "Accept", editing ? "Ctrl ↵" : "A");
  label("mend", editing ? "Cancel" : "Mend", editing ? "Esc" : "M");
  for (const name of ["reject", "skip", "undo"]) byId(name).hidden = editing;
}

function label(id, text, keys) {
  const [kbd, span] = byId(id).children;
  kbd.textContent = keys;
  span.textContent = text;
}

function exampleNodes(example) {
  return [
    tags(example),
    example.turns ? element("div", { class: "turns" }, ...example.turns.flatMap((turn) => [
      element("p", {}, element("strong", {}, turn.question)), element("p", {}, turn.answer)])) : null,
    form ? null : element("h1", { class: "question", dir: "auto" }, example.question),
    form ? null : element("p", { class: "answer", dir: "auto" }, example.answer),
    form ? formNodes(example) : null,
    example.schema ? element("p", { class: "label" }, "Schema of the answer") : null,
    example.schema ? element("pre", { class: "text" }, JSON.stringify(example.schema, null, 2)) : null,
    ...sourceNodes(example),
  ].filter(Boolean);
}

function tags(example) {
  const found = [
    element("li", { class: "kind" }, NAMES[example.kind] ?? example.kind),
    example.answerable ? null : element("li", {}, "the right answer is a refusal"),
    element("li", {}, example.split),
    example.generator ? element("li", {}, example.generator) : null,
    example.language ? element("li", {}, example.language) : null,
  ];
  return element("ul", { class: "tags" }, ...found);
}

function sourceNodes(example) {
  const where = [example.source, ...(example.headings ?? [])].filter(Boolean).join(" › ");
  const nodes = where ? [element("p", { class: "label source" }, where)] : [];
  if (example.surroundings.length) {
    nodes.push(element("pre", { class: "text", dir: "auto" }, ...example.surroundings.map((segment) =>
      segment.mark ? element("mark", { class: segment.mark }, segment.text) : segment.text)));
  }
  if (example.source && !example.text_known) {
    nodes.push(element("p", { class: "help" }, "The document's text is not at hand, or has changed since: only what the example itself quotes is shown."));
  } else if (!example.surroundings.length) {
    nodes.push(element("p", { class: "help" }, "No passage of the documents belongs to it."));
  }
  return nodes;
}

function doneNodes() {
  const whole = !Object.values(chosen).some(Boolean);
  const { total } = shown.precision;
  return [element("div", { class: "done" },
    element("h1", {}, total ? "All decided" : "No such example"),
    element("p", {}, whole ? "Every example has a decision. Undo (U) takes the last one back." : "Choose others above, or take the last decision back with U."))];
}

function formNodes(example) {
  const field = (name, text) => {
    const area = element("textarea", { id: `mended-${name}`, rows: 1, spellcheck: "true" });
    const grown = element("div", { class: "grown" }, area);
    const grow = () => { grown.dataset.text = area.value; };
    area.value = text;
    area.addEventListener("input", grow);
    grow();
    form[name] = area;
    return [element("label", { for: area.id }, { question: "Question", answer: "Answer", quote: "Quote, word for word from the text below" }[name]), grown];
  };
  const names = example.quote === null ? ["question", "answer"] : ["question", "answer", "quote"];
  return element("div", { class: "form" }, ...names.flatMap((name) => field(name, example[name])));
}

function edit(on) {
  if (!shown?.example) return;
  form = on ? {} : null;
  byId("example").replaceChildren(...exampleNodes(shown.example));
  showActions();
  if (on) form.question.focus();
  else { trouble(null); byId("main").focus({ preventScroll: true }); }
}

function save() {
  const values = Object.fromEntries(Object.entries(form).map(([name, area]) => [name, area.value]));
  decide("mended", values);
}

const decide = (verdict, more = {}) => shown?.example && ask("decide", { id: shown.example.id, verdict, ...more });
const actions = {
  accept: () => (form ? save() : decide("accepted")),
  mend: () => edit(!form),
  reject: () => decide("rejected"),
  skip: () => shown?.example && ask("next", { skip: shown.example.id }),
  undo: () => shown?.can_undo && ask("undo"),
};
const KEYS = { a: "accept", m: "mend", r: "reject", s: "skip", u: "undo", ArrowRight: "skip" };

for (const [name, act] of Object.entries(actions)) byId(name).addEventListener("click", act);
document.addEventListener("keydown", (event) => {
  if (form) {
    if (event.key === "Escape") edit(false);
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
    else return;
    event.preventDefault();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target instanceof HTMLSelectElement) return;
  const act = actions[KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key]];
  if (act) {
    event.preventDefault();
    act();
  }
});

ask("next");
