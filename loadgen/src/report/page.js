"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const own = data["ringdove-load"] || {};
  const page = document.getElementById("page");
  const COLOURS = ["#2563eb", "#d9480f", "#2b8a3e", "#9c36b5", "#0b7285", "#c2255c", "#846358", "#5c7cfa"];

  // --- building blocks -------------------------------------------------------------------------
  function el(name, attributes, ...children) {
    const node = document.createElement(name);
    for (const key in attributes || {}) node.setAttribute(key, attributes[key]);
    for (const child of children) node.append(child);
    return node;
  }
  function svg(name, attributes, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes || {}) node.setAttribute(key, attributes[key]);
    for (const child of children) node.append(child);
    return node;
  }
  function short(value) {
    if (value === null || value === undefined || !isFinite(value)) return "-";
    const size = Math.abs(value);
    if (size >= 1e9) return (value / 1e9).toFixed(2) + "G";
    if (size >= 1e6) return (value / 1e6).toFixed(2) + "M";
    if (size >= 1e4) return (value / 1e3).toFixed(1) + "k";
    if (size >= 100 || value === Math.round(value)) return String(Math.round(value));
    return size >= 1 ? value.toFixed(2) : value.toPrecision(2);
  }
  function ms(value) {
    if (value === null || value === undefined) return "-";
    if (value >= 1000) return (value / 1000).toFixed(2) + " s";
    if (value >= 1) return value.toFixed(2) + " ms";
    return (value * 1000).toFixed(value >= 0.1 ? 0 : 1) + " µs";
  }
  function section(title, note) {
    page.append(el("h2", {}, title));
    if (note) page.append(el("p", { class: "note" }, note));
    const card = el("div", { class: "card" });
    page.append(card);
    return card;
  }
  function table(card, head, rows) {
    const body = el("tbody");
    for (const row of rows) {
      body.append(el("tr", {}, ...row.map((cell) => cell instanceof Node ? cell : el("td", {}, String(cell)))));
    }
    card.append(el("table", {}, el("thead", {}, el("tr", {}, ...head.map((h) => el("th", {}, h)))), body));
  }
  function legend(card, names) {
    const box = el("div", { class: "legend" });
    names.forEach((name, at) => {
      const mark = el("i");
      mark.style.background = COLOURS[at % COLOURS.length];
      box.append(el("span", {}, mark, name));
    });
    card.append(box);
  }

  // --- axes ------------------------------------------------------------------------------------
  const W = 1060, H = 320, L = 74, R = 16, T = 12, B = 40;
  function linear(low, high, from, to) {
    const span = high - low || 1;
    const scale = (v) => from + (v - low) / span * (to - from);
    const raw = span / 6, power = Math.pow(10, Math.floor(Math.log10(raw)));
    const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= raw) || raw;
    scale.ticks = [];
    for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-6; v += step) scale.ticks.push(v);
    return scale;
  }
  function logarithmic(low, high, from, to) {
    const a = Math.log10(low), b = Math.max(Math.log10(high), a + 0.3);
    const scale = (v) => from + (Math.log10(Math.max(v, low)) - a) / (b - a) * (to - from);
    scale.ticks = [];
    for (let power = Math.floor(a); power <= b; power++) {
      for (const f of b - a < 2.5 ? [1, 2, 5] : [1]) {
        const v = f * Math.pow(10, power);
        if (v >= low * 0.999 && v <= high * 1.001) scale.ticks.push(v);
      }
    }
    return scale;
  }
  function frame(x, y, xLabel, xText, yText) {
    const root = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img" });
    for (const v of y.ticks) {
      root.append(svg("line", { class: "grid", x1: L, x2: W - R, y1: y(v), y2: y(v) }));
      root.append(svg("text", { x: L - 8, y: y(v) + 4, "text-anchor": "end" }, yText(v)));
    }
    for (const v of x.ticks) {
      root.append(svg("line", { class: "grid", x1: x(v), x2: x(v), y1: T, y2: H - B }));
      root.append(svg("text", { x: x(v), y: H - B + 18, "text-anchor": "middle" }, xText(v)));
    }
    root.append(svg("line", { class: "axis", x1: L, x2: W - R, y1: H - B, y2: H - B }));
    root.append(svg("text", { x: (L + W - R) / 2, y: H - 4, "text-anchor": "middle" }, xLabel));
    return root;
  }
  function line(root, points, colour, title) {
    const path = points.map((p, at) => (at ? "L" : "M") + p[0].toFixed(1) + " " + p[1].toFixed(1)).join("");
    root.append(svg("path", { d: path, fill: "none", stroke: colour, "stroke-width": 2, "stroke-linejoin": "round" },
      svg("title", {}, title || "")));
  }
  function positive(values) { return values.filter((v) => v > 0 && isFinite(v)); }

  // --- plots of runs ---------------------------------------------------------------------------
  function throughput(runs, names) {
    const card = section("Throughput over time", "Requests per second in each interval.");
    legend(card, names);
    const all = runs.map((run) => run.series.points);
    const end = Math.max(...runs.map((run) => run.seconds), 1e-3);
    const top = Math.max(...all.flat().map((p) => p.rate), 1) * 1.08;
    const x = linear(0, end, L, W - R), y = linear(0, top, H - B, T);
    const root = frame(x, y, "seconds", short, short);
    runs.forEach((run, at) => {
      const half = run.series.interval / 2;
      // The last interval is cut short by the end: its rate would be a cliff that is not there.
      const whole = run.series.points.filter((p) => p.at + run.series.interval * 0.9 <= run.seconds);
      const points = (whole.length ? whole : run.series.points).map((p) => [x(Math.min(p.at + half, end)), y(p.rate)]);
      line(root, points, COLOURS[at % COLOURS.length], names[at]);
      run.series.points.filter((p) => p.errors > 0).forEach((p) => root.append(svg("circle",
        { cx: x(Math.min(p.at + half, end)), cy: y(p.rate), r: 4, fill: "#e03131" }, svg("title", {}, p.errors + " errors"))));
    });
    card.append(root);
  }
  function curve(lines, names) {
    const card = section("Latency by percentile", "How long the slowest requests take: 99 % on the axis means that 1 in 100 took longer.");
    legend(card, names);
    const deepest = Math.max(...lines.map((l) => Math.max(...l.curve.map((p) => p[0] < 1 ? 1 / (1 - p[0]) : 1), 10)));
    const values = positive(lines.flatMap((l) => l.curve.map((p) => p[1])));
    const x = logarithmic(1, deepest, L, W - R);
    const y = logarithmic(Math.min(...values, 0.1) * 0.8, Math.max(...values, 0.2) * 1.2, H - B, T);
    const named = [[1, "0 %"], [2, "50 %"], [10, "90 %"], [100, "99 %"], [1e3, "99.9 %"], [1e4, "99.99 %"], [1e5, "99.999 %"], [1e6, "99.9999 %"]];
    x.ticks = named.map((n) => n[0]).filter((v) => v <= deepest * 1.001);
    const root = frame(x, y, "percentile", (v) => (named.find((n) => n[0] === v) || [0, short(v)])[1], ms);
    lines.forEach((l, at) => {
      const points = l.curve.map((p) => [x(p[0] < 1 ? 1 / (1 - p[0]) : deepest), y(p[1])]);
      line(root, points, COLOURS[at % COLOURS.length], names[at]);
    });
    card.append(root);
  }
  function overTime(run) {
    const card = section("Latency over time");
    const kinds = ["p50", "p99", "p99.9", "max"];
    legend(card, kinds);
    const points = run.series.points.filter((p) => p.rate > 0);
    if (!points.length) { card.append("no requests"); return; }
    const values = positive(points.flatMap((p) => kinds.map((k) => p[k])));
    const x = linear(0, run.seconds, L, W - R);
    const y = logarithmic(Math.min(...values) * 0.8, Math.max(...values) * 1.2, H - B, T);
    const root = frame(x, y, "seconds", short, ms);
    const half = run.series.interval / 2;
    kinds.forEach((kind, at) => line(root, points.map((p) => [x(Math.min(p.at + half, run.seconds)), y(p[kind])]), COLOURS[at], kind));
    card.append(root);
  }
  function heatMap(run) {
    const card = section("Latency heat map", "Each cell: how many requests of an interval took that long. Darker is more, on a logarithmic scale.");
    const series = run.series, cells = series.points.flatMap((p) => p.heat);
    if (!cells.length) { card.append("no requests"); return; }
    const rows = cells.map((c) => c[0]), low = Math.max(0, Math.min(...rows) - 1), high = Math.max(...rows) + 2;
    const most = Math.max(...cells.map((c) => c[1]));
    const at = (row) => series["heat floor ms"] * Math.pow(10, row / series["heat rows per decade"]);
    const end = Math.max(run.seconds, series.interval);
    const x = linear(0, end, L, W - R), y = logarithmic(at(low), at(high), H - B, T);
    const root = frame(x, y, "seconds", short, ms);
    const width = (W - R - L) * series.interval / end;
    for (const point of series.points) {
      for (const [row, count] of point.heat) {
        const share = Math.log(1 + count) / Math.log(1 + most);
        const left = x(point.at), wide = Math.min(width, W - R - left);
        if (wide <= 0) continue;
        root.append(svg("rect", {
          x: left.toFixed(1), y: y(at(row + 1)).toFixed(1), width: (wide + 0.3).toFixed(1),
          height: Math.max(1, y(at(row)) - y(at(row + 1)) + 0.3).toFixed(1),
          fill: `hsl(${(55 - 45 * share).toFixed(0)} 90% ${(88 - 55 * share).toFixed(0)}%)`,
        }, svg("title", {}, `${point.at.toFixed(1)} s, ${ms(at(row))} to ${ms(at(row + 1))}: ${count}`)));
      }
    }
    card.append(root);
  }
  function commands(run) {
    const card = section("By command");
    const percentiles = Object.keys(run.lines[0].percentiles);
    const head = ["Command", "Requests", "Per second", "Hits", "Misses", "Errors", "Mean", ...percentiles, "Max", "MB/s"];
    table(card, head, run.lines.map((l) => [
      l.name, short(l.count), short(l.rate), short(l.hits), short(l.misses), short(l.errors), ms(l["mean ms"]),
      ...percentiles.map((p) => ms(l.percentiles[p])), ms(l["max ms"]),
      ((l["bytes sent"] + l["bytes received"]) / run.seconds / 1e6).toFixed(2),
    ]));
  }
  function nodes(run) {
    const names = Object.keys(run.nodes || {});
    if (names.length < 2) return;
    const total = names.reduce((sum, n) => sum + run.nodes[n], 0) || 1;
    table(section("By cluster node", `${run.moved} MOVED, ${run.asked} ASK`), ["Node", "Requests", "Share"],
      names.map((n) => [n, short(run.nodes[n]), (run.nodes[n] / total * 100).toFixed(1) + " %"]));
  }
  function failures(runs, names) {
    const rows = [];
    runs.forEach((run, at) => Object.keys(run.errors).forEach((kind) =>
      rows.push([names[at], kind, short(run.errors[kind].count), el("td", { class: "words" }, run.errors[kind].first)])));
    if (rows.length) table(section("Errors"), ["Run", "Kind", "Count", "First"], rows);
  }
  function rates(runs, search) {
    const rows = search ? search.steps.map((s) => ({ rate: s.rate, achieved: s.achieved, values: { latency: s["latency ms"] }, kept: s.kept }))
      : runs.map((r) => ({ rate: r["target rate"], achieved: r.rate, values: r.lines[r.lines.length - 1].percentiles }));
    rows.sort((a, b) => a.rate - b.rate);
    const kinds = Object.keys(rows[0].values);
    const card = section("Latency by rate", search ? `Objective: p${search.percentile} below ${ms(search["limit ms"])}. Highest rate kept: ${short(search["highest rate"])} per second.` : "Open loop: latencies count from when a request was due.");
    legend(card, search ? ["p" + search.percentile] : kinds);
    const values = positive(rows.flatMap((r) => kinds.map((k) => r.values[k])).concat(search ? [search["limit ms"]] : []));
    const x = linear(0, Math.max(...rows.map((r) => r.rate)) * 1.03, L, W - R);
    const y = logarithmic(Math.min(...values) * 0.8, Math.max(...values) * 1.2, H - B, T);
    const root = frame(x, y, "requests per second", short, ms);
    if (search) root.append(svg("line", { x1: L, x2: W - R, y1: y(search["limit ms"]), y2: y(search["limit ms"]), stroke: "#e03131", "stroke-dasharray": "6 4" }));
    kinds.forEach((kind, at) => {
      line(root, rows.map((r) => [x(r.rate), y(r.values[kind])]), COLOURS[at], kind);
      rows.forEach((r) => root.append(svg("circle", { cx: x(r.rate), cy: y(r.values[kind]), r: 4, fill: r.kept === false ? "#e03131" : COLOURS[at] },
        svg("title", {}, `${short(r.rate)}/s: ${ms(r.values[kind])}, done ${short(r.achieved)}/s`))));
    });
    card.append(root);
  }
  function facts(sides) {
    page.append(el("h2", {}, "Setup"));
    const pair = el("div", { class: "pair" });
    for (const [title, values] of sides) {
      const card = el("div", { class: "card" });
      table(card, [title, ""], Object.keys(values || {}).map((key) => [key, values[key]]));
      pair.append(card);
    }
    page.append(pair);
    page.append(el("p", { class: "note" }, "Command line: ", el("code", {}, own["command line"] || "")));
  }
  function tiles(list) {
    page.append(el("div", { class: "tiles" }, ...list.map(([value, name]) => el("div", { class: "tile" }, el("b", {}, value), el("span", {}, name)))));
  }
  function warnings(runs) {
    const texts = runs.map((r) => r.generator.bottleneck).filter(Boolean);
    if (texts.length) page.append(el("div", { class: "warn" }, texts[texts.length - 1] + (texts.length > 1 ? ` (${texts.length} of ${runs.length} runs have such a warning)` : "")));
  }
  /** At most eight runs, spread evenly over the rates: more curves than colours say nothing. */
  function chosen(runs) {
    let list = runs;
    if (runs.every((r) => r["target rate"])) {
      const byRate = new Map(runs.map((r) => [r["target rate"], r]));
      list = [...byRate.values()].sort((a, b) => a["target rate"] - b["target rate"]);
    }
    if (list.length <= COLOURS.length) return list;
    return COLOURS.map((_, at) => list[Math.round(at * (list.length - 1) / (COLOURS.length - 1))]);
  }
  function totals(run) { return run.lines[run.lines.length - 1]; }

  // --- the two kinds of pages ------------------------------------------------------------------
  function runPage() {
    const runs = own.runs;
    const server = own.server || {};
    page.append(el("h1", {}, `Load on ${server.address || "a server"}`));
    page.append(el("p", { class: "note" }, new Date(runs.length && data["ALL STATS"] ? data["ALL STATS"].Runtime["Start time"] : Date.now()).toUTCString()));
    if (!runs.length) { page.append("no runs"); return; }
    const main = own.search ? runs.filter((r) => r["target rate"] === own.search["highest rate"]).pop() || runs[runs.length - 1] : runs[runs.length - 1];
    const total = totals(main);
    const list = [[short(main.rate), "requests per second"]];
    for (const p in total.percentiles) list.push([ms(total.percentiles[p]), p]);
    list.push([ms(total["max ms"]), "max"], [short(total.errors + Object.values(main.errors).reduce((s, e) => s + e.count, 0) - total.errors), "errors"],
      [short(main.generator["requests per cpu second"]), "requests per CPU second of the generator"]);
    tiles(list);
    warnings(runs);
    if (own.verify) {
      const v = own.verify, bad = v.wrong + v.stale + v.lost + v.invented;
      page.append(el("div", { class: bad ? "warn" : "card" }, `Verify: ${short(v.checked)} replies checked, ${v.wrong} wrong, ${v.stale} stale, ${v.lost} lost, ${v.invented} invented`));
    }
    const nameOf = (list) => list.map((r, at) => r["target rate"] ? `${short(r["target rate"])}/s` : runs.length > 1 ? `run ${at + 1}` : "requests per second");
    if (own.search || (runs.length > 1 && runs.every((r) => r["target rate"]))) rates(runs, own.search);
    const names = nameOf(runs), some = chosen(runs);
    throughput(some, nameOf(some));
    if (runs.length > 1) curve(some.map(totals), nameOf(some));
    else curve(main.lines.filter((l) => l.count), main.lines.filter((l) => l.count).map((l) => l.name));
    overTime(main);
    heatMap(main);
    commands(main);
    nodes(main);
    failures(runs, names);
    facts([["Server", server], ["This machine", own.client]]);
  }
  function comparePage() {
    const { figures, servers } = data.compare;
    page.append(el("h1", {}, `${servers[0].name} and ${servers[1].name}`));
    page.append(el("p", { class: "note" }, `${figures.length ? figures[0].a.rounds.length : 0} rounds of each, in turn`));
    warnings(servers.flatMap((s) => s.runs));
    const card = section("Figures", "Medians of the rounds; the spread is from the least to the greatest; p by an exact rank test.");
    const rows = figures.map((f) => [f.name, short(f.a.median), (f.a.spread * 100).toFixed(1) + " %", short(f.b.median), (f.b.spread * 100).toFixed(1) + " %", f.ratio.toFixed(3), el("td", { class: "words" }, f["in words"])]);
    const rss = servers.map((s) => s["rss bytes per key"]);
    if (rss[0] && rss[1]) rows.push(["RSS bytes per key", rss[0].toFixed(1), "", rss[1].toFixed(1), "", (rss[1] / rss[0]).toFixed(3), el("td", { class: "words" }, "measured once")]);
    table(card, ["", "A: " + servers[0].name, "spread", "B: " + servers[1].name, "spread", "B / A", "difference"], rows);
    const dots = section("Rounds", "Each dot is a round, relative to A's median; the bar is the median.");
    legend(dots, servers.map((s) => s.name));
    const height = 46 * figures.length + 34;
    const shares = figures.flatMap((f) => f.a.rounds.concat(f.b.rounds).map((v) => v / f.a.median)).filter((v) => isFinite(v));
    const x = linear(Math.min(...shares, 0.9) * 0.95, Math.max(...shares, 1.1) * 1.05, 210, W - R);
    const root = svg("svg", { viewBox: `0 0 ${W} ${height}` });
    for (const v of x.ticks) {
      root.append(svg("line", { class: "grid", x1: x(v), x2: x(v), y1: 4, y2: height - 26 }));
      root.append(svg("text", { x: x(v), y: height - 8, "text-anchor": "middle" }, v.toFixed(2) + "×"));
    }
    figures.forEach((f, row) => {
      const y = 24 + 46 * row;
      root.append(svg("text", { x: 200, y: y + 12, "text-anchor": "end" }, f.name));
      [f.a, f.b].forEach((side, at) => {
        side.rounds.forEach((v) => root.append(svg("circle", { cx: x(v / f.a.median), cy: y + 16 * at, r: 5, fill: COLOURS[at], "fill-opacity": 0.55 })));
        root.append(svg("rect", { x: x(side.median / f.a.median) - 1.5, y: y + 16 * at - 9, width: 3, height: 18, fill: COLOURS[at] }));
      });
    });
    dots.append(root);
    const last = servers.map((s) => s.runs[s.runs.length - 1]).filter(Boolean), names = servers.map((s) => s.name);
    if (last.length === 2) {
      throughput(last, names);
      curve(last.map(totals), names);
      failures(servers.flatMap((s) => s.runs), servers.flatMap((s) => s.runs.map(() => s.name)));
    }
    facts([...servers.map((s) => [s.name, s.server]), ["This machine", own.client]]);
  }

  if (data.compare) comparePage(); else runPage();
})();
