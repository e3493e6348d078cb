// Where the names of points stand, so that they cover neither points, error bars nor each other

const LETTER = 7.2; // width of a letter of a name, in pixels
const LINE = 17;
const MARKER = 7; // half of a point with some room around it
const LETTERS_SHOWN = 28;
const MOST_NAMES = 20;
/** Places beside a point: as plotly calls them, to the right (1) or left (-1), and above (1) or below (-1). */
const SIDES = [
  ["middle right", 1, 0], ["middle left", -1, 0], ["top center", 0, 1], ["bottom center", 0, -1],
  ["top right", 1, 1], ["bottom right", 1, -1], ["top left", -1, 1], ["bottom left", -1, -1],
];

/**
 * What stands beside each point of each series, and where: its name, or a number if its name finds no place there.
 * `numbered`: the points with numbers, for a legend; `ranges`: of both axes, so that places are known before drawing.
 */
function placedNames(plot) {
  const points = plot.series.flatMap((series, number) => series.x.map((x, place) => ({
    series: number, place, name: series.text?.[place] || series.label,
    x: drawnX(plot, x), y: series.y[place], ends: endsOf(plot, series, place),
  })));
  const { width, height } = drawingArea();
  const across = axisOf(points.flatMap((point) => [point.x, ...point.ends.x]), plot.x.log, width, 0.12);
  const up = axisOf(points.flatMap((point) => [point.y, ...point.ends.y]), plot.y.log, height, 0.08);
  const taken = points.flatMap((point) => obstaclesOf(point, across.pixel, (y) => height - up.pixel(y)));
  const front = frontBoxes(plot, (x) => across.pixel(drawnX(plot, x)), (y) => height - up.pixel(y));
  const numbered = [];
  for (const point of points) {
    point.anchor = [across.pixel(point.x), height - up.pixel(point.y)];
    const name = clipped(point.name, LETTERS_SHOWN);
    const free = (boxes) => freeSide(point.anchor, name.length * LETTER, boxes, width, height);
    const found = points.length > MOST_NAMES ? null : free([...taken, ...front]) ?? free(taken);
    if (found) {
      Object.assign(point, { text: name, side: found[0] });
      taken.push(found[1]);
    } else {
      point.number = numbered.push(point);
    }
  }
  atOnePlace(numbered).forEach((some) => placeNumbers(some, taken, width, height));
  return { points, numbered, ranges: [across.range, up.range] };
}

/** Points in groups of those that cover each other. */
function atOnePlace(points) {
  const groups = [];
  for (const point of points) {
    const isSame = (other) => point.anchor.every((pixel, axis) => Math.abs(pixel - other.anchor[axis]) < MARKER);
    const group = groups.find(([first]) => isSame(first));
    if (group) group.push(point);
    else groups.push([point]);
  }
  return groups;
}

/** The numbers of points at one place, beside the first of them. */
function placeNumbers([first, ...others], taken, width, height) {
  const text = [first, ...others].map((point) => point.number).join(", ");
  const [side, box] = sideOfNumbers(first.anchor, text.length * LETTER, taken, width, height);
  Object.assign(first, { text, side });
  others.forEach((point) => Object.assign(point, { text: "", side }));
  taken.push(box);
}

function endsOf(plot, series, place) {
  const known = (ends) => (ends?.[place] === null || ends?.[place] === undefined ? [] : [ends[place]]);
  return { x: [...known(series.left), ...known(series.right)].map((x) => drawnX(plot, x)), y: [...known(series.low), ...known(series.high)] };
}

/** About as large as plots with names are drawn; exact enough for names. */
function drawingArea() {
  const whole = isPrinting ? PRINTED_WIDTH : Math.min(window.innerWidth, 1312) - (window.innerWidth < 640 ? 64 : 110);
  return { width: whole - 96, height: 350 };
}

/** The range of an axis with room at both ends, and where a value stands on it, in pixels. */
function axisOf(values, isLog, length, share) {
  const scaled = (value) => (isLog ? Math.log10(value) : value);
  const [low, high] = [Math.min(...values.map(scaled)), Math.max(...values.map(scaled))];
  const room = (high - low || 1) * share;
  const range = [low - room, high + room];
  return { range, pixel: (value) => ((scaled(value) - range[0]) / (range[1] - range[0])) * length };
}

/** The boxes [left, top, right, bottom] of a point and its error bars. */
function obstaclesOf(point, across, down) {
  const [x, y] = [across(point.x), down(point.y)];
  const boxes = [[x - MARKER, y - MARKER, x + MARKER, y + MARKER]];
  if (point.ends.y.length) {
    const ends = point.ends.y.map(down);
    boxes.push([x - 4, Math.min(...ends), x + 4, Math.max(...ends)]);
  }
  if (point.ends.x.length) {
    const ends = point.ends.x.map(across);
    boxes.push([Math.min(...ends), y - 4, Math.max(...ends), y + 4]);
  }
  return boxes;
}

/** The boxes of the lines of a front that is drawn in steps, `hv` or `vh` as plotly calls them. */
function frontBoxes({ front, frontShape = "hv" }, across, down) {
  const corners = (front ?? []).map(([x, y]) => [across(x), down(y)]);
  return corners.slice(1).flatMap(([right, end], place) => {
    const [left, start] = corners[place];
    const [level, side] = frontShape === "vh" ? [end, left] : [start, right];
    return [[left, level - 1, right, level + 1], [side - 1, Math.min(start, end), side + 1, Math.max(start, end)]];
  });
}

function boxAt([x, y], width, right, above) {
  const left = x + right * (MARKER + 1) - ((1 - right) / 2) * width;
  const top = y - above * (MARKER + 1) - ((1 + above) / 2) * LINE;
  return [left, top, left + width, top + LINE];
}

/** The area that two boxes share. */
const covered = (a, b) => Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
const touches = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];

const isInside = (box, width, height) => box[0] >= 0 && box[1] >= 0 && box[2] <= width + 40 && box[3] <= height;

function freeSide(anchor, length, taken, width, height) {
  for (const [side, right, above] of SIDES) {
    const box = boxAt(anchor, length, right, above);
    if (isInside(box, width, height) && !taken.some((other) => touches(box, other))) return [side, box];
  }
  return null;
}

/** A free side, or the one where numbers cover least; inside the plot if they can be. */
function sideOfNumbers(anchor, length, taken, width, height) {
  const found = freeSide(anchor, length, taken, width, height);
  if (found) return found;
  const boxes = SIDES.map(([side, right, above]) => [side, boxAt(anchor, length, right, above)]);
  const cost = ([, box]) => taken.reduce((sum, other) => sum + covered(box, other), isInside(box, width, height) ? 0 : width * height);
  return boxes.reduce((least, each) => (cost(each) < cost(least) ? each : least));
}

/** Entries of the legend for the points that have numbers: traces without a point. */
function numberTraces(traces, numbered) {
  return numbered.map((point) => ({
    type: "scatter", mode: "markers", x: [null], y: [null], showlegend: true, hoverinfo: "skip",
    legendgroup: `number ${point.number}`, // plotly puts those of one group below each other
    name: inert(`${point.number} ${clipped(point.name, 40)}`), marker: traces[point.series].marker,
  }));
}
