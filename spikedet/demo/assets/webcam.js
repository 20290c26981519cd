// The browser's camera through the network: one frame at a time, always the newest, so that lag cannot grow.
import { setting, wait } from "./requests.js";

const element = document.getElementById("webcam");
const video = element.querySelector("video");
const canvas = element.querySelector("canvas");
const status = element.querySelector(".status");
const button = element.querySelector("button");
const colours = JSON.parse(element.querySelector(".webcam").dataset.colours);
const side = Number(element.querySelector(".webcam").dataset.side);
const work = document.createElement("canvas");
let running = false;
let recent = [];

function say(text) { status.textContent = text; }

function settings() {
  return {
    t: setting("webcam-t"),
    confidence: setting("webcam-confidence"),
    stable_steps: setting("webcam-stable"),
  };
}

async function detect(frame) {
  const response = await fetch(`look?${new URLSearchParams(settings())}`, { method: "POST", body: frame }).catch(() => null);
  if (!response) throw new Error("The server cannot be reached.");
  const output = await response.json();
  if (output.error) throw new Error(`${output.error}.`);
  return output;
}

function draw(output) {
  const scale = Math.max(1, Math.round(640 / Math.max(work.width, work.height)));
  canvas.width = work.width * scale;
  canvas.height = work.height * scale;
  const context = canvas.getContext("2d");
  context.drawImage(work, 0, 0, canvas.width, canvas.height);
  context.font = "15px sans-serif";
  context.lineWidth = 3;
  context.textBaseline = "top";
  for (const { label, text, box_xyxy } of output.boxes) {
    const [x0, y0, x1, y1] = box_xyxy.map((value) => value * scale);
    const colour = colours[label % colours.length];
    context.strokeStyle = colour;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    const top = Math.max(0, y0 - 19);
    const left = Math.max(0, Math.min(x0, canvas.width - context.measureText(text).width - 8));
    context.fillStyle = colour;
    context.fillRect(left, top, context.measureText(text).width + 8, 19);
    context.fillStyle = "black";
    context.fillText(text, left + 4, top + 2);
  }
}

async function look() {
  const grabbed = performance.now();
  const ratio = side / Math.max(video.videoWidth, video.videoHeight);
  work.width = Math.max(1, Math.round(video.videoWidth * ratio));
  work.height = Math.max(1, Math.round(video.videoHeight * ratio));
  work.getContext("2d").drawImage(video, 0, 0, work.width, work.height);
  const output = await detect(await new Promise((take) => work.toBlob(take, "image/jpeg", 0.85)));
  draw(output);
  const now = performance.now();
  recent = [...recent.filter((time) => now - time < 2000), now];
  const fps = recent.length > 1 ? ((recent.length - 1) * 1000) / (now - recent[0]) : 0;
  Object.assign(element.dataset, { fps: fps.toFixed(2), lag: (now - grabbed).toFixed(0), boxes: output.boxes.length });
  say(`${fps.toFixed(1)} frames a second, ${(now - grabbed).toFixed(0)} ms behind; ${output.words}`);
}

async function start() {
  try {
    if (!navigator.mediaDevices) throw new Error("the browser gives cameras to localhost and https pages only");
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
    await video.play();
  } catch (error) {
    say(`No camera: ${error.message}. Plug one in, allow it for this page, and start again.`);
    return;
  }
  running = true;
  button.textContent = "Stop";
  for (const track of video.srcObject.getTracks()) track.onended = () => { running = false; say("The camera is gone."); };
  while (running && element.isConnected) {
    try {
      await look();
    } catch (error) {
      say(`${error.message} Trying again.`);
      await wait(1000);
    }
    if (document.hidden) await new Promise(requestAnimationFrame); // which comes when the tab is looked at again
  }
  stop();
}

function stop() {
  running = false;
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  button.textContent = "Start";
}

button.addEventListener("click", () => (running ? stop() : start()));
