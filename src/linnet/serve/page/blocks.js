// Markdown's blocks, by CommonMark's rules (https://spec.commonmark.org/0.31.2/#blocks-and-inlines) with
// GitHub's tables and task lists, less raw HTML, which stays text, and definitions of links.
//
// A block is {type, ...}: heading {level, text}, paragraph {text}, code {text, language, open}, rule,
// math {text, source}, quote {blocks}, list {ordered, start, loose, items: [{blocks, done}]}, table {align, head, rows}.
// It depends on its own lines only, so that while a text grows only its last block changes.

const DEEPEST = 12; // of quotes and lists in each other; deeper ones are paragraphs
const MOST_COLUMNS = 64;
const MOST_MATH_LINES = 100;
const MOST_ADDED = 5000; // cells that a table's rows lack: a few signs must not become a huge table

const FENCE = /^ {0,3}(`{3,}(?=[^`]*$)|~{3,})(.*)$/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}>/;
const ITEM = /^( {0,3})(?:([-+*])|(\d{1,9})([.)]))(?=[ \t]|$)/;
const UNDERLINE = /^ {0,3}(=+|-+)[ \t]*$/;
const MATH = /^ {0,3}(\$\$|\\\[)/;
const ALIGNMENT = /^(:?)-+(:?)$/;
const TASK = /^\[([ xX])\][ \t]/;

/** The blocks of a text, each with the lines `[from, to)` it was made from. */
export function parseBlocks(text) {
  const lines = text.replace(/\r\n?/g, "\n").replaceAll("\0", "\ufffd").split("\n");
  if (lines.at(-1) === "") lines.pop(); // what follows the last line's end
  return { blocks: parse(lines, 0), lines };
}

function parse(lines, depth) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (isBlank(lines[at])) {
      at++;
      continue;
    }
    const [block, to] = first(lines, at, depth);
    blocks.push({ ...block, from: at, to });
    at = to;
  }
  return blocks;
}

function first(lines, at, depth) {
  return (
    indented(lines, at) ??
    fenced(lines, at) ??
    heading(lines, at) ??
    rule(lines, at) ??
    (depth < DEEPEST ? (quote(lines, at, depth) ?? list(lines, at, depth)) : null) ??
    table(lines, at) ??
    math(lines, at) ??
    paragraph(lines, at)
  );
}

function isBlank(line) {
  return line.trim() === "";
}

/** How many columns of white space a line begins with; tabs reach to the next fourth. `start`: its own column. */
function indentation(line, start = 0) {
  let column = start;
  for (const character of line) {
    if (character === " ") column += 1;
    else if (character === "\t") column += 4 - (column % 4);
    else break;
  }
  return column - start;
}

/** A line without its first columns of white space. */
function outdent(line, columns, start = 0) {
  let [at, column] = [0, start];
  while (at < line.length && column < start + columns && (line[at] === " " || line[at] === "\t")) {
    column += line[at] === " " ? 1 : 4 - (column % 4);
    at++;
  }
  return " ".repeat(Math.max(0, column - start - columns)) + line.slice(at);
}

function indented(lines, at) {
  if (indentation(lines[at]) < 4) return null;
  let to = at;
  for (let k = at; k < lines.length && (isBlank(lines[k]) || indentation(lines[k]) >= 4); k++) {
    if (!isBlank(lines[k])) to = k + 1;
  }
  const text = lines.slice(at, to).map((line) => outdent(line, 4));
  return [{ type: "code", language: "", text: text.join("\n"), open: false }, to];
}

function fenced(lines, at) {
  const opening = FENCE.exec(lines[at]);
  if (!opening) return null;
  const [, fence, info] = opening;
  const inside = [];
  const columns = indentation(lines[at]);
  let to = at + 1;
  while (to < lines.length && !closes(lines[to], fence)) inside.push(outdent(lines[to++], columns));
  const language = info.trim().split(/\s/, 1)[0];
  const open = to === lines.length;
  return [{ type: "code", language, text: inside.join("\n"), open }, open ? to : to + 1];
}

function closes(line, fence) {
  if (indentation(line) > 3) return false;
  const text = line.trim();
  return text.length >= fence.length && text === fence[0].repeat(text.length);
}

function heading(lines, at) {
  const found = HEADING.exec(lines[at]);
  if (!found) return null;
  const text = lines[at].slice(found[0].length).trim().replace(/(^|[ \t])#+$/, "").trim();
  return [{ type: "heading", level: found[1].length, text }, at + 1];
}

function rule(lines, at) {
  return RULE.test(lines[at]) ? [{ type: "rule" }, at + 1] : null;
}

/** Whether a line begins something else where a paragraph could go on. */
function interrupts(line) {
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line)) return true;
  const item = ITEM.exec(line);
  return item !== null && !isBlank(line.slice(item[0].length)) && (item[3] === undefined || +item[3] === 1);
}

/** Follows the lines of a container, to know whether a line without its mark still goes on in it. */
class Paragraph {
  fence = null;
  going = false;

  pass(line) {
    if (this.fence) {
      if (closes(line, this.fence)) this.fence = null;
      return;
    }
    const inside = line.replace(/^(?: {0,3}(?:>|[-+*]|\d{1,9}[.)]) ?)+/, "");
    const opening = FENCE.exec(inside);
    this.fence = opening?.[1] ?? null;
    const starts = opening || HEADING.test(inside) || RULE.test(line) || isBlank(inside);
    this.going = !starts && (this.going || indentation(inside) < 4);
  }

  /** Whether a line without the container's mark belongs to the paragraph in it all the same. */
  goesOn(line) {
    return this.going && !this.fence && !isBlank(line) && !interrupts(line) && !ITEM.test(line);
  }
}

/** Such a line as text: it cannot underline a heading that stands in the container. */
function unmarked(line) {
  return UNDERLINE.test(line) ? `\\${line.trimStart()}` : line;
}

function quote(lines, at, depth) {
  if (!QUOTE.test(lines[at])) return null;
  const inside = [];
  const last = new Paragraph();
  let to = at;
  for (; to < lines.length; to++) {
    const marked = QUOTE.exec(lines[to]);
    if (!marked && !last.goesOn(lines[to])) break;
    const line = marked ? outdent(lines[to].slice(marked[0].length), 1, marked[0].length) : unmarked(lines[to]);
    last.pass(line);
    inside.push(line);
  }
  return [{ type: "quote", blocks: parse(inside, depth + 1) }, to];
}

function list(lines, at, depth) {
  const opening = ITEM.exec(lines[at]);
  if (!opening) return null;
  const kind = opening[2] ?? opening[4];
  const items = [];
  let [to, loose] = [at, false];
  for (let next = at; next < lines.length; ) {
    const marker = ITEM.exec(lines[next]);
    if (!marker || (marker[2] ?? marker[4]) !== kind || RULE.test(lines[next])) break;
    if (next > to) loose = true; // blank lines before it
    const [inside, after] = itemLines(lines, next, marker);
    const task = TASK.exec(inside[0]);
    if (task) inside[0] = inside[0].slice(task[0].length);
    const blocks = parse(inside, depth + 1);
    loose ||= blocks.some((block, k) => k > 0 && block.from > blocks[k - 1].to);
    items.push({ blocks, done: task ? task[1] !== " " : null });
    to = next = after;
    while (next < lines.length && isBlank(lines[next])) next++;
  }
  const ordered = opening[3] !== undefined;
  return [{ type: "list", ordered, start: ordered ? +opening[3] : 1, loose, items }, to];
}

/** The lines of one item without their indentation, and the line after them. */
function itemLines(lines, at, marker) {
  const start = marker[0].length;
  const rest = lines[at].slice(start);
  const space = isBlank(rest) ? 1 : indentation(rest, start);
  const columns = start + (space > 4 ? 1 : space);
  const inside = [outdent(rest, columns - start, start)];
  const last = new Paragraph();
  last.pass(inside[0]);
  let to = at + 1;
  for (let k = at + 1; k < lines.length; k++) {
    if (isBlank(lines[k])) {
      // An item that begins with a blank line has only one of them.
      if (k === at + 1 && isBlank(inside[0])) break;
      last.pass("");
      continue;
    }
    const within = indentation(lines[k]) >= columns;
    if (!within && (ITEM.test(lines[k]) || !last.goesOn(lines[k]))) break;
    while (to < k) inside.push(outdent(lines[to++], columns));
    inside.push(within ? outdent(lines[k], columns) : unmarked(lines[k]));
    last.pass(inside.at(-1));
    to = k + 1;
  }
  return [inside, to];
}

/** The cells of a table's row; `\|` and a bar within a code span's backslash are no borders. */
function cells(line) {
  const found = [];
  let cell = "";
  const row = line.trim();
  for (let k = row[0] === "|" ? 1 : 0; k < row.length; k++) {
    if (row[k] === "\\" && row[k + 1] === "|") cell += row[++k];
    else if (row[k] === "|") {
      found.push(cell.trim());
      cell = "";
    } else cell += row[k];
  }
  if (cell.trim() || !row.endsWith("|")) found.push(cell.trim());
  return found;
}

/** How the columns of the table that begins here are aligned; null where none begins. */
function alignment(lines, at) {
  const [head, under] = [lines[at], lines[at + 1] ?? ""];
  if (!head.includes("|") && !under.includes("|")) return null;
  if (!/^[ \t|:-]*$/.test(under) || !under.includes("-") || indentation(under) > 3) return null;
  const found = cells(under).map((cell) => ALIGNMENT.exec(cell));
  if (found.includes(null) || found.length > MOST_COLUMNS) return null;
  if (found.length !== cells(head).length) return null;
  return found.map(([, left, right]) => (left && right ? "center" : right ? "right" : left ? "left" : ""));
}

function table(lines, at) {
  const align = alignment(lines, at);
  if (!align) return null;
  const rows = [];
  let [to, left] = [at + 2, MOST_ADDED];
  for (; to < lines.length && !isBlank(lines[to]) && !interrupts(lines[to]); to++) {
    const row = cells(lines[to]).slice(0, align.length);
    const lacking = Math.min(left, align.length - row.length);
    left -= lacking;
    rows.push([...row, ...Array(lacking).fill("")]);
  }
  return [{ type: "table", align, head: cells(lines[at]), rows }, to];
}

/** A formula on lines of its own, once it is closed. */
function math(lines, at) {
  const opening = MATH.exec(lines[at]);
  if (!opening) return null;
  const close = opening[1] === "$$" ? "$$" : "\\]";
  const inside = [];
  for (let to = at; to < Math.min(lines.length, at + MOST_MATH_LINES); to++) {
    const line = to === at ? lines[to].slice(opening[0].length) : lines[to];
    const end = line.indexOf(close);
    inside.push(end < 0 ? line : line.slice(0, end));
    if (end < 0) continue;
    const text = inside.join("\n").trim();
    if (!text || line.slice(end + close.length).trim()) return null; // part of a sentence
    return [{ type: "math", text, source: lines.slice(at, to + 1).join("\n").trim() }, to + 1];
  }
  return null;
}

function paragraph(lines, at) {
  const text = [lines[at].trimStart()];
  let to = at + 1;
  for (; to < lines.length; to++) {
    if (isBlank(lines[to])) break;
    const underline = UNDERLINE.exec(lines[to]);
    if (underline) {
      return [{ type: "heading", level: underline[1][0] === "=" ? 1 : 2, text: text.join("\n") }, to + 1];
    }
    if (interrupts(lines[to]) || alignment(lines, to) || math(lines, to)) break;
    text.push(lines[to].trimStart());
  }
  return [{ type: "paragraph", text: text.join("\n").trimEnd() }, to];
}
