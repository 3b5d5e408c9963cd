// Presets: named system prompts with settings and, if wanted, a text for the message box. They are kept in
// this browser; a file of them can be taken elsewhere.

import { checkedSettings, newId } from "./conversation.js";
import { dialog, toast } from "./dialogs.js";
import { download, element, icon } from "./dom.js";

const KEPT = "linnet-presets";
const FORMAT = "linnet-presets";
const MOST = 200;
const LONGEST_NAME = 80;
const LONGEST_PROMPT = 20_000;
const LARGEST_FILE = 4_000_000;

/** {id, name, settings, prompt} each, by name. */
export function presets() {
  try {
    return checked(JSON.parse(localStorage.getItem(KEPT)) ?? []);
  } catch {
    return [];
  }
}

/** Presets from anywhere, of which only what is well-formed is kept; of one name the last. */
function checked(values) {
  const byName = new Map();
  for (const value of Array.isArray(values) ? values : []) {
    const name = typeof value?.name === "string" ? value.name.trim().slice(0, LONGEST_NAME) : "";
    if (!name) continue;
    const id = /^[\da-f]{24}$/.test(value.id) ? value.id : newId();
    const prompt = typeof value.prompt === "string" ? value.prompt.slice(0, LONGEST_PROMPT) : "";
    byName.set(name, { id, name, settings: checkedSettings(value.settings), prompt });
  }
  return [...byName.values()].sort((a, b) => a.name.localeCompare(b.name)).slice(0, MOST);
}

/** Whether the browser kept them. */
function keep(values) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(checked(values)));
    return true;
  } catch {
    toast("This browser keeps nothing, or is full: the preset is not saved.");
    return false;
  }
}

/**
 * The field of the settings' dialog. `settings`: those that are saved; `apply(preset)`: what choosing does;
 * `prompt()`: what stands in the message box.
 */
export function presetsField(settings, { apply, prompt }) {
  const select = element("select", { id: "preset", "aria-describedby": "preset-help" });
  const act = (picture, label, click) => element("button", { type: "button", class: "button", click }, icon(picture), label);
  const remove = act("delete", "Delete", () => {
    const [gone] = presets().filter(({ id }) => id === select.value);
    if (!gone || !keep(presets().filter(({ id }) => id !== gone.id))) return;
    show();
    select.focus();
    toast(`Deleted the preset “${gone.name}”.`, { label: "Undo", act: () => (keep([...presets(), gone]), show(gone.id)) }, 8);
  });
  const use = act("check", "Use", () => apply(presets().find(({ id }) => id === select.value)));
  const exportAll = act("export", "Export", () => download("linnet-presets.json", "application/json", JSON.stringify({ format: FORMAT, version: 1, presets: presets() }, null, 1)));
  const file = element("input", { type: "file", accept: ".json,application/json", hidden: true, "aria-label": "File of presets", id: "preset-file" });
  file.addEventListener("change", async () => {
    if (file.files[0]) await take(file.files[0]);
    file.value = "";
    show();
  });
  const show = (chosen) => {
    const all = presets();
    select.replaceChildren(...(all.length ? all.map(({ id, name }) => element("option", { value: id }, name)) : [element("option", { value: "" }, "None saved yet")]));
    if (chosen) select.value = chosen;
    for (const button of [select, use, remove, exportAll]) button.disabled = !all.length;
  };
  show();
  return element(
    "div",
    { class: "field presets" },
    element("label", { for: "preset" }, "Preset"),
    element("div", { class: "preset-row" }, select, use),
    element("p", { class: "help", id: "preset-help" }, "A system prompt with settings, under a name, kept in this browser."),
    element("div", { class: "buttons" },
      act("plus", "Save these", () => askForName(settings, prompt(), show)),
      remove, exportAll, act("import", "Import", () => file.click()), file),
  );
}

function askForName(settings, text, saved) {
  const name = element("input", { type: "text", id: "preset-name", required: true, maxlength: LONGEST_NAME, autocomplete: "off" });
  const prompt = element("textarea", { id: "preset-prompt", rows: "3", maxlength: LONGEST_PROMPT, "aria-describedby": "preset-prompt-help" });
  prompt.value = text;
  const form = element(
    "form",
    {
      submit: (event) => {
        event.preventDefault();
        const preset = { id: newId(), name: name.value.trim(), settings: structuredClone(settings), prompt: prompt.value };
        if (!preset.name) return;
        if (keep([...presets(), preset])) saved(preset.id);
        made.close();
      },
    },
    element("label", { for: "preset-name" }, "Name"),
    name,
    element("p", { class: "help" }, "One of the same name is replaced."),
    element("div", { class: "field" }, element("label", { for: "preset-prompt" }, "Text for the message box"), prompt,
      element("p", { class: "help", id: "preset-prompt-help" }, "Optional; it is put there when the preset is used and the box is empty.")),
    element("div", { class: "dialog-foot" },
      element("button", { type: "button", class: "button", click: () => made.close() }, "Cancel"),
      element("button", { type: "submit", class: "button main-button" }, "Save")),
  );
  const made = dialog("Save a preset", { name: "narrow", content: [form] });
  name.focus();
}

async function take(file) {
  let content = null;
  try {
    if (file.size <= LARGEST_FILE) content = JSON.parse(await file.text());
  } catch {
    // No JSON: said below.
  }
  if (content?.format !== FORMAT || !Array.isArray(content.presets)) {
    toast(`${file.name} has no presets that this page exported.`);
    return;
  }
  const found = checked(content.presets);
  const before = presets();
  if (keep([...before, ...found])) toast(`${found.length} preset${found.length === 1 ? "" : "s"} imported.`);
}
