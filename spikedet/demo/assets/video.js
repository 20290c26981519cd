// The Video tab: the server's response is lines of JSON that say how far it is, then the bytes of the video.
import { complain, onUpload, send, setting } from "./requests.js";

const tab = document.getElementById("video");
const status = document.getElementById("video-status");
const result = document.getElementById("video-result");
const start = document.getElementById("video-start");
const cancel = document.getElementById("video-cancel");
let chosen = null;
let running = null;

onUpload(document.getElementById("video-upload"), (file) => { chosen = file; });

async function work(signal) {
  status.textContent = "Sending the video …";
  const query = {
    name: chosen.name,
    network: document.querySelector("#video-network select").value,
    t: setting("video-t"),
    confidence: setting("video-confidence"),
    stable_steps: setting("video-stable"),
  };
  const response = await send("video", query, chosen, signal);
  const reader = response.body.getReader();
  const parts = [];
  let text = new Uint8Array();
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (bytes) {
      parts.push(value);
      continue;
    }
    const all = new Uint8Array(text.length + value.length);
    all.set(text);
    all.set(value, text.length);
    text = all;
    for (let end = text.indexOf(10); end >= 0 && !bytes; end = text.indexOf(10)) {
      const said = JSON.parse(new TextDecoder().decode(text.subarray(0, end)));
      text = text.slice(end + 1);
      if (said.error) throw new Error(said.error);
      status.innerHTML = said.html;
      bytes = said.bytes ?? 0;
    }
    if (bytes) parts.push(text);
  }
  const whole = new Blob(parts, { type: "video/webm" });
  if (!bytes || whole.size !== bytes) throw new Error("The server ended before the video was whole.");
  show(whole);
}

function show(whole) {
  const player = document.createElement("video");
  Object.assign(player, { src: URL.createObjectURL(whole), controls: true, autoplay: true, muted: true, playsInline: true });
  const link = document.createElement("a");
  Object.assign(link, { href: player.src, download: "boxes.webm", textContent: "Save the video" });
  result.replaceChildren(player, link);
}

function clear() {
  const before = result.querySelector("video");
  if (before) URL.revokeObjectURL(before.src);
  result.replaceChildren();
}

start.addEventListener("click", async () => {
  clear();
  complain(tab, chosen ? "" : "No video yet: choose one.");
  if (!chosen) return;
  running = new AbortController();
  const { signal } = running;
  start.disabled = true;
  cancel.disabled = false;
  try {
    await work(signal);
  } catch (error) {
    status.textContent = signal.aborted ? "Cancelled; nothing was kept." : "";
    if (!signal.aborted) complain(tab, error.message);
  }
  start.disabled = false;
  cancel.disabled = true;
});
cancel.addEventListener("click", () => running?.abort());
