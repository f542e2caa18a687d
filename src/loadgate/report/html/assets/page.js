/* What every page does: light or dark as the reader likes, and light on paper. Tells "loadgate-theme" when it changes on the screen. */
(function () {
  "use strict";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  let before = null; // the theme to go back to after printing

  function tell() {
    button.textContent = isDark() ? "Light" : "Dark";
    dispatchEvent(new Event("loadgate-theme"));
  }

  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; tell(); });
  system.addEventListener("change", tell);
  addEventListener("beforeprint", () => { before = root.dataset.theme || ""; root.dataset.theme = "light"; });
  addEventListener("afterprint", () => {
    if (before) root.dataset.theme = before; else delete root.dataset.theme;
    tell();
  });
  tell();
})();
