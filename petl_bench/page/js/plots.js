// Plots

// Okabe and Ito's colours, without the yellow and black that one of the two backgrounds swallows; markers differ too.
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
// As many as share no factor with the number of colours: 42 looks of points until one comes again.
const MARKERS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
// Named one by one: among plotly's own is one that uploads the plot.
const BUTTONS = [["zoom2d", "pan2d", "autoScale2d"]];
const VISIBLE_LINES = 8;
const BAR_HEIGHT = 26;
const LEGEND_LINE = 20;
const ROOM_FOR_TEXT = 1.22; // beyond the longest bar
const drawn = new Map(); // id of a drawing -> what draws it

let plotly = null;
function loadPlotly() {
  plotly ??= (async () => {
    document.head.append(make("script", await unpacked("plotly"))); // an inline script runs as it is added
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
  const { traces, layout } = composed(figure, getComputedStyle(element));
  if (isPrinting) layout.width = PRINTED_WIDTH;
  element.style.minHeight = `${layout.height}px`;
  const isTouch = matchMedia("(pointer: coarse)").matches; // there, a drag scrolls the page
  if (isTouch) [layout.xaxis, layout.yaxis].forEach((axis) => { axis.fixedrange = true; });
  const config = { responsive: true, displaylogo: false, modeBarButtons: BUTTONS, displayModeBar: isTouch ? false : "hover" };
  window.Plotly.react(element, traces, layout, config);
  element.removeAllListeners("plotly_click");
  element.on("plotly_click", (event) => openPoint(event.points[0]));
}

/** Traces and layout of a figure in the colours and the font of a style. */
function composed(figure, style) {
  const colours = { ink: style.color, card: style.backgroundColor, line: style.borderTopColor, muted: style.outlineColor };
  const { traces, layout } = figure(colours);
  const axis = { gridcolor: colours.line, zerolinecolor: colours.line, linecolor: colours.line, automargin: true };
  const base = {
    font: { family: style.fontFamily, size: 13, color: colours.ink },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 56, r: 16, t: 12, b: 48 }, height: 420, hovermode: "closest", showlegend: false,
    hoverlabel: { bgcolor: colours.card, bordercolor: colours.line, font: { color: colours.ink }, align: "left" },
  };
  return { traces, layout: { ...base, ...layout, xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis } } };
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
  return plot.names ? namedFigure(plot) : (colours) => ({
    traces: tracesOf(plot, colours),
    layout: {
      ...legendOf(plot.series.length),
      showlegend: plot.series.length + (plot.front ? 1 : 0) > 1,
      ...axesOf(plot),
    },
  });
}

/** Points with their names beside them, or with numbers that the legend explains. */
function namedFigure(plot) {
  return (colours) => {
    const placed = placedNames(plot);
    const traces = tracesOf(plot, colours);
    const ofSeries = traces.filter((trace) => trace.meta);
    ofSeries.forEach((trace, number) => {
      const own = placed.points.filter((point) => point.series === number);
      Object.assign(trace, {
        mode: `${trace.mode}+text`, text: own.map((point) => inert(point.text)), textposition: own.map((point) => point.side), cliponaxis: false,
      });
    });
    if (!plot.legend) traces.forEach((trace) => { trace.showlegend = false; });
    const axes = axesOf(plot);
    [axes.xaxis.range, axes.yaxis.range] = placed.ranges;
    const entries = placed.numbered.length + (plot.legend ? traces.length : 0);
    const legend = entries ? legendOf(entries, { whole: true }) : { height: 440 };
    return {
      traces: [...traces, ...numberTraces(ofSeries, placed.numbered)],
      layout: { ...legend, margin: { l: 56, r: 64, t: 24, b: 48 }, showlegend: entries > 0, ...axes },
    };
  };
}

function tracesOf(plot, colours) {
  const looks = looksOf(plot);
  return [
    ...frontTrace(plot, colours), // names above the front
    ...plot.series.flatMap((series, number) => pointTraces(plot, series, number, looks[number], colours)),
    ...ringTraces(plot, colours),
  ];
}

/** Rings around points, and what they and hollow points mean, in the legend. */
function ringTraces(plot, colours) {
  const ringed = plot.series.flatMap((series) => series.x.map((x, place) => ({ x: drawnX(plot, x), y: series.y[place], isRinged: series.ringed?.[place] }))).filter((point) => point.isRinged);
  const shared = { type: "scatter", mode: "markers", hoverinfo: "skip", legendrank: 1900 };
  const found = [];
  if (ringed.length) found.push({ ...shared, name: inert(plot.ring), x: ringed.map((point) => point.x), y: ringed.map((point) => point.y), marker: { symbol: "circle-open", size: 17, color: colours.ink, line: { width: 1.5 } } });
  if (plot.series.some((series) => series.hollow)) found.push({ ...shared, name: inert(plot.hollow), x: [null], y: [null], marker: { symbol: "circle-open", size: 9, color: colours.muted } });
  return found;
}

const axesOf = (plot) => ({
  xaxis: { title: { text: inert(plot.x.label) }, type: plot.x.log ? "log" : "linear", ...wholeTicks(plot), ...chosenTicks(plot) },
  yaxis: { title: { text: inert(plot.y.label) }, type: plot.y.log ? "log" : "linear", ...ticksAt(plot.y.ticks) },
});

/**
 * Beside the plot where there are many names and room for them, else below it. `whole`: the plot says nothing without
 * its legend, so that none of it may be scrolled out of sight.
 */
function legendOf(names, { whole = false } = {}) {
  if (names > 6 && window.innerWidth >= 900) return { height: whole ? Math.max(480, 60 + names * LEGEND_LINE) : 480, legend: { font: { size: 12 }, ...(whole ? { tracegroupgap: 0 } : {}) } };
  const legend = { orientation: "h", y: -0.2, yanchor: "top", maxheight: 110, font: { size: 12 } };
  if (!whole) return { height: names > 6 ? 520 : 440, legend };
  const lines = Math.ceil(names / (window.innerWidth < 640 ? 1 : 2));
  return { height: 450 + lines * LEGEND_LINE, legend: { ...legend, tracegroupgap: 0, maxheight: 40 + lines * LEGEND_LINE } };
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

/** The methods of all plots with their numbers, those of lines first: a method looks alike in all of them. */
const methodNumbers = (() => {
  const series = Object.values(data.plots).flatMap((block) => Object.values(block.plots)).flatMap((plot) => plot.series);
  const methods = [...series.filter((each) => each.line), ...series].map((each) => each.method).filter(Boolean);
  return new Map([...new Set(methods)].map((method, number) => [method, number]));
})();

/** What decides how each series of a plot looks: the number of its method, or, of its further variants, a free one. */
function looksOf(plot) {
  const taken = new Set();
  let free = methodNumbers.size;
  return plot.series.map(({ method }) => {
    const own = methodNumbers.get(method);
    const look = own === undefined || taken.has(own) ? free++ : own;
    taken.add(look);
    return look;
  });
}

function pointTraces(plot, series, number, look, colours) {
  const colour = series.quoted ? colours.muted : COLOURS[look % COLOURS.length];
  const common = { legendgroup: String(number), visible: series.line && number >= VISIBLE_LINES ? "legendonly" : true };
  const marker = { color: colour, size: series.line && !series.left ? 6 : 10, symbol: `${MARKERS[look % MARKERS.length]}${series.quoted ? "-open" : ""}` };
  if (series.hollow) marker.symbol = series.hollow.map((isHollow) => `${MARKERS[look % MARKERS.length]}${isHollow ? "-open" : ""}`);
  const trace = {
    ...common, meta: series, type: "scatter", name: inert(clipped(series.label, 40)), x: series.x.map((x) => drawnX(plot, x)), y: series.y, marker,
    mode: `${series.line ? "lines+" : ""}markers`,
    line: { color: colour, width: 2, dash: DASHES[Math.floor(look / COLOURS.length) % DASHES.length] },
    hovertext: series.x.map((_, place) => hoverText(plot, series, place)), hoverinfo: "text",
  };
  const difference = (ends, middle, sign) => ends.map((end, place) => (end === null ? 0 : sign * (end - middle[place])));
  const bars = (low, high, middle) => ({ type: "data", symmetric: false, array: difference(high, middle, 1), arrayminus: difference(low, middle, -1), color: colour, thickness: 1.2, width: 4 });
  if (series.left) trace.error_x = bars(series.left, series.right, series.x);
  if (!series.low) return [trace];
  if (series.line && !series.left) return [band(series, colour, common), trace];
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
    type: "scatter", mode: "lines", name: "Pareto front", hoverinfo: "skip", legendrank: 2000, // last
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
  const names = block.facets.map((facet) => `${section.id}.${facet.label.toLowerCase()}`);
  const takeStored = choices.map((choice, place) => keepChoice(choice, names[place]));
  pageState.onChange(() => {
    takeStored.forEach((take) => take());
    offer(block, choices);
    if (!unseen.has(section)) update();
  }, names);
  keepOpened(details, `${section.id}.numbers`);
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
  entries.filter((entry) => entry.isIntersecting).forEach((entry) => show(entry.target.closest("section")));
}, { rootMargin: "400px" });

/** Draw as soon as the section's drawing is near; that of a closed section never is. */
function whenSeen(section, update) {
  unseen.set(section, update);
  watcher.observe(section.querySelector(".drawing"));
}

function show(section) {
  watcher.unobserve(section.querySelector(".drawing"));
  unseen.get(section)?.();
  unseen.delete(section);
}
