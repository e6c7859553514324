// The traffic editor: sliders that never move one another, what a draft means before it is applied, and its shortcuts.
"use strict";

const round = (value) => Math.round(value * 100) / 100;
const plain = (value) => String(round(value));

function editor(form) {
  const rows = [...form.querySelectorAll("[data-row]")].map((element) => ({
    element,
    name: element.dataset.row,
    color: element.dataset.color,
    order: Number(element.dataset.order),
    set: Number(element.dataset.set),
    wasDefault: element.dataset.default === "1",
    wasControl: form.querySelector(`[name=control][value="${element.dataset.row}"]`).defaultChecked,
    previous: element.dataset.previous,
    range: element.querySelector("[data-range]"),
    number: element.querySelector("[data-number]"),
    find: (mark) => element.querySelector(`[data-${mark}]`),
    get value() { return Number(this.number.value.replace(",", ".")) || 0; },
    get serves() { return document.getElementById(`replicas-${this.name}`).dataset.serves === "1"; },
  }));
  let edited = null;
  const checked = (name) => form.querySelector(`[name=${name}]:checked`)?.value ?? "";
  const sum = () => rows.reduce((total, row) => total + row.value, 0);
  const limit = (row) => Math.max(0, round(100 - (sum() - row.value)));
  const draft = () => rows.map((row) => ({ ...row, name: row.name, color: row.color, value: row.value, serves: row.serves, isDefault: row.name === checked("default") }));

  // The same arithmetic as endpoints/traffic.py: what nobody claims goes to the default; who does not serve gets nothing.
  function configured(split) {
    const rest = 100 - split.reduce((total, each) => total + each.value, 0);
    return Object.fromEntries(split.map((each) => [each.name, each.value + (each.isDefault ? rest : 0)]));
  }
  function shares(split) {
    const result = Object.fromEntries(split.map((each) => [each.name, 0]));
    const serving = split.filter((each) => each.serves);
    if (serving.some((each) => each.isDefault)) return { ...result, ...configured(serving) };
    const claimed = serving.reduce((total, each) => total + each.value, 0);
    for (const each of serving) result[each.name] = claimed ? (each.value * 100) / claimed : 0;
    if (!claimed && serving.length) result[serving.reduce((old, each) => (each.order < old.order ? each : old)).name] = 100;
    return result;
  }

  function words(each, planned, now) {
    const rest = round(planned - each.value);
    const text = each.isDefault && rest > 0 ? `${plain(each.value)} set + ${plain(rest)} remainder = ${plain(planned)} %` : `${plain(each.value)} %`;
    if (!each.serves && planned > 0) return `${rest > 0 ? text : `${plain(each.value)} set`}, 0 until ready`;
    return now - planned > 0.005 ? `${text}, ${plain(now - planned)} of versions that are not ready` : text;
  }

  function drawBar(split, now) {
    const bar = form.querySelector("[data-bar] svg");
    const shape = (name, attributes, text) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      if (text) made.textContent = text;
      bar.append(made);
    };
    bar.replaceChildren();
    let x = 0;
    const told = [];
    for (const each of split) {
      const share = now[each.name];
      if (share <= 0) continue;
      const own = each.isDefault ? Math.min(share, each.value) : share;
      shape("rect", { class: `v${each.color}`, x: `${x}%`, y: 0, width: `${share}%`, height: "100%" });
      if (share - own > 0) shape("rect", { class: "hatched", x: `${x + own}%`, y: 0, width: `${share - own}%`, height: "100%", fill: "url(#hatch)" });
      if (share >= 9) shape("text", { x: `${x + share / 2}%`, y: "50%" }, `${each.name} ${plain(share)} %`);
      told.push(`${each.name} ${plain(share)} percent`);
      x += share;
    }
    bar.setAttribute("aria-label", `Split of the draft: ${told.join(", ") || "no version takes requests"}`);
  }

  function limitOf(row) {
    const most = limit(row);
    const holders = rows.filter((other) => other !== row && other.value > 0).map((other) => `${other.name} holds ${plain(other.value)}`);
    const held = row.find("range").parentElement.querySelector(".held");
    held.setAttribute("x", `${most}%`);
    held.setAttribute("width", `${100 - most}%`);
    const over = edited && edited !== row ? 0 : round(row.value - most); // the row that was typed into is the one too high
    row.number.setAttribute("aria-invalid", String(over > 0 || row.value < 0));
    const hint = row.find("limit");
    hint.classList.toggle("over", over > 0);
    hint.textContent = over > 0 ? `${plain(over)} too many: at most ${plain(most)}, ${holders.join(", ")}.` : holders.length && row.value <= most ? `At most ${plain(most)}: ${holders.join(", ")}.` : "";
  }

  function show() {
    const split = draft();
    const planned = configured(split);
    const tooMany = round(sum() - 100);
    const now = tooMany > 0 ? null : shares(split);
    for (const row of rows) {
      const each = split.find((one) => one.name === row.name);
      row.range.value = row.value;
      limitOf(row);
      row.find("role-default").hidden = !each.isDefault;
      row.find("role-control").textContent = row.name === checked("control") ? "control" : "treatment";
      if (!now) continue;
      row.find("words").textContent = words(each, planned[row.name], now[row.name]);
      row.find("configured").textContent = `${plain(planned[row.name])} %`;
      row.find("effective").textContent = `${plain(now[row.name])} %`;
    }
    if (now) drawBar(split, now);
    footer(now, tooMany);
  }

  const isChanged = () => rows.some((row) => row.value !== row.set || (row.name === checked("default")) !== row.wasDefault || (row.name === checked("control")) !== row.wasControl);

  function footer(now, tooMany) {
    const apply = form.querySelector("[data-apply]");
    if (!apply) return;
    apply.disabled = tooMany > 0 || rows.some((row) => row.value < 0) || !isChanged();
    form.toggleAttribute("data-dirty", isChanged());
    const summary = form.querySelector("[data-summary]");
    summary.classList.toggle("over", tooMany > 0);
    if (tooMany > 0) summary.textContent = `The percentiles add to ${plain(sum())}, and at most 100 is possible: ${rows.map((row) => `${row.name} ${plain(row.value)}`).join(", ")}. ${plain(tooMany)} too many.`;
    else if (!isChanged()) summary.textContent = "Nothing is changed.";
    else summary.textContent = [consequence(), load(now)].filter(Boolean).join(" ");
    const split = Object.entries(now ?? {}).map(([name, share]) => `${name} effective ${plain(share)} percent`);
    form.querySelector("[data-say]").textContent = tooMany > 0 ? summary.textContent : split.join(", ");
  }

  function consequence() {
    const parts = [];
    const was = rows.find((row) => row.wasDefault);
    const is = checked("default");
    if (was && is !== was.name) parts.push(`${is} becomes the default and gets what nobody claims; ${was.name} keeps only its ${plain(was.value)} %.`);
    const control = rows.find((row) => row.wasControl);
    if ((control?.name ?? "") !== checked("control")) parts.push(checked("control") ? `${checked("control")} becomes the control${control ? ` instead of ${control.name}` : ""}.` : `${control.name} is a treatment again.`);
    return parts.join(" ");
  }

  function load(now) {
    const each = Number(form.dataset.perMinute);
    return each ? `At ${plain(each)} requests a minute: ${rows.map((row) => `${row.name} ${plain((now[row.name] * each) / 100)}`).join(", ")}.` : "";
  }

  function give(row, value) { edited = row; row.number.value = plain(value); show(); }

  for (const row of rows) {
    row.range.addEventListener("input", () => give(row, Math.min(Math.round(Number(row.range.value)), limit(row))));
    row.range.step = "any"; // so that a tenth can be shown; a drag ends on a whole number, and keys step by hand
    const byKeys = (field, ways) => field.addEventListener("keydown", (event) => {
      const way = ways[event.key];
      if (!way) return;
      event.preventDefault();
      give(row, Math.min(Math.max(0, row.value + way * (event.shiftKey ? 0.1 : 1)), limit(row)));
    });
    byKeys(row.range, { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 });
    byKeys(row.number, { ArrowUp: 1, ArrowDown: -1 });
    row.number.addEventListener("input", () => { edited = row; show(); });
    row.element.querySelectorAll("[data-give]").forEach((button) => button.addEventListener("click", () => give(row, Math.min(Number(button.dataset.give), limit(row)))));
  }
  form.addEventListener("change", show);

  const presets = {
    even: () => { const each = Math.floor(10000 / rows.length) / 100; for (const row of rows) row.number.value = plain(each); },
    default: () => { for (const row of rows) row.number.value = "0"; },
    previous: () => { for (const row of rows) row.number.value = row.previous || "0"; },
    now: () => {
      for (const row of rows) {
        row.number.value = plain(row.set);
        if (row.wasDefault) form.querySelector(`[name=default][value="${row.name}"]`).checked = true;
      }
      const control = rows.find((row) => row.wasControl)?.name ?? "";
      form.querySelector(`[name=control][value="${control}"]`).checked = true;
    },
  };
  form.querySelectorAll("[data-preset]").forEach((button) => button.addEventListener("click", () => { presets[button.dataset.preset](); show(); }));
  document.addEventListener("htmx:oobAfterSwap", show);
  show();
}

document.querySelectorAll("form[data-traffic]").forEach(editor);

// The deploy form: only the fields of the chosen way to scale can be filled.
document.querySelectorAll("form[data-deploy]").forEach((form) => {
  const show = () => {
    const way = form.querySelector("[name=scaling]:checked").value;
    form.querySelectorAll("[data-when]").forEach((field) => { field.hidden = field.dataset.when !== way; });
  };
  form.addEventListener("change", show);
  show();
});
