// The theme that was chosen, before anything is drawn; without a choice the system's.
(function () {
  try {
    const chosen = localStorage.getItem("amber-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage may be forbidden; then the system's theme it is.
  }
})();
