"use strict";
// The page says everything without this script; it sorts, filters, pages and switches between light and dark.
(() => {
  const root = document.documentElement, $ = (id) => document.getElementById(id);

  const theme = $("theme");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { theme.textContent = dark() ? "Light" : "Dark"; theme.setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"}`); };
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();

  const table = $("rows");
  if (!table) return;
  const rest = $("rest"), size = Number(table.dataset.page);
  const parse = (html) => { const t = document.createElement("table"); t.innerHTML = html; return t.tBodies[0]; };
  const rows = [...table.tBodies, ...(rest ? JSON.parse(rest.textContent).map(parse) : [])];
  const words = rows.map((r) => r.rows[0].textContent.toLowerCase());
  const place = new Map(rows.map((r, i) => [r, i]));
  let order = rows, shown = rows, page = 0, open = false;

  const fold = (row) => { if (row.rows[1]) row.rows[1].hidden = !(row.dataset.open ? row.dataset.open === "yes" : open); };
  const unfolder = (row) => {
    const cell = row.rows[0].cells[0];
    if (!row.rows[1] || cell.querySelector("button")) return;
    const label = document.createElement("button");
    label.type = "button";
    label.append(...cell.childNodes);
    label.title = "Show all figures of this row";
    cell.append(label);
    label.addEventListener("click", () => { row.dataset.open = row.rows[1].hidden ? "yes" : "no"; draw(); });
  };

  const pages = $("pages");
  const draw = () => {
    page = Math.min(page, Math.max(0, Math.ceil(shown.length / size) - 1));
    const now = shown.slice(page * size, (page + 1) * size);
    [...table.tBodies].forEach((b) => b.remove());
    now.forEach((row) => {
      unfolder(row); fold(row);
      const button = row.rows[1] && row.rows[0].cells[0].querySelector("button");
      if (button) button.setAttribute("aria-expanded", String(!row.rows[1].hidden));
    });
    table.append(...now);
    wider();
    $("count").textContent = `${shown.length} of ${rows.length} rows`;
    pages.hidden = shown.length <= size;
    pages.replaceChildren(turn("Previous", -1), `Page ${page + 1} of ${Math.ceil(shown.length / size)}`, turn("Next", 1));
  };
  const turn = (words, by) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = words;
    button.disabled = page + by < 0 || (page + by) * size >= shown.length;
    button.addEventListener("click", () => { page += by; draw(); });
    return button;
  };
  const filter = () => {
    const asked = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = order.filter((row) => asked.every((word) => words[place.get(row)].includes(word)));
    page = 0;
    draw();
  };

  const value = (row, i) => {
    const cell = row.rows[0].cells[i];
    return cell.dataset.v !== undefined ? Number(cell.dataset.v) : cell.textContent.trim();
  };
  const missing = (v) => v === "" || v === "–";
  const compare = (a, b, sign) => {
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return sign * String(a).localeCompare(String(b), "en", { numeric: true });
  };
  [...table.tHead.rows[0].cells].forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      const next = was === "ascending" ? "descending" : was === "descending" ? null : "ascending";
      [...table.tHead.rows[0].cells].forEach((h) => h.removeAttribute("aria-sort"));
      order = rows;
      if (next) {
        head.setAttribute("aria-sort", next);
        const sign = next === "ascending" ? 1 : -1, keys = new Map(rows.map((r) => [r, value(r, i)]));
        order = [...rows].sort((a, b) => compare(keys.get(a), keys.get(b), sign) || place.get(a) - place.get(b));
      }
      filter();
    });
  });
  const wides = [...document.querySelectorAll(".wide")];
  const wider = () => {
    wides.forEach((e) => e.classList.toggle("cut", e.scrollLeft + e.clientWidth < e.scrollWidth - 1));
    $("wider").hidden = table.parentElement.scrollWidth <= table.parentElement.clientWidth + 1;
  };
  addEventListener("resize", wider);
  wides.forEach((e) => { e.addEventListener("scroll", wider); e.closest("details")?.addEventListener("toggle", wider); });
  $("tools").hidden = false;
  $("filter").addEventListener("input", filter);
  $("open").hidden = !rows.some((row) => row.rows[1]);
  $("open").addEventListener("click", () => {
    open = !open;
    rows.forEach((row) => delete row.dataset.open);
    $("open").textContent = open ? "Hide all figures" : "Show all figures";
    $("open").setAttribute("aria-expanded", String(open));
    draw();
  });
  draw();
})();
