// Nothing here is needed: every page and form works without it. It saves key presses and round trips.
(() => {
  "use strict";
  const one = (what, from = document) => from.querySelector(what);
  const all = (what, from = document) => [...from.querySelectorAll(what)];
  const typing = (node) => node.matches("input:not([type=range],[type=radio],[type=checkbox]), textarea, select, [contenteditable]");

  const walk = (step) => {
    const links = all("[data-event]");
    const here = links.indexOf(document.activeElement);
    const next = links[here < 0 ? (step > 0 ? 0 : links.length - 1) : here + step];
    if (next) {
      next.focus();
      next.scrollIntoView({ block: "nearest" });
    }
  };

  document.addEventListener("keydown", (press) => {
    if (press.defaultPrevented || press.isComposing) return;
    const search = one("#q");
    if ((press.ctrlKey || press.metaKey) && !press.altKey && !press.shiftKey && press.key.toLowerCase() === "k" && search) {
      press.preventDefault();
      search.focus();
      search.select();
      return;
    }
    if (press.ctrlKey || press.metaKey || press.altKey || typing(press.target)) return;
    if (press.key === "j" || press.key === "k") walk(press.key === "j" ? 1 : -1);
    else if (press.key === "?") one("#keys")?.togglePopover();
    else if (press.key === "/" && search) search.focus();
    else return;
    press.preventDefault();
  });

  for (const button of all("[data-copy]")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(one(button.dataset.copy).textContent);
      one("#said").textContent = "Copied";
      button.textContent = "Copied";
    });
  }

  for (const button of all("[data-print]")) {
    button.hidden = false;
    button.addEventListener("click", () => print());
  }

  // The slider: each stop is the address of a state, fetched and put in the place of the present one.
  const slider = one("[data-slider]");
  if (slider) {
    const stops = () => all(`#${slider.getAttribute("list")} option`);
    let timer, asked;
    const say = () => slider.setAttribute("aria-valuetext", stops()[slider.value]?.label ?? "");
    const show = async () => {
      asked?.abort();
      asked = new AbortController();
      const form = slider.form;
      const address = `${form.getAttribute("action")}?${new URLSearchParams(new FormData(form))}`;
      const live = all("[data-live]");
      live.forEach((part) => part.classList.add("busy"));
      try {
        const answer = await fetch(address, { signal: asked.signal });
        if (!answer.ok) return void location.assign(address);
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const part of all("[data-live]")) {
          const next = page.getElementById(part.id);
          if (next) part.replaceWith(document.adoptNode(next));
        }
        history.replaceState(null, "", answer.url);
      } catch (error) {
        if (error.name !== "AbortError") location.assign(address);
      }
    };
    slider.addEventListener("input", () => {
      say();
      clearTimeout(timer);
      timer = setTimeout(show, 120);
    });
    say();
  }

  // A form is sent once, also when its button is pressed twice.
  for (const form of all("form[method=post]")) {
    form.addEventListener("submit", (sent) => {
      if (form.dataset.sent) sent.preventDefault();
      form.dataset.sent = "yes";
    });
  }
  window.addEventListener("pageshow", () => all("form[data-sent]").forEach((form) => delete form.dataset.sent));
})();
