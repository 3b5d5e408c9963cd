// What the keys do. dialogs.js lists them for the person.

import { showShortcuts } from "./dialogs.js";
import { byId } from "./dom.js";

/** Whether this is a device without a keyboard of its own: Enter is a new line there. */
export function touches() {
  return matchMedia("(pointer: coarse)").matches && !matchMedia("(any-pointer: fine)").matches;
}

export function listenToKeys(page) {
  byId("message").addEventListener("keydown", (event) => {
    // While an input method composes a character, its Enter takes the character.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey && !event.altKey && (!touches() || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      page.send();
    } else if (event.key === "ArrowUp" && !event.target.value && page.editLast()) {
      event.preventDefault();
    }
  });
  document.addEventListener("keydown", (event) => {
    const done = event.key === "Escape" ? escape(page) : command(page, event);
    if (done) event.preventDefault();
  });
}

function escape(page) {
  if (document.querySelector("dialog[open]")) return false;
  if (page.frame.hasDrawerOpen) page.frame.hideDrawer();
  else if (page.source.isOpen) page.source.close();
  else if (page.talk.isRunning(page.current)) {
    page.talk.stop(page.current);
    page.focusInput();
  } else return false;
  return true;
}

function command(page, event) {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || document.querySelector("dialog[open]")) return false;
  const name = `${event.shiftKey ? "Shift+" : ""}${event.key.length === 1 ? event.key.toLowerCase() : event.key}`;
  const act = {
    "Shift+o": () => page.open(null),
    k: () => find(page),
    b: () => page.frame.toggleSidebar(),
    ",": () => page.settings(),
    "/": () => showShortcuts(),
    Enter: () => page.current.mode === "text" && page.send(),
  }[name];
  if (!act) return false;
  act();
  return true;
}

function find(page) {
  const search = byId("find");
  if (!search.checkVisibility({ visibilityProperty: true })) page.frame.toggleSidebar();
  search.focus();
  search.select();
}
