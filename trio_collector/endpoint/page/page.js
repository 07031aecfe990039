"use strict";
// What the page knows: the latest status document, and a history for each stream that grows with each.
const KEPT = 120;
const SILENT_MS = 8000; // four samples; then the page says that it shows the past
const POLL_MS = 5000;
const STREAM_AGAIN_MS = 30000;

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

// A shape for each level, so that nothing is said by colour alone.
const SHAPES = {
  good: "M3 8.5l3.2 3.2L13 4.6",
  warn: "M8 2.2L14.6 13.6H1.4ZM8 6.6v3.2M8 11.9v.1",
  bad: "M3.5 3.5l9 9M12.5 3.5l-9 9",
  wait: "M8 2a6 6 0 1 0 6 6M8 5v3l2 1.4",
  off: "M4 8h8",
};
const LEVEL_OF_STATUS = { healthy: "good", starting: "wait", degraded: "warn", unhealthy: "bad" };
const LEVEL_OF_STATE = { live: "good", subscribed: "wait", waiting: "wait", stale: "warn", down: "bad", refused: "bad", stopped: "off" };
const LEVEL_OF_EVENT = { gap: "bad", disconnected: "warn", stale: "warn", rejected: "bad", breaker: "bad", duplicate: "wait", unhealthy: "bad", degraded: "warn" };
const ORDER = { bad: 0, warn: 1, wait: 2, off: 3, good: 4 };

// Numbers, as a person reads them.
const group = (n) => Math.round(n).toLocaleString("en-US");
function rate(n) { return n >= 99.95 ? group(n) : n.toFixed(1); }
function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  while (n >= 999.5 && i < units.length - 1) { n /= 1000; i += 1; }
  return `${i && n < 9.95 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}
function age(s) {
  if (s === null || s === undefined) return "–";
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${(s / 3600).toFixed(1)} h`;
  return `${Math.round(s / 86400)} days`;
}
function lag(ms) { return ms === null ? "–" : Math.abs(ms) >= 9999.5 ? age(ms / 1000) : `${Math.abs(ms) < 9.95 ? ms.toFixed(1) : Math.round(ms)} ms`; }
function median(numbers) {
  if (!numbers.length) return null;
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}
const many = (n, noun) => `${group(n)} ${noun}${n === 1 ? "" : "s"}`;

// Only what has changed touches the document.
function say(node, text) { if (node.textContent !== text) node.textContent = text; }
function mark(node, name, value) { if (node.dataset[name] !== value) node.dataset[name] = value; }
function tone(node, name) { const wanted = `${node.dataset.base ??= node.className} ${name}`.trim(); if (node.className !== wanted) node.className = wanted; }
function shape(path, level) { const d = SHAPES[level]; if (path.getAttribute("d") !== d) path.setAttribute("d", d); }
function unit(node, text) { // "12 MB": the unit is small
  if (node.dataset.text === text) return;
  node.dataset.text = text;
  const [, number, rest] = /^(\S+)(.*)$/.exec(text) ?? [null, text, ""];
  const small = document.createElement("small");
  small.textContent = rest;
  node.replaceChildren(number, small);
}
function bar(id, share, level) {
  const node = $(id);
  mark(node, "level", level);
  node.firstElementChild.style.width = `${Math.min(100, Math.max(share > 0 ? 1 : 0, share * 100))}%`;
}
function draw(svg, numbers, width, height) {
  const top = Math.max(...numbers, 1e-9);
  const step = width / (KEPT - 1);
  const left = width - (numbers.length - 1) * step;
  const points = numbers.map((n, i) => `${(left + i * step).toFixed(1)} ${(height - 1 - (n / top) * (height - 2)).toFixed(1)}`);
  const [area, line] = svg.children;
  const d = points.length > 1 ? `M${points.join("L")}` : "";
  line.setAttribute("d", d);
  area.setAttribute("d", d && `${d}L${width} ${height}L${left.toFixed(1)} ${height}Z`);
}
function spark() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", "0 0 160 20");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  for (const name of ["area", "line"]) svg.appendChild(document.createElementNS(SVG, "path")).setAttribute("class", name);
  return svg;
}
function glyph() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "glyph");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.appendChild(document.createElementNS(SVG, "path"));
  return svg;
}
function span(parent, name) { const node = parent.appendChild(document.createElement("span")); node.className = name; return node; }

const rows = new Map(); // by name of the stream: its row, and its history
let totals = [];
let sort = { key: "trouble", falls: false };
let latest = null;

function level(stream) {
  const own = LEVEL_OF_STATE[stream.state] ?? "wait";
  return stream.is_dead && own !== "bad" ? "bad" : own;
}
const KEYS = {
  trouble: (s) => ORDER[level(s)] * 1e9 - (s.latest_gap_age_s !== null && s.latest_gap_age_s < 240 ? 1e8 : 0),
  name: (s) => nameOf(s),
  rate: (s) => s.rows_per_s,
  age: (s) => s.age_s ?? Infinity,
  lag: (s) => s.lag_ms ?? -Infinity,
  gaps: (s) => s.gaps,
  rows: (s) => s.rows,
};
const nameOf = (s) => `${s.exchange} ${s.symbol} ${s.data_type}`;

function newRow(stream) {
  const tr = document.createElement("tr");
  const cells = {};
  for (const [name, classes] of [["state", "state"], ["name", "name"], ["rate", "n"], ["spark", "s"], ["age", "n"], ["lag", "n"], ["gaps", "n g"], ["rows", "n w"]]) {
    cells[name] = tr.appendChild(document.createElement("td"));
    cells[name].className = classes;
  }
  const path = cells.state.appendChild(glyph()).firstChild;
  const word = span(cells.state, "word");
  span(cells.name, "x").textContent = stream.exchange;
  cells.name.append(" ");
  span(cells.name, "y").textContent = stream.symbol;
  cells.name.append(" ");
  const kind = span(cells.name, "t");
  kind.textContent = stream.data_type;
  const detail = span(cells.name, "d");
  detail.hidden = true;
  return { tr, cells, path, word, kind, detail, svg: cells.spark.appendChild(spark()), history: [], stream };
}

function showStream(row) {
  const s = row.stream;
  const { cells } = row;
  const its = level(s);
  mark(row.tr, "level", its);
  shape(row.path, its);
  const word = s.is_dead && s.state === "live" ? "no data" : s.state;
  say(row.word, word);
  mark(row.kind, "state", word); // where the column of words is left out
  say(row.detail, s.detail);
  row.detail.hidden = !s.detail;
  say(cells.rate, rate(s.rows_per_s));
  tone(cells.rate, s.rows_per_s === 0 ? "zero" : "");
  say(cells.age, age(s.age_s));
  say(cells.lag, lag(s.lag_ms));
  say(cells.gaps, group(s.gaps));
  tone(cells.gaps, s.gaps === 0 ? "zero" : s.latest_gap_age_s < 240 ? "trouble" : "");
  say(cells.rows, group(s.rows));
  draw(row.svg, row.history, 160, 20);
}

function showStreams() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = [...rows.values()].filter(({ stream: s }) => {
    const text = `${nameOf(s)} ${s.state} ${s.is_dead ? "no data" : ""}`;
    return words.every((word) => text.includes(word));
  });
  const key = KEYS[sort.key];
  const sign = sort.falls ? -1 : 1;
  shown.sort((a, b) => {
    const [x, y] = [key(a.stream), key(b.stream)];
    return (x < y ? -sign : x > y ? sign : 0) || nameOf(a.stream).localeCompare(nameOf(b.stream));
  });
  shown.forEach(showStream);
  const body = $("rows");
  const nodes = shown.map((row) => row.tr);
  if (nodes.length !== body.children.length || nodes.some((node, i) => body.children[i] !== node)) body.replaceChildren(...nodes);
  say($("shown"), words.length ? `${shown.length} of ${rows.size}` : String(rows.size));
}

function showVerdict(health) {
  mark($("verdict"), "status", health.status);
  shape($("verdict").querySelector("path"), LEVEL_OF_STATUS[health.status]);
  say($("status"), health.status);
  const texts = health.reasons.map((reason) => reason.text);
  const list = $("reasons");
  const calm = texts.length === 0;
  const wanted = calm ? ["every stream is live, and every row finds its way to disk"] : texts;
  if (wanted.join("\n") !== list.dataset.text) {
    list.dataset.text = wanted.join("\n");
    list.replaceChildren(...wanted.map((text) => {
      const item = document.createElement("li");
      item.textContent = text;
      if (calm) item.className = "calm";
      return item;
    }));
  }
  document.title = `${health.status === "healthy" ? "" : `${health.status}: `}trio_collector`;
}

function showTiles(status) {
  const { streams, connections } = status;
  const up = connections.filter((each) => each.is_up).length;
  const live = streams.filter((s) => s.state === "live" && !s.is_dead).length;
  const gaps = streams.reduce((sum, s) => sum + s.gaps, 0);
  const fresh = streams.filter((s) => s.latest_gap_age_s !== null && s.latest_gap_age_s < 240).length;
  say($("rate"), rate(status.rows_per_s));
  draw($("rate-spark"), totals, 300, 44);
  unit($("connections"), `${up} / ${connections.length}`);
  tone($("connections-note"), up < connections.length ? "caution" : "");
  say($("connections-note"), up < connections.length ? `${connections.length - up} not open` : "all open");
  unit($("live"), `${live} / ${streams.length}`);
  tone($("live-note"), live < streams.length ? "caution" : "");
  say($("live-note"), live < streams.length ? `${streams.length - live} not live` : "all live");
  unit($("lag"), lag(median(streams.filter((s) => s.lag_ms !== null).map((s) => s.lag_ms))));
  say($("gaps"), group(gaps));
  tone($("gaps-note"), fresh ? "trouble" : "");
  say($("gaps-note"), fresh ? `${many(fresh, "stream")} lately` : gaps ? "none of late" : "none so far");
  say($("dropped"), group(status.messages_dropped));
  tone($("dropped-note"), status.dropped_recently ? "trouble" : "");
  say($("dropped-note"), status.dropped_recently ? "some of them lately" : status.unparsed_rows ? `${group(status.unparsed_rows)} unparsed, kept` : "none unparsed");
}

function showWay(storage) {
  const share = storage.inflight_bytes / (storage.max_inflight_bytes || 1);
  unit($("inflight"), bytes(storage.inflight_bytes));
  bar("inflight-bar", share, share > 0.9 ? "bad" : share > 0.5 ? "warn" : "good");
  say($("inflight-note"), `of ${bytes(storage.max_inflight_bytes)}; ${many(storage.rows_buffered, "row")}`);
  unit($("journals"), storage.journal_bytes ? bytes(storage.journal_bytes) : `${storage.journals} open`);
  tone($("journals-note"), storage.failing_streams ? "trouble" : "");
  say($("journals-note"), storage.failing_streams ? `${many(storage.failing_streams, "stream")} cannot be written` :
    `${storage.journals} open, ${storage.waiting_seals} to seal`);
  unit($("spool"), many(storage.spool_files, "file"));
  const old = storage.spool_age_s / 900;
  bar("spool-bar", storage.spool_files ? Math.max(0.02, old) : 0, old > 1 ? "bad" : old > 0.5 ? "warn" : "good");
  tone($("spool-note"), old > 1 || storage.delivery_refusal ? "trouble" : storage.is_store_down ? "caution" : "");
  say($("spool-note"), storage.delivery_refusal ? "the store refuses" : storage.is_store_down ? "the store does not answer" :
    storage.spool_files ? `${bytes(storage.spool_bytes)}, oldest ${age(storage.spool_age_s)}` : "nothing waits");
  const remote = storage.mode !== "local";
  say($("delivered-name"), remote ? "uploaded" : "sealed");
  unit($("delivered"), many(remote ? storage.uploads : storage.files_sealed, "file"));
  tone($("delivered-note"), "");
  say($("delivered-note"), remote ? `${bytes(storage.uploaded_bytes)}; ${many(storage.upload_failures, "failed attempt")}` : `${many(storage.rows_sealed, "row")}`);
  const total = storage.disk_total_bytes;
  unit($("disk"), storage.disk_free_bytes === null ? "–" : `${bytes(storage.disk_free_bytes)} free`);
  bar("disk-bar", total && storage.disk_free_bytes !== null ? 1 - storage.disk_free_bytes / total : 0, storage.is_disk_low ? "bad" : "good");
  const limit = $("disk-bar").lastElementChild;
  limit.style.display = total && storage.min_free_bytes ? "block" : "none";
  if (total) limit.style.left = `${Math.max(0, 100 * (1 - storage.min_free_bytes / total))}%`;
  tone($("disk-note"), storage.is_disk_low ? "trouble" : "");
  say($("disk-note"), storage.is_disk_low ? "low: new rows are not kept" : `of ${bytes(total)}${storage.min_free_bytes ? `; stops at ${bytes(storage.min_free_bytes)}` : ""}`);
}

const cards = new Map(); // by exchange
function newCard(name) {
  const element = $("exchanges").appendChild(document.createElement("div"));
  element.className = "exchange";
  const title = element.appendChild(document.createElement("h2"));
  const path = title.appendChild(glyph()).firstChild;
  title.append(name);
  const number = span(element, "number");
  const svg = element.appendChild(spark());
  return { element, path, number, svg, note: span(element, "note") };
}
function sum(histories) { // each ends now; a shorter one began later
  const total = Array(Math.max(0, ...histories.map((each) => each.length))).fill(0);
  for (const each of histories) each.forEach((n, i) => { total[total.length - each.length + i] += n; });
  return total;
}
function showExchanges({ streams, connections }) {
  for (const name of [...new Set(streams.map((s) => s.exchange))].sort()) {
    const own = streams.filter((s) => s.exchange === name);
    const links = connections.filter((each) => each.name.split(":")[0] === name);
    const up = links.filter((each) => each.is_up).length;
    let card = cards.get(name);
    if (!card) cards.set(name, card = newCard(name));
    // One stream in trouble is a caution here; its own row says the rest.
    const all = own.map(level);
    const its = all.every((each) => each === "bad") ? "bad" : all.some((each) => ["bad", "warn"].includes(each)) ? "warn" :
      all.some((each) => each === "wait") ? "wait" : all[0];
    mark(card.element, "level", its);
    shape(card.path, its);
    unit(card.number, `${rate(own.reduce((total, s) => total + s.rows_per_s, 0))} rows/s`);
    draw(card.svg, sum(own.map((s) => rows.get(nameOf(s)).history)), 160, 20);
    const late = median(own.filter((s) => s.lag_ms !== null).map((s) => s.lag_ms));
    tone(card.note, up < links.length ? "caution" : "");
    say(card.note, `${up} / ${links.length} open${late === null ? "" : ` · lag ${lag(late)}`}`);
  }
}

function showConnections(connections) {
  const up = connections.filter((each) => each.is_up).length;
  tone($("links-note"), up < connections.length ? "caution" : "");
  say($("links-note"), `${up} of ${connections.length} open, ${many(connections.reduce((total, each) => total + Math.max(0, each.sessions - 1), 0), "reconnect")}`);
  if (!document.querySelector("#links details").open) return;
  const shown = [...connections].sort((a, b) => a.is_up - b.is_up || a.name.localeCompare(b.name));
  $("link-rows").replaceChildren(...shown.map((each) => {
    const tr = document.createElement("tr");
    const its = each.is_up ? "good" : "bad";
    tr.dataset.level = its;
    const cell = (text, name) => { const td = tr.appendChild(document.createElement("td")); td.className = name; td.append(text); return td; };
    const state = cell(glyph(), "state");
    shape(state.querySelector("path"), its);
    span(state, "word").textContent = each.is_up ? "open" : "not open";
    cell(each.name, "");
    cell(age(each.since_s), "n");
    cell(group(each.sessions), "n");
    cell(group(each.streams), "n w");
    cell([each.reason, each.detail].filter(Boolean).join(": "), "why");
    return tr;
  }));
}

function clock(us) {
  const at = new Date(us / 1000);
  const two = (n) => String(n).padStart(2, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}
function showRecentEvents(events) {
  const list = $("events");
  const text = JSON.stringify(events);
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  list.replaceChildren(...events.map((each) => {
    const item = document.createElement("li");
    item.dataset.level = LEVEL_OF_EVENT[each.event] ?? "good";
    const time = item.appendChild(document.createElement("time"));
    time.textContent = clock(each.latest_us);
    time.dateTime = time.title = new Date(each.latest_us / 1000).toISOString();
    const what = span(item, "what");
    what.textContent = each.event;
    if (each.times > 1) span(what, "times").textContent = ` ×${group(each.times)}`;
    span(item, "who").textContent = each.subject;
    span(item, "why").textContent = each.text;
    return item;
  }));
}

function show(status) {
  latest = status;
  for (const s of status.streams) {
    const name = nameOf(s);
    let row = rows.get(name);
    if (!row) rows.set(name, row = newRow(s));
    row.stream = s;
  }
  say($("place"), [status.server, `up ${age(status.uptime_s)}`].filter(Boolean).join(" · "));
  say($("version"), `version ${status.version}`);
  showVerdict(status.health);
  showTiles(status);
  showWay(status.storage);
  showExchanges(status);
  showStreams();
  showConnections(status.connections);
  showRecentEvents(status.happenings);
  document.body.dataset.shown = String(Number(document.body.dataset.shown ?? 0) + 1);
}

// A whole history replaces what is kept, a single sample is added to it.
function keep(status, isWhole) {
  const join = (old, news) => (isWhole ? news : [...old, ...news]).slice(-KEPT);
  totals = join(totals, status.history);
  for (const s of status.streams) {
    const name = nameOf(s);
    let row = rows.get(name);
    if (!row) rows.set(name, row = newRow(s));
    row.history = join(row.history, s.history);
  }
}
let heardAt = 0;
function take(status, isWhole, link) {
  heardAt = Date.now();
  setLink(link);
  keep(status, isWhole);
  show(status);
}
function setLink(link) {
  mark($("link"), "link", link);
  mark(document.body, "link", link);
  say($("link-text"), { live: "live", polling: "live, every 5 s", lost: heardAt ? `no answer for ${age((Date.now() - heardAt) / 1000)}` : "no answer", waiting: "connecting" }[link]);
}

let source = null;
function listen() {
  source = new EventSource("events");
  let isFirst = true;
  source.onopen = () => { isFirst = true; };
  source.onmessage = (event) => { take(JSON.parse(event.data), isFirst, "live"); isFirst = false; };
  // The browser connects again by itself, unless it was refused.
  source.onerror = () => { if (source.readyState === EventSource.CLOSED) { source = null; setTimeout(listen, STREAM_AGAIN_MS); } };
}
async function poll() {
  if (Date.now() - heardAt < POLL_MS - 500) return;
  try {
    const reply = await fetch("api/status", { signal: AbortSignal.timeout(POLL_MS) });
    if (reply.ok) take(await reply.json(), true, "polling");
  } catch { /* said below */ }
  if (Date.now() - heardAt > SILENT_MS) setLink("lost");
}

document.querySelector("#links details").addEventListener("toggle", () => latest && showConnections(latest.connections));
$("filter").addEventListener("input", () => latest && showStreams());
for (const th of document.querySelectorAll("th[data-key]")) {
  th.querySelector("button").addEventListener("click", () => {
    const key = th.dataset.key;
    sort = { key, falls: sort.key === key ? !sort.falls : !["trouble", "name"].includes(key) };
    markSort();
    if (latest) showStreams();
  });
}
function markSort() {
  for (const th of document.querySelectorAll("th[data-key]")) {
    if (th.dataset.key === sort.key) th.setAttribute("aria-sort", sort.falls ? "descending" : "ascending");
    else th.removeAttribute("aria-sort");
  }
}
markSort();
listen();
setInterval(poll, POLL_MS);
