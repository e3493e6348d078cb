// Light and dark

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (systemIsDark.matches ? "dark" : "light")) === "dark";

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  themeChanged();
}

function themeChanged() {
  byId("theme").setAttribute("aria-pressed", String(isDark()));
  byId("theme").textContent = isDark() ? "Light" : "Dark";
  redraw();
}

function startTheme() {
  byId("theme").hidden = false;
  byId("theme").addEventListener("click", () => setTheme(isDark() ? "light" : "dark"));
  systemIsDark.addEventListener("change", themeChanged);
  themeChanged();
}
