"use strict";
(function () {
  const problems = document.getElementById("problems");
  const AT_ONCE = 2, TRIES = 30;

  function tell(text) { problems.textContent = [problems.textContent, text].filter(Boolean).join("\n"); }
  function wait(seconds) { return new Promise(function (done) { window.setTimeout(done, 1000 * seconds); }); }

  async function send(url, file) {
    const body = new FormData();
    body.append("file", file, file.name || "pasted.png");
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      let answer;
      try {
        answer = await fetch(url, { method: "POST", body: body, headers: { "Accept": "application/json" } });
      } catch (error) {
        throw new Error(problems.dataset.offline);
      }
      if (answer.redirected) { window.location.href = answer.url; return null; }
      if (answer.ok) return answer.json();
      if (answer.status !== 429 && answer.status !== 503) {
        const told = await answer.json().catch(function () { return {}; });
        throw new Error(told.detail || String(answer.status));
      }
      await wait(Number(answer.headers.get("Retry-After")) || 2);
    }
    throw new Error(problems.dataset.full);
  }

  async function sendAll(form, files) {
    const bar = form.querySelector("progress");
    const left = Array.from(files);
    let url = form.dataset.drop, page = "", sent = 0;
    if (!left.length || form.classList.contains("busy")) return;
    form.classList.add("busy");
    problems.textContent = "";
    bar.hidden = false;
    bar.max = left.length;
    bar.value = 0;

    async function one(file) {
      try {
        const told = await send(url, file);
        if (told) { page = told.page; sent += 1; told.problems.forEach(tell); }
        if (told && url === "/cases") url = told.page + "/pictures";
      } catch (error) {
        tell((file.name || "") + ": " + error.message);
      }
      bar.value += 1;
    }
    while (left.length && url === "/cases") await one(left.shift());
    async function worker() { while (left.length) await one(left.shift()); }
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    form.classList.remove("busy");
    bar.hidden = true;
    form.reset();
    if (sent && problems.textContent === "") window.location.href = page;
    else if (sent && window.htmx && document.getElementById("rows")) {
      window.htmx.ajax("GET", page + "/rows", { target: "#rows", swap: "outerHTML" });
    } else if (sent) {
      const link = document.createElement("a");
      link.href = page;
      link.textContent = " →";
      problems.append(link);
    }
  }

  const form = document.querySelector("[data-drop]");
  if (form) {
    form.querySelector("input[type=file]").addEventListener("change", function (event) { sendAll(form, event.target.files); });
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    for (const name of ["dragenter", "dragover"]) {
      document.addEventListener(name, function (event) { event.preventDefault(); form.classList.add("over"); });
    }
    document.addEventListener("dragleave", function (event) { if (!event.relatedTarget) form.classList.remove("over"); });
    document.addEventListener("drop", function (event) {
      event.preventDefault();
      form.classList.remove("over");
      sendAll(form, event.dataTransfer.files);
    });
    document.addEventListener("paste", function (event) {
      if (event.clipboardData && event.clipboardData.files.length) sendAll(form, event.clipboardData.files);
    });
  }

  document.addEventListener("submit", function (event) {
    const sure = event.target.dataset ? event.target.dataset.sure : "";
    if (sure && !window.confirm(sure)) event.preventDefault();
  });

  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    const link = document.querySelector('[data-key="' + CSS.escape(event.key) + '"]');
    if (link) link.click();
  });

  function clocks(root) {
    for (const time of root.querySelectorAll("time[data-time]")) {
      const date = new Date(1000 * Number(time.dataset.time));
      time.dateTime = date.toISOString();
      time.textContent = date.toLocaleString(document.documentElement.lang);
    }
  }
  clocks(document);
  document.addEventListener("htmx:afterSwap", function () { clocks(document); });
})();
