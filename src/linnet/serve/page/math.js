// Mathematics in a text, set by KaTeX (katex/, MIT), which is loaded with the first formula.
//
// A formula comes from a model, so it is untrusted: KaTeX builds nodes of its own kinds only, without
// links and pictures (`trust` is off), within bounds; what it does not understand stays as it was written.

import { element } from "./dom.js";

const LONGEST = 4000; // characters
const MOST_KEPT = 400; // formulas, so that a block which grows does not set them anew with each token
const SLICE = 10; // milliseconds of a frame
const OPTIONS = { throwOnError: true, trust: false, strict: "ignore", maxSize: 20, maxExpand: 500, output: "htmlAndMathml", errorColor: "currentColor" };

const made = new Map(); // by display and TeX
const waiting = new Set(); // nodes that are shown as source until KaTeX is there
let loading = null;
let soon = null;

/** A formula as a node. `source`: as it stands in the text, with its delimiters. */
export function mathNode(tex, display, source) {
  const attributes = display ? { class: "math display", tabindex: "0", role: "group", "aria-label": "Formula" } : { class: "math" };
  const node = element("span", attributes, source);
  if (tex.length > LONGEST) return node;
  Object.assign(node, { linnetMath: { tex, display } });
  const found = made.get(`${display}${tex}`);
  if (found) node.replaceChildren(found.cloneNode(true));
  else {
    waiting.add(node);
    if (globalThis.katex) fillSoon();
    else load();
  }
  return node;
}

/** Set the formulas that wait, for a part of each frame: of a thousand nobody has to wait for the last. */
function fillSoon() {
  soon ??= requestAnimationFrame(() => {
    soon = null;
    const end = performance.now() + SLICE;
    for (const node of waiting) {
      waiting.delete(node);
      if (node.isConnected) fill(node);
      if (performance.now() > end) break;
    }
    if (waiting.size) fillSoon();
    document.dispatchEvent(new Event("linnet-math"));
  });
}

function fill(node) {
  const { tex, display } = node.linnetMath;
  const kept = `${display}${tex}`;
  if (!made.has(kept)) {
    if (made.size >= MOST_KEPT) made.delete(made.keys().next().value);
    made.set(kept, set(tex, display));
  }
  const found = made.get(kept);
  if (found) node.replaceChildren(found.cloneNode(true));
  else {
    node.classList.add("unset-math");
    node.title = "This formula cannot be shown as one.";
  }
}

/** What KaTeX makes of a formula; null where it does not understand it. */
function set(tex, display) {
  const made = element("span");
  try {
    withStyles(() => globalThis.katex.render(tex, made, { ...OPTIONS, displayMode: display }));
  } catch {
    return null;
  }
  return made.firstChild;
}

/** KaTeX writes some styles as attributes, which the page's policy forbids: they are set as properties. */
function withStyles(work) {
  const kinds = [SVGElement, globalThis.MathMLElement].filter(Boolean).map((kind) => kind.prototype);
  for (const kind of kinds) {
    kind.setAttribute = function (name, value) {
      if (name === "style") this.style.cssText = value;
      else Element.prototype.setAttribute.call(this, name, value);
    };
  }
  try {
    work();
  } finally {
    for (const kind of kinds) delete kind.setAttribute;
  }
}

function load() {
  loading ??= (async () => {
    const style = element("link", { rel: "stylesheet", href: new URL("./katex/katex.min.css", import.meta.url).href });
    document.head.append(style);
    try {
      await import("./katex/katex.min.js");
    } catch {
      loading = null; // the server is gone: formulas stay as source until the next one
      style.remove();
      return;
    }
    fillSoon();
  })();
}
