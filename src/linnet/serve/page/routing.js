// Who wrote an answer where the server chooses that: which model, where it runs, why, and what it cost; and asking
// a larger model for once, with what would leave this machine shown before.
//
//   node.wrote = {model, place, decidedBy, reason, cost, currency, id, good, steps: [text]}
//
// `model` is "" until the answer has ended.

import { dialog } from "./dialogs.js";
import { element } from "./dom.js";
import { prospectsOf } from "./server.js";

const MOST_STEPS = 50;
const LONGEST = 2000; // characters of a reason
const PLACES = { here: "on this machine", network: "in this network", elsewhere: "outside this network" };
const DECISIONS = ["route", "policy", "budget", "model"];
const STATES = ["attempt", "queued", "waiting"];

/** Take in a piece of the server's that says who answers, and why; whether it was one. */
export function noteRoute(node, piece) {
  const isStep = (piece?.type === "decision" && DECISIONS.includes(piece.subject)) || (piece?.type === "status" && STATES.includes(piece.state));
  if (piece?.type === "attribution") {
    const steps = node.wrote?.steps ?? [];
    node.wrote = wroteOf({ ...piece, decidedBy: piece.route?.decided_by, reason: piece.route?.reason, steps });
  } else if (isStep || (piece?.type === "error" && node.wrote)) {
    node.wrote ??= wroteOf({});
    const said = piece.type === "decision" ? [toName(piece.outcome), piece.reason].filter(Boolean).join(": ") : piece.text;
    if (said && node.wrote.steps.length < MOST_STEPS) node.wrote.steps.push(text(said));
  } else return false;
  return true;
}

function toName(outcome) {
  return outcome === "local" ? "this machine" : outcome;
}

/** What is kept of it from elsewhere, such as a file: only what is well-formed; null where it is none. */
export function checkedWrote(value) {
  if (typeof value !== "object" || value === null) return null;
  return wroteOf(value);
}

function wroteOf(value) {
  const steps = Array.isArray(value.steps) ? value.steps.slice(0, MOST_STEPS).map(text) : [];
  const found = { model: text(value.model), place: value.place in PLACES ? value.place : "here", steps };
  for (const name of ["decidedBy", "reason", "currency", "id"]) found[name] = text(value[name]);
  found.cost = Number.isFinite(value.cost) && value.cost >= 0 ? value.cost : null;
  if (typeof value.good === "boolean") found.good = value.good;
  return found;
}

function text(value) {
  return typeof value === "string" ? value.slice(0, LONGEST) : "";
}

/** An amount of money in as many places as it needs. */
export function money(cost, currency) {
  const digits = cost === 0 || cost >= 1 ? { minimumFractionDigits: 2, maximumFractionDigits: 2 } : { maximumSignificantDigits: 2 };
  return `${cost.toLocaleString("en", digits)} ${currency}`.trim();
}

/** Below an answer: who wrote it; inside, why and what happened on the way. */
export class WroteView {
  constructor() {
    this.container = element("div", { class: "wrote" });
  }

  show({ wrote }, writing) {
    const state = JSON.stringify([writing, wrote]);
    if (state === this.state) return;
    this.state = state;
    const open = this.container.querySelector("details")?.open ?? false;
    this.container.replaceChildren(...(wrote.model ? this.whole(wrote, open) : this.meanwhile(wrote, writing)));
  }

  meanwhile({ steps }, writing) {
    return writing && steps.length ? [element("p", { class: "doing" }, steps.at(-1))] : [];
  }

  whole({ model, place, decidedBy, reason, cost, currency, steps }, open) {
    const parts = [`${model}, ${PLACES[place]}`];
    if (cost || place !== "here") parts.push(cost === null ? "cost unknown" : money(cost, currency));
    const kept = { policy: "what you asked stays here", budget: "the budget does not allow more", failure: "no other model answered" }[decidedBy];
    if (kept && place === "here") parts.push(kept);
    const lines = steps.length > 1 ? [element("ol", {}, ...steps.map((step) => element("li", {}, step)))] : [];
    const why = element("p", {}, reason ? `${reason[0].toUpperCase()}${reason.slice(1)}.` : "");
    return [element("details", { class: "steps", open }, element("summary", {}, parts.join(" · ")), why, ...lines)];
  }
}

/**
 * Show what models beyond this machine would be sent of a conversation, and resolve to the name of the one that is to
 * have it, or null.
 */
export function askElsewhere(model, messages) {
  return new Promise((resolve) => {
    let chosen = null;
    const body = element("div", { class: "prospects", "aria-busy": "true" }, element("p", { class: "help" }, "Looking at what would leave…"));
    const made = dialog("Ask a larger model", { name: "wide", content: [body] });
    made.addEventListener("close", () => resolve(chosen));
    const choose = (name) => () => {
      chosen = name;
      made.close();
    };
    prospectsOf(model, messages).then(
      (found) => body.replaceChildren(...found.map((each) => prospect(each, choose(each.model)))),
      (error) => body.replaceChildren(element("p", { class: "problem" }, error.message)),
    ).finally(() => body.removeAttribute("aria-busy"));
  });
}

function prospect(found, choose) {
  const about = [PLACES[found.place] ?? found.place];
  if (found.most_cost !== undefined) about.push(found.most_cost === null ? "its price is not known" : `at most ${money(found.most_cost, found.currency)}`);
  const head = [element("h3", {}, found.model), element("p", { class: "help" }, about.join(" · "))];
  if (!found.allowed) {
    const reasons = found.reasons.map((reason) => element("li", {}, reason));
    return element("section", { class: "prospect", "aria-label": found.model }, ...head, element("p", {}, "Nothing of this may go there:"), element("ul", {}, ...reasons));
  }
  const sent = found.messages.map(({ role, content, tool_calls }) => leaving(role, [contentOf(content), ...(tool_calls ?? []).map((call) => JSON.stringify(call))]));
  if (found.tools?.length) sent.push(leaving("tools", found.tools.map((tool) => JSON.stringify(tool))));
  if (found.form) sent.push(leaving("form of the answer", [found.form]));
  const kept = found.decisions.map(({ outcome, reason }) => element("li", {}, [outcome, reason].filter(Boolean).join(": ")));
  return element(
    "section",
    { class: "prospect", "aria-label": found.model },
    ...head,
    element("p", {}, "This would leave:"),
    element("div", { class: "leavings", tabindex: "0", role: "region", "aria-label": `What ${found.model} would be sent` }, ...sent),
    kept.length > 0 && element("ul", { class: "help" }, ...kept),
    element("button", { type: "button", class: "button main-button", click: choose }, `Send it to ${found.model}`),
  );
}

function leaving(name, texts) {
  return element("div", { class: "leaving" }, element("b", {}, name), element("pre", { dir: "auto" }, texts.filter(Boolean).join("\n")));
}

function contentOf(content) {
  return Array.isArray(content) ? content.map(({ text: part }) => part ?? "").join("\n") : (content ?? "");
}
