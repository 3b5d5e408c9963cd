// What a model wrote, as nodes of the page.
//
// Its text is untrusted. It becomes text nodes and elements of the kinds below, never markup; links lead
// to http, https and mailto only, without telling where from; pictures are not loaded, their descriptions
// shown. A text that grows is shown anew from its last block on, so that streaming a long one stays cheap
// and what is selected above stays selected.

import { parseBlocks } from "./blocks.js";
import { copy, element, flash, icon } from "./dom.js";
import { highlighted } from "./highlight.js";
import { parseInline, plain } from "./inline.js";
import { safeAddress } from "./links.js";
import { mathNode } from "./math.js";

/** A container that shows a Markdown text. */
export class MarkdownView {
  constructor() {
    this.container = element("div", { class: "markdown" });
    this.shown = []; // per block {source, block, node}
  }

  show(text) {
    const { blocks, lines } = parseBlocks(text);
    const sources = blocks.map((block) => lines.slice(block.from, block.to).join("\n"));
    let same = 0;
    while (same < blocks.length && this.shown[same]?.source === sources[same]) same++;
    for (let k = same; k < blocks.length; k++) this.replace(k, sources[k], blocks[k]);
    for (const { node } of this.shown.splice(blocks.length)) node.remove();
  }

  replace(k, source, block) {
    const before = this.shown[k];
    if (before && before.block.type === "code" && block.type === "code" && before.block.language === block.language) {
      // The block that is being written: its button stays, and so does the keyboard's focus on it.
      before.node.querySelector("code").replaceChildren(...highlighted(block.text, block.language));
      this.shown[k] = { source, block, node: before.node };
      return;
    }
    const node = blockNode(block);
    if (before) before.node.replaceWith(node);
    else this.container.append(node);
    this.shown[k] = { source, block, node };
  }
}

/** A Markdown text as it would be read out. */
export function spoken(text) {
  const { blocks } = parseBlocks(text);
  return blocks.map(spokenBlock).join("\n");
}

function spokenBlock(block) {
  if (block.type === "code" || block.type === "math") return block.text;
  if (block.type === "rule") return "";
  if (block.type === "quote") return block.blocks.map(spokenBlock).join("\n");
  if (block.type === "list") return block.items.map((item) => item.blocks.map(spokenBlock).join("\n")).join("\n");
  if (block.type === "table") return [block.head, ...block.rows].map((row) => row.join(", ")).join("\n");
  return plain(parseInline(block.text));
}

function blockNode(block) {
  switch (block.type) {
    case "heading":
      // The page has its own headings above these.
      return element(`h${Math.min(6, block.level + 2)}`, { class: `h${block.level}` }, ...inline(block.text));
    case "code":
      return codeNode(block);
    case "math":
      return element("div", { class: "formula" }, mathNode(block.text, true, block.source));
    case "rule":
      return element("hr");
    case "quote":
      return element("blockquote", {}, ...block.blocks.map(blockNode));
    case "list":
      return listNode(block);
    case "table":
      return tableNode(block);
    default:
      return element("p", {}, ...inline(block.text));
  }
}

function codeNode(block) {
  const code = element("code", {}, ...highlighted(block.text, block.language));
  const button = element("button", { type: "button", class: "copy-code" }, icon("copy"), "Copy");
  button.addEventListener("click", async () => {
    if (await copy(code.textContent)) flash(button, "check", "Copied");
  });
  const language = block.language.slice(0, 40);
  return element(
    "div",
    { class: "code-block" },
    element("div", { class: "code-head" }, element("span", {}, language || "text"), button),
    element("pre", { tabindex: "0", role: "region", "aria-label": `Code${language ? `, ${language}` : ""}` }, code),
  );
}

function listNode(block) {
  const items = block.items.map(({ blocks, done }) => {
    const inside = blocks.flatMap((child) =>
      child.type === "paragraph" && !block.loose ? inline(child.text) : [blockNode(child)],
    );
    if (done === null) return element("li", {}, ...inside);
    const box = element("input", { type: "checkbox", disabled: true, checked: done, "aria-label": done ? "done" : "open" });
    return element("li", { class: "task" }, box, " ", ...inside);
  });
  const start = block.ordered && block.start !== 1 ? block.start : null;
  return element(block.ordered ? "ol" : "ul", { start }, ...items);
}

function tableNode({ align, head, rows }) {
  const cell = (name, text, k) => element(name, { class: align[k] || null }, ...inline(text));
  const row = (name, texts) => element("tr", {}, ...texts.map((text, k) => cell(name, text, k)));
  return element(
    "div",
    { class: "table", tabindex: "0", role: "region", "aria-label": "Table" },
    element(
      "table",
      {},
      element("thead", {}, row("th", head)),
      rows.length > 0 && element("tbody", {}, ...rows.map((texts) => row("td", texts))),
    ),
  );
}

function inline(text) {
  return parseInline(text).map(inlineNode);
}

const NAMES = { emphasis: "em", strong: "strong", strike: "del" };

function inlineNode(node) {
  switch (node.type) {
    case "text":
      return document.createTextNode(node.text);
    case "code":
      return element("code", {}, node.text);
    case "math":
      return mathNode(node.text, node.display, node.source);
    case "break":
      return element("br");
    case "link":
      return linkNode(node.href, node.children.map(inlineNode));
    case "image":
      return imageNode(node);
    default:
      return element(NAMES[node.type], {}, ...node.children.map(inlineNode));
  }
}

function linkNode(address, children) {
  const href = safeAddress(address);
  if (!href) return element("span", { class: "no-link", title: address.slice(0, 200) }, ...children);
  return element(
    "a",
    { href, title: href, target: "_blank", rel: "noopener noreferrer nofollow", referrerpolicy: "no-referrer" },
    ...children,
  );
}

/** The description of a picture: loading it would tell its server who reads this. */
function imageNode({ href, alt }) {
  const label = [icon("image"), alt || "picture"];
  const link = linkNode(href, label);
  link.classList.add("picture");
  return link;
}
