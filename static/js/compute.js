// The node slider: the range and the number are one value, and the sum says what it means.
"use strict";

document.querySelectorAll("form[data-nodes]").forEach((form) => {
  const range = form.querySelector("[data-range]");
  const number = form.querySelector("[data-number]");
  const sum = form.querySelector("[data-sum]");
  const size = form.querySelector("[data-size]");

  const facts = () => {
    const from = size ? size.selectedOptions[0].dataset : form.dataset;
    return { vcpus: Number(from.vcpus), memory: Number(from.memory), usd: Number(from.usd) || null };
  };
  const floor = (vcpus) => {
    if (!size) return Number(form.dataset.floor);
    const purpose = form.querySelector("[name=purpose]:checked");
    return purpose && purpose.value === "FastProd" ? Math.ceil(Number(form.dataset.floorVcpus) / vcpus) : Number(number.min);
  };

  function show() {
    const { vcpus, memory, usd } = facts();
    const count = Number(number.value);
    const least = floor(vcpus);
    if (size && form.querySelector("[name=other_size]").value) { sum.textContent = "The sum is checked when you send it."; return; }
    let text = `${count} × ${vcpus} vCPUs = ${count * vcpus} vCPUs, ${Math.round(count * memory * 10) / 10} GB`;
    if (usd) text += `, about $${(count * usd).toFixed(2)} an hour or $${Math.round(count * usd * 730).toLocaleString("en")} a month`;
    const now = form.dataset.now;
    if (now && count !== Number(now)) text += ` · ${count > now ? "+" : "−"}${Math.abs(count - now)} against now`;
    if (count < least) text += `. Too few: FastProd needs at least ${least}.`;
    sum.textContent = text;
    number.setAttribute("aria-invalid", String(count < least || count < Number(number.min)));
  }

  range.addEventListener("input", () => { number.value = range.value; show(); });
  number.addEventListener("input", () => {
    if (Number(number.value) > Number(range.max)) range.max = number.value;
    range.value = number.value;
    show();
  });
  form.addEventListener("change", show);
  show();
});
