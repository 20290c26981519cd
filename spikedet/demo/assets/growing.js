// The slider over t: shows of every network the latest output that is not after t. No round trip to the server.
document.getElementById("growing").addEventListener("input", (event) => {
  const slider = event.target;
  if (!slider.matches(".clock input")) return;
  const growing = slider.closest(".growing");
  const t = JSON.parse(growing.dataset.steps)[Number(slider.value)];
  growing.querySelector("output").value = t;
  for (const figure of growing.querySelectorAll("figure")) {
    const outputs = [...figure.querySelectorAll("[data-t]")];
    const known = outputs.filter((output) => Number(output.dataset.t) <= t);
    const shown = known.at(-1);
    for (const output of outputs) output.hidden = output !== shown;
  }
});
