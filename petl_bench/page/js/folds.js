// Sections that open, and the lines of the summary

function startFolds() {
  const folds = all("main > section > details.fold");
  folds.forEach((fold) => keepOpened(fold, foldName(fold)));
  addEventListener("hashchange", openAddressed);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (link) openSection(link.hash.slice(1));
  });
}

const foldName = (fold) => `${fold.parentElement.id}.fold`;
const foldOf = (place) => all("main > section > details.fold").find((fold) => fold.parentElement.id === place);

function openSection(place) {
  const fold = foldOf(place);
  if (!fold || fold.open) return;
  if (pageState.get(foldName(fold)) === "closed") pageState.set(foldName(fold), "", { quiet: true });
  fold.open = true; // the address says so by naming the section
}

/** Open the section of the address, unless the address says that it is closed. */
function openAddressed() {
  const place = location.hash.slice(1).split("?")[0];
  if (pageState.get(`${place}.fold`) !== "closed") openSection(place);
}

/** Menus over the page close by Escape, by a click elsewhere, and as the keyboard leaves them. */
function startMenus() {
  const opened = () => all("details.menu[open], details.take[open]");
  const leave = (element) => opened().filter((menu) => !menu.contains(element)).forEach((menu) => { menu.open = false; });
  document.addEventListener("click", (event) => leave(event.target));
  document.addEventListener("keyup", (event) => { if (event.key === "Tab") leave(document.activeElement); });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of opened()) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
}

function startSummary() {
  const button = byId("all-findings");
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", () => byId("overview").classList.add("all"));
}
