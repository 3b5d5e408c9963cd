// Dialogs: asking for a key, the keyboard's shortcuts, a question before something is lost for good.

import { element, iconButton } from "./dom.js";

/** Show a modal dialog; when closed it leaves the page, and the browser puts the focus back where it was. */
export function dialog(title, { name = "", content, foot = [] }) {
  const id = `dialog-title-${document.querySelectorAll("dialog").length}`; // one may be over another
  const heading = element("h2", { id }, title);
  const made = element(
    "dialog",
    { class: `dialog ${name}`, "aria-labelledby": id },
    element("div", { class: "dialog-head" }, heading, iconButton("close", "Close", () => made.close())),
    element("div", { class: "dialog-body" }, ...content),
    foot.length > 0 && element("div", { class: "dialog-foot" }, ...foot),
  );
  made.addEventListener("click", (event) => {
    if (event.target === made) made.close(); // on what lies around it
  });
  made.addEventListener("close", () => made.remove());
  document.body.append(made);
  made.showModal();
  return made;
}

/** Ask for the server's key; resolves to it, or null. `refused`: whether one was given that does not work. */
export function askForKey(refused) {
  return new Promise((resolve) => {
    const input = element("input", {
      type: "password", id: "key", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "key-help",
    });
    let given = null;
    const form = element(
      "form",
      {
        submit: (event) => {
          event.preventDefault();
          given = input.value.trim() || null;
          if (given) made.close();
        },
      },
      element("p", {}, refused ? "The server does not take this key." : "Whoever runs it can give you one."),
      element("label", { for: "key" }, "Key"),
      input,
      element("p", { class: "help", id: "key-help" }, "It is kept until you close this tab, and sent to this server only."),
      element(
        "div",
        { class: "dialog-foot" },
        element("button", { type: "button", class: "button", click: () => made.close() }, "Cancel"),
        element("button", { type: "submit", class: "button main-button" }, "Continue"),
      ),
    );
    const made = dialog("This server asks for a key", { name: "narrow", content: [form] });
    made.addEventListener("close", () => resolve(given));
    input.focus();
  });
}

/** Ask before something that cannot be taken back. */
export function confirmed(question, explanation, action) {
  return new Promise((resolve) => {
    let answer = false;
    const choose = (value) => () => {
      answer = value;
      made.close();
    };
    const stay = element("button", { type: "button", class: "button", click: choose(false) }, "Cancel");
    const go = element("button", { type: "button", class: "button danger", click: choose(true) }, action);
    const made = dialog(question, { name: "narrow", content: [element("p", {}, explanation)], foot: [stay, go] });
    made.addEventListener("close", () => resolve(answer));
    stay.focus();
  });
}

const COMMAND = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";

const SHORTCUTS = [
  ["Send", ["Enter"]],
  ["New line", ["Shift", "Enter"]],
  ["Stop the answer", ["Esc"]],
  ["Edit your last message", ["↑"], "in an empty message box"],
  ["Send or save a message you edit", [COMMAND, "Enter"]],
  ["Attach files", [COMMAND, "V"], "of copied files, or drop them on the page"],
  ["Continue the text", [COMMAND, "Enter"], "with a model that continues texts"],
  ["New conversation", [COMMAND, "Shift", "O"]],
  ["Find conversations", [COMMAND, "K"]],
  ["Show or hide conversations", [COMMAND, "B"]],
  ["Rename, delete a conversation", ["F2", "Del"], "in the list"],
  ["Previous, next source", ["Alt", "←", "→"], "in an opened document"],
  ["Settings", [COMMAND, ","]],
  ["These shortcuts", [COMMAND, "/"]],
];

export function showShortcuts() {
  const rows = SHORTCUTS.map(([what, keys, where]) =>
    element(
      "div",
      {},
      element("dt", {}, what, where && element("span", { class: "help" }, ` ${where}`)),
      element("dd", {}, ...keys.map((name) => element("kbd", {}, name))),
    ),
  );
  dialog("Keyboard", { name: "narrow", content: [element("dl", { class: "shortcuts" }, ...rows)] });
}

/** A line that goes by itself, with something to do about it. */
export function toast(text, action = null, seconds = 6) {
  const shown = element("div", { class: "toast" }, element("span", {}, text));
  const close = () => shown.remove();
  if (action) {
    shown.append(
      element("button", { type: "button", class: "link-button", click: () => (close(), action.act()) }, action.label),
    );
  }
  shown.append(iconButton("close", "Dismiss", close));
  document.getElementById("toasts").append(shown);
  // It stays while it is pointed at or has the focus: there may be something to reach in it.
  const go = () => (shown.matches(":hover, :focus-within") ? setTimeout(go, 1000) : close());
  setTimeout(go, seconds * 1000);
}
