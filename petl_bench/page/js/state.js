// The view in the address: #SECTION?NAME=VALUE&..., where NAME is of that section, or OTHER-SECTION.NAME of another
// one. An address is read as data: only declared names with accepted values count. Names as pageState takes them:
//   SECTION.sort, .dir, .q, .quoted    of tables          SECTION.panel, .case, ...    of plots
//   classes.evaluation, .method, .against                  SECTION.numbers              opened numbers of a plot

const pageState = (() => {
  const LONGEST_ADDRESS = 8000;
  const accepted = new Map(); // name -> whether a value is one that there is
  const listeners = [];
  let values = new Map();
  let section = "";
  let followed = ""; // the link that was clicked: it moves, and leaves the view as it is

  /** `accepts(value)` says whether a value of the address is one that there is; "" stands for what is shown at first. */
  function declare(name, accepts) {
    accepted.set(name, accepts);
  }

  const get = (name) => values.get(name) ?? "";

  /** `quiet`: without a step of its own for the back button. What there is not is left as it was. */
  function setAll(changes, { quiet = false } = {}) {
    const changed = new Set();
    for (const [name, value] of Object.entries(changes)) {
      if (value === get(name) || (value && !accepted.get(name)?.(value))) continue;
      if (value) values.set(name, value);
      else values.delete(name);
      section = name.slice(0, name.lastIndexOf("."));
      changed.add(name);
    }
    if (!changed.size) return;
    write(quiet);
    tell(changed);
  }

  const set = (name, value, options) => setAll({ [name]: value }, options);

  /** Call `listener` with the set of names that changed, after every change of one of `names`; of any without them. */
  function onChange(listener, names = null) {
    listeners.push([listener, names]);
  }

  function tell(changed) {
    for (const [listener, names] of listeners) {
      if (!names || names.some((name) => changed.has(name))) listener(changed);
    }
  }

  function addressOf(place) {
    const own = [...values].filter(([name]) => name.startsWith(`${place}.`)).map(([name, value]) => [name.slice(place.length + 1), value]);
    const others = [...values].filter(([name]) => !name.startsWith(`${place}.`));
    const query = new URLSearchParams([...own, ...others]).toString().replaceAll("%2C", ",");
    return `#${place}${query && `?${query}`}`;
  }

  function write(quiet) {
    if (addressOf(section) === (location.hash || "#")) return;
    try {
      history[quiet ? "replaceState" : "pushState"](null, "", addressOf(section));
    } catch {
      // Browsers refuse many changes in a short time; the next one holds this one too.
    }
  }

  function read() {
    const address = location.hash.length > LONGEST_ADDRESS ? "" : location.hash.slice(1);
    const [place, query = ""] = address.split(/\?(.*)/s);
    const found = new Map();
    for (const [key, value] of new URLSearchParams(query)) {
      const name = key.includes(".") ? key : `${place}.${key}`;
      if (value && accepted.get(name)?.(value)) found.set(name, value);
    }
    return { place: byId(place) ? place : "", found, hasQuery: Boolean(query) };
  }

  function restore() {
    const { place, found, hasQuery } = read();
    const before = values;
    [values, section] = [found, place];
    const changed = new Set([...before.keys(), ...found.keys()].filter((name) => before.get(name) !== found.get(name)));
    if (changed.size) tell(changed);
    if (place && hasQuery) bringIntoView(byId(place)); // to one without a query, the browser goes by itself
  }

  /** Go to the section of the address, whose fold is open by now. */
  function arrive() {
    if (section) byId(section).scrollIntoView({ behavior: "instant" });
  }

  function bringIntoView(element) {
    const { top, bottom } = element.getBoundingClientRect();
    const isSeen = top < innerHeight / 2 && bottom > innerHeight / 4 && (top >= 0 || bottom > innerHeight / 2);
    if (!isSeen) element.scrollIntoView({ behavior: "instant" });
  }

  /** Everything is declared: show what the address says, and from now on what it will say. */
  function start() {
    document.addEventListener("click", (event) => {
      followed = event.target.closest?.('a[href^="#"]')?.hash ?? "";
    });
    addEventListener("hashchange", () => {
      if (followed && location.hash === followed) {
        section = followed.slice(1);
        write(true);
      } else {
        restore();
      }
      followed = "";
    });
    restore();
  }

  /** The address of this view, beginning at a section. */
  const link = (place) => `${location.href.split("#")[0]}${addressOf(place)}`;

  return { declare, get, set, setAll, onChange, start, arrive, link };
})();

/** Texts as they stand in an address: distinct, and without the comma that separates them. */
function addressNames(texts) {
  const seen = new Map();
  return texts.map((text) => {
    const name = text.replaceAll(",", " ").replace(/\s+/g, " ").trim() || "-";
    seen.set(name, (seen.get(name) ?? 0) + 1);
    return seen.get(name) === 1 ? name : `${name} (${seen.get(name)})`;
  });
}

/** The place of a name; without it, of one that differs in case and signs alone: registered names in older addresses. */
function placeOfName(names, name) {
  const plain = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "") || text;
  const place = names.indexOf(name);
  return place < 0 ? names.findIndex((each) => plain(each) === plain(name)) : place;
}

/**
 * A choice that the address keeps, by the texts of its options; `initial()` is the place of the one that is shown at
 * first. Returns what selects the option that is kept.
 */
function keepChoice(select, name, { initial = () => 0, accepts = null } = {}) {
  const names = () => addressNames([...select.options].map((option) => option.text));
  pageState.declare(name, accepts ?? ((value) => placeOfName(names(), value) >= 0));
  select.addEventListener("input", () => {
    pageState.set(name, select.selectedIndex === initial() ? "" : names()[select.selectedIndex]);
  });
  return () => {
    const kept = placeOfName(names(), pageState.get(name));
    select.selectedIndex = kept < 0 ? initial() : kept;
  };
}

/** Whether a part is opened, if it is not as it was at first. */
function keepOpened(details, name) {
  const atFirst = details.open;
  const other = atFirst ? "closed" : "open";
  pageState.declare(name, (value) => value === other);
  details.querySelector("summary").addEventListener("click", (event) => {
    event.preventDefault();
    const open = !details.open; // also of one that the browser opened, as it does for a text that is searched
    pageState.set(name, open === atFirst ? "" : other, { quiet: true });
    details.open = open;
  });
  pageState.onChange(() => { details.open = (pageState.get(name) === other) !== atFirst; }, [name]);
}
