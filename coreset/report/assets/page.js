"use strict";
// Draws each figure when it comes near, and saves figures and tables. The charts themselves are plotly's.
(() => {
  const root = document.documentElement;
  const templates = JSON.parse(document.getElementById("templates").textContent);
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const theme = () => root.dataset.theme || (system.matches ? "dark" : "light");
  const specs = new Map();
  const drawn = new Map();

  const spec = (figure) => {
    if (!specs.has(figure)) specs.set(figure, JSON.parse(figure.querySelector(".spec").textContent));
    return specs.get(figure);
  };

  const narrow = () => window.innerWidth < 600;

  function draw(figure) {
    if (drawn.has(figure)) return drawn.get(figure);
    const canvas = figure.querySelector(".canvas");
    const { data, layout } = spec(figure);
    const fitted = { ...layout, template: templates[theme()], autosize: true };
    if (narrow()) {
      fitted.font = { size: 11 };
      // A finger that moves over a plane figure scrolls the page.
      if (!figure.querySelector("[data-turn]")) fitted.dragmode = false;
    }
    // The bar of plotly offers an upload; what it has of use is done by buttons, dragging and a double click.
    const options = { responsive: true, displayModeBar: false };
    const done = Plotly.newPlot(canvas, data, fitted, options).then(() => choose(figure)).then(() => {
      figure.dataset.drawn = "yes";
    });
    drawn.set(figure, done);
    return done;
  }

  // What is chosen decides which traces are seen; a trace that knows nothing of a choice agrees with it.
  function choose(figure) {
    const canvas = figure.querySelector(".canvas");
    const selects = [...figure.querySelectorAll("select")];
    if (!selects.length) return undefined;
    const visible = spec(figure).data.map((trace) =>
      selects.every((select) => {
        const mine = (trace.meta || {})[select.dataset.key];
        return mine === undefined || mine === select.value;
      }));
    const changed = {};
    for (const select of selects) {
      if (select.dataset.axis) changed[`${select.dataset.axis}.title.text`] = select.selectedOptions[0].text;
    }
    return Plotly.update(canvas, { visible }, changed);
  }

  function repaint() {
    const button = document.getElementById("theme");
    const dark = theme() === "dark";
    button.textContent = dark ? "Light" : "Dark";
    button.setAttribute("aria-pressed", String(dark));
    for (const figure of drawn.keys()) {
      Plotly.relayout(figure.querySelector(".canvas"), { template: templates[theme()] });
    }
  }

  const TYPES = {
    i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array, f4: Float32Array,
    f8: Float64Array,
  };

  // plotly's JSON holds long arrays in base64, little-endian.
  function numbers(values) {
    if (values === undefined || values === null) return [];
    if (values.bdata === undefined) return values;
    const bytes = Uint8Array.from(atob(values.bdata), (character) => character.charCodeAt(0));
    const flat = new TYPES[values.dtype](bytes.buffer);
    if (values.shape === undefined) return flat;
    const [rows, columns] = String(values.shape).split(",").map(Number);
    return columns ? Array.from({ length: rows }, (_, i) => flat.subarray(i * columns, (i + 1) * columns)) : flat;
  }

  const tidy = (value) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "";
    if (typeof value === "number") return String(Number(value.toPrecision(7)));
    return String(value).replace(/<br>/g, ", ");
  };

  const line = (cells) => cells.map(tidy).map((cell) => (/[",\n]/.test(cell) ? `"${cell.replace(/"/g, '""')}"` : cell)).join(",");

  function rowsOf(trace, columns) {
    if (columns) return numbers(trace.customdata);
    const [x, y] = [numbers(trace.x), numbers(trace.y)];
    if (trace.type === "heatmap") {
      return [...numbers(trace.z)].flatMap((row, i) => [...row].map((value, j) => [x[j], y[i], value]))
        .filter((row) => !Number.isNaN(row[2]));
    }
    const z = numbers(trace.z);
    return [...x].map((value, i) => [value, y[i], z.length ? z[i] : ""]);
  }

  function plotCsv(figure) {
    const { data, layout } = spec(figure);
    const traces = data.filter((trace) => (trace.meta || {}).csv !== "no");
    const labels = [...new Set(traces.flatMap((trace) => Object.keys(trace.meta || {})))].filter((label) => label !== "csv");
    const columns = (layout.meta || {}).columns;
    const last = data.some((trace) => trace.type === "heatmap") ? ["x, Bohr", "y, Bohr", "value"] : ["x, Bohr", "y, Bohr", "z, Bohr"];
    const rows = [line([...labels, "series", ...(columns || last)])];
    for (const trace of traces) {
      const own = labels.map((label) => (trace.meta || {})[label]);
      const found = rowsOf(trace, columns);
      const kept = (trace.meta || {}).csv === "once" ? [...found].slice(0, 1) : found;
      for (const row of kept || []) rows.push(line([...own, trace.name, ...row]));
    }
    return rows.join("\n") + "\n";
  }

  function tableCsv(figure) {
    const rows = [...figure.querySelectorAll("tr")];
    return rows.map((row) => line([...row.children].map((cell) => cell.textContent.trim()))).join("\n") + "\n";
  }

  function save(name, url) {
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
  }

  async function download(figure, kind) {
    if (kind === "csv") {
      const text = figure.classList.contains("table") ? tableCsv(figure) : plotCsv(figure);
      // The mark of order tells spreadsheets that this is UTF-8.
      const url = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" }));
      save(`${figure.id}.csv`, url);
      setTimeout(() => URL.revokeObjectURL(url), 60000);
      return;
    }
    await draw(figure);
    const canvas = figure.querySelector(".canvas");
    const size = { width: Math.max(canvas.offsetWidth, 900), height: canvas.offsetHeight };
    save(`${figure.id}.${kind}`, await Plotly.toImage(canvas, { format: kind, scale: kind === "png" ? 2 : 1, ...size }));
  }

  function turn(figure, direction) {
    const canvas = figure.querySelector(".canvas");
    const { eye } = canvas._fullLayout.scene.camera;
    const [cosine, sine] = [Math.cos(0.35), Math.sin(0.35) * direction];
    const turned = { x: cosine * eye.x - sine * eye.y, y: sine * eye.x + cosine * eye.y, z: eye.z };
    return Plotly.relayout(canvas, { "scene.camera.eye": turned });
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    const figure = button && button.closest(".item");
    if (!figure) return;
    if (button.dataset.save) download(figure, button.dataset.save);
    if (button.dataset.turn) draw(figure).then(() => turn(figure, Number(button.dataset.turn)));
  });
  document.addEventListener("change", (event) => {
    const figure = event.target.closest(".plot");
    if (figure) draw(figure).then(() => choose(figure));
  });
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    try { localStorage.setItem("coreset-theme", root.dataset.theme); } catch (error) { /* it lasts as long as the page */ }
    repaint();
  });
  system.addEventListener("change", repaint);
  repaint();

  const plots = [...document.querySelectorAll(".plot")];
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "500px" });
  plots.forEach((figure) => near.observe(figure));
  window.addEventListener("beforeprint", () => plots.forEach(draw));
  window.coreset = { draw: () => Promise.all(plots.map(draw)), csv: (id) => plotCsv(document.getElementById(id)) };

  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const reading = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const link = links.get(entry.target.id);
      if (entry.isIntersecting && link) {
        links.forEach((other) => other.removeAttribute("aria-current"));
        link.setAttribute("aria-current", "true");
      }
    }
  }, { rootMargin: "-30% 0px -60% 0px" });
  document.querySelectorAll("main > section").forEach((section) => reading.observe(section));
})();
