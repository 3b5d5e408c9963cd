// What is around the messages: the list of conversations, which is beside them or, where there is little
// room, a drawer over them; and whether all is light or dark.

import { byId, icon } from "./dom.js";

const NARROW = matchMedia("(max-width: 52rem)"); // as in layout.css
const DARK = matchMedia("(prefers-color-scheme: dark)");

export class Frame {
  constructor() {
    for (const id of ["hide-sidebar", "show-sidebar", "veil"]) byId(id).addEventListener("click", () => this.toggleSidebar());
    NARROW.addEventListener("change", () => this.reset());
    byId("theme").addEventListener("click", () => {
      window.linnetTheme.choose(window.linnetTheme.dark ? "light" : "dark");
      this.showTheme();
    });
    document.addEventListener("linnet-theme", () => this.showTheme());
    DARK.addEventListener("change", () => this.showTheme());
    this.showTheme();
  }

  get hasDrawerOpen() {
    return byId("app").classList.contains("drawer-open");
  }

  toggleSidebar() {
    const { classList } = byId("app");
    const shown = NARROW.matches ? classList.toggle("drawer-open") : !classList.toggle("sidebar-hidden");
    byId("main").inert = NARROW.matches && shown;
    byId("show-sidebar").setAttribute("aria-expanded", String(shown));
    byId(shown ? "hide-sidebar" : "show-sidebar").focus();
  }

  hideDrawer() {
    if (this.hasDrawerOpen) this.toggleSidebar();
  }

  /** When a window becomes wide or narrow, what a drawer covered is there again. */
  reset() {
    byId("app").classList.remove("drawer-open");
    byId("main").inert = false;
  }

  showTheme() {
    const { dark } = window.linnetTheme;
    const label = dark ? "Light appearance" : "Dark appearance";
    const button = byId("theme");
    button.replaceChildren(icon(dark ? "sun" : "moon"));
    button.setAttribute("aria-label", label);
    button.title = label;
  }
}
