"use strict";
// Tables that can be sorted, filtered and paged. All text goes in as text, never as markup.
const PAGE = 100;
const UNITS = ["B", "kB", "MB", "GB", "TB"];

function bytes(count) {
  let unit = 0;
  while (count >= 1000 && unit < UNITS.length - 1) { count /= 1000; unit += 1; }
  return `${unit ? count.toFixed(1) : count} ${UNITS[unit]}`;
}

function shown(cell, kind) {
  if (cell === null) return "";
  if (kind === "bytes") return bytes(cell);
  return kind === "number" ? cell.toLocaleString("en") : cell;
}

function enliven(section) {
  const { kinds, rows } = JSON.parse(section.querySelector(".data").textContent);
  const [tools, body] = [section.querySelector(".tools"), section.querySelector("tbody")];
  const [filter, count] = [tools.querySelector("input"), tools.querySelector("output")];
  const [back, on] = [tools.querySelector(".back"), tools.querySelector(".on")];
  const headers = [...section.querySelectorAll("th")];
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  let order = rows.map((_, n) => n);
  let matching = order;
  let texts = null;
  let page = 0;

  function draw() {
    const first = page * PAGE;
    const last = Math.min(first + PAGE, matching.length);
    body.replaceChildren(...matching.slice(first, last).map((n) => {
      const line = document.createElement("tr");
      rows[n].forEach((cell, i) => {
        const place = line.insertCell();
        place.className = kinds[i];
        place.appendChild(document.createElement("bdi")).textContent = shown(cell, kinds[i]);
      });
      return line;
    }));
    const of = matching.length === rows.length ? "" : ` of ${rows.length.toLocaleString("en")}`;
    const total = matching.length.toLocaleString("en") + of;
    count.textContent = matching.length > PAGE ? `${(first + 1).toLocaleString("en")}\u2013${last.toLocaleString("en")} of ${total}` : total;
    back.disabled = page === 0;
    on.disabled = last === matching.length;
    tools.querySelector(".pages").hidden = matching.length <= PAGE;
  }

  function select() {
    const wanted = filter.value.toLowerCase();
    if (wanted) {
      texts ??= rows.map((row) => row.map((cell, i) => shown(cell, kinds[i])).join("\t").toLowerCase());
      matching = order.filter((n) => texts[n].includes(wanted));
    } else {
      matching = order;
    }
    page = 0;
    draw();
  }

  function sort(column) {
    const header = headers[column];
    const up = header.getAttribute("aria-sort") !== "ascending";
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    const sign = up ? 1 : -1;
    const isText = !["number", "bytes"].includes(kinds[column]);
    order = rows.map((_, n) => n).sort((m, n) => {
      const [one, other] = [rows[m][column], rows[n][column]];
      // What is not there comes last, either way.
      if (one === null || other === null) return (one === null) - (other === null) || m - n;
      return sign * (isText ? compare(one, other) : one - other) || m - n;
    });
    select();
  }

  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    button.addEventListener("click", () => sort(column));
    header.replaceChildren(button);
  });
  back.addEventListener("click", () => { page -= 1; draw(); });
  on.addEventListener("click", () => { page += 1; draw(); });
  filter.addEventListener("input", select);
  tools.hidden = rows.length < 2;
  draw();
}

document.querySelectorAll(".list").forEach(enliven);
