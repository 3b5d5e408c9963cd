// Elements without markup: text only ever becomes text nodes.

const SVG = "http://www.w3.org/2000/svg";

/** An element; attributes that are functions are listeners, `false` and `null` are left out. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** One of the symbols of index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** A button that is only a picture; its label is read out and shown on hovering. */
export function iconButton(picture, label, click, attributes = {}) {
  return element(
    "button",
    { type: "button", class: "icon-button", "aria-label": label, title: label, click, ...attributes },
    icon(picture),
  );
}

/** The element with this id, which index.html has. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return found;
}

/** Show a button's success for a moment. */
export function flash(button, picture, label) {
  const [before, title] = [[...button.childNodes], button.getAttribute("aria-label")];
  if (button.dataset.flashing) return;
  button.dataset.flashing = "yes";
  button.replaceChildren(icon(picture), ...before.slice(1).map((node) => node.cloneNode(true)));
  button.setAttribute("aria-label", label);
  setTimeout(() => {
    button.replaceChildren(...before);
    if (title === null) button.removeAttribute("aria-label");
    else button.setAttribute("aria-label", title);
    delete button.dataset.flashing;
  }, 1500);
}

/** Put text on the clipboard. Browsers offer the clipboard over https and on loopback only; elsewhere the old way. */
export async function copy(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Not allowed here: the old way below asks nobody.
    }
  }
  const area = element("textarea", { class: "unseen", readonly: true });
  area.value = text;
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return copied;
}

/** Hand a file to the person. */
export function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** 12345 as 12,345. */
export function count(number) {
  return number.toLocaleString("en");
}

/** 12345 bytes as 12 KB. */
export function size(bytes) {
  if (!bytes) return "";
  const units = ["B", "KB", "MB", "GB"];
  let k = 0;
  for (; bytes >= 1000 && k < units.length - 1; k++) bytes /= 1000;
  return `${k && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[k]}`;
}
