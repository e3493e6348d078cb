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

/** A text that the page carries gzipped, in base64. */
function unpacked(id) {
  const packed = Uint8Array.from(atob(byId(id).textContent), (each) => each.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}
