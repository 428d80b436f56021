"use strict";
// Show only the answers whose strategy and model contain every word typed. Without JavaScript all are shown.
const field = document.getElementById("filter");
field.parentElement.hidden = false;
field.addEventListener("input", () => {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const card of document.querySelectorAll("[data-name]")) {
    card.hidden = !words.every((word) => card.dataset.name.toLowerCase().includes(word));
  }
});
