/* Draws the charts of a page from the JSON in #data. A chart says what is drawn (see charts.py), this says how. */
(function () {
  "use strict";
  const root = document.documentElement;
  const data = JSON.parse(document.getElementById("data").textContent);
  const HEIGHT = 210;
  const PADDING = [12, 10, 0, 0];
  const live = new Map(); // id -> the uPlot object of a chart that was drawn
  let zoom = null; // [from, to] in run seconds, null for the whole run

  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // ---- numbers and times as text: the same forms as the console's

  function digits(value, most) {
    if (value === 0) return "0";
    const decimals = Math.min(12, Math.max(0, most - 1 - Math.floor(Math.log10(Math.abs(value)))));
    const text = value.toFixed(decimals);
    return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
  }

  function amount(value, unit, most) {
    if (value == null) return "-";
    const n = most || 4;
    if (unit === "ms" && value >= 1000) return digits(value / 1000, n) + "s";
    if (unit === "ms" && value > 0 && value < 0.1) return digits(value * 1000, n) + "us";
    if (unit === "B") {
      for (const [name, size] of [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
        if (Math.abs(value) >= size) return digits(value / size, n) + name;
      }
    }
    if (unit === "ms" || unit === "B" || unit === "%" || unit === "/s") return digits(value, n) + unit;
    return digits(value, n);
  }

  function runTime(seconds) {
    if (seconds == null) return "-";
    let left = Math.round(seconds);
    if (left === 0) return "0s";
    const sign = left < 0 ? "-" : "";
    left = Math.abs(left);
    const parts = [];
    for (const [unit, size] of [["d", 86400], ["h", 3600], ["m", 60]]) {
      if (left >= size) { parts.push(Math.floor(left / size) + unit); left %= size; }
    }
    if (left) parts.push(left + "s");
    return sign + parts.join("");
  }

  function clock(seconds) {
    if (data.anchor == null || seconds == null) return "";
    return new Date((data.anchor + seconds) * 1000).toISOString().slice(11, 19) + " UTC";
  }

  const share = (nines) => digits(100 * (1 - Math.pow(10, -nines)), Math.max(3, Math.ceil(nines) + 2)) + "%";

  // ---- what is marked in every chart over time

  const MARKED = { alert: "--fail", gap: "--invalid", note: "--link" };

  function behind(u) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const mark of data.marks) {
      const from = u.valToPos(mark.start, "x", true);
      const to = mark.end == null ? from : u.valToPos(mark.end, "x", true);
      if (mark.kind === "phase") {
        if (mark.text === "steady") continue;
        ctx.fillStyle = css("--shade");
        ctx.fillRect(from, bbox.top, Math.max(1, to - from), bbox.height);
      } else if (mark.kind !== "note") {
        ctx.globalAlpha = 0.14;
        ctx.fillStyle = css(MARKED[mark.kind]);
        ctx.fillRect(from, bbox.top, Math.max(2, to - from), bbox.height);
        ctx.globalAlpha = 1;
      }
    }
    ctx.restore();
  }

  function above(u) {
    const { ctx, bbox } = u;
    const dot = devicePixelRatio || 1;
    ctx.save();
    for (const mark of data.marks) {
      if (mark.kind === "phase") continue;
      const from = u.valToPos(mark.start, "x", true);
      const to = mark.end == null ? from : u.valToPos(mark.end, "x", true);
      const left = Math.max(from, bbox.left), right = Math.min(Math.max(to, from + 2 * dot), bbox.left + bbox.width);
      if (right < bbox.left || left > bbox.left + bbox.width) continue;
      ctx.fillStyle = css(MARKED[mark.kind]);
      if (mark.kind === "note") {
        ctx.fillRect(left, bbox.top, dot, bbox.height);
        ctx.fillRect(left - 2 * dot, bbox.top - 5 * dot, 5 * dot, 5 * dot);
      } else {
        ctx.fillRect(left, bbox.top - 5 * dot, right - left, 4 * dot);
      }
    }
    ctx.restore();
  }

  // An infinite value is neither a gap nor a number: it is marked at the upper edge.
  function endless(chart, xs) {
    return (u) => {
      const { ctx, bbox } = u;
      const dot = devicePixelRatio || 1;
      ctx.save();
      chart.lines.forEach((line, index) => {
        if (!line.infinite || !u.series[index + 1].show) return;
        ctx.fillStyle = css("--" + line.colour);
        for (const place of line.infinite) {
          const x = u.valToPos(xs[place], "x", true);
          if (x < bbox.left - 1 || x > bbox.left + bbox.width + 1) continue;
          ctx.beginPath();
          ctx.moveTo(x, bbox.top);
          ctx.lineTo(x - 3.5 * dot, bbox.top + 6 * dot);
          ctx.lineTo(x + 3.5 * dot, bbox.top + 6 * dot);
          ctx.fill();
        }
      });
      ctx.restore();
    };
  }

  // A value between two gaps has no line: it is a dot.
  function alone(rows, xs, lines) {
    return (u) => {
      const { ctx, bbox } = u;
      const size = 3 * (devicePixelRatio || 1);
      ctx.save();
      lines.forEach((line, index) => {
        if (!u.series[index + 1].show) return;
        const values = rows[index + 1];
        ctx.fillStyle = css("--" + line.colour);
        values.forEach((value, place) => {
          if (value == null || neighbour(values, place, -1) || neighbour(values, place, 1)) return;
          const x = u.valToPos(xs[place], "x", true), y = u.valToPos(value, "y", true);
          if (x >= bbox.left - size && x <= bbox.left + bbox.width + size) ctx.fillRect(x - size / 2, y - size / 2, size, size);
        });
      });
      ctx.restore();
    };
  }

  // null is a gap; undefined is nothing, and a line goes on over it.
  function neighbour(values, place, step) {
    let at = place + step;
    while (at >= 0 && at < values.length && values[at] === undefined) at += step;
    return at >= 0 && at < values.length && values[at] !== null;
  }

  function valuesOf(line) {
    if (!line.bridged) return line.values;
    const breaks = new Set(line.breaks || []);
    return line.values.map((value, place) => (value == null && !breaks.has(place) ? undefined : value));
  }

  function marksAt(at) {
    const near = data.marks.filter((mark) => mark.kind !== "phase" && mark.start <= at && at <= (mark.end == null ? mark.start : mark.end));
    return near.map((mark) => mark.text).join("; ");
  }

  // ---- one chart

  const TIMES = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800];

  function axes(chart) {
    const common = { stroke: css("--quiet"), font: "11px system-ui, sans-serif", grid: { stroke: css("--grid"), width: 1 }, ticks: { stroke: css("--grid"), width: 1, size: 4 } };
    const x = Object.assign({}, common, { size: 28, gap: 3 });
    if (chart.kind === "spectrum") {
      const places = [0, 0.30103, 1, 2, 3, 4, 5, 6, 7, 8, 9];
      x.splits = (u) => places.filter((place) => place >= u.scales.x.min - 1e-9 && place <= u.scales.x.max + 1e-9);
      x.values = (u, splits) => splits.map(share);
      x.space = 20;
    } else {
      x.incrs = TIMES;
      x.space = 64;
      x.values = (u, splits) => splits.map(runTime);
    }
    const y = Object.assign({}, common, { size: 56, gap: 4, space: 26 });
    if (chart.log) {
      y.splits = (u) => decades(u.scales.y.min, u.scales.y.max);
      y.filter = (u, splits) => splits;
    }
    y.values = (u, splits) => splits.map((value) => (value == null ? "" : amount(value, chart.unit, 3)));
    return [x, y];
  }

  // 1, 10, 100 and so on; where that is little, 2 and 5 as well, or 3.
  function decades(low, high) {
    const wide = Math.log10(high / low);
    const steps = wide > 3 ? [1] : wide > 1.6 ? [1, 3] : [1, 2, 5];
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      for (const step of steps) {
        const value = Number((step * Math.pow(10, power)).toPrecision(3));
        if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
      }
    }
    return found;
  }

  function yRange(chart) {
    if (!chart.log) {
      return (u, low, high) => {
        if (low == null) return [0, 1];
        const from = low < 0 ? low * 1.1 : 0;
        return [from, high > 0 ? high * 1.08 : 1];
      };
    }
    return (u, low, high) => {
      if (low == null || high == null || !(low > 0)) return [0.1, 1000];
      const from = Math.pow(10, Math.floor(Math.log10(low))), to = Math.pow(10, Math.ceil(Math.log10(high * 1.02)));
      // A decade is a lot of room for a narrow line: half ones do as well.
      return [low > from * 4 ? from * 3 : from, high * 1.02 < to / 4 ? to / 3 : to];
    };
  }

  function options(chart, width, xs) {
    const timed = chart.kind !== "spectrum";
    const hooks = { drawClear: [], draw: [endless(chart, xs)], setScale: [], setCursor: [] };
    if (timed) {
      hooks.drawClear.push(behind);
      hooks.draw.push(above);
      hooks.setScale.push((u, key) => { if (key === "x") follow(u); });
    }
    const series = chart.lines.map((line) => ({
      label: line.name,
      stroke: css("--" + line.colour),
      width: line.dashed ? 1 : 1.5,
      dash: line.dashed ? [4, 3] : undefined,
      fill: line.filled ? css("--" + line.colour) + "33" : undefined,
      paths: line.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
      spanGaps: false,
      points: { show: xs.length < 40 && !line.stepped, size: 4, fill: css("--" + line.colour) },
      value: (u, value, seriesIndex, place) =>
        line.infinite && place != null && line.infinite.includes(place) ? "infinite" : amount(value, chart.unit),
    }));
    series.unshift({
      label: timed ? "run time" : "percentile",
      value: (u, value) => (value == null ? "-" : timed ? (runTime(value) + "  " + clock(value)).trim() : share(value)),
    });
    return {
      width,
      height: HEIGHT,
      padding: PADDING,
      scales: { x: { time: false, range: (u, low, high) => span(chart, xs, low, high) }, y: { distr: chart.log ? 3 : 1, range: yRange(chart) } },
      axes: axes(chart),
      series,
      legend: { show: true },
      cursor: { sync: timed ? { key: "time", setSeries: false } : undefined, drag: { x: true, y: false, setScale: true }, points: { size: 6 } },
      hooks,
    };
  }

  function span(chart, xs, low, high) {
    if (low == null || high == null) return [0, 1];
    return low === high ? [low - 0.5, high + 0.5] : [low, high];
  }

  function placesOf(chart) {
    if (chart.x) return chart.x;
    return Array.from({ length: chart.count }, (_, part) => chart.start + part * chart.step);
  }

  // ---- the heat map: uPlot has the axes, the cursor and the zoom, the cells are drawn here

  function mixed(from, to, part) {
    const parse = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    const [a, b] = [parse(from), parse(to)];
    return "rgb(" + a.map((value, index) => Math.round(value + (b[index] - value) * part)).join(",") + ")";
  }

  function heatOptions(chart, width, xs, said) {
    const most = Math.log1p(chart.cells.reduce((top, cells) => cells.reduce((now, n, at) => (at % 2 ? Math.max(now, n) : now), top), 1));
    const made = options(Object.assign({}, chart, { lines: [] }), width, xs);
    const low = chart.edges[0], high = chart.edges[chart.edges.length - 1];
    made.scales.y.range = () => [low, high];
    made.scales.x.range = (u, from, to) => (from == null ? [xs[0], xs[0] + 1] : [from, to]);
    made.series.push({ label: "", show: true, stroke: "transparent", points: { show: false } });
    made.legend = { show: false };
    made.hooks.drawAxes = [(u) => {
      const { ctx, bbox } = u;
      const [from, to] = [css("--heat-0"), css("--heat-1")];
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      chart.cells.forEach((cells, part) => {
        const left = u.valToPos(xs[part], "x", true), right = u.valToPos(xs[part] + chart.step, "x", true);
        for (let at = 0; at < cells.length; at += 2) {
          const bottom = u.valToPos(chart.edges[cells[at]], "y", true), top = u.valToPos(chart.edges[cells[at] + 1], "y", true);
          ctx.fillStyle = mixed(from, to, Math.log1p(cells[at + 1]) / most);
          ctx.fillRect(Math.floor(left), top, Math.ceil(right) - Math.floor(left), bottom - top);
        }
      });
      ctx.restore();
    }];
    made.hooks.setCursor.push((u) => {
      const { left, top } = u.cursor;
      if (left == null || left < 0) { said.textContent = ""; return; }
      const at = u.posToVal(left, "x"), value = u.posToVal(top, "y");
      const part = Math.floor((at - chart.start) / chart.step);
      const row = chart.edges.findIndex((edge, index) => value >= edge && value < chart.edges[index + 1]);
      const cells = chart.cells[part] || [];
      let n = 0;
      for (let place = 0; place < cells.length; place += 2) if (cells[place] === row) n = cells[place + 1];
      const band = row < 0 ? "" : amount(chart.edges[row], "ms", 3) + " to " + amount(chart.edges[row + 1], "ms", 3) + ": ";
      said.textContent = runTime(chart.start + part * chart.step) + "  " + band + n + (n === 1 ? " request" : " requests");
    });
    return made;
  }

  function draw(chart, place) {
    const old = live.get(chart.id);
    if (old) old.destroy();
    place.textContent = "";
    const xs = placesOf(chart);
    const said = document.createElement("div");
    said.className = "said";
    let opts, rows;
    if (chart.kind === "heat") {
      // One more place, so that the last part is as wide as the others; the cursor needs values, but none is seen.
      const wide = xs.concat([xs[xs.length - 1] + chart.step]);
      opts = heatOptions(chart, place.clientWidth, xs, said);
      rows = [wide, wide.map(() => null)];
    } else {
      opts = options(chart, place.clientWidth, xs);
      rows = [xs].concat(chart.lines.map(valuesOf));
      opts.hooks.draw.push(alone(rows, xs, chart.lines));
    }
    const u = new uPlot(opts, rows, place);
    place.appendChild(said);
    if (chart.kind !== "heat") name(u, chart, said);
    // Values stand in the legends only while the cursor is in a chart.
    u.over.addEventListener("mouseenter", () => root.classList.add("hovering"));
    u.over.addEventListener("mouseleave", () => root.classList.remove("hovering"));
    u.loadgate = chart;
    live.set(chart.id, u);
    if (zoom && chart.kind !== "spectrum") u.setScale("x", { min: zoom[0], max: zoom[1] });
  }

  // A legend's names are buttons for the keyboard too; what is marked under the cursor is told below.
  function name(u, chart, said) {
    u.root.querySelectorAll(".u-legend .u-series").forEach((row, index) => {
      const label = row.querySelector("th");
      if (!index || !label) return;
      label.tabIndex = 0;
      label.setAttribute("role", "button");
      label.setAttribute("aria-pressed", "true");
      label.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); label.click(); }
      });
      label.addEventListener("click", () => setTimeout(() => label.setAttribute("aria-pressed", String(u.series[index].show)), 0));
    });
    if (chart.kind === "time") {
      u.over.addEventListener("mousemove", () => {
        said.textContent = u.cursor.left < 0 ? "" : marksAt(u.posToVal(u.cursor.left, "x"));
      });
      u.over.addEventListener("mouseleave", () => { said.textContent = ""; });
    }
  }

  // ---- all charts over time show the same stretch of it

  let following = false;
  function follow(from) {
    if (following || !from.loadgate) return;
    following = true;
    const { min, max } = from.scales.x;
    const xs = from.data[0];
    zoom = min <= xs[0] && max >= xs[xs.length - 1] ? null : [min, max];
    for (const u of live.values()) {
      if (u === from || u.loadgate.kind === "spectrum") continue;
      const own = u.data[0];
      u.setScale("x", zoom ? { min, max } : { min: own[0], max: own[own.length - 1] });
    }
    document.getElementById("zoom-out").hidden = zoom == null;
    following = false;
  }

  function wholeRun() {
    zoom = null;
    following = true;
    for (const u of live.values()) {
      if (u.loadgate.kind === "spectrum") continue;
      u.setScale("x", { min: u.data[0][0], max: u.data[0][u.data[0].length - 1] });
    }
    following = false;
    document.getElementById("zoom-out").hidden = true;
  }

  // ---- the page

  const byId = new Map(data.charts.map((chart) => [chart.id, chart]));
  const places = Array.from(document.querySelectorAll(".plot[data-chart]"));
  const ofPlace = (place) => byId.get(place.dataset.chart);

  function drawAll(onlyDrawn) {
    for (const place of places) {
      const chart = ofPlace(place);
      if (chart && (!onlyDrawn || live.has(chart.id))) draw(chart, place);
    }
  }

  addEventListener("loadgate-theme", () => drawAll(true));
  document.getElementById("zoom-out").addEventListener("click", wholeRun);

  // On paper everything is drawn; page.js has made it light by then.
  addEventListener("beforeprint", () => drawAll(false));

  // A chart is drawn when it comes near the screen: a page with many opens at once.
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const chart = ofPlace(entry.target);
      if (entry.isIntersecting && chart && !live.has(chart.id)) draw(chart, entry.target);
    }
  }, { rootMargin: "400px" });
  places.forEach((place) => seen.observe(place));

  let resizing = 0;
  addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(() => {
      for (const place of places) {
        const u = live.get(place.dataset.chart);
        if (u && u.width !== place.clientWidth) u.setSize({ width: place.clientWidth, height: HEIGHT });
      }
    }, 120);
  });

  // For tests.
  window.loadgate = { drawAll: () => drawAll(false), charts: live };
})();
