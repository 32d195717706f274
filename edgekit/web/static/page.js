// The live page: figures come as server-sent events, each picture is fetched when the one before has been shown,
// so that a slow network gets fewer pictures, never old ones.

const HUES = { person: "person", cat: "animal", dog: "animal", bird: "animal", horse: "animal", car: "vehicle",
  truck: "vehicle", bus: "vehicle", bicycle: "vehicle", motorcycle: "vehicle" };
const KEPT = 60; // seconds of latency in a curve
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const byId = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const view = { paused: false, fps: 10, privacy: false, cameras: new Map() };

function make(tag, className = "", text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== "") node.textContent = text;
  return node;
}

function shape(tag, className, points) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  node.setAttribute("class", className);
  node.setAttribute("points", points.map((point) => point.join(",")).join(" "));
  return node;
}

const hue = (label) => `var(--${HUES[label] ?? "other"})`;
const say = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const ms = (value) => (value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value.toFixed(value < 10 ? 1 : 0)} ms`);
const clock = (time) => new Date(time * 1000).toLocaleTimeString([], { hour12: false });

function span(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${Math.floor(seconds)} s`;
}

class Camera {
  constructor(name) {
    this.name = name;
    this.after = 0;
    this.status = "connecting";
    this.visible = true;
    this.latencies = [];
    this.places = "";
    this.node = byId("camera").content.firstElementChild.cloneNode(true);
    this.node.dataset.camera = name;
    this.part = (selector) => this.node.querySelector(selector);
    this.part("h2").textContent = name;
    this.part(".enlarge").setAttribute("aria-label", `Enlarge ${name}`);
    this.part(".enlarge").addEventListener("click", () => enlarge(this));
    this.image = this.part("img");
    byId("cameras").append(this.node);
    new IntersectionObserver(([entry]) => { this.visible = entry.isIntersecting; }).observe(this.node);
    this.follow();
  }

  get awake() {
    return this.visible && !document.hidden && !view.paused && ["online", "degraded"].includes(this.status);
  }

  async follow() {
    while (this.node.isConnected) {
      const began = performance.now();
      const wait = 1000 / (calm.matches ? Math.min(2, view.fps) : view.fps);
      try {
        if (this.awake) await this.fetchPicture();
      } catch {
        await sleep(1000);
      }
      await sleep(Math.max(this.awake ? 0 : 200, wait - (performance.now() - began)));
    }
  }

  async fetchPicture() {
    const answer = await fetch(`/cameras/${this.name}/picture?after=${this.after}`);
    const over = answer.headers.get("X-Edgekit-Overlay");
    if (!over) return answer.ok ? undefined : sleep(1000);
    const overlay = JSON.parse(over);
    this.after = overlay.number;
    if (answer.status === 200) await this.show(await answer.blob());
    this.resize(overlay.size);
    this.drawThings(overlay.things);
    this.part(".stage").dataset.number = overlay.number;
  }

  async show(blob) {
    const url = URL.createObjectURL(blob);
    const next = new Image();
    next.src = url;
    await next.decode();
    const old = this.image.src;
    this.image.src = url;
    if (old) URL.revokeObjectURL(old);
  }

  resize([width, height]) {
    const stage = this.part(".stage");
    stage.style.aspectRatio = `${width} / ${height}`;
    stage.style.maxWidth = `calc(82vh * ${(width / height).toFixed(4)})`;
  }

  drawThings(things) {
    this.part(".things").replaceChildren(...things.map((thing) => {
      const [[x1, y1], [x2, y2]] = thing.box;
      const box = make("i", [thing.missed && "missed", thing.unsure && "unsure", y1 < 0.08 && "top", x1 > 0.7 && "right"].filter(Boolean).join(" "));
      box.style.cssText = `left:${x1 * 100}%;top:${y1 * 100}%;width:${(x2 - x1) * 100}%;height:${(y2 - y1) * 100}%;--hue:${hue(thing.label)}`;
      box.append(make("b", "", `${thing.label}${thing.unsure ? "?" : ""} ${thing.score.toFixed(2)} #${thing.id}`));
      return box;
    }));
    const seen = things.filter((thing) => !thing.missed && !thing.unsure).map((thing) => thing.label);
    this.image.alt = `${this.name}: ${seen.length ? seen.join(", ") : "nothing recognised"}`;
  }

  update(figures) {
    this.status = figures.status;
    const pill = this.part(".pill");
    pill.className = `pill ${figures.status}`;
    say(pill, figures.status);
    const there = Object.entries(figures.counts).filter(([, n]) => n).map(([label, n]) => `${n} ${label}`);
    const nobody = ["online", "degraded"].includes(figures.status) ? "nobody there" : "";
    say(this.part(".there"), there.join(", ") || nobody);
    this.part(".there").title = there.join(", ");
    const number = (name, text) => say(this.part(`[data-is="${name}"]`), text);
    number("fps", `${figures.fps.toFixed(1)} fps`);
    number("looked", `${figures.detect_fps.toFixed(1)} fps`);
    number("model", ms(figures.infer_ms));
    number("skipped", `${figures.skipped}`);
    number("latency", ms(figures.total_ms));
    this.drawLatency(figures.total_ms);
    this.drawPlaces(figures);
    this.drawTags(figures);
    this.drawVeil(figures);
    if (!this.after) this.resize(figures.size);
  }

  drawVeil(figures) {
    const there = ["online", "degraded"].includes(figures.status);
    const veil = this.part(".veil");
    const age = figures.age_s === null ? "" : ` for ${span(figures.age_s)}`;
    veil.hidden = there;
    say(veil, { connecting: "Waiting for the first picture…", disabled: "Detection is switched off.",
      offline: `The camera is not there${age}.` }[figures.status] ?? "");
    this.part(".stage").classList.toggle("blank", view.privacy);
    if (!there) this.part(".things").replaceChildren();
  }

  drawLatency(value) {
    this.latencies.push(value);
    this.latencies.splice(0, this.latencies.length - KEPT);
    const top = Math.max(...this.latencies) * 1.15 || 1;
    const left = 120 - ((this.latencies.length - 1) * 120) / (KEPT - 1);
    const points = this.latencies.map((one, i) => `${(left + (i * 120) / (KEPT - 1)).toFixed(1)} ${(27 - (25 * one) / top).toFixed(1)}`);
    this.part(".over").setAttribute("d", `M${points.join("L")}`);
    this.part(".under").setAttribute("d", `M${left.toFixed(1)} 28L${points.join("L")}L120 28Z`);
  }

  drawPlaces({ zones, lines, size }) {
    const text = JSON.stringify([zones, lines, size]);
    if (text === this.places) return;
    this.places = text;
    const drawn = [];
    const names = [];
    const name = (x, y, label, kind) => {
      const node = make("b", kind, label);
      node.style.cssText = `--x:${x};--y:${y}`;
      names.push(node);
    };
    for (const zone of zones) {
      const count = Object.values(zone.counts).reduce((sum, n) => sum + n, 0);
      drawn.push(shape("polygon", "edge", zone.points), shape("polygon", count ? "zone busy" : "zone", zone.points));
      const [x, y] = corner(zone.points);
      name(x, y, count ? `${zone.name} · ${count}` : zone.name, "zone");
    }
    for (const line of lines) {
      const arrow = arrowOf(line.points, size);
      drawn.push(shape("polyline", "edge", line.points), shape("polyline", "line", line.points));
      drawn.push(...arrow.map((points) => shape("polyline", "arrow", points)));
      name(...line.points[0], `${line.name} ${line.in} in · ${line.out} out`, "line");
    }
    this.part(".places").replaceChildren(...drawn);
    this.part(".names").replaceChildren(...names);
  }

  drawTags({ zones, lines, alarms, motion, tampered }) {
    const tags = [];
    const tag = (text, on = false) => tags.push(make("li", on ? "on" : "", text));
    for (const alarm of alarms) tag(`${alarm.name}: ${alarm.on ? "ALARM" : "quiet"}`, alarm.on);
    if (tampered) tag("camera tampered with", true);
    for (const zone of zones) {
      const there = Object.entries(zone.counts).filter(([, n]) => n).map(([label, n]) => `${n} ${label}`);
      tag(`${zone.name}: ${there.join(", ") || "empty"}`);
    }
    for (const line of lines) tag(`${line.name}: ${line.in} in, ${line.out} out`);
    if (motion !== null) tag(motion ? "motion" : "no motion");
    const text = tags.map((node) => node.className + node.textContent).join("\n");
    if (this.tags !== text) this.part(".tags").replaceChildren(...tags);
    this.tags = text;
  }
}

// The upper left one.
function corner(points) {
  return points.reduce((best, point) => (point[0] + point[1] < best[0] + best[1] ? point : best));
}

// From the middle of a line to its "in" side, which is the right of somebody who walks from its first to its last point.
function arrowOf([[x1, y1], [x2, y2]], [width, height]) {
  const [dx, dy] = [(x2 - x1) * width, (y2 - y1) * height];
  const length = Math.hypot(dx, dy) || 1;
  const reach = 0.06 * Math.min(width, height);
  const [nx, ny] = [(-dy / length) * reach, (dx / length) * reach];
  const [mx, my] = [((x1 + x2) / 2) * width, ((y1 + y2) / 2) * height];
  const share = (x, y) => [x / width, y / height];
  const tip = [mx + nx, my + ny];
  const barb = (side) => share(tip[0] - nx * 0.45 + side * ny * 0.35, tip[1] - ny * 0.45 - side * nx * 0.35);
  return [[share(mx, my), share(...tip)], [barb(1), share(...tip), barb(-1)]];
}

function enlarge(camera) {
  const all = byId("cameras");
  const large = camera && !camera.node.classList.contains("large");
  for (const other of view.cameras.values()) {
    const on = large && other === camera;
    other.node.classList.toggle("large", on);
    other.part(".enlarge").setAttribute("aria-pressed", String(on));
  }
  all.classList.toggle("one", Boolean(large));
}

function showMachine(figures) {
  const { outbox, mqtt } = figures;
  const rows = [];
  const row = (name, value, bad = false) => rows.push(make("dt", "", name), make("dd", `${bad ? "bad" : ""} ${value.length > 20 ? "long" : ""}`.trim(), value));
  const pair = (times) => (times ? `${ms(times.p50 ?? 0)} · ${ms(times.p95 ?? 0)}` : "–");
  row("Latency p50 · p95", pair(figures.latency_ms));
  row("Model p50 · p95", pair(figures.infer_ms));
  row("Memory", `${Math.round(figures.mem_mb ?? 0)} MB`);
  const held = figures.model_mb ?? 0;
  row("Of it the model", `${held.toFixed(1)} MB` + (figures.budget_mb ? ` of ${Math.round(figures.budget_mb)}` : ""), held > (figures.budget_mb ?? Infinity));
  if (figures.budget_mb) {
    const share = Math.min(100, (100 * held) / figures.budget_mb);
    const meter = make("dd", "meter");
    const bar = make("i", share >= 100 ? "bad" : "");
    bar.style.width = `${share}%`;
    meter.append(bar);
    rows.push(meter);
  }
  row("Broker", mqtt.connected ? figures.broker : `${figures.broker} is not there`, !mqtt.connected);
  row("Messages sent", mqtt.sent.toLocaleString("en"));
  row("Outbox", outbox.pending ? `${outbox.pending.toLocaleString("en")} wait` : "empty", outbox.pending > 0 && !mqtt.connected);
  row("Kept", outbox.durable ? `on disk, ${(outbox.bytes / 1024).toFixed(0)} KiB` : "in memory");
  if (outbox.dropped) row("Lost events", outbox.dropped.toLocaleString("en"), true);
  if (outbox.trouble) row("Disk", outbox.trouble, true);
  row("Network", figures.model.split("/").slice(-2).join(" "));
  row("Engine", figures.engine);
  row("Profile", figures.profile);
  row("Running", span(figures.uptime_s ?? 0));
  row("edgekit", figures.version);
  byId("machine").replaceChildren(...rows);
}

function showEvents(events) {
  const newest = events.at(-1)?.number;
  if (newest === undefined || newest === view.newest) return;
  view.newest = newest;
  byId("events").replaceChildren(...events.toReversed().map((event) => {
    const item = make("li", event.type);
    const dot = make("span", "dot");
    dot.style.setProperty("--hue", hue(event.label));
    item.append(make("time", "", clock(event.time)), dot,
      make("span", "", `${event.camera}: ${event.label} #${event.id} ${event.text}`),
      make("span", "score", event.score.toFixed(2)));
    return item;
  }));
}

function showState(state, text) {
  byId("state").className = `pill ${state}`;
  say(byId("state"), text);
}

function show(figures) {
  view.fps = figures.fps;
  view.privacy = figures.privacy;
  document.title = `${figures.device} · edgekit`;
  say(byId("device"), figures.device);
  showState(view.paused ? "paused" : figures.state, view.paused ? "paused" : `${figures.state}${figures.privacy ? " · private" : ""}`);
  const refused = figures.config_error && `The changed config is not taken, the one before runs on: ${figures.config_error}`;
  const troubles = [figures.trouble, refused].filter(Boolean);
  byId("trouble").hidden = !troubles.length;
  say(byId("trouble"), troubles.join("\n"));
  for (const one of figures.cameras) {
    if (!view.cameras.has(one.name)) view.cameras.set(one.name, new Camera(one.name));
    view.cameras.get(one.name).update(one);
  }
  for (const [name, camera] of view.cameras) {
    if (figures.cameras.some((one) => one.name === name)) continue;
    camera.node.remove();
    view.cameras.delete(name);
  }
  showMachine(figures);
  showEvents(figures.events);
}

function listen() {
  const source = new EventSource("/events");
  source.onmessage = (message) => show(JSON.parse(message.data));
  source.onerror = () => {
    showState("lost", "connection lost");
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  };
}

function toggle(button, act) {
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    act(on);
  });
}

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  localStorage.setItem("edgekit-theme", theme);
  say(byId("theme-name"), theme);
}

const THEMES = ["auto", "light", "dark"];
setTheme(THEMES.includes(localStorage.getItem("edgekit-theme")) ? localStorage.getItem("edgekit-theme") : "auto");
byId("theme").addEventListener("click", () => {
  setTheme(THEMES[(THEMES.indexOf(byId("theme-name").textContent) + 1) % THEMES.length]);
});
toggle(byId("pause"), (on) => { view.paused = on; if (on) showState("paused", "paused"); });
toggle(byId("boxes"), (on) => document.body.classList.toggle("no-boxes", !on));
toggle(byId("places"), (on) => document.body.classList.toggle("no-places", !on));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("button, input")) {
    if (event.key === "Escape") enlarge(null);
    return;
  }
  const button = { " ": "pause", b: "boxes", z: "places", t: "theme" }[event.key];
  if (event.key === "Escape") enlarge(null);
  if (button) { event.preventDefault(); byId(button).click(); }
});
listen();
