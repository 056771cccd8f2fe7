"use strict";
// Draws each figure when it comes near, and saves figures and tables. The charts themselves are plotly's.
(() => {
  const root = document.documentElement;
  const templates = JSON.parse(document.getElementById("templates").textContent);
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const theme = () => root.dataset.theme || (system.matches ? "dark" : "light");
  const specs = new Map();
  const drawn = new Map();

  const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

  const TYPES = {
    i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array,
  };

  // The other half of packing.py.
  function unpacked({ dtype, bdata, shape, scale, offset }) {
    const whole = new TYPES[dtype](bytes(bdata).buffer);
    const flat = scale === undefined ? whole
      : Float32Array.from(whole, (step) => (step === -32768 ? NaN : offset + scale * step));
    if (shape.length === 1) return flat;
    return Array.from({ length: shape[0] }, (_, row) => flat.subarray(row * shape[1], (row + 1) * shape[1]));
  }

  function spec(figure) {
    if (!specs.has(figure)) {
      const found = JSON.parse(figure.querySelector(".spec").textContent);
      for (const trace of found.data) {
        for (const [name, value] of Object.entries(trace)) if (value && value.bdata) trace[name] = unpacked(value);
      }
      specs.set(figure, found);
    }
    return specs.get(figure);
  }

  // plotly.js lies in the page as compressed text.
  let library;
  function loaded() {
    library ||= (async () => {
      const packed = bytes(document.getElementById("plotly").textContent);
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
      const script = document.createElement("script");
      script.textContent = await new Response(stream).text();
      document.head.append(script);
    })();
    return library;
  }

  const narrow = () => window.innerWidth < 600;

  // A narrow screen shows the whole cell from further away.
  const further = ({ eye, ...camera }) => ({ ...camera, eye: { x: 1.5 * eye.x, y: 1.5 * eye.y, z: 1.5 * eye.z } });

  function draw(figure) {
    if (drawn.has(figure)) return drawn.get(figure);
    const canvas = figure.querySelector(".canvas");
    const { data, layout } = spec(figure);
    const fitted = { ...layout, template: templates[theme()], autosize: true };
    if (narrow()) {
      fitted.font = { size: 11 };
      // A finger that moves over a plane figure scrolls the page.
      if (!figure.querySelector("[data-turn]")) fitted.dragmode = false;
      else fitted.scene = { ...layout.scene, camera: further(layout.scene.camera) };
    }
    // The bar of plotly offers an upload; what it has of use is done by buttons, dragging and a double click.
    const options = { responsive: true, displayModeBar: false };
    const done = loaded().then(() => Plotly.newPlot(canvas, data, fitted, options)).then(() => choose(figure)).then(() => {
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
      drawn.get(figure).then(() => Plotly.relayout(figure.querySelector(".canvas"), { template: templates[theme()] }));
    }
  }

  const tidy = (value) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "";
    if (typeof value === "number") return String(Number(value.toPrecision(7)));
    return String(value).replace(/<br>/g, ", ");
  };

  const line = (cells) => cells.map(tidy).map((cell) => (/[",\n]/.test(cell) ? `"${cell.replace(/"/g, '""')}"` : cell)).join(",");

  function rowsOf({ type, customdata, x, y, z }, columns) {
    if (columns) return customdata || [];
    if (type === "heatmap") {
      return z.flatMap((row, i) => Array.from(row, (value, j) => [x[j], y[i], value])).filter((row) => !Number.isNaN(row[2]));
    }
    return Array.from(x || [], (value, i) => [value, y[i], z ? z[i] : ""]);
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
      const kept = (trace.meta || {}).csv === "once" ? found.slice(0, 1) : found;
      for (const row of kept) rows.push(line([...own, trace.name, ...row]));
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

  loaded();
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
