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
