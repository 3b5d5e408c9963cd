// Code with its comments, strings, numbers and keywords told apart. Not a parser: good enough to read by,
// linear in the length, and silent about languages it does not know.

import { element } from "./dom.js";

const LONGEST = 60_000; // more than this is shown plain

const STRINGS = String.raw`"(?:[^"\\\n]|\\[^])*"|'(?:[^'\\\n]|\\[^])*'`;
const NUMBER = String.raw`\b\d\w*(?:\.\d\w*)?`;
const WORD = String.raw`[A-Za-z_$][\w$]*`;

/** What a family's comments and strings look like. */
const FAMILIES = {
  braces: { comment: String.raw`//[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/)?`, string: `${STRINGS}|${"`(?:[^`\\\\]|\\\\[^])*`?"}` },
  hash: { comment: String.raw`#[^\n]*`, string: `"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|${STRINGS}` },
  dashes: { comment: String.raw`--[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/)?`, string: STRINGS },
  style: { comment: String.raw`/\*(?:[^*]|\*(?!/))*(?:\*/)?`, string: STRINGS },
  data: { comment: "(?!)", string: STRINGS },
  markup: { comment: String.raw`<!--[^]*?(?:-->|$)`, string: STRINGS },
};

const LANGUAGES = {
  braces: "c h cc cpp c++ cs csharp java js javascript jsx mjs ts typescript tsx go rust rs swift kotlin kt php scala dart",
  hash: "py python python3 rb ruby sh bash shell zsh console yaml yml toml ini r perl make makefile dockerfile elixir julia",
  dashes: "sql postgresql mysql sqlite lua haskell hs ada",
  style: "css scss less",
  data: "json jsonc jsonl",
  markup: "html xml svg xhtml vue",
};

const KEYWORDS = {
  braces:
    "abstract as async await break case catch class const continue default defer delete do else enum export extends " +
    "extern false final finally fn for foreach from func function go if impl implements import in instanceof interface " +
    "let match mod mut namespace new nil null of override package private protected pub public return self sizeof " +
    "static struct super switch template this throw throws trait true try type typedef typeof undefined union unsafe " +
    "use using var virtual void where while yield int char float double long short unsigned bool boolean string",
  hash:
    "and as assert async await begin break case class continue def del do done elif else elsif end esac except export " +
    "False false fi finally for from function global if import in is lambda local match module nil None nonlocal not " +
    "null or pass raise require rescue return self then True true try unless until while with yield echo set",
  dashes:
    "select from where insert into values update set delete create table drop alter index view join left right inner " +
    "outer on group by order having limit offset union all distinct as and or not null is in exists between like case " +
    "when then else end primary key foreign references default begin commit rollback with local function return if " +
    "elseif for while do repeat until nil true false module import data type instance class let of",
  style: "important media import supports keyframes from to",
  data: "true false null",
  markup: "",
};

const BY_LANGUAGE = new Map(
  Object.entries(LANGUAGES).flatMap(([family, names]) => names.split(" ").map((name) => [name, family])),
);
const WORDS = Object.fromEntries(Object.entries(KEYWORDS).map(([family, words]) => [family, new Set(words.split(" "))]));
const PATTERNS = Object.fromEntries(
  Object.entries(FAMILIES).map(([family, { comment, string }]) => [
    family,
    new RegExp(`(?<comment>${comment})|(?<string>${string})|(?<number>${NUMBER})|(?<word>${WORD})`, "gi"),
  ]),
);

/** Nodes that together have this text. */
export function highlighted(text, language) {
  const family = BY_LANGUAGE.get(language.toLowerCase());
  if (!family || text.length > LONGEST) return [document.createTextNode(text)];
  const nodes = [];
  let at = 0;
  for (const found of text.matchAll(PATTERNS[family])) {
    const kind = kindOf(found, text, family);
    if (!kind) continue;
    if (found.index > at) nodes.push(document.createTextNode(text.slice(at, found.index)));
    nodes.push(element("span", { class: `code-${kind}` }, found[0]));
    at = found.index + found[0].length;
  }
  nodes.push(document.createTextNode(text.slice(at)));
  return nodes;
}

function kindOf(found, text, family) {
  const { comment, string, number, word } = found.groups;
  if (comment) return "comment";
  const after = text.slice(found.index + found[0].length, found.index + found[0].length + 8);
  if (string) return family === "data" && /^\s*:/.test(after) ? "name" : "string";
  if (number) return "number";
  if (family === "markup") return /[</]/.test(text[found.index - 1] ?? "") ? "keyword" : null;
  const known = WORDS[family].has(family === "dashes" ? word.toLowerCase() : word);
  if (known) return "keyword";
  return after.startsWith("(") ? "name" : null;
}
