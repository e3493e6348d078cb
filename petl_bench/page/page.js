"use strict";
// Everything on the page that moves. Texts of records enter it through textContent alone; the one exception is
// plotly, which reads some markup in texts, so that what it is given goes through `inert`.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function make(tag, content = "", attributes = {}) {
  const element = document.createElement(tag);
  for (const each of [content].flat()) element.append(each);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function shown(number) {
  if (typeof number !== "number") return number ?? "";
  return Math.abs(number) >= 1000 && Number.isInteger(number) ? number.toLocaleString("en") : String(number);
}

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

// Tables: sort within groups, filter, move between numbers

function startFilter(input) {
  input.addEventListener("input", () => filter(input.closest("section")));
}

function startTable(table) {
  const headers = all("thead tr:last-child th", table);
  headers.forEach((header, column) => {
    header.firstElementChild.addEventListener("click", () => sortBy(table, headers, column));
  });
  const numbers = all("td button", table);
  numbers.slice(1).forEach((button) => { button.tabIndex = -1; });
  table.addEventListener("keydown", moveBetweenNumbers);
  table.addEventListener("focusin", (event) => {
    if (!event.target.matches("td button")) return;
    all('td button[tabindex="0"], td button:not([tabindex])', table).forEach((button) => { button.tabIndex = -1; });
    event.target.tabIndex = 0;
  });
}

function sortBy(table, headers, column) {
  const header = headers[column];
  const bestFirst = column === 0 || "lower" in header.dataset ? "ascending" : "descending";
  const otherWay = bestFirst === "ascending" ? "descending" : "ascending";
  const next = { none: bestFirst, [bestFirst]: otherWay, [otherWay]: "none" }[header.getAttribute("aria-sort")];
  headers.forEach((each) => each.setAttribute("aria-sort", each === header ? next : "none"));
  for (const body of table.tBodies) {
    const rows = all("tr[data-row]", body);
    rows.sort((a, b) => a.dataset.row - b.dataset.row);
    if (next !== "none") rows.sort((a, b) => compare(sortKey(a, column), sortKey(b, column), next));
    body.append(...rows);
  }
}

const sortKey = (row, column) => (column === 0 ? row.cells[0].textContent : row.cells[column].dataset.v);

function compare(a, b, direction) {
  if (a === "" || b === "") return (a === "") - (b === ""); // what is absent stays last
  const numbers = [Number(a), Number(b)];
  const order = numbers.some(Number.isNaN) ? a.localeCompare(b, "en", { numeric: true }) : numbers[0] - numbers[1];
  return direction === "ascending" ? order : -order;
}

function filter(section) {
  const words = section.querySelector("[data-filter]").value.toLowerCase().split(/\s+/).filter(Boolean);
  const quoted = section.querySelector("[data-quoted]")?.checked ?? true;
  let seen = 0;
  let count = 0;
  for (const body of all("table.results > tbody", section)) {
    const group = body.rows[0].textContent.toLowerCase();
    const rows = all("tr[data-row]", body);
    for (const row of rows) {
      const text = `${row.cells[0].textContent.toLowerCase()} ${group}`;
      row.hidden = !words.every((word) => text.includes(word));
    }
    body.hidden = (!quoted && body.classList.contains("quoted-rows")) || rows.every((row) => row.hidden);
    count += rows.length;
    seen += body.hidden ? 0 : rows.filter((row) => !row.hidden).length;
  }
  section.querySelector("output").textContent = seen === count ? "" : `${seen} of ${count} rows`;
}

function moveBetweenNumbers(event) {
  const cell = event.target.closest("td");
  const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
  if (!cell || !step) return;
  event.preventDefault();
  const rows = all("tr[data-row]:not([hidden])", event.currentTarget).filter((row) => !row.parentElement.hidden);
  const row = rows[rows.indexOf(cell.parentElement) + step[0]];
  row?.cells[cell.cellIndex + step[1]]?.querySelector("button")?.focus();
}

// Where a number comes from

function openCell(button) {
  const cell = button.closest("td");
  const row = cell.parentElement;
  const table = data.tables[row.closest("table").dataset.table];
  const values = table.rows[row.dataset.row][cell.cellIndex - 1];
  const title = `${row.querySelector("th span").firstChild.textContent}: ${table.columns[cell.cellIndex - 1]}`;
  openSheet(title, button.firstChild.textContent, cellLines(values, table), values.t ?? [], values.of ?? 0, table.csv);
}

function cellLines(cell, table) {
  const lines = [];
  const source = cell.c === undefined ? "" : data.texts[cell.c];
  if (cell.o === "quoted") lines.push(`Quoted, not run here. Source: ${source}`);
  if (cell.o === "absent") lines.push(`Not here: ${source || "no reason was given"}`);
  if (!cell.o && source) lines.push(source);
  if (cell.v !== undefined) lines.push(`Value: ${shown(cell.v)}`);
  if (cell.s !== undefined) lines.push(`Sample standard deviation: ${shown(cell.s)}`);
  if (cell.n !== undefined) lines.push(`Over ${cell.n} ${cell.n === 1 ? "run" : "runs"}`);
  if (cell.i) lines.push(`95 % interval: ${shown(cell.i[0])} to ${shown(cell.i[1])}`);
  if (cell.d !== undefined) lines.push(`Difference from the baseline: ${cell.d > 0 ? "+" : ""}${shown(cell.d)}`);
  if (cell.r) lines.push(`${cell.r === "best" ? "The best" : "The second"} of its column and group`);
  if (cell.a) lines.push(sentence(table.alike));
  for (const word of cell.k ?? []) lines.push(`Mark: ${table.marks[word]}`);
  if (!cell.o && !cell.of) lines.push("Counted or worked out from the row's records, not from single ones");
  return lines;
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function openSheet(title, value, lines, trials, trialCount, csv) {
  const close = make("button", "Close", { type: "button", class: "close" });
  close.addEventListener("click", () => byId("provenance").close());
  const sheet = byId("provenance").firstElementChild;
  sheet.replaceChildren(
    make("header", [make("h2", title, { id: "provenance-title" }), close]),
    make("p", value, { class: "value" }),
    make("ul", lines.map((line) => make("li", line))),
    ...commandsOf(trials),
    ...trials.map(trialArticle),
    ...missingTrials(trials.length, trialCount),
    ...(csv ? [make("p", "The whole table at full precision:", { class: "note" }), make("pre", csv)] : []),
  );
  byId("provenance").showModal();
  byId("provenance").scrollTop = 0;
}

function commandsOf(numbers) {
  const trials = numbers.map((number) => data.trials[number]);
  const made = [...new Set(trials.map((trial) => data.texts[trial.command]))].filter(Boolean);
  const again = Map.groupBy(trials.filter((trial) => trial.again !== undefined), (trial) => trial.again);
  const repeated = [...again].map(([text, some]) => data.texts[text] + (data.texts[text].endsWith(" --seeds ") ? some.map((trial) => trial.seed).sort().join(",") : ""));
  return [...commandList("Made by:", made), ...commandList("To run it again:", repeated)];
}

const commandList = (title, commands) =>
  (commands.length ? [make("p", title, { class: "note" }), ...commands.map((command) => make("pre", command))] : []);

function missingTrials(listed, count) {
  if (count <= listed) return [];
  return [make("p", `${count - listed} more trials have no room on this page.`, { class: "note" })];
}

function trialArticle(number) {
  const trial = data.trials[number];
  const metrics = Object.entries(trial.metrics).map(([name, value]) => `${name} ${shown(value)}`).join(", ");
  const lines = trial.lines.map((line) => make("p", data.texts[line]));
  const files = trial.files === undefined ? [] : [make("p", `Files: ${data.texts[trial.files]}`)];
  const folder = trial.folder === undefined ? "" : `${data.texts[trial.folder]}/`;
  return make("article", [
    make("h3", `${data.texts[trial.title]}, seed ${trial.seed}`),
    make("p", metrics),
    make("p", make("code", `${folder}${trial.key}`)),
    ...files,
    make("details", [make("summary", "Everything that decided it"), ...lines]),
  ]);
}

// Plots

// Okabe and Ito's colours, without the yellow and black that one of the two backgrounds swallows; markers differ too.
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
const MARKERS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
// Named one by one: among plotly's own is one that uploads the plot.
const BUTTONS = [["toImage"], ["zoom2d", "pan2d", "autoScale2d"]];
const VISIBLE_LINES = 8;
const BAR_HEIGHT = 26;
const ROOM_FOR_TEXT = 1.22; // beyond the longest bar
const drawn = new Map(); // id of a drawing -> what draws it

let plotly = null;
function loadPlotly() {
  plotly ??= (async () => {
    const packed = Uint8Array.from(atob(byId("plotly").textContent), (each) => each.charCodeAt(0));
    const text = new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    document.head.append(make("script", await text)); // an inline script runs as it is added
  })();
  return plotly;
}

const inert = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("$", "&#36;");
const clipped = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

/** Draw now and after every change of theme. `figure(colours)` gives traces and layout. */
async function draw(element, figure) {
  drawn.set(element.id, figure);
  if (!window.Plotly) await loadPlotly(); // without the wait where it is there: printing waits for nothing
  if (drawn.get(element.id) === figure) drawNow(element, figure);
}

function drawNow(element, figure) {
  const style = getComputedStyle(element);
  const colours = { ink: style.color, card: style.backgroundColor, line: style.borderTopColor, muted: style.outlineColor };
  const { traces, layout } = figure(colours);
  const isTouch = matchMedia("(pointer: coarse)").matches; // there, a drag scrolls the page
  const axis = { gridcolor: colours.line, zerolinecolor: colours.line, linecolor: colours.line, automargin: true, fixedrange: isTouch };
  const base = {
    font: { family: style.fontFamily, size: 13, color: colours.ink },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 56, r: 16, t: 12, b: 48 }, height: 420, hovermode: "closest", showlegend: false,
    hoverlabel: { bgcolor: colours.card, bordercolor: colours.line, font: { color: colours.ink }, align: "left" },
  };
  if (isPrinting) base.width = PRINTED_WIDTH;
  const merged = { ...base, ...layout, xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis } };
  element.style.minHeight = `${merged.height}px`;
  const config = { responsive: true, displaylogo: false, modeBarButtons: BUTTONS, displayModeBar: isTouch ? false : "hover" };
  window.Plotly.react(element, traces, merged, config);
  element.removeAllListeners("plotly_click");
  element.on("plotly_click", (event) => openPoint(event.points[0]));
}

function redraw() {
  if (window.Plotly) drawn.forEach((figure, id) => drawNow(byId(id), figure));
}

function openPoint(point) {
  const source = point.data.meta;
  const trials = source?.of ?? source?.trials?.[point.pointNumber];
  if (!trials?.length) return;
  const name = source.text?.[point.pointNumber] || source.label;
  openSheet(name, `${shown(source.x[point.pointNumber])}${source.isBar ? "" : `, ${shown(point.y)}`}`, [], trials, trials.length, "");
}

const FIGURES = { points: pointsFigure, bars: barsFigure };

function pointsFigure(plot) {
  return (colours) => ({
    traces: [...plot.series.flatMap((series, number) => pointTraces(plot, series, number, colours)), ...frontTrace(plot, colours)],
    layout: {
      ...legendOf(plot.series.length),
      ...(plot.names ? { margin: { l: 56, r: 64, t: 24, b: 48 } } : {}), // names at the edge
      showlegend: !plot.names && plot.series.length + (plot.front ? 1 : 0) > 1,
      xaxis: { title: { text: inert(plot.x.label) }, type: plot.x.log ? "log" : "linear", ...wholeTicks(plot), ...chosenTicks(plot) },
      yaxis: { title: { text: inert(plot.y.label) }, type: plot.y.log ? "log" : "linear", ...ticksAt(plot.y.ticks) },
    },
  });
}

/** Beside the plot where there are many names and room for them, else below it. */
function legendOf(names) {
  if (names > 6 && window.innerWidth >= 900) return { height: 480, legend: { font: { size: 12 } } };
  return { height: names > 6 ? 520 : 440, legend: { orientation: "h", y: -0.2, yanchor: "top", maxheight: 110, font: { size: 12 } } };
}

/** Epochs are whole: no tick between them. */
function wholeTicks(plot) {
  if (!plot.x.whole) return {};
  const last = Math.max(...plot.series.flatMap((series) => series.x));
  return { tick0: 0, dtick: Math.max(1, Math.ceil(last / 10)) };
}

const ticksAt = (ticks) => (ticks ? { tickvals: ticks, ticktext: ticks.map(shown) } : {});

/** Zero has no place on a logarithmic axis: it gets one of its own, left of all others, with the tick "0". */
function zeroPlace(plot) {
  const values = plot.series.flatMap((series) => series.x);
  const positive = values.filter((x) => x > 0);
  return plot.x.log && values.includes(0) ? (positive.length ? Math.min(...positive) : 1) / 2.5 : null;
}

const drawnX = (plot, x) => (x === 0 ? zeroPlace(plot) ?? x : x);

function chosenTicks(plot) {
  const zero = zeroPlace(plot);
  if (zero === null) return ticksAt(plot.x.ticks);
  const positive = plot.series.flatMap((series) => series.x).filter((x) => x > 0);
  const [low, high] = positive.length ? [Math.min(...positive), Math.max(...positive)] : [1, 1];
  const ticks = [];
  for (let exponent = Math.floor(Math.log10(low)); exponent <= Math.ceil(Math.log10(high)); exponent += 1) {
    ticks.push(...[1, 3].map((step) => Number(`${step}e${exponent}`)).filter((tick) => tick >= low * 0.7 && tick <= high * 1.4));
  }
  return { tickvals: [zero, ...ticks], ticktext: ["0", ...ticks.map(shown)] };
}

function pointTraces(plot, series, number, colours) {
  const colour = series.quoted ? colours.muted : COLOURS[number % COLOURS.length];
  const common = { legendgroup: String(number), visible: series.line && number >= VISIBLE_LINES ? "legendonly" : true };
  const marker = { color: colour, size: series.line ? 6 : 10, symbol: `${MARKERS[number % MARKERS.length]}${series.quoted ? "-open" : ""}` };
  const trace = {
    ...common, meta: series, type: "scatter", name: inert(clipped(series.label, 40)), x: series.x.map((x) => drawnX(plot, x)), y: series.y, marker,
    mode: `${series.line ? "lines+" : ""}markers${plot.names ? "+text" : ""}`,
    line: { color: colour, width: 2, dash: DASHES[Math.floor(number / COLOURS.length) % DASHES.length] },
    hovertext: series.x.map((_, place) => hoverText(plot, series, place)), hoverinfo: "text",
  };
  if (plot.names) Object.assign(trace, { text: (series.text ?? []).map((text) => inert(clipped(text, 28))), textposition: "top center", cliponaxis: false });
  const difference = (ends, middle, sign) => ends.map((end, place) => (end === null ? 0 : sign * (end - middle[place])));
  const bars = (low, high, middle) => ({ type: "data", symmetric: false, array: difference(high, middle, 1), arrayminus: difference(low, middle, -1), color: colour, thickness: 1.2, width: 4 });
  if (series.left) trace.error_x = bars(series.left, series.right, series.x);
  if (!series.low) return [trace];
  if (series.line) return [band(series, colour, common), trace];
  return [{ ...trace, error_y: bars(series.low, series.high, series.y) }];
}

const band = (series, colour, common) => ({
  ...common, type: "scatter", x: [...series.x, ...series.x.toReversed()], y: [...series.high, ...series.low.toReversed()],
  fill: "toself", fillcolor: `${colour}2b`, line: { width: 0 }, mode: "lines", hoverinfo: "skip", showlegend: false,
});

function hoverText(plot, series, place) {
  const name = series.text?.[place] || series.label;
  const range = series.low && series.low[place] !== null ? ` (${shown(series.low[place])} to ${shown(series.high[place])})` : "";
  const quoted = series.quoted ? "<br>quoted, not run here" : "";
  return `<b>${inert(name)}</b><br>${inert(plot.x.label)}: ${shown(series.x[place])}<br>${inert(plot.y.label)}: ${shown(series.y[place])}${range}${quoted}`;
}

function frontTrace(plot, colours) {
  if (!plot.front) return [];
  return [{
    type: "scatter", mode: "lines", name: "Pareto front", hoverinfo: "skip",
    x: plot.front.map((point) => drawnX(plot, point[0])), y: plot.front.map((point) => point[1]),
    line: { color: colours.muted, dash: "dot", width: 1.5, shape: plot.frontShape ?? "hv" },
  }];
}

function barsFigure(plot) {
  return () => {
    const names = [...new Set(plot.series.flatMap((series) => series.text))];
    const rows = names.length * Math.max(1, plot.series.length);
    const longest = Math.max(...plot.series.flatMap((series) => series.x));
    return {
      traces: plot.series.map((series, number) => ({
        type: "bar", orientation: "h", meta: { ...series, isBar: true }, name: inert(series.label), x: series.x,
        y: series.text.map((name) => names.indexOf(name)), marker: { color: COLOURS[number % COLOURS.length] },
        text: series.x.map(shown), textposition: "outside", hoverinfo: "text", cliponaxis: false,
        hovertext: series.x.map((value, place) => `<b>${inert(series.text[place])}</b><br>${inert(plot.x.label)}: ${shown(value)}${series.label ? `<br>${inert(series.label)}` : ""}`),
      })),
      layout: {
        height: 110 + BAR_HEIGHT * rows, bargap: 0.3, margin: { l: 8, r: 40, t: 12, b: 48 },
        ...(plot.series.length > 1 ? { showlegend: true, legend: { orientation: "h", y: 1.02, yanchor: "bottom" } } : {}),
        xaxis: { title: { text: inert(plot.x.label) }, range: [0, (longest || 1) * ROOM_FOR_TEXT] },
        yaxis: namesAxis(names),
      },
    };
  };
}

/** Names as numbered ticks: two of them may be cut to the same text. */
const namesAxis = (names) => ({
  autorange: "reversed", tickvals: names.map((_, place) => place), ticksuffix: " ", showgrid: false, zeroline: false,
  ticktext: names.map((name) => inert(clipped(name, window.innerWidth < 640 ? 18 : 44))),
});

function startPlot(section) {
  const block = data.plots[section.dataset.plot];
  const choices = all("[data-facet]", section);
  const drawing = section.querySelector(".drawing");
  const details = section.querySelector(".numbers");
  const chosen = () => block.plots[choices.map((choice) => choice.selectedIndex).join(",")];
  const update = () => {
    const plot = chosen();
    const has = Boolean(plot && plot.series.length);
    drawing.hidden = !has;
    if (has) draw(drawing, FIGURES[plot.kind](plot));
    if (details.open) fill(details, has ? plotRows(plot) : []);
  };
  choices.forEach((choice) => choice.addEventListener("input", () => { offer(block, choices); update(); }));
  details.addEventListener("toggle", () => { if (details.open) fill(details, plotRows(chosen())); });
  offer(block, choices);
  whenSeen(section, update);
}

/** Not every case has every quantity: what it lacks cannot be chosen. */
function offer(block, choices) {
  if (choices.length !== 2) return;
  const [first, second] = choices;
  [...second.options].forEach((option, place) => { option.disabled = !block.plots[`${first.selectedIndex},${place}`]; });
  if (second.selectedOptions[0]?.disabled) second.selectedIndex = [...second.options].findIndex((option) => !option.disabled);
}

function plotRows(plot) {
  const hasRange = plot.series.some((series) => series.low);
  const header = ["Series", ...(plot.series.some((series) => series.text) ? ["Point"] : []), plot.x.label];
  const rows = [[...header, ...(plot.kind === "bars" ? [] : [plot.y.label]), ...(hasRange ? ["From", "To"] : [])]];
  for (const series of plot.series) {
    series.x.forEach((x, place) => {
      const names = header.length === 3 ? [series.label, series.text?.[place] ?? ""] : [series.label];
      const range = hasRange ? [series.low?.[place] ?? null, series.high?.[place] ?? null] : [];
      rows.push([...names, x, ...(plot.kind === "bars" ? [] : [series.y[place]]), ...range]);
    });
  }
  return rows;
}

/** A data table below a plot: the first row is the header. */
function fill(details, rows) {
  const [header = [], ...body] = rows;
  const cell = (value) => make("td", String(shown(value)), typeof value === "number" ? { class: "number" } : {});
  details.querySelector(".scroll").replaceChildren(
    make("table", [
      make("thead", make("tr", header.map((text) => make("th", text, { scope: "col" })))),
      make("tbody", body.map((row) => make("tr", row.map(cell)))),
    ], { class: "plain" }),
  );
}

const unseen = new Map();
const watcher = new IntersectionObserver((entries) => {
  entries.filter((entry) => entry.isIntersecting).forEach((entry) => show(entry.target));
}, { rootMargin: "400px" });

function whenSeen(section, update) {
  unseen.set(section, update);
  watcher.observe(section);
}

function show(section) {
  watcher.unobserve(section);
  unseen.get(section)?.();
  unseen.delete(section);
}

// Classes

const ACCURACY = "nothing (the accuracy itself)";
const LARGEST = 20;
const MATRIX_LABELS = 60;

function startClasses() {
  if (!data.classes.length) return;
  const choices = ["classes-evaluation", "classes-method", "classes-reference"].map(byId);
  choices[0].addEventListener("input", () => { offerMethods(); drawClasses(); });
  choices.slice(1).forEach((choice) => choice.addEventListener("input", drawClasses));
  ["classes-numbers", "confusion-numbers"].forEach((id) => byId(id).addEventListener("toggle", drawClasses));
  offerMethods();
  whenSeen(byId("classes"), drawClasses);
}

function offerMethods() {
  const names = data.classes[byId("classes-evaluation").selectedIndex].variants.map((variant) => variant.label);
  byId("classes-method").replaceChildren(...names.map((name) => make("option", name)));
  byId("classes-reference").replaceChildren(...names.map((name) => make("option", name)), make("option", ACCURACY));
  byId("classes-method").selectedIndex = names.length - 1;
  byId("classes-reference").selectedIndex = names.length > 1 ? 0 : 1;
}

function drawClasses() {
  const evaluation = data.classes[byId("classes-evaluation").selectedIndex];
  const variant = evaluation.variants[byId("classes-method").selectedIndex];
  const reference = evaluation.variants[byId("classes-reference").selectedIndex];
  const rows = evaluation.classes.map((name, place) => ({
    name, clips: evaluation.scored[place], own: variant.accuracy[place], other: reference?.accuracy[place] ?? null,
    value: change(variant.accuracy[place], reference, place),
  })).filter((row) => row.value !== null).sort((a, b) => b.value - a.value || a.name.localeCompare(b.name, "en"));
  byId("classes-verdict").textContent = verdict(rows, variant, reference);
  draw(byId("classes-drawing"), classesFigure(rows, variant, reference));
  if (byId("classes-numbers").open) fill(byId("classes-numbers"), classRows(rows, variant, reference));
  drawConfusion(evaluation, variant);
}

function change(own, reference, place) {
  if (own === null || !reference) return own;
  return reference.accuracy[place] === null ? null : Number((own - reference.accuracy[place]).toPrecision(5));
}

function verdict(rows, variant, reference) {
  if (!reference) return `${variant.label}: accuracy of ${rows.length} classes, over ${variant.runs} runs.`;
  const gained = rows.filter((row) => row.value > 0).length;
  const lost = rows.filter((row) => row.value < 0).length;
  return `Against ${reference.label}, ${variant.label} gains on ${gained} classes, loses on ${lost}, and is level on ${rows.length - gained - lost}.`;
}

function classesFigure(rows, variant, reference) {
  const few = rows.length > 2 * LARGEST ? [...rows.slice(0, LARGEST), ...rows.slice(-LARGEST)] : rows;
  const unit = reference ? "Difference (points)" : "Accuracy (%)";
  const values = few.map((row) => row.value);
  const range = [Math.min(0, ...values), Math.max(0, ...values)].map((end) => end * (window.innerWidth < 640 ? 1.6 : ROOM_FOR_TEXT));
  if (range[0] < 0) range[0] -= (range[1] - range[0]) * 0.06; // room for the number left of a short bar
  return () => ({
    traces: [{
      type: "bar", orientation: "h", x: values, y: few.map((_, place) => place),
      marker: { color: few.map((row) => (row.value < 0 ? COLOURS[1] : COLOURS[0])) },
      text: few.map((row) => (reference && row.value > 0 ? "+" : "") + row.value.toFixed(1)), textposition: "outside", cliponaxis: false,
      hoverinfo: "text",
      hovertext: few.map((row) => `<b>${inert(row.name)}</b> (${row.clips} clips)<br>${inert(variant.label)}: ${row.own} %${reference ? `<br>${inert(reference.label)}: ${row.other} %` : ""}`),
    }],
    layout: {
      height: 90 + 22 * few.length, bargap: 0.35, margin: { l: 8, r: 40, t: 12, b: 48 },
      xaxis: { title: { text: unit }, range: range[0] === range[1] ? [0, 1] : range },
      yaxis: namesAxis(few.map((row) => row.name)),
    },
  });
}

function classRows(rows, variant, reference) {
  const other = reference ? [`${reference.label} (%)`, "Difference"] : [];
  return [
    ["Class", "Clips", `${variant.label} (%)`, ...other],
    ...rows.map((row) => [row.name, row.clips, row.own, ...(reference ? [row.other, row.value] : [])]),
  ];
}

function drawConfusion(evaluation, variant) {
  const known = Boolean(variant.confusion);
  byId("confusion-about").textContent = known
    ? `${variant.label}: of the clips of each class (rows), the percentage taken for each class (columns).`
    : "There are too many confusion matrices for one page; this one is left out. Limit the page with --runs or --table.";
  byId("confusion-drawing").hidden = !known;
  byId("confusion-numbers").hidden = !known;
  if (!known) return;
  const count = evaluation.classes.length;
  const matrix = evaluation.classes.map(() => new Array(count).fill(0));
  for (let place = 0; place < variant.confusion.length; place += 2) {
    const pair = variant.confusion[place];
    matrix[Math.floor(pair / count)][pair % count] = variant.confusion[place + 1];
  }
  const percent = matrix.map((row) => {
    const total = row.reduce((sum, each) => sum + each, 0);
    return row.map((times) => (total ? Number(((100 * times) / total).toFixed(1)) : null));
  });
  draw(byId("confusion-drawing"), confusionFigure(evaluation.classes, percent));
  if (byId("confusion-numbers").open) fill(byId("confusion-numbers"), confusedRows(evaluation.classes, matrix, percent));
}

function confusionFigure(classes, percent) {
  const isNarrow = window.innerWidth < 640;
  const names = classes.map((name) => inert(clipped(name, isNarrow ? 14 : 24)));
  const ticks = { tickvals: classes.map((_, place) => place), ticktext: names, showgrid: false, zeroline: false };
  const bare = { showticklabels: false, showgrid: false, zeroline: false };
  const axis = classes.length <= MATRIX_LABELS ? ticks : bare;
  return (colours) => ({
    traces: [{
      type: "heatmap", z: percent, zmin: 0, zmax: 100, xgap: classes.length <= MATRIX_LABELS ? 1 : 0, ygap: classes.length <= MATRIX_LABELS ? 1 : 0,
      colorscale: [[0, colours.line], [0.001, colours.line], [0.25, "#56B4E9"], [1, "#0072B2"]],
      showscale: !isNarrow, colorbar: { title: { text: "%" }, thickness: 10, outlinewidth: 0, len: 0.6 }, hoverinfo: "text",
      hovertext: percent.map((row, from) => row.map((value, to) => `<b>${inert(classes[from])}</b><br>taken for ${inert(classes[to])}: ${value} %`)),
    }],
    layout: {
      height: Math.min(820, 230 + 16 * classes.length), margin: { l: 8, r: 8, t: 12, b: 8 },
      xaxis: { ...(isNarrow ? bare : axis), title: { text: "Taken for" }, tickangle: -60 },
      yaxis: { ...axis, title: { text: "Class" }, autorange: "reversed" },
    },
  });
}

function confusedRows(classes, matrix, percent) {
  const pairs = [];
  matrix.forEach((row, from) => row.forEach((times, to) => { if (times && from !== to) pairs.push([from, to]); }));
  pairs.sort(([a, b], [c, d]) => percent[c][d] - percent[a][b] || a - c || b - d);
  const rows = pairs.slice(0, 50).map(([from, to]) => [classes[from], classes[to], matrix[from][to], percent[from][to]]);
  return [["Class", "Taken for", "Times", "% of its clips"], ...rows];
}

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
  addEventListener("beforeprint", () => {
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
    redraw();
  });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("td button");
  if (button) openCell(button);
  if (event.target === byId("provenance")) byId("provenance").close(); // its backdrop
});
startTheme();
all("table.results").forEach(startTable);
all("[data-filter], [data-quoted]").forEach(startFilter);
all("[data-plot]").forEach(startPlot);
startClasses();
startNavigation();
startPrinting();
addEventListener("load", () => setTimeout(loadPlotly, 300)); // so that it is there when somebody prints
