// Shows what a board finds, as the server of attn8 watch sends it. Whatever comes is text or numbers:
// it gets onto the page as textContent and onto canvases alone.
"use strict";

const WHOLE = 65535; // of a map: an attention weight of 1
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]; // viridis
const AGAIN = 2000; // ms until a lost connection is tried again
const ROWS = 16; // classes that are shown
const COLUMN = 3; // pixels of a result in a strip, at least

const element = (id) => document.getElementById(id);
const canvasOf = (id) => element(id).querySelector("canvas");
const note = (id, text) => { element(id).querySelector(".note").textContent = text; };
const narrow = () => matchMedia("(max-width: 760px)").matches;

let about = null; // what stays
let results = []; // the last about.kept, the newest last
let frozen = null; // those that there were when the page was paused
let place = -1; // the one of them that is shown
let due = false; // a picture is

// What comes

function connect() {
  const socket = new WebSocket(new URL("live", location.href.replace(/^http/, "ws")));
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { results = []; };
  socket.onmessage = ({ data }) => {
    if (typeof data !== "string") take(unpacked(data));
    else {
      const said = JSON.parse(data);
      if (said.type === "about") about = said;
      else if (said.type === "status") tell(said.state, said.text);
    }
    draw();
  };
  socket.onclose = () => {
    if (element("status").dataset.state !== "ended") tell("lost", "attn8 watch does not answer");
    setTimeout(connect, AGAIN);
  };
}

function unpacked(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const result = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  result.maps = new Uint16Array(buffer, 4 + length);
  return result;
}

function take(result) {
  results.push(result);
  if (results.length > about.kept) results.shift();
}

function tell(state, text) {
  element("status").dataset.state = state;
  element("status").textContent = text;
}

// What is shown

const shown = () => frozen ?? results;
const at = () => (frozen ? place : results.length - 1);

function pause(on) {
  if (on && !results.length) return;
  frozen = on ? results.slice() : null;
  place = results.length - 1;
  element("pause").setAttribute("aria-pressed", String(on));
  element("pause").textContent = on ? "Go on" : "Pause";
  draw();
}

function go(to) {
  if (!frozen) pause(true);
  if (!frozen) return;
  place = Math.max(0, Math.min(frozen.length - 1, to));
  draw();
}

function draw() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => { due = false; paint(); });
}

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
let ink = {};

function paint() {
  for (const name of ["panel", "ink", "faint", "line", "accent", "warn", "light"]) {
    ink[name] = style(`--${name}`);
  }
  const list = shown(), i = at(), result = list[i];
  element("about").textContent = about ? `${about.model} · ${about.source} · ${about.board}` : "";
  element("place").max = Math.max(0, list.length - 1);
  element("place").value = i;
  for (const id of ["pause", "back", "on", "place", "png", "csv"]) {
    element(id).disabled = !list.length;
  }
  if (!result || !about) return;
  element("which").textContent = `${result.number} · ${result.seconds.toFixed(1)} s`;
  signal(result);
  probabilities(list, i);
  attention(result);
  const times = list.map((each) => each.microseconds);
  const middle = times.slice().sort((a, b) => a - b)[times.length >> 1];
  note("time", `${duration(result.microseconds)}, median ${duration(middle)}`);
  strip("time", list, i, times, duration);
  note("heap", `${bytes(result.heap[0])} of ${bytes(result.heap[1])}`);
  strip("heap", list, i, list.map((each) => each.heap[0]), bytes);
}

// A number of a small unit, or of a thousand times it, in three digits or more
function scaled(x, unit, thousand) {
  if (x < 1000) return `${Number(x.toFixed(0))} ${unit}`;
  return `${Number((x / 1000).toFixed(x < 10000 ? 2 : x < 100000 ? 1 : 0))} ${thousand}`;
}

const duration = (us) => scaled(us, "µs", "ms");
const bytes = (n) => scaled(n, "B", "kB");
const percent = (p) => `${(100 * p).toFixed(0)} %`;

// Canvases, in CSS pixels

function begin(id, tall) {
  const canvas = canvasOf(id);
  if (tall) canvas.style.setProperty("--tall", `${tall}px`);
  const { width, height } = canvas.getBoundingClientRect();
  const ratio = devicePixelRatio;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const c = canvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, width, height);
  c.font = "11px system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";
  c.textBaseline = "middle";
  c.lineJoin = "round";
  return [c, width, height];
}

function write(c, text, x, y, { align = "left", color = ink.faint, most = Infinity } = {}) {
  c.fillStyle = color;
  c.textAlign = align;
  let said = String(text);
  const letters = [...said];
  for (let kept = letters.length - 1; kept > 0 && c.measureText(said).width > most; kept--) {
    const end = Math.floor(kept / 3); // names often differ there
    said = [...letters.slice(0, kept - end), "…", ...letters.slice(letters.length - end)].join("");
  }
  c.fillText(said, x, y);
}

function line(c, x0, y0, x1, y1, color = ink.line) {
  c.strokeStyle = color;
  c.lineWidth = 1;
  c.beginPath();
  c.moveTo(Math.round(x0) + 0.5, Math.round(y0) + 0.5);
  c.lineTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5);
  c.stroke();
}

// Round numbers between two, about `count` of them
function ticks(low, high, count) {
  const raw = (high - low) / Math.max(1, count) || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= raw * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-6); k * step <= high + step * 1e-6; k++) {
    found.push(Number((k * step).toPrecision(12)));
  }
  return found;
}

const figure = (x) => (Math.abs(x) >= 1e6 ? x.toExponential(1) : String(x));
const hue = (i, n) => `oklch(${ink.light} 0.14 ${(25 + (360 * i) / n) % 360})`;

function ramp(x) {
  const p = Math.max(0, Math.min(1, x)) * (RAMP.length - 1);
  const i = Math.min(Math.floor(p), RAMP.length - 2);
  return RAMP[i].map((from, k) => Math.round(from + (RAMP[i + 1][k] - from) * (p - i)));
}

// A picture of so many columns of rows, each pixel [r, g, b]
const small = document.createElement("canvas");

function picture(c, rows, columns, colour, x, y, w, h) {
  [small.width, small.height] = [columns, rows];
  const s = small.getContext("2d");
  const data = s.createImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) data.data.set([...colour(i), 255], 4 * i);
  s.putImageData(data, 0, 0);
  c.imageSmoothingEnabled = false;
  c.drawImage(small, x, y, w, h);
}

function signal(result) {
  const channels = result.channels, rows = result.signal.length / channels;
  const [c, w, h] = begin("signal", 170);
  const values = result.signal;
  let low = Math.min(...values), high = Math.max(...values);
  if (about.picture) {
    const [r, n] = about.picture, side = Math.min(w / n, (h - 4) / r);
    const span = high - low || 1;
    note("signal", `${r} x ${n} pixels, ${figure(low)} to ${figure(high)}`);
    picture(c, r, n, (i) => {
      const level = Math.round(255 * (1 - (values[i] - low) / span));
      return [level, level, level];
    }, (w - side * n) / 2, 2, side * n, side * r);
    return;
  }
  if (low === high) [low, high] = [low - 1, high + 1];
  const left = 46, bottom = 18, right = 4, top = 22;
  const y = (v) => top + (h - top - bottom) * (1 - (v - low) / (high - low));
  const x = (s) => left + (w - left - right) * (rows > 1 ? s / (rows - 1) : 0.5);
  for (const v of ticks(low, high, h / 45)) {
    line(c, left, y(v), w - right, y(v));
    write(c, figure(v), left - 6, y(v), { align: "right" });
  }
  const per = about.rate ? 1 / about.rate : 1;
  const unit = about.rate ? " s" : "";
  const marks = ticks(0, (rows - 1) * per, w / 80);
  marks.forEach((t, k) => {
    const last = k === marks.length - 1;
    write(c, `${figure(t)}${last ? unit : ""}`, Math.min(x(t / per), w - 14), h - 7,
      { align: "center" });
  });
  if (!about.rate) write(c, "sample", 0, h - 7);
  c.lineWidth = 1.5;
  for (let k = 0; k < channels; k++) {
    c.strokeStyle = hue(k, channels);
    c.beginPath();
    for (let s = 0; s < rows; s++) c.lineTo(x(s), y(values[s * channels + k]));
    c.stroke();
  }
  let legend = w - right;
  for (let k = Math.min(channels, 16) - 1; k >= 0; k--) {
    write(c, k, legend, 7, { align: "right", color: hue(k, channels) });
    legend -= c.measureText(k).width + 7;
  }
  write(c, channels > 16 ? `channels 0 to 15 of ${channels}` : "channel", legend, 7,
    { align: "right" });
  note("signal", `as the sensor gives it${result.gaps ? `, gaps so far: ${result.gaps}` : ""}`);
  canvasOf("signal").ariaLabel = `signal: ${rows} samples of ${channels} channels, `
    + `${figure(low)} to ${figure(high)}`;
}

// The results of which there is a column in so many pixels: [first, behind the last, a column's]
function columns(list, i, width) {
  const count = Math.min(about.kept, Math.floor(width / COLUMN));
  const end = Math.min(list.length, Math.max(i + 1 + (count >> 1), count));
  const first = Math.max(0, end - count);
  return [first, end, width / count];
}

function axis(c, list, first, end, x, y, least, most) {
  let free = -Infinity;
  const [from, to] = [list[first].seconds, list[end - 1].seconds];
  const marks = ticks(from, to, (x(end) - x(first)) / 70);
  let k = first;
  for (const t of marks) {
    while (k < end - 1 && list[k].seconds < t) k++;
    const said = `${figure(t)} s`, half = c.measureText(said).width / 2;
    if (x(k) - half < Math.max(free, least) || x(k) + half > most) continue;
    write(c, said, x(k), y, { align: "center" });
    free = x(k) + half + 8;
  }
  if (free === -Infinity) write(c, `${to.toFixed(1)} s`, x(end), y, { align: "right" });
}

function probabilities(list, i) {
  const result = list[i];
  const name = (k) => about.classes[k];
  const truth = result.truth === null ? "" : `, it is ${name(result.truth)}`;
  note("probabilities", "");
  const strong = document.createElement("strong");
  strong.textContent = `${name(result.answer)} · ${percent(result.probabilities[result.answer])}`;
  element("probabilities").querySelector(".note").append(strong, truth);
  // The likeliest of late, in their order
  let rows = about.classes.map((_, k) => k);
  if (rows.length > ROWS) {
    const most = rows.map((k) => Math.max(...list.slice(-50).map((r) => r.probabilities[k])));
    rows = rows.sort((a, b) => most[b] - most[a]).slice(0, ROWS).sort((a, b) => a - b);
  }
  const [c, w, h] = begin("probabilities", 30 + 17 * rows.length);
  const left = Math.min(0.28 * w, Math.max(...rows.map((k) => c.measureText(name(k)).width)) + 9);
  const right = Math.min(110, w * 0.28), bottom = 18;
  const row = (h - bottom) / rows.length;
  const [first, end, step] = columns(list, i, w - left - right - 8);
  const edge = w - right - 8 - step * (end - first);
  const x = (k) => edge + step * (k - first);
  rows.forEach((k, r) => {
    const y = r * row, p = result.probabilities[k];
    const color = k === result.answer ? ink.ink : ink.faint;
    write(c, name(k), left - 8, y + row / 2, { align: "right", color, most: left - 8 });
    c.fillStyle = ink.line;
    c.globalAlpha = 0.45;
    c.fillRect(left, y + 1, w - right - 8 - left, row - 2);
    c.fillStyle = ink.accent;
    for (let s = first; s < end; s++) {
      c.globalAlpha = list[s].probabilities[k];
      c.fillRect(x(s), y + 1, step + 0.3, row - 2);
    }
    c.globalAlpha = 1;
    c.fillStyle = ink.warn;
    for (let s = first; s < end; s++) {
      if (list[s].truth === k && k !== list[s].answer) {
        c.fillRect(x(s), y + row / 2 - 1.5, Math.max(step, 3), 3);
      }
    }
    c.fillStyle = ink.line;
    c.fillRect(w - right, y + row / 2 - 4, right - 42, 8);
    c.fillStyle = ink.accent;
    c.fillRect(w - right, y + row / 2 - 4, (right - 42) * p, 8);
    write(c, percent(p), w, y + row / 2, { align: "right", color });
  });
  axis(c, list, first, end, x, h - 7, left, w);
  if (frozen) mark(c, x(i), step, 0, h - bottom);
  canvasOf("probabilities").ariaLabel = `probabilities: ${name(result.answer)} at `
    + `${percent(result.probabilities[result.answer])}${truth}`;
}

function mark(c, x, step, y0, y1) {
  c.strokeStyle = ink.ink;
  c.lineWidth = 1;
  c.strokeRect(x - 0.5, y0 + 0.5, Math.max(step, 2) + 1, y1 - y0 - 1);
}

function strip(id, list, i, values, said) {
  const [c, w, h] = begin(id);
  const left = 58, right = 4, top = 6, bottom = 18;
  const [first, end, step] = columns(list, i, w - left - right);
  const x = (k) => w - right - step * (end - k);
  const seen = values.slice(first, end);
  const high = Math.max(...seen) * 1.15 || 1;
  const y = (v) => top + (h - top - bottom) * (1 - v / high);
  for (const v of ticks(0, high, Math.max(1, h / 40))) {
    line(c, left, y(v), w - right, y(v));
    write(c, said(v), left - 6, y(v), { align: "right" });
  }
  c.strokeStyle = ink.accent;
  c.lineWidth = 1.5;
  c.beginPath();
  seen.forEach((v, k) => c.lineTo(x(first + k) + step / 2, y(v)));
  c.stroke();
  axis(c, list, first, end, x, h - 7, left, w);
  if (frozen) mark(c, x(i), step, top, h - bottom);
}

function attention(result) {
  const layers = Object.entries(about.layers);
  if (!layers.length) {
    begin("attention", 30);
    note("attention", "no layer keeps a weight of each pair of tokens");
    return;
  }
  const whose = result.by_board ? "as the board computed it" : "as NumPy computes it";
  note("attention", whose);
  const available = canvasOf("attention").getBoundingClientRect().width;
  const title = 16, foot = 15, gap = 10, left = 16, bar = 44;
  const room = available - left - bar;
  const side = (across, most) => Math.min(most, (room - gap * (across - 1)) / across);
  // As many heads beside each other as make the maps the largest
  const heads = Math.max(...layers.map(([, [n]]) => n));
  const down = (across) => layers.reduce((sum, [, [n]]) => sum + Math.ceil(n / across), 0);
  let across = Math.min(heads, Math.max(1, Math.floor(room / 60)));
  while (heads % across) across--;
  let tall, h, c, w;
  if (narrow()) {
    tall = down(across) * (side(across, 220) + foot) + layers.length * title;
    [c, w, h] = begin("attention", Math.ceil(tall));
  } else [c, w, h] = begin("attention");
  const fit = (n) => side(n, (h - layers.length * title) / down(n) - foot);
  if (!narrow()) {
    for (let n = 1; n <= heads; n++) if (heads % n === 0 && fit(n) > fit(across)) across = n;
  }
  const size = Math.max(8, fit(across));
  const top = result.maps.reduce((most, each) => Math.max(most, each), 1);
  let from = 0, y = 0;
  for (const [layer, [n, rows, width]] of layers) {
    const queries = Math.min(rows, result.length ?? rows);
    const keys = Math.min(width, result.length ?? width);
    write(c, layer, left, y + title / 2, { color: ink.ink, most: room });
    y += title;
    for (let head = 0; head < n; head++) {
      const column = head % across;
      const x = left + column * (size + gap);
      const unit = size / Math.max(queries, keys), start = from;
      const [mw, mh] = [unit * keys, unit * queries];
      const share = (k) => result.maps[start + Math.floor(k / keys) * width + (k % keys)] / top;
      picture(c, queries, keys, (k) => ramp(share(k)), x, y, mw, mh);
      from += rows * width;
      write(c, mw < 72 ? head : `head ${head}`, x, y + mh + 8);
      write(c, "key", x + mw, y + mh + 8, { align: "right", most: mw * 0.4 });
      if (column === 0) {
        c.save();
        c.translate(left - 8, y + mh / 2);
        c.rotate(-Math.PI / 2);
        write(c, "query", 0, 0, { align: "center" });
        c.restore();
      }
      if (column === across - 1 || head === n - 1) y += size + foot;
    }
  }
  // The scale
  const x = w - bar + 12, high = Math.min(h - title - foot, 160);
  for (let k = 0; k < high; k++) {
    c.fillStyle = `rgb(${ramp(1 - k / high).join(" ")})`;
    c.fillRect(x, title + k, 8, 1.5);
  }
  write(c, (top / WHOLE).toFixed(2), x - 2, title / 2);
  write(c, "0", x + 12, title + high - 4);
  canvasOf("attention").ariaLabel = `attention maps, ${whose}: `
    + layers.map(([layer, [n]]) => `${layer}, ${n} heads`).join("; ");
}

// What is saved

function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const file = (end) => `attn8-watch-${shown()[at()].number}.${end}`;

// All panels as they are on the screen, in one picture
function png() {
  const ratio = devicePixelRatio, edge = 12, head = 26;
  const main = document.querySelector("main").getBoundingClientRect();
  const all = document.createElement("canvas");
  all.width = Math.round((main.width) * ratio);
  all.height = Math.round((main.height + head + edge) * ratio);
  const c = all.getContext("2d");
  c.scale(ratio, ratio);
  c.fillStyle = style("--ground");
  c.fillRect(0, 0, all.width, all.height);
  c.textBaseline = "middle";
  const font = getComputedStyle(document.body).fontFamily;
  c.font = `13px ${font}`;
  write(c, `attn8 watch · ${element("about").textContent} · ${element("which").textContent}`,
    14, head / 2 + 2, { color: ink.ink, most: main.width - 28 });
  for (const section of document.querySelectorAll("section")) {
    const box = section.getBoundingClientRect();
    const x = box.x - main.x, y = box.y - main.y + head;
    c.fillStyle = ink.panel;
    c.strokeStyle = ink.line;
    c.beginPath();
    c.roundRect(x + 0.5, y + 0.5, box.width - 1, box.height - 1, 8);
    c.fill();
    c.stroke();
    for (const each of section.querySelectorAll("h2, .note")) {
      const part = each.getBoundingClientRect();
      const right = getComputedStyle(each).textAlign === "right";
      c.font = `${each.matches("h2") ? 650 : 400} 13px ${font}`;
      write(c, each.textContent, (right ? part.right : part.x) - main.x,
        part.y + part.height / 2 - main.y + head, {
          align: right ? "right" : "left", most: part.width + 2,
          color: each.matches("h2") ? ink.ink : ink.faint });
    }
    const canvas = section.querySelector("canvas"), part = canvas.getBoundingClientRect();
    c.drawImage(canvas, part.x - main.x, part.y - main.y + head, part.width, part.height);
  }
  const name = file("png");
  all.toBlob((blob) => save(name, blob), "image/png");
}

function csv() {
  const quoted = (text) => `"${String(text).replaceAll('"', '""')}"`;
  const head = ["result", "seconds", "answer", "truth",
    ...about.classes.map((name) => `probability of ${name}`), "microseconds", "heap bytes",
    "gaps"];
  const rows = shown().map((each) => [each.number, each.seconds, quoted(about.classes[each.answer]),
    each.truth === null ? "" : quoted(about.classes[each.truth]), ...each.probabilities,
    each.microseconds, each.heap[0], each.gaps]);
  const text = [head.map(quoted), ...rows].map((row) => row.join(",")).join("\r\n");
  save(file("csv"), new Blob([text, "\r\n"], { type: "text/csv" }));
}

element("pause").onclick = () => pause(!frozen);
element("back").onclick = () => go(at() - 1);
element("on").onclick = () => go(at() + 1);
element("place").oninput = () => go(Number(element("place").value));
element("png").onclick = png;
element("csv").onclick = csv;
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
  const does = { ArrowLeft: () => go(at() - 1), ArrowRight: () => go(at() + 1),
    Home: () => go(0), End: () => go(shown().length - 1),
    " ": event.target.matches("button") ? null : () => pause(!frozen) }[event.key];
  if (!does) return;
  event.preventDefault();
  does();
});
addEventListener("resize", draw);
const resized = new ResizeObserver(draw);
for (const canvas of document.querySelectorAll("canvas")) resized.observe(canvas);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
paint();
connect();
