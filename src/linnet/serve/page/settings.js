// Settings: how the model answers (of the conversation that is open, and of those begun later), how the
// page looks, and what is kept.
//
// A setting that is left empty is not sent: then the server takes the model's own.

import { checkedSettings } from "./conversation.js";
import { dialog } from "./dialogs.js";
import { element, icon } from "./dom.js";
import { presetsField } from "./presets.js";

const DEFAULTS = "linnet-settings";

const SLIDERS = [
  { name: "temperature", label: "Temperature", least: 0, most: 2, step: 0.05, usual: 0.8,
    help: "How much chance there is in each word. At 0 the likeliest is always taken." },
  { name: "top_p", label: "Top-p", least: 0.05, most: 1, step: 0.05, usual: 1,
    help: "Choose among the likeliest words that together have this probability." },
  { name: "min_p", label: "Min-p", least: 0, most: 0.5, step: 0.01, usual: 0.05,
    help: "Leave out words less likely than this share of the likeliest." },
];
const NUMBERS = [
  { name: "top_k", label: "Top-k", least: 0, most: 2_147_483_647, placeholder: "auto",
    help: "Choose among so many of the likeliest words; 0 for all." },
  { name: "repetition_penalty", label: "Repetition penalty", least: 0.01, most: 100, step: "any", placeholder: "auto",
    help: "Above 1 makes words less likely that occurred before." },
  { name: "frequency_penalty", label: "Frequency penalty", least: -2, most: 2, step: "any", placeholder: "auto",
    help: "Makes a word less likely each time it was written." },
  { name: "presence_penalty", label: "Presence penalty", least: -2, most: 2, step: "any", placeholder: "auto",
    help: "Makes words less likely that were written once." },
  { name: "max_tokens", label: "Longest answer", least: 1, most: 1_000_000, placeholder: "in tokens",
    help: "The answer is cut after so many tokens." },
  { name: "seed", label: "Seed", least: 0, most: Number.MAX_SAFE_INTEGER, placeholder: "random",
    help: "The same seed and settings give the same answer." },
];

/** What new conversations begin with. */
export function defaults() {
  try {
    const { model, mode, settings } = JSON.parse(localStorage.getItem(DEFAULTS)) ?? {};
    return { model: String(model ?? ""), mode, settings: checkedSettings(settings) };
  } catch {
    return { model: "", settings: {} };
  }
}

export function setDefaults({ model, settings }) {
  try {
    localStorage.setItem(DEFAULTS, JSON.stringify({ model, settings }));
  } catch {
    // A browser that keeps nothing: they hold for the conversations that are there.
  }
}

/** The settings that a request is sent, once they have no problem. */
export function sent(settings) {
  const { system: _, schema, stop, ...numbers } = settings;
  const format = schema?.trim() ? { response_format: { type: "json_schema", json_schema: { name: "answer", schema: JSON.parse(schema) } } } : {};
  return { ...numbers, ...(stop?.length ? { stop } : {}), ...format };
}

/** What is wrong with settings, in words; "" where nothing is. */
export function problemOf({ schema }) {
  if (!schema?.trim()) return "";
  let value;
  try {
    value = JSON.parse(schema);
  } catch (error) {
    return `It is no JSON: ${error.message}`;
  }
  return typeof value === "object" && value !== null && !Array.isArray(value) ? "" : "It must be an object, such as {\"type\": \"object\"}.";
}

/**
 * The settings' dialog. `settings` is changed in place, `changed()` called after each change.
 * `act`: applyPreset(preset), exportAll(), importFile(file), removeAll(), forgetKey(); `about`: what is true of this place,
 * and `focus`: the setting that is to be seen to first.
 */
export function showSettings(settings, { mode, changed, act, about }) {
  const set = (name, value) => {
    if (value === null || value === "" || (Array.isArray(value) && !value.length)) delete settings[name];
    else settings[name] = value;
    changed();
  };
  const content = [
    presetsField(settings, { apply: (preset) => (made.close(), act.applyPreset(preset)), prompt: about.prompt }),
    element("p", { class: "help" }, "For this conversation, and for those you begin from now on. Empty fields leave it to the model."),
    mode === "chat" && systemField(settings, set),
    ...SLIDERS.map((field) => slider(field, settings, set)),
    element("div", { class: "pair" }, ...NUMBERS.map((field) => numberField(field, settings, set))),
    stopField(settings, set),
    schemaField(settings, set),
    element("h3", {}, "Appearance"),
    themeField(),
    element("h3", {}, "Your conversations"),
    element("p", { class: "help" }, about.kept),
    keptButtons(act, () => made.close()),
    about.inBrowser > 0 &&
      element("div", { class: "buttons copied" },
        element("button", { type: "button", class: "button", click: () => (made.close(), act.copyToServer()) }, `Copy the ${about.inBrowser} of this browser to the server`)),
    about.hasKey && element("h3", {}, "Key"),
    about.hasKey &&
      element("div", { class: "buttons" },
        element("button", { type: "button", class: "button", click: () => (made.close(), act.forgetKey()) }, "Forget the server's key")),
  ];
  const made = dialog("Settings", { name: "side", content: content.filter(Boolean) });
  if (about.focus) made.querySelector(`#set-${about.focus}`)?.focus();
  return made;
}

function field(label, id, help, ...controls) {
  return element(
    "div",
    { class: "field" },
    element("label", { for: id }, label),
    ...controls,
    help && element("p", { class: "help", id: `${id}-help` }, help),
  );
}

function systemField(settings, set) {
  const area = element("textarea", {
    id: "set-system", rows: "4", dir: "auto", placeholder: "You are a patient teacher who answers in two sentences.",
    "aria-describedby": "set-system-help",
  });
  area.value = settings.system ?? "";
  area.addEventListener("input", () => set("system", area.value));
  return field("System prompt", "set-system", "What the model is told before your first message.", area);
}

function slider({ name, label, least, most, step, usual, help }, settings, set) {
  const id = `set-${name}`;
  const range = element("input", {
    type: "range", min: least, max: most, step, "aria-label": label, "aria-describedby": `${id}-help`,
  });
  const box = element("input", {
    type: "number", id, min: least, max: most, step: "any", placeholder: "auto", inputmode: "decimal", "aria-describedby": `${id}-help`,
  });
  const clear = element("button", { type: "button", class: "link-button", "aria-label": `Leave ${label} to the model` }, "Reset");
  const show = () => {
    const value = settings[name];
    range.value = value ?? usual;
    if (document.activeElement !== box) box.value = value ?? "";
    row.classList.toggle("unset", value === undefined);
    range.setAttribute("aria-valuetext", value === undefined ? "left to the model" : String(value));
    clear.hidden = value === undefined;
  };
  const take = (text) => {
    const value = text === "" ? null : Number(text);
    const fits = value === null || (value >= least && value <= most);
    complain(box, help, fits ? "" : `must be from ${least} to ${most}`);
    if (!fits) return;
    set(name, value);
    show();
  };
  range.addEventListener("input", () => take(range.value));
  box.addEventListener("input", () => take(box.value));
  box.addEventListener("blur", () => (show(), complain(box, help, "")));
  clear.addEventListener("click", () => {
    box.value = "";
    take("");
    range.focus();
  });
  const row = element(
    "div",
    { class: "field slider" },
    element("div", { class: "slider-head" }, element("label", { for: id }, label), clear, box),
    range,
    element("p", { class: "help", id: `${id}-help` }, help),
  );
  show();
  return row;
}

/** Say below a field what is wrong with it, or again what it is. */
function complain(box, help, problem) {
  const line = document.getElementById(`${box.id}-help`);
  box.setAttribute("aria-invalid", String(problem !== ""));
  line.textContent = problem ? `It ${problem}: not taken over.` : help;
  line.classList.toggle("problem", problem !== "");
}

function numberField({ name, label, least, most, step = "1", placeholder, help }, settings, set) {
  const id = `set-${name}`;
  const box = element("input", {
    type: "number", id, min: least, max: most, step, placeholder, inputmode: step === "1" ? "numeric" : "decimal", "aria-describedby": `${id}-help`,
  });
  box.value = settings[name] ?? "";
  box.addEventListener("input", () => {
    const value = Number(box.value);
    const isEmpty = box.value === "" && !box.validity.badInput;
    const fits = isEmpty || (box.value !== "" && value >= least && value <= most && (step !== "1" || Number.isSafeInteger(value)));
    const kind = step === "1" ? "a whole number" : "a number";
    complain(box, help, fits ? "" : `must be ${kind} from ${least}${most > 1e9 ? "" : ` to ${most}`}`);
    if (fits) set(name, isEmpty ? null : value);
  });
  return field(label, id, help, box);
}

function stopField(settings, set) {
  const area = element("textarea", { id: "set-stop", rows: "2", spellcheck: "false", "aria-describedby": "set-stop-help" });
  area.value = (settings.stop ?? []).join("\n");
  area.addEventListener("input", () => set("stop", area.value.split("\n").filter(Boolean).slice(0, 4)));
  return field("Stop before", "set-stop", "The answer ends before any of these texts; one a line, up to four.", area);
}

function schemaField(settings, set) {
  const area = element("textarea", {
    id: "set-schema", rows: "4", spellcheck: "false", class: "code-area", "aria-describedby": "set-schema-help",
    placeholder: '{"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}',
  });
  const help = "The answer is JSON that follows this schema.";
  area.value = settings.schema ?? "";
  const node = field("JSON schema", "set-schema", help, area);
  const check = () => {
    const problem = problemOf({ schema: area.value });
    const line = node.querySelector(".help");
    line.textContent = problem || help;
    line.classList.toggle("problem", problem !== "");
    area.setAttribute("aria-invalid", String(problem !== ""));
  };
  area.addEventListener("input", () => (set("schema", area.value.trim() && area.value), check()));
  check();
  return node;
}

function themeField() {
  const choices = [["system", "As the system"], ["light", "Light"], ["dark", "Dark"]].map(([value, label]) => {
    const radio = element("input", { type: "radio", name: "theme", value, checked: window.linnetTheme.choice === value });
    radio.addEventListener("change", () => {
      window.linnetTheme.choose(value);
      document.dispatchEvent(new Event("linnet-theme"));
    });
    return element("label", { class: "choice" }, radio, element("span", {}, label));
  });
  return element("div", { class: "choices", role: "radiogroup", "aria-label": "Appearance" }, ...choices);
}

function keptButtons(act, close) {
  const chosen = element("input", { type: "file", id: "kept-file", accept: ".json,application/json", class: "unseen", tabindex: "-1", "aria-hidden": "true" });
  chosen.addEventListener("change", () => {
    if (chosen.files[0]) act.importFile(chosen.files[0]);
    close();
  });
  const made = (picture, label, click, style = "") =>
    element("button", { type: "button", class: `button ${style}`, click }, icon(picture), label);
  return element(
    "div",
    { class: "buttons" },
    made("export", "Export all", act.exportAll),
    made("import", "Import", () => chosen.click()),
    made("delete", "Delete all", () => (close(), act.removeAll()), "danger"),
    chosen,
  );
}
