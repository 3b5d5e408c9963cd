// Markdown within a paragraph, by CommonMark's rules (https://spec.commonmark.org/0.31.2/#inlines) with
// ~~strike~~ and bare addresses of GitHub's, less raw HTML, which stays text, and references to definitions.
//
// The text comes from a model, so anyone may have written it: the time is linear in its length (nearly, for
// backticks), the nesting bounded.
//
// A node is {type, ...}: text {text}, code {text}, break, emphasis, strong, strike {children},
// math {text, display, source}, link {href, children}, image {href, alt}. An address here is not yet a safe one: see links.js.

const DEEPEST = 16;

const PLAIN = /[^\\`*_~[\]!<&$\n]+/y;
const TICKS = /`+/y;
const RUN = /\*+|_+|~+/y;
const BREAK = /\n[ \t]*/y;
const ENTITY = /&(?:#(\d{1,7})|#x([\da-f]{1,6})|(amp|lt|gt|quot|apos|nbsp|copy|ndash|mdash|hellip|larr|rarr|times));/iy;
const ENTITIES = {
  amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©",
  ndash: "–", mdash: "—", hellip: "…", larr: "←", rarr: "→", times: "×",
};
const AUTOLINK = /<([a-z][a-z\d+.-]{1,31}:[^\s<>]{0,2000})>/iy;
const MAIL = /<([\w.!#$%&'*+/=?^`{|}~-]{1,64}@[a-z\d-]{1,63}(?:\.[a-z\d-]{1,63}){0,8})>/iy;
// The address of a link may have parentheses in it, one in another.
const TARGET = new RegExp(
  String.raw`\([ \t\n]{0,20}` +
    String.raw`(?:<((?:[^<>\\\n]|\\.){0,2000})>|(?!<)((?:[^\s()\\]|\\\S|\((?:[^\s()\\]|\\\S){0,500}\)){0,2000}))` +
    String.raw`(?:[ \t\n]{1,20}(?:"(?:[^"\\]|\\[^]){0,500}"|'(?:[^'\\]|\\[^]){0,500}'))?` +
    String.raw`[ \t\n]{0,20}\)`,
  "y",
);
// TeX between dollars, none of which stands in it; or between \( and \), \[ and \].
const DISPLAYED = /\$\$((?:[^$\\]|\\[^]){1,4000})\$\$/y;
const FORMULA = /\$((?:[^$\\\n]|\\[^\n]){1,1000})\$/y;
const BRACKETED = { "(": "\\)", "[": "\\]" };
const LONGEST_FORMULA = 4000;
const PUNCTUATION = /[\p{P}\p{S}]/u;
const ESCAPED = /\\([!-/:-@[-`{-~])/g;
const ADDRESS = /(?<![\p{L}\p{N}_])https?:\/\/[^\s<>"`]{1,2000}/giu;

/** The nodes of one paragraph's text. */
export function parseInline(text) {
  return new Inline(text).nodes();
}

/** The text of nodes, without what marks them up. */
export function plain(nodes) {
  return nodes
    .map((node) => node.text ?? node.alt ?? (node.type === "break" ? "\n" : plain(node.children ?? [])))
    .join("");
}

class Inline {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.made = [];
    this.brackets = []; // of links that may be closed: {place in made, image, active}
    this.ends = {}; // where the next formula ends, by what ends it
  }

  nodes() {
    while (this.at < this.text.length) {
      if (!this.step(this.text[this.at])) this.add(this.text[this.at++]);
    }
    return withAddresses(emphasise(this.made));
  }

  /** What matches here, which is then passed over. */
  take(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found) this.at = pattern.lastIndex;
    return found;
  }

  add(text) {
    this.made.push({ type: "text", text });
    return true;
  }

  step(character) {
    switch (character) {
      case "\\":
        return this.escape();
      case "`":
        return this.code();
      case "*":
      case "_":
      case "~":
        return this.run();
      case "[":
        return this.open(1);
      case "!":
        return this.text[this.at + 1] === "[" && this.open(2);
      case "]":
        return this.close();
      case "<":
        return this.autolink();
      case "&":
        return this.entity();
      case "$":
        return this.dollars();
      case "\n":
        return this.line();
      default:
        return this.add(this.take(PLAIN)[0]);
    }
  }

  escape() {
    const next = this.text[this.at + 1] ?? "";
    if (next === "\n") {
      this.at += 1;
      this.take(BREAK);
      return this.made.push({ type: "break" });
    }
    if (BRACKETED[next] && this.bracketed(next)) return true;
    if (!/[!-/:-@[-`{-~]/.test(next)) return false;
    this.at += 2;
    return this.add(next);
  }

  /** \(...\) and \[...\], as models write formulas. */
  bracketed(opening) {
    const closing = BRACKETED[opening];
    const from = this.at + 2;
    let end = this.ends[closing] ?? 0;
    if (end < from) end = this.ends[closing] = (this.text.indexOf(closing, from) + 1 || Infinity) - 1;
    if (end - from > LONGEST_FORMULA) return false;
    const text = this.text.slice(from, end).trim();
    if (!text) return false;
    if (opening === "[" && !/[\\^_={}]/.test(text)) return false; // brackets that are escaped
    const source = this.text.slice(this.at, end + 2);
    this.at = end + 2;
    return this.made.push({ type: "math", text, display: opening === "[", source });
  }

  /** $...$ and $$...$$, where they are not amounts of money. */
  dollars() {
    const from = this.at;
    const before = characterBefore(this.text, from);
    const found = this.take(DISPLAYED) ?? this.take(FORMULA);
    if (found && isFormula(found[0], found[1], before, characterAt(this.text, this.at))) {
      const display = found[0].startsWith("$$");
      return this.made.push({ type: "math", text: found[1].trim(), display, source: found[0] });
    }
    this.at = from;
    return false;
  }

  code() {
    const ticks = this.take(TICKS)[0];
    const from = this.at;
    for (let end = this.text.indexOf(ticks, from); end >= 0; end = this.text.indexOf(ticks, end)) {
      let after = end + ticks.length;
      while (this.text[after] === "`") after++;
      if (after - end === ticks.length) {
        this.at = after;
        let inside = this.text.slice(from, end).replace(/\n/g, " ");
        if (/^ .* $/.test(inside) && inside.trim()) inside = inside.slice(1, -1);
        return this.made.push({ type: "code", text: inside });
      }
      end = after;
    }
    return this.add(ticks);
  }

  /** A run of *, _ or ~, and whether it may open or close something. */
  run() {
    const from = this.at;
    const run = this.take(RUN)[0];
    const before = characterBefore(this.text, from);
    const after = characterAt(this.text, this.at);
    const [spaceBefore, spaceAfter] = [isSpace(before), isSpace(after)];
    const [markBefore, markAfter] = [PUNCTUATION.test(before), PUNCTUATION.test(after)];
    const left = !spaceAfter && (!markAfter || spaceBefore || markBefore);
    const right = !spaceBefore && (!markBefore || spaceAfter || markAfter);
    const within = run[0] === "_";
    const opens = left && (!within || !right || markBefore);
    const closes = right && (!within || !left || markAfter);
    if (run[0] === "~" && run.length !== 2) return this.add(run);
    const length = run.length;
    return this.made.push({ type: "run", character: run[0], length, left: length, opens, closes });
  }

  open(length) {
    this.brackets.push({ place: this.made.length, image: length === 2, active: true });
    this.add(this.text.slice(this.at, this.at + length));
    this.at += length;
    return true;
  }

  close() {
    const opener = this.brackets.pop();
    if (!opener?.active) return false;
    const from = this.at++;
    const target = this.take(TARGET);
    if (!target) {
      this.at = from;
      return false;
    }
    const href = unescape(target[1] ?? target[2] ?? "");
    const children = emphasise(this.made.splice(opener.place + 1));
    this.made.pop();
    if (opener.image) return this.made.push({ type: "image", href, alt: plain(children) });
    // A link has no link in it.
    for (let k = this.brackets.length - 1; k >= 0 && this.brackets[k].active; k--) {
      if (!this.brackets[k].image) this.brackets[k].active = false;
    }
    return this.made.push({ type: "link", href, children });
  }

  autolink() {
    const address = this.take(AUTOLINK);
    const found = address ?? this.take(MAIL);
    if (!found) return false;
    const href = address ? found[1] : `mailto:${found[1]}`;
    return this.made.push({ type: "link", href, children: [{ type: "text", text: found[1] }] });
  }

  entity() {
    const found = this.take(ENTITY);
    if (!found) return false;
    return this.add(decoded(found));
  }

  line() {
    const before = this.made.at(-1);
    if (before?.type === "text") before.text = before.text.trimEnd();
    this.take(BREAK);
    // A single line break is shown as one: chat models and people mean it so.
    return this.made.push({ type: "break" });
  }
}

/** Pandoc's rules (no space within the dollars, no digit behind them), and no prose behind an amount. */
function isFormula(source, text, before, after) {
  if (source.startsWith("$$")) return text.trim() !== "";
  if (/[\p{L}\p{N}$\\]/u.test(before) || /[\p{L}\p{N}$]/u.test(after) || text !== text.trim()) return false;
  return !/^[\d.,]/.test(text) || /[\\^_={}]/.test(text) || !/\p{L}{2}/u.test(text);
}

function decoded([whole, decimal, hexadecimal, name]) {
  if (name) return ENTITIES[name.toLowerCase()] ?? whole;
  const code = decimal ? parseInt(decimal, 10) : parseInt(hexadecimal, 16);
  const known = code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code < 0xe000);
  return known ? String.fromCodePoint(code) : "\ufffd";
}

function unescape(text) {
  return text.replace(ESCAPED, "$1").replace(new RegExp(ENTITY.source, "gi"), (...found) => decoded(found));
}

function isSpace(character) {
  return character === "" || /\s/.test(character);
}

function characterAt(text, at) {
  return at < text.length ? String.fromCodePoint(text.codePointAt(at)) : "";
}

function characterBefore(text, at) {
  if (at === 0) return "";
  const pair = at > 1 && /[\udc00-\udfff]/.test(text[at - 1]) && /[\ud800-\udbff]/.test(text[at - 2]);
  return text.slice(at - (pair ? 2 : 1), at);
}

/** Nodes in which runs that belong together have become emphasis; the others text. */
function emphasise(nodes) {
  const made = [];
  const openers = []; // {node, place in made}
  const lowest = new Map(); // below which there is no opener for such a closer
  for (const node of nodes) {
    if (node.type !== "run") {
      made.push(node);
      continue;
    }
    while (node.closes && node.left > 0 && closeOne(node, made, openers, lowest));
    if (node.left === 0) continue;
    if (node.opens) openers.push({ node, place: made.length });
    made.push(node);
  }
  return joined(made.map((node) => (node.type === "run" ? runText(node) : node)));
}

function runText(node) {
  return { type: "text", text: node.character.repeat(node.left) };
}

/** Let a run close the nearest opener that fits, one level. */
function closeOne(closer, made, openers, lowest) {
  const kind = `${closer.character}${closer.opens}${closer.length % 3}`;
  let k = openers.length - 1;
  while (k >= (lowest.get(kind) ?? 0) && !fits(openers[k].node, closer)) k--;
  if (k < (lowest.get(kind) ?? 0)) {
    lowest.set(kind, openers.length);
    return false;
  }
  const { node: opener, place } = openers[k];
  const used = opener.left >= 2 && closer.left >= 2 ? 2 : 1;
  const children = joined(made.splice(place + 1).map((n) => (n.type === "run" ? runText(n) : n)));
  opener.left -= used;
  closer.left -= used;
  if (opener.left === 0) made.pop();
  openers.length = opener.left ? k + 1 : k;
  for (const [key, value] of lowest) lowest.set(key, Math.min(value, openers.length));
  const depth = 1 + children.reduce((deepest, child) => Math.max(deepest, child.depth ?? 0), 0);
  const type = closer.character === "~" ? "strike" : used === 2 ? "strong" : "emphasis";
  if (depth > DEEPEST) made.push(...children);
  else made.push({ type, children, depth });
  return true;
}

/** CommonMark's rules 9 and 10: runs that could do both must not add up to a multiple of three. */
function fits(opener, closer) {
  if (opener.character !== closer.character) return false;
  if (!opener.closes && !closer.opens) return true;
  return (opener.length + closer.length) % 3 !== 0 || (opener.length % 3 === 0 && closer.length % 3 === 0);
}

/** Texts beside each other made one. */
function joined(nodes) {
  const made = [];
  for (const node of nodes) {
    const before = made.at(-1);
    if (node.type === "text" && before?.type === "text") before.text += node.text;
    else made.push(node.type === "text" ? { ...node } : node);
  }
  return made;
}

/** Bare addresses made links. */
function withAddresses(nodes) {
  return nodes.flatMap((node) => {
    if (node.type === "text") return addressesIn(node.text);
    if (node.children && node.type !== "link") return [{ ...node, children: withAddresses(node.children) }];
    return [node];
  });
}

function addressesIn(text) {
  const made = [];
  let at = 0;
  for (const found of text.matchAll(ADDRESS)) {
    const address = withoutEnding(found[0]);
    made.push({ type: "text", text: text.slice(at, found.index) });
    made.push({ type: "link", href: address, children: [{ type: "text", text: address }] });
    at = found.index + address.length;
  }
  made.push({ type: "text", text: text.slice(at) });
  return made.filter((node) => node.type !== "text" || node.text);
}

/** An address without what ends the sentence, or the parentheses, around it. */
function withoutEnding(address) {
  let surplus = address.split(")").length - address.split("(").length;
  let end = address.length;
  for (; end > 0; end--) {
    const last = address[end - 1];
    if (last === ")" && surplus > 0) surplus--;
    else if (!".,:;!?'*_~".includes(last)) break;
  }
  return address.slice(0, end);
}
