"use strict";
(function () {
  const find = (id) => document.getElementById(id);
  const heat = find("heat"), blend = find("blend"), picture = find("picture"), said = find("shown");
  document.documentElement.classList.add("js");
  if (!heat || !blend || !picture) return;

  const first = { src: heat.src, alt: heat.alt, words: said.textContent, hidden: heat.hidden };
  const back = find("fused"), marks = find("marks");
  let timer = 0;

  function paint() { heat.style.opacity = String(blend.value / 100); }
  function press(button, on) { button.setAttribute("aria-pressed", String(on)); }
  function isPressed(button) { return button.getAttribute("aria-pressed") === "true"; }
  function onToggle(id, act) {
    const button = find(id);
    button.addEventListener("click", function () {
      press(button, !isPressed(button));
      act(isPressed(button));
    });
  }

  function show(name, src, alt, words) {
    heat.hidden = false;
    heat.src = src;
    heat.alt = alt;
    said.textContent = words;
    for (const card of document.querySelectorAll(".detector")) {
      const load = card.querySelector(".load");
      card.classList.toggle("shown", Boolean(load) && load.dataset.name === name);
    }
    if (back) back.disabled = name === "";
    paint();
  }

  blend.addEventListener("input", paint);
  onToggle("blink", function (on) {
    window.clearInterval(timer);
    heat.style.visibility = "visible";
    if (on) timer = window.setInterval(function () {
      heat.style.visibility = heat.style.visibility === "hidden" ? "visible" : "hidden";
    }, 700);
  });
  onToggle("outlines", function (on) { marks.style.display = on ? "" : "none"; });
  onToggle("beside", function (on) { document.querySelector(".compare").classList.toggle("beside", on); });
  onToggle("actual", function (on) {
    document.querySelector(".frame.main").classList.toggle("actual", on);
    picture.style.width = on ? picture.dataset.full + "px" : "";
  });

  const stage = find("stage"), lens = find("lens"), large = find("large"), frame = document.querySelector(".frame.main");
  const ZOOM = 4, MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  let looked = [0.5, 0.5];

  // Shows every pixel of the picture as a square of ZOOM pixels, around a point given in shares of its width and height.
  function look(x, y) {
    looked = [Math.min(1, Math.max(0, x)), Math.min(1, Math.max(0, y))];
    const width = picture.naturalWidth * ZOOM, height = picture.naturalHeight * ZOOM, half = lens.offsetWidth / 2;
    large.style.width = width + "px";
    large.style.left = half - looked[0] * width + "px";
    large.style.top = half - looked[1] * height + "px";
    lens.style.left = looked[0] * stage.clientWidth - half + "px";
    lens.style.top = looked[1] * stage.clientHeight - half + "px";
  }
  onToggle("magnify", function (on) {
    lens.hidden = !on;
    if (!on) return;
    large.src = picture.src;
    look(looked[0], looked[1]);
    frame.focus({ preventScroll: true });
  });
  stage.addEventListener("pointermove", function (event) {
    const box = stage.getBoundingClientRect();
    if (!lens.hidden) look((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  });
  frame.addEventListener("keydown", function (event) {
    const move = MOVES[event.key];
    if (lens.hidden || !move) return;
    event.preventDefault();
    look(looked[0] + move[0] * 8 / picture.naturalWidth, looked[1] + move[1] * 8 / picture.naturalHeight);
  });
  if (back) back.addEventListener("click", function () { show("", first.src, first.alt, first.words); });

  for (const load of document.querySelectorAll(".load")) {
    load.addEventListener("click", function () {
      const map = load.closest(".detector").querySelector(".map");
      show(load.dataset.name, map.src, map.alt, "Showing the map of " + load.dataset.name + "; the outlines are those of the fused map.");
      find("picture-title").scrollIntoView();
      blend.focus({ preventScroll: true });
    });
  }

  const opened = [];
  window.addEventListener("beforeprint", function () {
    for (const part of document.querySelectorAll("details:not([open])")) { part.open = true; opened.push(part); }
  });
  window.addEventListener("afterprint", function () { while (opened.length) opened.pop().open = false; });
  paint();
})();
