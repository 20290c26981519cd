// Requests to the server, which is asked again while it is busy.
export const wait = (ms) => new Promise((resume) => setTimeout(resume, ms));

export async function send(path, query, body, signal) {
  for (;;) {
    const response = await fetch(`${path}?${new URLSearchParams(query)}`, { method: "POST", body, signal }).catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Error("The server cannot be reached, or the file cannot be read any more.");
    });
    if (response.ok) return response;
    const said = await response.json().catch(() => ({}));
    if (response.status !== 503 && response.status !== 429) throw new Error(said.error ?? `The server says ${response.status}.`);
    await wait(1000 * Number(response.headers.get("Retry-After") ?? 1) * (0.5 + Math.random()));
    signal?.throwIfAborted();
  }
}

// A message below the settings of a tab; "" takes it away.
export function complain(tab, text) {
  const shown = tab.querySelector(".error");
  shown.textContent = text;
  shown.hidden = !text;
}

export const setting = (id) => document.querySelector(`#${id} input`).value;

// Calls `take` with each file that is chosen or dropped.
export function onUpload(label, take) {
  const input = label.querySelector("input");
  const chosen = (file) => {
    if (!file) return;
    label.querySelector("strong").textContent = file.name;
    label.querySelector("span").textContent = `${Math.max(0.1, file.size / 1e6).toFixed(1)} MB`;
    take(file);
  };
  input.addEventListener("change", () => {
    chosen(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    label.addEventListener(kind, (event) => {
      event.preventDefault();
      label.classList.toggle("over", kind === "dragover");
      if (kind === "drop") chosen(event.dataTransfer.files[0]);
    });
  }
}
