
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const table = byId("models");
  const head = [...table.tHead.rows[0].cells];
  const picture = byId("picture");
  const bars = picture ? [...picture.querySelectorAll("g")] : [];
  const rows = [...table.tBodies[0].rows].map((row, index) => ({
    row,
    bar: bars[index],
    text: row.textContent.toLowerCase(),
    values: [...row.cells].map(
      (cell) => cell.dataset.value ?? cell.querySelector("time")?.dateTime ?? cell.querySelector(".name")?.textContent ?? "",
    ),
  }));
  const selects = ["lifecycle", "listing", "source"].map(byId).filter(Boolean);
  const search = byId("search");
  const step = bars.length ? (Number(picture.getAttribute("height")) - 6) / bars.length : 0;
  const collator = new Intl.Collator("en", { numeric: true });
  const plural = (number, unit) =>
    `${number.toLocaleString("en")} ${unit}${number === 1 ? "" : "s"}`;

  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, bar, text } of rows) {
      const fits =
        words.every((word) => text.includes(word)) &&
        selects.every(({ id, value }) => !value || value === `=${row.dataset[id]}`);
      row.hidden = !fits;
      if (bar) {
        bar.classList.toggle("out", !fits);
        if (fits) bar.setAttribute("transform", `translate(0,${shown * step})`);
      }
      shown += fits ? 1 : 0;
    }
    if (picture) picture.setAttribute("height", shown * step + 6);
    byId("nothing").hidden = shown > 0;
    byId("count").textContent =
      shown === rows.length ? plural(shown, "model") : `${shown} of ${plural(rows.length, "model")}`;
  };

  const sort = (column, ascending) => {
    const { sort: type } = head[column].dataset;
    const compare =
      type === "number"
        ? (a, b) => Number(a) - Number(b)
        : type === "date"
          ? (a, b) => (a < b ? -1 : a > b ? 1 : 0)
          : collator.compare;
    rows.sort(({ values: { [column]: a } }, { values: { [column]: b } }) => {
      if (!a || !b) return (a ? 0 : 1) - (b ? 0 : 1); // unknown values are last in both directions
      return ascending ? compare(a, b) : compare(b, a);
    });
    table.tBodies[0].append(...rows.map(({ row }) => row));
    head.forEach((cell, index) => {
      if (index === column) cell.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      else cell.removeAttribute("aria-sort");
    });
    show();
  };

  head.forEach((cell, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = cell.textContent;
    button.addEventListener("click", () => {
      const first = cell.dataset.sort === "text";
      const now = cell.getAttribute("aria-sort");
      sort(column, now ? now === "descending" : first);
    });
    cell.replaceChildren(button);
  });
  head[2].setAttribute("aria-sort", "descending"); // the order of the HTML: newest first
  const controls = [search, ...selects];
  const remember = () => {
    const query = new URLSearchParams();
    for (const { id, value } of controls) if (value) query.set(id, value.replace(/^=/, ""));
    const suffix = query.size ? `?${query}` : "";
    try {
      history.replaceState(null, "", `${location.pathname}${suffix}${location.hash}`);
    } catch {
      // a page that was opened as a file keeps its address
    }
    show();
  };
  for (const control of controls) control.addEventListener("input", remember);
  const reset = () => {
    for (const control of controls) control.value = "";
    remember();
  };
  for (const [id, value] of new URLSearchParams(location.search)) {
    const control = controls.find((one) => one.id === id);
    if (control) control.value = control === search ? value : `=${value}`;
  }
  for (const { row } of rows) {
    const link = document.createElement("a");
    const name = row.querySelector(".name");
    Object.assign(link, { className: "permalink", href: `#${row.id}`, textContent: "#" });
    link.setAttribute("aria-label", `Copy the link to ${name.textContent}`);
    link.title = "Copy the link";
    link.addEventListener("click", () => {
      navigator.clipboard?.writeText(link.href).catch(() => {}); // the address bar has it too
    });
    row.querySelector("code").append(link);
  }
  for (const time of document.querySelectorAll("time")) time.title = time.dateTime;
  byId("reset").addEventListener("click", () => {
    reset();
    search.focus(); // the button is hidden now
  });
  addEventListener("hashchange", () => {
    const row = document.querySelector("tr:target");
    if (!row?.hidden) return;
    reset();
    row.scrollIntoView();
  });
  for (const { row, bar } of rows) bar?.addEventListener("click", () => (location.hash = row.id));
  byId("controls").hidden = false;
  document.documentElement.classList.add("live");
  show();

  const day = 86400000;
  for (const place of document.querySelectorAll("[data-left]")) {
    const days = Math.floor(Date.parse(place.dataset.left) / day) - Math.floor(Date.now() / day);
    const past = place.textContent || "ago"; // the last sync decided whether it is overdue
    place.textContent =
      days === 0 ? "today" : days > 0 ? `in ${plural(days, "day")}` : `${plural(-days, "day")} ${past}`;
  }
  for (const place of document.querySelectorAll("[data-ago]")) {
    const minutes = Math.floor((Date.now() - Date.parse(place.dateTime)) / 60000);
    const hours = Math.floor(minutes / 60);
    const ago =
      minutes < 60 ? plural(minutes, "minute") : hours < 48 ? plural(hours, "hour") : plural(Math.floor(hours / 24), "day");
    if (minutes >= 0) place.append(` (${ago} ago)`);
  }
})();
