
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const plural = (number, unit) => `${number.toLocaleString("en")} ${unit}${number === 1 ? "" : "s"}`;
  const create = (tag, text, properties = {}) =>
    Object.assign(document.createElement(tag), { textContent: text, ...properties });

  const day = 86400000;
  for (const place of document.querySelectorAll(".left")) {
    const date = Date.parse(place.closest("li, .retires").querySelector("time").textContent);
    const days = Math.floor(date / day) - Math.floor(Date.now() / day);
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

  const models = byId("models");
  if (!models) return;
  const years = [...models.querySelectorAll(".year")];
  const lists = [...models.querySelectorAll(":scope > ol, .year > ol")];
  const factsOf = (item) => {
    const text = (place) => item.querySelector(place).textContent;
    const facts = new Map([["Name", text("bdi")], ["Id", text("code")], ["Released", text(".released")]]);
    for (const term of item.querySelectorAll("dt")) facts.set(term.textContent, term.nextElementSibling.textContent.trim());
    facts.set("Listing", facts.has("Removed") ? "removed" : "listed");
    return facts;
  };
  const rows = lists.flatMap((list) =>
    [...list.children].map((item) => ({ item, list, text: item.textContent.toLowerCase(), facts: factsOf(item) })),
  );
  const search = byId("search");
  const sort = byId("sort");
  const filters = ["Lifecycle", "Listing", "Source"]
    .map((fact) => ({ fact, control: byId(fact.toLowerCase()) }))
    .filter(({ control }) => control);
  const controls = [search, ...filters.map(({ control }) => control), sort];
  const collator = new Intl.Collator("en", { numeric: true });
  const compared = [];

  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { item, text, facts } of rows) {
      const fits =
        words.every((word) => text.includes(word)) &&
        filters.every(({ fact, control }) => !control.value || control.value === `=${facts.get(fact) ?? ""}`);
      item.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    for (const year of years) {
      year.hidden = !year.querySelector("ol > li:not([hidden])");
      if (shown < rows.length || sort.value) year.open = true;
    }
    byId("nothing").hidden = shown > 0;
    byId("count").textContent =
      shown === rows.length ? plural(shown, "model") : `${shown} of ${plural(rows.length, "model")}`;
  };

  // Names from A to Z, the next retirement first; otherwise the latest date or the greatest number.
  const arrange = () => {
    const fact = sort.value.replace(/^=/, "");
    const direction = fact === "Name" || fact === "Retires" ? 1 : -1;
    const keyed = rows.map((row) => ({ ...row, key: fact ? (row.facts.get(fact) ?? "").replace(/^before |,/g, "") : "" }));
    if (fact) keyed.sort((a, b) => (a.key && b.key ? direction * collator.compare(a.key, b.key) : (a.key ? 0 : 1) - (b.key ? 0 : 1)));
    const wanted = new Map(lists.map((list) => [list, []]));
    for (const { item, list } of keyed) wanted.get(fact ? lists[0] : list).push(item);
    for (const [list, items] of wanted) list.append(...items);
    models.classList.toggle("flat", Boolean(fact));
  };

  const remember = () => {
    const query = new URLSearchParams();
    for (const { id, value } of controls) if (value) query.set(id, value.replace(/^=/, ""));
    for (const item of compared) query.append("compare", item.id);
    const suffix = query.size ? `?${query}` : "";
    try {
      history.replaceState(null, "", `${location.pathname}${suffix}${location.hash}`);
    } catch {
      // a page that was opened as a file keeps its address
    }
  };

  const compare = () => {
    const box = byId("compare");
    box.hidden = !compared.length;
    for (const button of models.querySelectorAll(".compare")) {
      button.setAttribute("aria-pressed", compared.includes(button.closest("li[id]")));
    }
    const close = create("button", "Close", { type: "button" });
    close.addEventListener("click", () => {
      compared.length = 0;
      compare();
      remember();
    });
    const intro = create("p", compared.length < 2 ? "Choose a second model: open it and press Compare. " : "Side by side. ");
    intro.append(close);
    const sides = compared.map((item) => rows.find((row) => row.item === item).facts);
    const table = create("table", "");
    const top = table.createTHead().insertRow();
    top.append(create("td", ""), ...sides.map((side) => create("th", side.get("Name"), { scope: "col" })));
    const body = table.createTBody();
    for (const term of new Set(sides.flatMap((side) => [...side.keys()]))) {
      if (term === "Name" || term === "Listing") continue;
      const row = body.insertRow();
      const values = sides.map((side) => side.get(term) ?? "–");
      row.append(create("th", term, { scope: "row" }), ...values.map((value) => create("td", value)));
      row.classList.toggle("differs", term !== "Id" && new Set(values).size > 1);
    }
    box.replaceChildren(intro, table);
  };

  // The buttons of a row are made when it opens, so that a long page has no thousand of them.
  models.addEventListener(
    "toggle",
    ({ target }) => {
      const item = target.parentElement;
      if (!target.open || !item.id || item.querySelector(".compare")) return;
      const button = create("button", "Compare", { type: "button", className: "compare" });
      button.setAttribute("aria-pressed", compared.includes(item));
      button.addEventListener("click", () => {
        const at = compared.indexOf(item);
        if (at >= 0) compared.splice(at, 1);
        else compared.push(item);
        if (compared.length > 2) compared.shift();
        compare();
        remember();
        if (compared.length === 2) byId("compare").scrollIntoView();
      });
      const link = create("a", "Copy the link", { href: `#${item.id}` });
      link.addEventListener("click", () => {
        navigator.clipboard?.writeText(link.href).catch(() => {}); // the address bar has it too
        link.textContent = "Link copied";
      });
      const buttons = create("p", "");
      buttons.append(button, link);
      item.querySelector(".body").append(buttons);
    },
    true, // this event does not bubble
  );
  const change = () => {
    show();
    remember();
  };
  for (const control of controls) if (control !== sort) control.addEventListener("input", change);
  sort.addEventListener("input", () => {
    arrange();
    change();
  });
  const reset = () => {
    for (const control of controls) if (control !== sort) control.value = "";
    change();
  };
  byId("reset").addEventListener("click", () => {
    reset();
    search.focus(); // the button is hidden now
  });

  const open = () => {
    const item = location.hash && byId(location.hash.slice(1));
    if (!item || !models.contains(item)) return;
    if (item.hidden) reset();
    const year = item.closest(".year");
    if (year) year.open = true;
    item.querySelector("details").open = true;
    item.scrollIntoView();
  };
  for (const [id, value] of new URLSearchParams(location.search)) {
    const control = controls.find((one) => one.id === id);
    if (control) control.value = control === search ? value : `=${value}`;
    if (id === "compare" && byId(value) && compared.length < 2) compared.push(byId(value));
  }
  byId("controls").hidden = false;
  if (sort.value) arrange();
  show();
  if (compared.length) compare();
  addEventListener("hashchange", open);
  open();
})();
