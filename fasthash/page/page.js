"use strict";
// Each table has all its rows as JSON: an array of cells, a cell a text or [text, what it sorts by].
const SHEET = 100;
const number = new Intl.NumberFormat("en-US");

function setUp(listing) {
  const rows = JSON.parse(listing.querySelector("script").textContent);
  const heads = [...listing.querySelectorAll("thead th")];
  const looks = heads.map((head) => head.className);
  const names = heads.map((head) => head.textContent);
  const body = listing.querySelector("tbody");
  const input = listing.querySelector("input");
  const pager = listing.querySelector(".pager");
  const buttons = Object.fromEntries(
    [...pager.querySelectorAll("button")].map((button) => [button.dataset.go, button]));
  let shown = rows, words = [], texts = null, sheet = 0, column = -1, direction = 1;
  const keys = [];  // by column, made when it is sorted by

  const text = (cell) => (typeof cell === "string" ? cell : cell[0]);
  const lastSheet = () => Math.max(0, Math.ceil(shown.length / SHEET) - 1);

  function draw() {
    const first = sheet * SHEET;
    body.replaceChildren(...shown.slice(first, first + SHEET).map(drawRow));
    const last = Math.min(first + SHEET, shown.length);
    const of = number.format(shown.length);
    listing.querySelector(".where").textContent =
      shown.length ? `${number.format(first + 1)}–${number.format(last)} of ${of}` : "no rows";
    listing.querySelector(".found").textContent =
      words.length ? `${of} of ${number.format(rows.length)} rows` : `${of} rows`;
    buttons.first.disabled = buttons.back.disabled = sheet === 0;
    buttons.on.disabled = buttons.last.disabled = sheet === lastSheet();
  }

  function drawRow(row) {
    const line = document.createElement("tr");
    line.setAttribute("role", "row");
    row.forEach((value, n) => {
      const cell = document.createElement("td");
      cell.className = looks[n];
      cell.dataset.name = names[n];
      cell.setAttribute("role", "cell");
      const inner = document.createElement("span");
      inner.textContent = text(value);
      if (looks[n] === "tag") inner.dataset.tag = text(value);
      else inner.dir = "auto";
      cell.append(inner);
      line.append(cell);
    });
    return line;
  }

  function keysOf(n) {
    if (!keys[n]) {
      const plain = rows.map((row) => (typeof row[n] === "string" ? row[n].toLowerCase() : row[n][1]));
      const numeric = plain.every((key) => typeof key === "number" || /^\d{1,15}$/.test(key));
      keys[n] = new Map(rows.map((row, at) => [row, numeric ? Number(plain[at]) : plain[at]]));
    }
    return keys[n];
  }

  function choose() {
    texts ??= new Map();
    const matches = (row) => {
      let found = texts.get(row);
      if (found === undefined) {
        found = row.map(text).join("\u0001").toLowerCase();
        texts.set(row, found);
      }
      return words.every((word) => found.includes(word));
    };
    shown = words.length ? rows.filter(matches) : rows;
    if (column >= 0) {
      const key = keysOf(column);
      shown = [...shown].sort((one, other) => {
        const a = key.get(one), b = key.get(other);
        return a < b ? -direction : a > b ? direction : 0;
      });
    }
    sheet = 0;
    draw();
  }

  function sortBy(n) {
    direction = n === column ? -direction : 1;
    column = n;
    heads.forEach((head, at) => {
      if (at === n) head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    choose();
  }

  heads.forEach((head, n) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = names[n];
    button.addEventListener("click", () => sortBy(n));
    head.replaceChildren(button);
  });
  input.addEventListener("input", () => {
    words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    choose();
  });
  const steps = { first: () => 0, back: () => sheet - 1, on: () => sheet + 1, last: lastSheet };
  for (const [go, button] of Object.entries(buttons)) {
    button.addEventListener("click", () => {
      sheet = Math.min(lastSheet(), Math.max(0, steps[go]()));
      draw();
      if (listing.getBoundingClientRect().top < 0) listing.scrollIntoView();
    });
  }
  // A table that one sees at a glance needs no filter.
  listing.querySelector(".tools").hidden = rows.length < 10;
  pager.hidden = rows.length <= SHEET;
  draw();
}

document.querySelectorAll(".listing").forEach(setUp);
