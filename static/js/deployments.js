// Uploading a model: how much it is, a folder's paths, and how far the upload is.
"use strict";

document.querySelectorAll("form[data-upload]").forEach((form) => {
  const files = form.querySelector("[name=files]");
  const folder = form.querySelector("[name=folder]");
  const total = form.querySelector("[data-total]");

  form.addEventListener("change", () => {
    const chosen = [...files.files, ...folder.files];
    const bytes = chosen.reduce((sum, file) => sum + file.size, 0);
    total.textContent = chosen.length ? `${chosen.length} file${chosen.length > 1 ? "s" : ""}, ${size(bytes)}` : "";
    form.querySelectorAll("[name=paths]").forEach((field) => field.remove());
    for (const file of folder.files) {
      const field = document.createElement("input");
      Object.assign(field, { type: "hidden", name: "paths", value: file.webkitRelativePath });
      form.append(field);
    }
  });
});

function size(bytes) {
  const units = ["bytes", "KB", "MB", "GB"];
  let step = 0;
  while (bytes >= 1024 && step < 3) { bytes /= 1024; step += 1; }
  return `${Math.round(bytes * 10) / 10} ${units[step]}`;
}
