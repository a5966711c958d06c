// What the page does without the server: comparing, day and night, links, downloads.
// Run once, when the page has been built.
() => {
  const root = document.documentElement;
  const state = { isMoving: false, isInFlight: false };

  const settle = () => document.querySelector("#sd-settle")?.click();

  // Called by the page after each picture that followed a slider. A slider that has come to rest
  // gets its full picture, which so is always the last to arrive.
  window.sdFollowed = () => {
    state.isInFlight = false;
    if (!state.isMoving) settle();
  };

  const isSlider = (target) => target instanceof HTMLInputElement && target.closest(".sd-slider");
  document.addEventListener("input", (event) => {
    if (event.target.id === "sd-cut") setCut(event.target.value);
    if (isSlider(event.target)) state.isMoving = state.isInFlight = true;
  }, true);
  // The browser's own "change": a slider let go, by pointer, finger or key.
  document.addEventListener("change", (event) => {
    if (!isSlider(event.target)) return;
    state.isMoving = false;
    setTimeout(() => { if (!state.isInFlight) settle(); }, 150);
  }, true);

  const setCut = (percent) => root.style.setProperty("--sd-cut", `${percent}%`);
  const cutAt = (event, stage) => {
    const box = stage.getBoundingClientRect();
    const percent = Math.min(100, Math.max(0, (100 * (event.clientX - box.left)) / box.width));
    setCut(percent);
    const range = document.querySelector("#sd-cut");
    if (range) range.value = percent;
  };
  for (const kind of ["pointerdown", "pointermove"]) {
    document.addEventListener(kind, (event) => {
      const stage = event.target.closest?.("#sd-stage");
      if (stage && (kind === "pointerdown" || event.buttons === 1)) cutAt(event, stage);
    });
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button");
    if (button?.id === "sd-theme") document.body.classList.toggle("dark");
    if (button?.id === "sd-against") {
      const isPhoto = root.classList.toggle("sd-against-photo");
      button.textContent = isPhoto ? "Compare with inverted" : "Compare with photo";
    }
  });

  // The button that compares with the photo is there for photos alone.
  const hasPhoto = () => document.querySelector("#sd-before .sd-photo") !== null;
  new MutationObserver(() => {
    const button = document.querySelector("#sd-against");
    if (button) button.hidden = !hasPhoto();
  }).observe(document.body, { childList: true, subtree: true });

  // The address is that of what is shown; only what the page itself understands is kept in it.
  window.sdAddress = (query) => {
    history.replaceState(null, "", query ? `?${query}` : location.pathname);
    return location.href;
  };

  window.sdDownload = (file) => {
    if (!file?.content) return;
    const link = document.createElement("a");
    link.href = file.content;
    link.download = file.name;
    link.click();
  };
}
