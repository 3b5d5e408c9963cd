// A conversation as data, without a page or a server.
//
// Its messages are a tree: asking again or sending a question anew adds a sibling and nothing is lost; what
// is shown is the path of the children that were chosen. A text that a base model continues is a
// conversation of mode "text": pieces by turns of the person and of the model.
//
//   {id, mode: "chat" | "text", title, named, created, changed, model, settings,
//    nodes: {id: {id, parent, role, text, at, ...}}, chosen: {parent: child},
//    pieces: [{by, text, turn}], unread: characters at the text's beginning that are not sent}
//
// An answer has, where known: evidence (evidence.js), model, thought, finish, facts {prompt, cached, written, pieces, first, seconds}.

import { checkedEvidence } from "./evidence.js";

export const ROOT = "root";

const THINKING = /^\s*<think>([^]*?)(?:<\/think>|$)/;
const LONGEST_TITLE = 60;
const LEAST_PROMPT = 40; // characters
const LONGEST_TEXT = 4_000_000;
const MOST_NODES = 20_000;

/** A name that nothing else has. (crypto.randomUUID is offered over https only.) */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function create({ mode, model, settings }) {
  const now = Date.now();
  return {
    id: newId(), mode, title: "", named: false, created: now, changed: now, model,
    settings: { ...settings }, nodes: {}, chosen: {}, pieces: [], unread: 0,
  };
}

/** The messages that are shown, from the first on. */
export function path(conversation) {
  const found = [];
  for (let at = conversation.chosen[ROOT]; at; at = conversation.chosen[at]) found.push(conversation.nodes[at]);
  return found;
}

/** All versions of a message, oldest first. */
export function versions(conversation, node) {
  return Object.values(conversation.nodes).filter((other) => other.parent === node.parent);
}

/** Add a message after another one (or ROOT) and show it. */
export function add(conversation, parent, role, text) {
  const node = { id: newId(), parent, role, text, at: Date.now() };
  conversation.nodes[node.id] = node;
  conversation.chosen[parent] = node.id;
  touch(conversation);
  return node;
}

export function choose(conversation, node) {
  conversation.chosen[node.parent] = node.id;
  touch(conversation);
}

/** Take a message back that came to nothing; its previous version is shown again. */
export function drop(conversation, node) {
  delete conversation.nodes[node.id];
  const rest = versions(conversation, node);
  if (rest.length) conversation.chosen[node.parent] = rest.at(-1).id;
  else delete conversation.chosen[node.parent];
}

export function touch(conversation) {
  conversation.changed = Date.now();
  if (!conversation.named) conversation.title = titleOf(conversation);
}

function titleOf(conversation) {
  const said = conversation.mode === "chat" ? path(conversation)[0]?.text : written(conversation);
  const line = (said ?? "").trim().split("\n", 1)[0].replace(/\s+/g, " ");
  if (line.length <= LONGEST_TITLE) return line;
  return `${line.slice(0, LONGEST_TITLE).replace(/\s+\S*$/, "")}…`;
}

/** Whether there is anything in it to keep. */
export function isEmpty(conversation) {
  return path(conversation).length === 0 && written(conversation) === "";
}

/** What was thought and what was said: some models write both into one text. */
export function apart(node) {
  const found = node.role === "assistant" ? THINKING.exec(node.text) : null;
  if (!found) return { thought: node.thought ?? "", text: node.text };
  return { thought: (node.thought ?? "") + found[1], text: node.text.slice(found[0].length).trimStart() };
}

/**
 * What the server is sent, up to and with a message: the system prompt first, and neither what was left out nor thoughts.
 * Questions that were not answered are put together: many chat templates insist on turns.
 */
export function messagesUpTo(conversation, last) {
  const messages = [];
  if (conversation.settings.system?.trim()) messages.push({ role: "system", content: conversation.settings.system });
  for (const node of path(conversation)) {
    const before = messages.at(-1);
    const content = apart(node).text || (node.evidence?.refusal ?? "");
    if (!node.leftOut && before?.role === node.role) before.content += `\n\n${content}`;
    else if (!node.leftOut) messages.push({ role: node.role, content });
    if (node === last) break;
  }
  return messages;
}

/** Leave out the oldest turn that is still sent; false where only the last question is left. */
export function leaveOutOldest(conversation, last) {
  const sent = path(conversation).filter((node) => !node.leftOut);
  const ahead = sent.slice(0, sent.indexOf(last));
  if (ahead.length === 0) return false;
  // A turn: the question and everything up to the next one.
  let end = 1;
  while (end < ahead.length && ahead[end].role !== "user") end++;
  for (const node of ahead.slice(0, end)) node.leftOut = true;
  return true;
}

/** The text of a conversation of mode "text". */
export function written(conversation) {
  return conversation.pieces.map((piece) => piece.text).join("");
}

/** What the model is to go on with: the text, or its end. */
export function promptOf(conversation) {
  return written(conversation).slice(conversation.unread);
}

/** Leave out the first half of what is still sent of a text; false where little is left. */
export function leaveOutBeginning(conversation) {
  const prompt = promptOf(conversation);
  if (prompt.length < LEAST_PROMPT) return false;
  const half = Math.ceil(prompt.length / 2);
  const word = prompt.slice(half).search(/\s\S/); // not within a word, if there is another one
  conversation.unread += half + Math.max(0, word);
  return true;
}

/** Take over what the person made of the text; what the model wrote of it stays known as that. */
export function rewrite(conversation, text) {
  const before = written(conversation);
  let from = 0;
  while (from < before.length && from < text.length && before[from] === text[from]) from++;
  let kept = 0; // characters at the end that stayed
  const most = Math.min(before.length, text.length) - from;
  while (kept < most && before[before.length - 1 - kept] === text[text.length - 1 - kept]) kept++;
  const put = { by: "you", turn: 0, text: text.slice(from, text.length - kept) };
  const pieces = [...cut(conversation.pieces, 0, from), put, ...cut(conversation.pieces, before.length - kept, Infinity)];
  conversation.pieces = merged(pieces);
  if (conversation.unread >= text.length) conversation.unread = 0;
  touch(conversation);
}

/** Add what the model wrote. `turn`: which of its continuations it belongs to. */
export function append(conversation, turn, text) {
  conversation.pieces = merged([...conversation.pieces, { by: "model", text, turn }]);
  touch(conversation);
}

/** The number of the next continuation. */
export function nextTurn(conversation) {
  return 1 + Math.max(0, ...conversation.pieces.map((piece) => piece.turn));
}

/** Whether the text ends with what the model wrote. */
export function canTakeBack(conversation) {
  return conversation.pieces.at(-1)?.by === "model";
}

/** Take back the model's last continuation, which stands at the end. */
export function takeBack(conversation) {
  conversation.pieces = conversation.pieces.slice(0, -1);
  touch(conversation);
}

function cut(pieces, from, to) {
  const found = [];
  let at = 0;
  for (const piece of pieces) {
    found.push({ ...piece, text: piece.text.slice(Math.max(0, from - at), Math.max(0, to - at)) });
    at += piece.text.length;
  }
  return found;
}

function merged(pieces) {
  const made = [];
  for (const { by, text, turn } of pieces) {
    const before = made.at(-1);
    if (!text) continue;
    if (before?.by === by && before.turn === turn) before.text += text;
    else made.push({ by, text, turn });
  }
  return made;
}

/** A conversation as Markdown, for reading elsewhere. */
export function asMarkdown(conversation) {
  if (conversation.mode === "text") return `# ${conversation.title}\n\n${written(conversation)}\n`;
  const parts = path(conversation).map((node) => `## ${node.role === "user" ? "You" : node.model || "Model"}\n\n${asText(node)}\n`);
  return [`# ${conversation.title}\n`, ...parts].join("\n");
}

/** A message with the places that it cites, as text. */
export function asText(node) {
  const { evidence } = node;
  const said = apart(node).text || (evidence?.refusal ?? "");
  if (!evidence?.citations.length) return said;
  const sources = evidence.citations.map(({ source, page, text }, k) => {
    const where = page === null ? source : `${source}, page ${page}`;
    return `[${k + 1}] ${where}: “${text.replace(/\s+/g, " ").trim()}”`;
  });
  return `${said}\n\n${sources.join("\n")}`;
}

/** A conversation from a file, of which nothing is believed; null where it is none. */
export function checked(value) {
  if (!isRecord(value) || !["chat", "text"].includes(value.mode) || !isRecord(value.nodes)) return null;
  const conversation = create({ mode: value.mode, model: text(value.model, 500), settings: checkedSettings(value.settings) });
  if (/^[\da-f]{24}$/.test(value.id)) conversation.id = value.id;
  conversation.title = text(value.title, 500);
  conversation.named = value.named === true;
  for (const name of ["created", "changed"]) conversation[name] = number(value[name]) ?? conversation[name];
  const nodes = Object.values(value.nodes).slice(0, MOST_NODES).map(checkedNode);
  for (const node of nodes) if (node) conversation.nodes[node.id] = node;
  keepTree(conversation, isRecord(value.chosen) ? value.chosen : {});
  const pieces = Array.isArray(value.pieces) ? value.pieces : [];
  conversation.pieces = merged(
    pieces.filter(isRecord).map((piece) => ({
      by: piece.by === "model" ? "model" : "you",
      text: text(piece.text),
      turn: piece.by === "model" ? (number(piece.turn) ?? 1) : 0,
    })),
  );
  conversation.unread = Math.min(Math.max(0, Math.floor(number(value.unread) ?? 0)), written(conversation).length);
  return isEmpty(conversation) ? null : conversation;
}

/** Keep the messages that hang together from the root on: no cycle, no loose ends. */
function keepTree(conversation, chosen) {
  const known = new Set([ROOT]);
  const kept = {};
  // A parent stands before its children, as they were made.
  for (const node of Object.values(conversation.nodes)) {
    if (!known.has(node.parent)) continue;
    known.add(node.id);
    kept[node.id] = node;
    if (chosen[node.parent] === node.id || !(node.parent in conversation.chosen)) conversation.chosen[node.parent] = node.id;
  }
  conversation.nodes = kept;
}

function checkedNode(value) {
  if (!isRecord(value) || !/^[\da-f]{24}$/.test(value.id) || !["user", "assistant"].includes(value.role)) return null;
  const node = { id: value.id, parent: text(value.parent, 24), role: value.role, text: text(value.text) };
  node.at = number(value.at) ?? Date.now();
  if (value.leftOut === true) node.leftOut = true;
  for (const name of ["model", "thought", "finish"]) if (typeof value[name] === "string") node[name] = text(value[name]);
  if (isRecord(value.facts)) node.facts = numbers(value.facts, ["prompt", "cached", "written", "pieces", "first", "seconds"]);
  const evidence = node.role === "assistant" ? checkedEvidence(value.evidence) : null;
  if (evidence) node.evidence = evidence;
  return node;
}

/** Settings of which only what is known and well-formed is kept. */
export function checkedSettings(value) {
  if (!isRecord(value)) return {};
  const settings = numbers(value, ["temperature", "top_p", "min_p", "top_k", "max_tokens", "repetition_penalty", "seed"]);
  if (typeof value.system === "string") settings.system = text(value.system);
  if (Array.isArray(value.stop)) settings.stop = value.stop.filter((stop) => typeof stop === "string" && stop).slice(0, 4);
  return settings;
}

function numbers(value, names) {
  return Object.fromEntries(names.filter((name) => number(value[name]) !== null).map((name) => [name, value[name]]));
}

function isRecord(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(value, longest = LONGEST_TEXT) {
  return typeof value === "string" ? value.slice(0, longest) : "";
}

function number(value) {
  return Number.isFinite(value) ? value : null;
}
