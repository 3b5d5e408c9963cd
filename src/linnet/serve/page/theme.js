// Light or dark, before the first thing is painted. Without a choice: as the system is set.

(() => {
  const NAME = "linnet-theme";

  function read() {
    try {
      return localStorage.getItem(NAME);
    } catch {
      return null; // a browser that keeps nothing
    }
  }

  function show(choice) {
    if (choice === "light" || choice === "dark") document.documentElement.dataset.theme = choice;
    else delete document.documentElement.dataset.theme;
  }

  window.linnetTheme = {
    get choice() {
      return document.documentElement.dataset.theme ?? "system";
    },
    get dark() {
      if (this.choice !== "system") return this.choice === "dark";
      return matchMedia("(prefers-color-scheme: dark)").matches;
    },
    choose(choice) {
      show(choice);
      try {
        localStorage.setItem(NAME, choice);
      } catch {
        // Then it holds for as long as the page is open.
      }
    },
  };
  show(read());
})();
