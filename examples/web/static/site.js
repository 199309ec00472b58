// Counts down a lock, sends each form once, and prints. The pages work without it.
"use strict";

for (const timer of document.querySelectorAll("[data-seconds]")) {
  const end = Date.now() + timer.dataset.seconds * 1000;
  const buttons = document.querySelectorAll("form[data-wait] button");
  const tick = () => {
    const left = Math.max(0, Math.ceil((end - Date.now()) / 1000));
    const seconds = String(left % 60).padStart(2, "0");
    timer.textContent = `${Math.floor(left / 60)}:${seconds}`;
    for (const button of buttons) button.disabled = left > 0;
    if (left > 0) return setTimeout(tick, 250);
    const box = timer.closest(".error");
    box.className = "news";
    box.role = "status";
    box.textContent = "You can try again now.";
  };
  tick();
}

// A code that is sent twice counts as a failure.
addEventListener("submit", ({ target }) => {
  for (const button of target.querySelectorAll("button")) button.disabled = true;
});
addEventListener("pageshow", ({ persisted }) => {
  if (persisted) location.reload();
});

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}
