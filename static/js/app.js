// What every page needs and HTML cannot do: closing toasts, the operation drawer, copy buttons, reload when a job ends.
"use strict";

document.addEventListener("click", (event) => {
  const close = event.target.closest("[data-close]");
  if (close) close.closest(".toast").remove();

  const copy = event.target.closest("[data-copy]");
  if (copy) copyText(copy);

  const even = event.target.closest(".switcher[open]");
  document.querySelectorAll(".switcher[open]").forEach((menu) => { if (menu !== even) menu.open = false; });
});

async function copyText(button) {
  const source = document.getElementById(button.dataset.copy);
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(source.value ?? source.textContent.trim());
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => { button.textContent = label; }, 1500);
}

// A link with data-drawer is an ordinary link; with JavaScript its page's panel opens beside what one reads.
document.addEventListener("htmx:afterSwap", (event) => {
  const drawer = document.getElementById("drawer");
  if (event.detail.target.id === "drawer-body" && !drawer.open) drawer.showModal();
});
document.getElementById("drawer")?.addEventListener("close", () => { document.getElementById("drawer-body").replaceChildren(); });
document.getElementById("drawer")?.addEventListener("click", (event) => { if (event.target.id === "drawer") event.target.close(); });

// The server says when a job ended. The page shows what became of it, unless somebody is typing into it.
document.addEventListener("operation-ended", () => {
  const shown = document.querySelector("#drawer[open] .operation");
  if (shown) htmx.ajax("GET", shown.dataset.all, "#drawer-body"); // with what can be done now
  if (document.getElementById("drawer")?.open) return;
  if (!document.querySelector("form[data-dirty]")) { location.reload(); return; }
  toast("The operation ended. Reload the page to see what changed; your draft would be lost.", "success");
});
document.addEventListener("input", (event) => { if (event.target.form?.method === "post") event.target.form.setAttribute("data-dirty", ""); });

function toast(text, kind) {
  const box = document.createElement("div");
  box.className = `toast ${kind}`;
  const words = document.createElement("p");
  words.textContent = text;
  const close = document.createElement("button");
  Object.assign(close, { className: "close", type: "button", textContent: "✕" });
  close.dataset.close = "";
  close.setAttribute("aria-label", "Close this message");
  box.append(words, close);
  document.getElementById("toasts").prepend(box);
}

document.addEventListener("htmx:responseError", (event) => {
  const answer = event.detail.xhr;
  if (answer.getResponseHeader("HX-Retarget")) {
    document.getElementById("toasts").insertAdjacentHTML("afterbegin", answer.responseText);
    if (answer.status === 404 && event.detail.elt.getAttribute("hx-trigger")?.includes("every")) event.detail.elt.remove();
  } else if (answer.status === 401 || answer.status === 403) {
    toast("Your session ended. Reload the page to sign in again.", "error");
  }
});

document.querySelectorAll("[data-close][hidden], [data-copy][hidden], [data-needs-js][hidden]").forEach((part) => { part.hidden = false; });
document.querySelectorAll(".toast.success, .toast.info").forEach((part) => setTimeout(() => part.remove(), 8000));
document.getElementById("problem")?.focus();

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  const search = document.querySelector("input[type=search]");
  if (event.key === "/" && !typing && search) { event.preventDefault(); search.focus(); }
});

// Logs show their end, also when a fragment renews them.
function showEnds() { document.querySelectorAll("[data-follow]").forEach((log) => { log.scrollTop = log.scrollHeight; }); }
document.addEventListener("htmx:afterSettle", showEnds);
showEnds();

// On narrow screens the navigation is a strip: show where one is.
document.querySelector(".rail .nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
