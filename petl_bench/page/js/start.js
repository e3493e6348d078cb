// The whole

function startNavigation() {
  const links = new Map(all(".top nav a").map((link) => [link.hash.slice(1), link]));
  const current = new IntersectionObserver((entries) => {
    const entry = entries.find((each) => each.isIntersecting);
    if (!entry) return;
    links.forEach((link) => link.removeAttribute("aria-current"));
    const link = links.get(entry.target.id);
    link?.setAttribute("aria-current", "true");
    const nav = link?.closest("nav");
    if (nav) nav.scrollLeft = link.offsetLeft - nav.offsetLeft - nav.clientWidth / 2 + link.offsetWidth / 2;
  }, { rootMargin: "-20% 0px -70% 0px" });
  all("main > section").forEach((section) => current.observe(section));
}

const PRINTED_WIDTH = 960; // A4 on its side, less margins
let isPrinting = false;

function startPrinting() {
  let before;
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("main details.fold:not([open])");
    closed.forEach((fold) => { fold.open = true; });
    before = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    isPrinting = true;
    [...unseen.keys()].forEach(show);
    redraw();
  });
  addEventListener("afterprint", () => {
    if (before === undefined) delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = before;
    isPrinting = false;
    closed.forEach((fold) => { fold.open = false; });
    redraw();
  });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("td button");
  if (button) openCell(button);
  if (event.target === byId("provenance")) byId("provenance").close(); // its backdrop
});
document.documentElement.dataset.script = "";
startTheme();
all("section:has(table.results)").forEach(startResults);
all("[data-plot]").forEach(startPlot);
startClasses();
startExport();
startMenus();
startFolds();
startSummary();
startNavigation();
startPrinting();
pageState.start();
openAddressed();
pageState.arrive();
addEventListener("load", pageState.arrive); // once all of it is laid out
addEventListener("load", () => setTimeout(loadPlotly, 300)); // so that it is there when somebody prints
