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
  if (cell.a) lines.push(cell.r === "best" ? "Others of its group with = are not told apart from it" : sentence(table.alike));
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
  return [make("p", `${count - listed} more trials are not described on this page.`, { class: "note" })];
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
