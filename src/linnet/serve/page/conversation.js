// A conversation as data, without a page or a server.
//
// Its messages are a tree: asking again or sending a question anew adds a sibling and nothing is lost; what
// is shown is the path of the children that were chosen. A text that a base model continues is a
// conversation of mode "text": pieces by turns of the person and of the model.
//
//   {id, mode: "chat" | "text", title, named, created, changed, model, settings,
//    nodes: {id: {id, parent, role, text, at, ...}}, chosen: {parent: child},
//    pieces: [{by, text, turn}], unread: characters at the text's beginning that are not sent,
//    rival: a second model that is asked beside, or ""}
//
// An answer has, where known: evidence (evidence.js), model, thought, finish, facts {prompt, cached, written, pieces, first, seconds}.
// A question has, where there are some: attachments [{name, kind, text, characters}]; and beside: the two answers between which
// nobody has chosen yet. `edited`: whether the person changed a message after it was sent or written.

import { checkedEvidence } from "./evidence.js";
import { checkedWrote } from "./routing.js";

export const ROOT = "root";

const THINKING = /^\s*<think>([^]*?)(?:<\/think>|$)/;
const LONGEST_TITLE = 60;
const LEAST_PROMPT = 40; // characters
const LONGEST_TEXT = 4_000_000;
const MOST_NODES = 20_000;
const NUMBERS = [
  "temperature", "top_p", "min_p", "top_k", "repetition_penalty", "frequency_penalty", "presence_penalty", "max_tokens", "seed",
];
const MOST_ATTACHMENTS = 50;

/** A name that nothing else has. (crypto.randomUUID is offered over https only.) */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function create({ mode, model, settings }) {
  const now = Date.now();
  return {
    id: newId(), mode, title: "", named: false, created: now, changed: now, model,
    settings: { ...settings }, nodes: {}, chosen: {}, pieces: [], unread: 0, rival: "",
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
  return Object.values(conversation.nodes).filter((other) => other.parent === node.parent && other.role === node.role);
}

/** The two answers at the end between which nobody has chosen yet, or null. */
export function undecided(conversation) {
  const [question, answer] = path(conversation).slice(-2);
  const found = answer?.role === "assistant" ? question.beside?.map((id) => conversation.nodes[id]) : null;
  return found?.length === 2 && found.every((node) => node?.parent === question.id) ? found : null;
}

/** Go on with one of two answers. */
export function decide(conversation, node) {
  delete conversation.nodes[node.parent].beside;
  choose(conversation, node);
}

/** Add a message after another one (or ROOT) and show it. `more`: what else it has, such as attachments. */
export function add(conversation, parent, role, text, more = {}) {
  const node = { id: newId(), parent, role, text, at: Date.now(), ...more };
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

/**
 * Delete a message. What follows moves up, unless there is another version of it: then that is shown, and
 * what followed this one goes, too. Gives how many are gone, and `undo()`.
 */
export function remove(conversation, node) {
  const { nodes, chosen } = conversation;
  const before = { nodes: { ...nodes }, chosen: { ...chosen } };
  const others = versions(conversation, node).filter((other) => other !== node);
  const children = Object.values(nodes).filter((other) => other.parent === node.id);
  const gone = [node];
  if (others.length) for (const each of gone) gone.push(...Object.values(nodes).filter((other) => other.parent === each.id));
  else for (const child of children) child.parent = node.parent;
  const next = others.length ? others.at(-1).id : chosen[node.id];
  for (const { id } of gone) {
    delete nodes[id];
    delete chosen[id];
  }
  if (next) chosen[node.parent] = next;
  else delete chosen[node.parent];
  touch(conversation);
  const undo = () => {
    for (const child of children) child.parent = node.id;
    conversation.nodes = { ...before.nodes, ...conversation.nodes }; // with what came meanwhile
    conversation.chosen = { ...conversation.chosen, ...before.chosen };
    touch(conversation);
  };
  return { count: gone.length, undo };
}

/** Another version of an answer, as the person would have it. */
export function addVersion(conversation, node, text) {
  const made = add(conversation, node.parent, node.role, "", { model: node.model, edited: true, finish: "stop" });
  if (node.thought) made.thought = node.thought;
  made.text = (THINKING.exec(node.text)?.[0] ?? "") + text;
  return made;
}

/** Change what a message says; of an answer's thoughts nothing. */
export function edit(conversation, node, text) {
  const thinking = node.role === "assistant" ? (THINKING.exec(node.text)?.[0] ?? "") : "";
  node.text = thinking + text;
  node.edited = true;
  touch(conversation);
}

export function touch(conversation) {
  conversation.changed = Date.now();
  if (!conversation.named) conversation.title = titleOf(conversation);
}

function titleOf(conversation) {
  const first = path(conversation)[0];
  const said = conversation.mode === "chat" ? first?.text || first?.attachments?.[0].name : written(conversation);
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

/** Whether an answer was cut where it can be gone on with. */
export function canGoOn(node) {
  return ["length", "stopped"].includes(node.finish) && node.role === "assistant" && !node.evidence && apart(node).text.trim() !== "";
}

/** What a message says to the model: the files that belong to it, then its text. */
export function contentOf(node) {
  const files = (node.attachments ?? []).map(({ name, text }) => `--- ${name} ---\n${text}\n--- end of ${name} ---\n\n`);
  return files.join("") + (apart(node).text || (node.evidence?.refusal ?? ""));
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
    const content = contentOf(node);
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
  const parts = path(conversation).map((node) => `## ${node.role === "user" ? "You" : node.wrote?.model || node.model || "Model"}\n\n${asText(node)}\n`);
  return [`# ${conversation.title}\n`, ...parts].join("\n");
}

/** A message with the places that it cites, as text. */
export function asText(node) {
  const { evidence } = node;
  const files = (node.attachments ?? []).map(({ name }) => `[${name}]`).join(" ");
  const said = [files, apart(node).text || (evidence?.refusal ?? "")].filter(Boolean).join("\n\n");
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
  conversation.rival = text(value.rival, 500);
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
  const children = new Map();
  for (const node of Object.values(conversation.nodes)) children.set(node.parent, [...(children.get(node.parent) ?? []), node]);
  const kept = {};
  const parents = [ROOT];
  for (const parent of parents) {
    for (const node of children.get(parent) ?? []) {
      if (node.id in kept) continue;
      kept[node.id] = node;
      parents.push(node.id);
      if (chosen[parent] === node.id || !(parent in conversation.chosen)) conversation.chosen[parent] = node.id;
    }
  }
  conversation.nodes = kept;
}

function checkedNode(value) {
  if (!isRecord(value) || !/^[\da-f]{24}$/.test(value.id) || !["user", "assistant"].includes(value.role)) return null;
  const node = { id: value.id, parent: text(value.parent, 24), role: value.role, text: text(value.text) };
  node.at = number(value.at) ?? Date.now();
  for (const name of ["leftOut", "edited"]) if (value[name] === true) node[name] = true;
  const attachments = checkedAttachments(value.attachments);
  if (node.role === "user" && attachments.length) node.attachments = attachments;
  if (node.role === "user" && Array.isArray(value.beside)) node.beside = value.beside.slice(0, 2).map((id) => text(id, 24));
  for (const name of ["model", "thought", "finish"]) if (typeof value[name] === "string") node[name] = text(value[name]);
  if (isRecord(value.facts)) node.facts = numbers(value.facts, ["prompt", "cached", "written", "pieces", "first", "seconds"]);
  const evidence = node.role === "assistant" ? checkedEvidence(value.evidence) : null;
  if (evidence) node.evidence = evidence;
  const wrote = node.role === "assistant" ? checkedWrote(value.wrote) : null;
  if (wrote) node.wrote = wrote;
  return node;
}

function checkedAttachments(value) {
  const found = (Array.isArray(value) ? value.slice(0, MOST_ATTACHMENTS) : []).filter(isRecord);
  return found.map((each) => {
    const said = text(each.text);
    return { name: text(each.name, 300), kind: text(each.kind, 40), text: said, characters: number(each.characters) ?? said.length };
  });
}

/** Settings of which only what is known and well-formed is kept. */
export function checkedSettings(value) {
  if (!isRecord(value)) return {};
  const settings = numbers(value, NUMBERS);
  for (const name of ["system", "schema"]) if (typeof value[name] === "string") settings[name] = text(value[name]);
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
