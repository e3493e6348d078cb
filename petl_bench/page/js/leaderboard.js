// One ranking of all rows of a table in place of its groups, and columns that are hidden

/**
 * Shows all rows in one list. Only rows of one group are ranked with each other: those of the group that is chosen have
 * their places, the others are dimmed and say why they have none.
 */
function startRanking(section, tables) {
  const button = section.querySelector("[data-ranking]");
  if (!button) return { names: [], isOn: () => false, show: () => {} };
  const [view, among] = [`${section.id}.view`, `${section.id}.among`];
  const label = section.querySelector("[data-among]");
  const select = label.querySelector("select");
  const groups = rankedGroups(tables);
  const isOn = () => pageState.get(view) === "ranking";
  pageState.declare(view, (value) => value === "ranking");
  pageState.declare(among, (value) => groups.includes(value));
  select.replaceChildren(...groups.map((group) => make("option", group)));
  button.hidden = false;
  button.addEventListener("click", () => pageState.set(view, isOn() ? "" : "ranking"));
  select.addEventListener("input", () => pageState.set(among, select.value));
  return {
    names: [view, among],
    isOn,
    show(table, column) {
      button.setAttribute("aria-pressed", String(isOn()));
      label.hidden = !isOn() || groups.length < 2;
      if (!isOn()) {
        asGroups(table);
        return;
      }
      const group = groupInUse(table, column, pageState.get(among));
      if (group && table === tables[0]) select.value = headingOf(group);
      asRanking(table);
      showPlaces(table, column, group);
    },
  };
}

const headingOf = (group) => group.rows[0].textContent;
const placeOf = (row, column) => (column ? row.placesByColumn[column - 1] : null);
const rowsOf = (table) => all("tr[data-row]", table).sort((a, b) => a.dataset.row - b.dataset.row);

/** The headings of the groups with ranked rows. */
function rankedGroups(tables) {
  const found = new Set();
  for (const table of tables) {
    for (const row of rowsOf(table)) {
      row.placesByColumn = data.tables[table.dataset.table].places[row.dataset.row];
      if (row.placesByColumn.some((place) => place !== null)) found.add(headingOf(row.group));
    }
  }
  return [...found];
}

/** The chosen group; by default the one with most ranked rows in the column. */
function groupInUse(table, column, heading) {
  const chosen = table.groups.find((group) => headingOf(group) === heading);
  if (chosen) return chosen;
  const rows = rowsOf(table);
  const count = (group) => rows.filter((row) => row.group === group && placeOf(row, column) !== null).length;
  return table.groups.reduce((most, group) => (count(group) > count(most) ? group : most), table.groups[0]);
}

/** The headers of what tells the rows of one ranking apart, which stand in the table while it is one. */
function factHeaders(table) {
  const { factNames = [], columns } = data.tables[table.dataset.table];
  const button = (name) => make("button", name, { type: "button" });
  table.factHeaders = factNames.map((name) => make("th", button(name), { class: "fact", scope: "col", "aria-sort": "none" }));
  return table.factHeaders.map((header, place) => ({
    table, header, column: columns.length + 1 + place, bestFirst: "asc", text: factNames[place], isFact: true,
  }));
}

function asRanking(table) {
  if (table.classList.contains("ranking")) return;
  const { facts } = data.tables[table.dataset.table];
  const rows = rowsOf(table);
  rows.forEach((row) => row.append(...facts[row.dataset.row].map((text) => make("td", text, { class: "fact" }))));
  table.tHead.rows[0].append(...table.factHeaders.map(() => make("td", "", { class: "fact" })));
  table.tHead.rows[1].append(...table.factHeaders);
  const body = make("tbody", [], { class: "ranking" });
  body.append(...rows);
  table.append(body);
  table.classList.add("ranking");
}

function asGroups(table) {
  if (!table.classList.contains("ranking")) return;
  for (const row of rowsOf(table)) {
    row.group.append(row);
    row.classList.remove("unranked");
    row.removeAttribute("title");
  }
  all(".fact, .place", table).forEach((each) => each.remove());
  table.querySelector("tbody.ranking").remove();
  table.classList.remove("ranking");
}

function showPlaces(table, column, group) {
  for (const row of rowsOf(table)) {
    const place = row.group === group ? placeOf(row, column) : null;
    const reason = place === null && column ? whyUnranked(row, column, group, data.tables[table.dataset.table]) : "";
    const badge = row.querySelector(".place") ?? make("b", "", { class: "place" });
    badge.textContent = place ?? "";
    row.cells[0].prepend(badge);
    row.classList.toggle("unranked", reason !== "");
    row.title = reason;
  }
}

function whyUnranked(row, column, group, table) {
  const cell = table.rows[row.dataset.row][column - 1];
  if (row.group.classList.contains("quoted-rows") || cell.o === "quoted") return "Quoted, not run here: never ranked with runs";
  if (cell.v === undefined) return "No number to rank";
  if (row.group !== group) return `Ranked apart: ${headingOf(row.group)}`;
  const bars = (cell.k ?? []).filter((word) => table.bars.includes(word)).map((word) => table.marks[word]);
  return bars.length ? `Not ranked: ${bars.join("; ")}` : "Nothing is ranked in this column";
}

// Columns

function startColumns(section, tables, headers) {
  const menu = section.querySelector("[data-columns]");
  const columns = headers.filter((each) => each.column > 0 && !each.isFact);
  const texts = [...new Set(columns.map((each) => each.text))];
  if (!menu || texts.length < 2) return;
  const names = addressNames(texts);
  const hide = `${section.id}.hide`;
  pageState.declare(hide, (value) => value.split(",").every((name) => names.includes(name)));
  const boxes = names.map(() => make("input", "", { type: "checkbox" }));
  boxes.forEach((box) => box.addEventListener("input", () => {
    pageState.set(hide, names.filter((_, place) => !boxes[place].checked).join(","));
  }));
  menu.lastElementChild.append(...texts.map((text, place) => make("label", [boxes[place], text], { class: "check" })));
  menu.hidden = false;
  pageState.onChange(() => {
    const hidden = pageState.get(hide).split(",");
    boxes.forEach((box, place) => { box.checked = !hidden.includes(names[place]); });
    columns.forEach((each) => { each.header.hidden = hidden.includes(names[texts.indexOf(each.text)]); });
    tables.forEach((table) => hideColumns(table, columns.filter((each) => each.table === table)));
  }, [hide]);
  boxes.forEach((box) => { box.checked = true; });
}

function hideColumns(table, columns) {
  for (const row of all("tr[data-row]", table)) {
    columns.forEach((each) => { row.cells[each.column].hidden = each.header.hidden; });
  }
  let first = 0;
  for (const group of all("th", table.tHead.rows[0])) {
    group.dataset.count ??= group.colSpan;
    const own = columns.slice(first, first + Number(group.dataset.count)).filter((each) => !each.header.hidden);
    first += Number(group.dataset.count);
    group.hidden = own.length === 0;
    group.colSpan = own.length || 1;
  }
}
