// Tables: sort within groups, filter, move between numbers

const LONGEST_FILTER = 200;

/** All parts of a table: they are sorted and filtered as one. */
function startResults(section) {
  const tables = all("table.results", section);
  tables.forEach(startTable);
  const headers = headersOf(tables);
  startSort(section, tables, headers);
  startFilter(section);
  startColumns(section, tables, headers);
}

function startTable(table) {
  table.groups = [...table.tBodies];
  all("tr[data-row]", table).forEach((row) => { row.group = row.parentElement; });
  const numbers = all("td button", table);
  numbers.slice(1).forEach((button) => { button.tabIndex = -1; });
  table.addEventListener("keydown", moveBetweenNumbers);
  table.addEventListener("focusin", (event) => {
    if (!event.target.matches("td button")) return;
    all('td button[tabindex="0"], td button:not([tabindex])', table).forEach((button) => { button.tabIndex = -1; });
    event.target.tabIndex = 0;
  });
}

function startFilter(section) {
  const [text, quoted] = [section.querySelector("[data-filter]"), section.querySelector("[data-quoted]")];
  const names = [`${section.id}.q`, `${section.id}.quoted`];
  pageState.declare(names[0], (value) => value.length <= LONGEST_FILTER);
  pageState.declare(names[1], (value) => value === "no" && quoted !== null);
  text.maxLength = LONGEST_FILTER;
  text.addEventListener("input", () => pageState.set(names[0], text.value, { quiet: pageState.get(names[0]) !== "" }));
  quoted?.addEventListener("input", () => pageState.set(names[1], quoted.checked ? "" : "no"));
  pageState.onChange(() => {
    if (text.value !== pageState.get(names[0])) text.value = pageState.get(names[0]);
    if (quoted) quoted.checked = pageState.get(names[1]) === "";
    filter(section);
  }, names);
}

function startSort(section, tables, headers) {
  const [sort, direction] = [`${section.id}.sort`, `${section.id}.dir`];
  pageState.declare(sort, (value) => headers.some(({ name }) => name === value));
  pageState.declare(direction, (value) => value === "asc" || value === "desc");
  const ranking = startRanking(section, tables);
  const chosen = (each) => pageState.get(sort) === each.name && (!each.isFact || ranking.isOn());
  const isMain = (each) => each.column === (data.tables[each.table.dataset.table].main ?? -1);
  const shown = (each) => {
    if (chosen(each)) return pageState.get(direction) || each.bestFirst;
    const other = headers.some((one) => one.table === each.table && chosen(one));
    return ranking.isOn() && !other && isMain(each) ? each.bestFirst : "";
  };
  for (const each of headers) {
    each.header.firstElementChild.addEventListener("click", () => {
      const otherWay = each.bestFirst === "asc" ? "desc" : "asc";
      const next = { "": each.bestFirst, [each.bestFirst]: otherWay, [otherWay]: "" }[shown(each)];
      pageState.setAll({ [sort]: next && each.name, [direction]: next });
    });
  }
  pageState.onChange(() => {
    for (const each of headers) {
      each.header.setAttribute("aria-sort", { "": "none", asc: "ascending", desc: "descending" }[shown(each)]);
    }
    for (const table of tables) {
      const header = headers.find((each) => each.table === table && shown(each));
      const ranked = header?.isFact ? headers.find((each) => each.table === table && isMain(each)) : header;
      ranking.show(table, ranked?.column ?? 0);
      if (header) sortRows(table, [[ranked, shown(ranked) || ranked.bestFirst], [header, shown(header)]]);
      else sortRows(table, []);
    }
    if (ranking.names.length) filter(section);
  }, [sort, direction, ...ranking.names]);
}

/** The headers of all parts with their names in the address; those of rows and facts have the same ones in every part. */
function headersOf(tables) {
  const headers = tables.flatMap((table) => all("thead tr:last-child th", table).map((header, column) => ({
    table, header, column, bestFirst: column === 0 || "lower" in header.dataset ? "asc" : "desc",
    text: column === 0 ? header.textContent : data.tables[table.dataset.table].columns[column - 1],
  })));
  const facts = tables.flatMap(factHeaders);
  const columns = headers.filter((each) => each.column > 0);
  const factTexts = [...new Set(facts.map((each) => each.text))];
  const [rows, ...names] = addressNames([headers[0].text, ...columns.map((each) => each.text), ...factTexts]);
  headers.forEach((each) => { each.name = rows; });
  columns.forEach((each, place) => { each.name = names[place]; });
  facts.forEach((each) => { each.name = names[columns.length + factTexts.indexOf(each.text)]; });
  return [...headers, ...facts];
}

/** `orders`: headers with directions; the last one counts most. */
function sortRows(table, orders) {
  for (const body of table.tBodies) {
    const rows = all("tr[data-row]", body);
    rows.sort((a, b) => a.dataset.row - b.dataset.row);
    for (const [{ column }, direction] of orders) rows.sort((a, b) => compare(sortKey(a, column), sortKey(b, column), direction));
    body.append(...rows);
  }
}

const sortKey = (row, column) => (column === 0 ? row.querySelector("th span").textContent : row.cells[column].dataset.v ?? row.cells[column].textContent);

function compare(a, b, direction) {
  if (a === "" || b === "") return (a === "") - (b === ""); // what is absent stays last
  const numbers = [Number(a), Number(b)];
  const order = numbers.some(Number.isNaN) ? a.localeCompare(b, "en", { numeric: true }) : numbers[0] - numbers[1];
  return direction === "asc" ? order : -order;
}

function filter(section) {
  const words = section.querySelector("[data-filter]").value.toLowerCase().split(/\s+/).filter(Boolean);
  const quoted = section.querySelector("[data-quoted]")?.checked ?? true;
  const rows = all("table.results tr[data-row]", section);
  for (const row of rows) {
    const text = `${row.cells[0].textContent} ${row.group.rows[0].textContent}`.toLowerCase();
    row.hidden = (!quoted && row.group.classList.contains("quoted-rows")) || !words.every((word) => text.includes(word));
  }
  for (const body of all("table.results > tbody", section)) {
    body.hidden = all("tr[data-row]", body).every((row) => row.hidden);
  }
  const [seen, count] = [rows.filter((row) => !row.hidden).length, rows.length];
  section.querySelector("output").textContent = seen === count ? "" : `${seen} of ${count} rows`;
}

function moveBetweenNumbers(event) {
  const cell = event.target.closest("td");
  const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
  if (!cell || !step) return;
  event.preventDefault();
  const rows = all("tr[data-row]:not([hidden])", event.currentTarget).filter((row) => !row.parentElement.hidden);
  const row = rows[rows.indexOf(cell.parentElement) + step[0]];
  let next = row?.cells[cell.cellIndex + step[1]];
  while (next?.hidden) next = row.cells[next.cellIndex + (step[1] || 1)];
  next?.querySelector("button")?.focus();
}
