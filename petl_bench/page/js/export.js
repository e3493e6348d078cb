// Copy and download: texts of tables as the command line writes them, pictures of plots on white, links to this view

const PICTURE_WIDTH = 960;
const PIXELS = 2; // of a PNG, for each unit of the plot
const LONGEST_NAME = 100; // of a file
const SAID_FOR = 4000; // ms

function startExport() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-take]");
    if (button) take(button);
  });
}

/** Do what a button says, and say beside it how it went. */
async function take(button) {
  const said = button.closest(".take").querySelector('[role="status"]');
  const ways = { text: takeText, picture: takePicture, link: takeLink };
  said.textContent = await ways[button.dataset.take](button.dataset).catch(() => "This browser does not allow it");
  setTimeout(() => { said.textContent = ""; }, SAID_FOR);
}

const takeLink = ({ of }) => copy(pageState.link(of));

async function takeText({ of, kind, way }) {
  const [file, text] = (await downloads())[of][kind];
  return way === "copy" ? copy(text) : download(file, new Blob([text], { type: "application/octet-stream" }));
}

let unpackedDownloads = null;
const downloads = () => (unpackedDownloads ??= unpacked("downloads").then(JSON.parse));

async function takePicture({ of, kind, way }) {
  const drawing = byId(of);
  show(drawing.closest("section")); // it may not have been in view so far
  if (drawing.hidden || !drawn.has(of)) return "There is no plot";
  if (way === "download") return download(`${pictureName(drawing)}.${kind}`, await picture(of, kind));
  if (kind === "svg") return copy(await (await picture(of, kind)).text());
  await navigator.clipboard.write([new ClipboardItem({ "image/png": picture(of, kind) })]);
  return "Copied";
}

/** The plot and what is chosen of it, as the name of a file. */
function pictureName(drawing) {
  const chosen = all(".controls select", drawing.closest("section")).map((select) => select.selectedOptions[0]?.text ?? "");
  const words = [drawing.id.replace(/-drawing$/, ""), ...chosen].join(" ").toLowerCase();
  return words.replace(/[^a-z0-9]+/g, "-").slice(0, LONGEST_NAME).replace(/^-|-$/g, "");
}

/** A plot as it is in the light theme, on white, with those of its series that are shown. */
async function picture(id, kind) {
  await loadPlotly();
  const light = make("div", "", { class: "drawing", hidden: "" });
  light.style.colorScheme = "light";
  document.body.append(light);
  const { traces, layout } = composed(drawn.get(id), getComputedStyle(light));
  light.remove();
  const size = { width: PICTURE_WIDTH, height: layout.height };
  const drawnTraces = byId(id).data ?? traces; // of which readers may have hidden some
  const shownTraces = traces.filter((trace, place) => (drawnTraces[place]?.visible ?? true) === true);
  const figure = { data: shownTraces, layout: { ...layout, ...size, paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff" } };
  const content = await window.Plotly.toImage(figure, { ...size, format: kind, scale: kind === "png" ? PIXELS : 1, imageDataOnly: true });
  if (kind === "svg") return new Blob([content], { type: "image/svg+xml" });
  return new Blob([Uint8Array.from(atob(content), (each) => each.charCodeAt(0))], { type: "image/png" });
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    if (!copiedFromSelection(text)) return "This browser does not allow copying";
  }
  return "Copied";
}

function copiedFromSelection(text) {
  const area = make("textarea", "", { class: "unseen", readonly: "" });
  area.value = text;
  document.body.append(area);
  area.select();
  try {
    return document.execCommand("copy");
  } finally {
    area.remove();
  }
}

function download(file, blob) {
  const link = make("a", "", { download: file, href: URL.createObjectURL(blob) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), SAID_FOR);
  return `Saved as ${file}`;
}
