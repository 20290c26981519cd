// Tabs, settings, and the Image tab.
import "./growing.js";
import "./video.js";
import "./webcam.js";
import { complain, onUpload, send, setting } from "./requests.js";

const tabs = [...document.querySelectorAll("[role=tab]")];

function open(tab) {
  for (const other of tabs) {
    other.setAttribute("aria-selected", String(other === tab));
    document.getElementById(other.getAttribute("aria-controls")).hidden = other !== tab;
  }
  const plot = document.querySelector("#table:not([hidden]) img[data-src]");
  if (plot && !plot.src) plot.src = plot.dataset.src; // drawn when it is first looked at
}

for (const tab of tabs) tab.addEventListener("click", () => open(tab));

for (const pair of document.querySelectorAll(".setting")) {
  const [slider, number] = pair.querySelectorAll("input");
  if (!number) continue;
  slider.addEventListener("input", () => { number.value = slider.value; });
  number.addEventListener("input", () => {
    slider.value = number.value;
    slider.dispatchEvent(new Event("change"));
  });
}

const tab = document.getElementById("image");
const result = document.getElementById("growing");
let shown = { query: { sample: document.querySelector("[data-sample]")?.dataset.sample }, body: null };
let running = new AbortController();

async function show() {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  complain(tab, "");
  result.setAttribute("aria-busy", "true");
  const query = { ...shown.query, confidence: setting("confidence"), stable_steps: setting("stable") };
  try {
    const response = await send("image", query, shown.body, signal);
    result.innerHTML = (await response.json()).html; // from our server, which escapes all texts; no script runs in it
  } catch (error) {
    if (signal.aborted) return;
    complain(tab, error.message);
  }
  result.setAttribute("aria-busy", "false");
}

onUpload(document.getElementById("image-upload"), (file) => {
  shown = { query: { name: file.name }, body: file };
  show();
});
for (const button of document.querySelectorAll("[data-sample]")) {
  button.addEventListener("click", () => {
    shown = { query: { sample: button.dataset.sample }, body: null };
    show();
  });
}
for (const id of ["confidence", "stable"]) document.querySelector(`#${id} input`).addEventListener("change", show);
if (shown.query.sample) show();
else result.textContent = "Upload an image.";
