// Classes

const ACCURACY = "nothing (the accuracy itself)";
const LARGEST = 20;
const MATRIX_LABELS = 60;

function startClasses() {
  if (!data.classes.length) return;
  const [section, evaluation, method, reference] = ["classes", "classes-evaluation", "classes-method", "classes-reference"].map(byId);
  const names = ["classes.evaluation", "classes.method", "classes.against"];
  const labels = [...data.classes.flatMap((each) => addressNames(labelsOf(each))), ACCURACY];
  const accepts = (value) => placeOfName(labels, value) >= 0;
  const takeStored = [
    keepChoice(evaluation, names[0]),
    () => offerMethods(evaluation, method, reference),
    keepChoice(method, names[1], { initial: () => method.options.length - 1, accepts }),
    keepChoice(reference, names[2], { initial: () => (method.options.length > 1 ? 0 : 1), accepts }),
  ];
  const update = () => takeStored.forEach((take) => take());
  pageState.onChange(() => { update(); if (!unseen.has(section)) drawClasses(); }, names);
  for (const [id, name] of [["classes-numbers", "classes.numbers"], ["confusion-numbers", "classes.confusions"]]) {
    keepOpened(byId(id), name);
    byId(id).addEventListener("toggle", drawClasses);
  }
  update();
  whenSeen(section, drawClasses);
}

const labelsOf = (evaluation) => evaluation.variants.map((variant) => variant.label);

function offerMethods(evaluation, method, reference) {
  const labels = labelsOf(data.classes[evaluation.selectedIndex]);
  method.replaceChildren(...labels.map((label) => make("option", label)));
  reference.replaceChildren(...labels.map((label) => make("option", label)), make("option", ACCURACY));
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
