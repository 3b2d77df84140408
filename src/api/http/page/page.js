"use strict";
(() => {
  // As often as the server looks at itself, and how long one answer may take.
  const POLL_MS = 2000, ANSWER_MS = 6000;
  // What the server keeps, and what is shown at least, so that the first points are not a wall.
  const WINDOW_MS = 15 * 60 * 1000, WINDOW_MIN_MS = 2 * 60 * 1000;
  const DAY_S = 86400;

  const at = (id) => document.getElementById(id);
  const make = (tag, attributes, ...children) => {
    const svg = ["svg", "path", "line"].includes(tag);
    const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };

  // Numbers as people read them.
  const whole = (n) => Math.round(n).toLocaleString("en");
  const short = (n) => n >= 100 || Number.isInteger(n) ? whole(n) : n >= 10 ? n.toFixed(1) : n.toFixed(2);
  const bytes = (n) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = 0;
    while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
    return (unit === 0 || n >= 100 ? Math.round(n) : Number(n.toFixed(1))) + " " + units[unit];
  };
  const byteRate = (n) => bytes(n) + "/s";
  const rate = (n) => short(n) + "/s";
  const time = (ms) => ms >= 1000 ? (ms / 1000).toFixed(ms >= 10000 ? 0 : 1) + " s"
    : ms >= 10 ? Math.round(ms) + " ms" : ms.toFixed(ms >= 1 ? 1 : 2) + " ms";
  const span = (s) => s < 90 ? Math.round(s) + " s" : s < 5400 ? Math.round(s / 60) + " min"
    : s < 2 * DAY_S ? Math.round(s / 3600) + " h"
    : s < 1000 * DAY_S ? Math.round(s / DAY_S) + " days" : (s / 365.25 / DAY_S).toFixed(1) + " years";
  const known = (format, value) => value === null || value === undefined ? "–" : format(value);
  const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");

  const PLOTS = [
    { title: "Requests", format: rate, series: [["reads_per_s", "reads"], ["writes_per_s", "writes"], ["others_per_s", "others"]] },
    { title: "Write latency", format: time, series: [["write_p99_ms", "99 %"], ["write_p50_ms", "median"]] },
    { title: "Commit and fsync, 99 %", format: time, series: [["commit_p99_ms", "commit"], ["fsync_p99_ms", "fsync"]] },
    { title: "Read latency", format: time, series: [["read_p99_ms", "99 %"], ["read_p50_ms", "median"]] },
    { title: "Commits", format: rate, series: [["commits_per_s", "commits"], ["revisions_per_s", "revisions"]] },
    { title: "Failed requests", format: rate, series: [["failures_per_s", "failed"]] },
    { title: "Database", format: bytes, series: [["database_bytes", "file"], ["database_used_bytes", "in use"]] },
    { title: "Log and snapshots", format: bytes, series: [["log_bytes", "log"], ["snapshot_bytes", "snapshots"]] },
    { title: "Memory", format: bytes, series: [["resident_bytes", "process"], ["index_bytes", "index"]] },
    { title: "Traffic", format: byteRate, series: [["received_bytes_per_s", "received"], ["sent_bytes_per_s", "sent"]] },
    { title: "Watch events", format: rate, series: [["events_per_s", "events"]] },
    { title: "Watchers", format: whole, series: [["watchers", "all"], ["slow_watchers", "slow"]] },
    { title: "Revisions since compaction", format: whole, series: [["compaction_lag_revisions", "kept"]] },
    { title: "Keys and leases", format: whole, series: [["keys", "keys"], ["leases", "leases"]] },
    { title: "Processor", format: (n) => short(n) + (n === 1 ? " core" : " cores"), series: [["cpu_cores", "used"]] },
    { title: "Writer's queue", format: short, series: [["queue_requests", "waiting"], ["batch_requests", "per commit"]] },
  ];

  let names = [], rows = [], answeredAt = 0, seenAt = 0, offsetMs = 0, cursorMs = null, latest = null;
  const column = (name) => names.indexOf(name) + 1;
  const value = (name) => {
    const row = rows[rows.length - 1];
    return row ? row[column(name)] ?? null : null;
  };

  // The plots.
  const W = 300, H = 96;
  const build = (plot) => {
    const legend = make("ul", { class: "legend" });
    plot.values = plot.series.map(([, label], index) => {
      const mark = make("svg", { viewBox: "0 0 16 6", "aria-hidden": "true" });
      mark.append(make("line", { class: "c" + index, x1: 0, x2: 16, y1: 3, y2: 3 }));
      const number = make("b", {}, "–");
      legend.append(make("li", {}, mark, label + " ", number));
      return number;
    });
    plot.svg = make("svg", { viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img" });
    plot.top = make("span", { class: "top" });
    plot.none = make("span", { class: "none" }, "nothing yet");
    plot.from = make("span", {});
    plot.to = make("span", {}, "now");
    const area = make("div", { class: "plot" }, plot.svg, plot.none);
    area.addEventListener("pointermove", (event) => {
      const box = area.getBoundingClientRect();
      const [start, end] = domain();
      cursorMs = start + (end - start) * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      drawAll();
    });
    area.addEventListener("pointerleave", () => { cursorMs = null; drawAll(); });
    at("plots").append(make("figure", { "data-plot": plot.series[0][0] },
      make("figcaption", {}, make("h3", {}, plot.title), plot.top),
      area, make("div", { class: "ends", "aria-hidden": "true" }, plot.from, plot.to), legend));
  };
  const domain = () => {
    const end = rows.length ? rows[rows.length - 1][0] : Date.now();
    const first = rows.length ? rows[0][0] : end;
    return [Math.max(end - WINDOW_MS, Math.min(first, end - WINDOW_MIN_MS)), end];
  };
  const ceiling = (max) => {
    if (!(max > 0)) return 1;
    const power = 10 ** Math.floor(Math.log10(max));
    return [1, 1.5, 2, 3, 4, 5, 7.5, 10].map((step) => step * power).find((step) => step >= max * 1.02) || 10 * power;
  };
  const byteCeiling = (max) => {
    if (!(max > 0)) return 1;
    const unit = 1024 ** Math.floor(Math.log(max) / Math.log(1024));
    return ceiling(max / unit) * unit;
  };
  const nearest = (ms) => {
    let best = null;
    for (const row of rows) if (best === null || Math.abs(row[0] - ms) < Math.abs(best[0] - ms)) best = row;
    return best;
  };
  const draw = (plot) => {
    const [start, end] = domain();
    const columns = plot.series.map(([name]) => column(name));
    let max = 0, count = 0;
    for (const row of rows) for (const index of columns) if (row[index] !== null) { count += 1; max = Math.max(max, row[index]); }
    const top = plot.format === bytes || plot.format === byteRate ? byteCeiling(max) : ceiling(max);
    const x = (ms) => ((ms - start) / (end - start)) * W;
    const y = (n) => H - (n / top) * (H - 3);
    const parts = [0, 0.5].map((part) => make("line", { class: "rule", x1: 0, x2: W, y1: 3 + part * (H - 3), y2: 3 + part * (H - 3) }));
    parts.push(make("line", { class: "rule base", x1: 0, x2: W, y1: H, y2: H }));
    // The first series is in front.
    for (let s = columns.length - 1; s >= 0; s -= 1) {
      let line = "", area = "", run = null, before = null;
      const close = () => {
        if (run === null) return;
        // A lone point is a dot.
        if (before === run) line += "h1.5";
        area += `L${before.toFixed(1)} ${H}L${run.toFixed(1)} ${H}Z`;
        run = null;
      };
      let previous = null;
      for (const row of rows) {
        const n = row[columns[s]];
        const gap = previous !== null && row[0] - previous > 3.5 * POLL_MS;
        if (n === null || gap) close();
        if (n !== null) {
          const px = x(row[0]), point = px.toFixed(1) + " " + y(n).toFixed(1);
          line += run === null ? `M${point}` : `L${point}`;
          area += run === null ? `M${px.toFixed(1)} ${H}L${point}` : `L${point}`;
          if (run === null) run = px;
          before = px;
        }
        previous = row[0];
      }
      close();
      if (s === 0) parts.push(make("path", { class: "area c0", d: area || "M0 0" }));
      parts.push(make("path", { class: "line c" + s, d: line || "M0 0" }));
    }
    const row = cursorMs === null ? rows[rows.length - 1] : nearest(cursorMs);
    if (cursorMs !== null && row) parts.push(make("line", { class: "cursor", x1: x(row[0]), x2: x(row[0]), y1: 0, y2: H }));
    plot.svg.replaceChildren(...parts);
    plot.none.hidden = count > 0;
    plot.top.textContent = count > 0 ? plot.format(top) : "";
    plot.from.textContent = span((end - start) / 1000) + " ago";
    const texts = plot.series.map(([, label], index) => {
      const text = row ? known(plot.format, row[columns[index]]) : "–";
      plot.values[index].textContent = text;
      return label + " " + text;
    });
    plot.svg.setAttribute("aria-label", `${plot.title}, last ${span((end - start) / 1000)}: ${texts.join(", ")} now, up to ${plot.format(max)}`);
  };
  const drawAll = () => {
    PLOTS.forEach(draw);
    const row = cursorMs === null ? null : nearest(cursorMs);
    at("moment").textContent = row ? "at " + clock(row[0]) : "";
  };

  // The words around them.
  const STATES = { starting: "Starting", "no-leader": "No leader", "not-ready": "Not ready", degraded: "Degraded", healthy: "Healthy" };
  const CHECKS = {
    data_corruption: "No corruption is reported", serializable_read: "Reads from memory", linearizable_read: "Reads through the leader",
    non_learner: "Has a vote or its data", loaded: "The store is loaded", writable: "Writes are taken",
  };
  const certificate = (ends, nowS) => {
    if (ends === null || ends === undefined) return ["–", ""];
    const left = ends - nowS;
    if (left <= 0) return ["expired", "bad"];
    return ["in " + span(left), left < 30 * DAY_S ? "odd" : ""];
  };
  const tolerated = (n) => n === 0 ? "no failure" : n === 1 ? "1 more failure" : n + " more failures";
  const showTroubles = (answer) => {
    const troubles = [];
    const verdict = answer.verdict, advice = verdict.remedy ? " What to do: " + verdict.remedy + (verdict.section ? ` (docs/operations.md, “${verdict.section}”)` : "") + "." : "";
    if (verdict.state !== "healthy" || advice) troubles.push([verdict.state === "healthy" ? "" : "bad", STATES[verdict.state], verdict.summary + "." + advice]);
    const report = answer.cluster ? answer.cluster.report : { problems: [], warnings: [] };
    for (const check of answer.checks) if (!check.is_ok) troubles.push(["bad", CHECKS[check.name] || check.name, "no: " + check.reason]);
    for (const problem of report.problems) if (problem !== verdict.summary) troubles.push(["bad", "Cluster", problem]);
    for (const warning of report.warnings) troubles.push(["", "Soon", warning]);
    if (answer.state.is_disk_low) troubles.push(["", "Disk", "free space is below " + known(bytes, answer.state.disk_low_bytes)]);
    const box = at("troubles");
    box.hidden = troubles.length === 0;
    box.replaceChildren(...troubles.map(([kind, name, text]) => make("p", { class: "trouble " + kind }, make("b", {}, name), ": " + text)));
  };
  const showTiles = (answer) => {
    const used = value("database_used_bytes"), quota = answer.state.quota_bytes;
    const tiles = [
      ["revision", "Revision", known(whole, value("revision")), known(rate, value("revisions_per_s"))],
      ["reads", "Reads", known(rate, value("reads_per_s")), "99 %: " + known(time, value("read_p99_ms"))],
      ["writes", "Writes", known(rate, value("writes_per_s")), "99 %: " + known(time, value("write_p99_ms"))],
      ["commit", "Commit, 99 %", known(time, value("commit_p99_ms")), "fsync " + known(time, value("fsync_p99_ms"))],
      ["database", "Database", known(bytes, used), quota ? (used === null ? "" : short(100 * used / quota) + " % of quota") : "no quota"],
      ["watchers", "Watchers", known(whole, value("watchers")), known(whole, value("slow_watchers")) + " slow"],
      ["leases", "Leases", known(whole, value("leases")), value("leases") === null ? "the leader knows" : whole(answer.state.leases_expired) + " expired"],
      ["disk", "Disk free", known(bytes, value("disk_free_bytes")), answer.state.disk_bytes ? "of " + bytes(answer.state.disk_bytes) : ""],
    ];
    at("tiles").replaceChildren(...tiles.map(([id, name, text, more]) => make("div", { class: "tile", id },
      make("div", { class: "name" }, name), make("div", { class: "value" }, text), make("div", { class: "more" }, more || "\u00a0"))));
  };
  const showMembers = (answer) => {
    if (!answer.cluster) return;
    const labels = ["Node", "Address", "Role", "State", "Revision", "Log", "Snapshots", "Certificate"];
    const lines = answer.cluster.report.nodes.map((node) => {
      const [state, kind] = !node.is_reachable ? ["unreachable", "bad"] : node.is_foreign ? ["foreign", "bad"] : !node.is_ready ? ["loading", "odd"]
        : node.ahead ? ["ahead by " + whole(node.ahead), "bad"]
        : node.is_leader ? ["leader", "leader"] : ["follower", "good"];
      const [ends, ending] = certificate(node.certificate_expires_s, answer.now_ms / 1000);
      const name = make("span", {}, make("span", { class: "id" }, node.id || "–"), node.is_own ? " " : null,
        node.is_own ? make("span", { class: "tag" }, "this node") : null);
      const lag = node.lag > 0 ? ` (−${whole(node.lag)})` : "";
      const version = node.is_other_version ? make("span", { class: "tag odd" }, "version " + node.version) : null;
      const cells = [name, make("span", {}, node.address, version ? " " : null, version), node.role, make("span", { class: "tag " + kind, title: node.error || "" }, state),
        known(whole, node.revision) + lag, known(bytes, node.log_bytes), known(bytes, node.snapshot_bytes),
        ending ? make("span", { class: "tag " + ending }, ends) : ends];
      return make("tr", { "data-node": node.address, "data-state": state }, ...cells.map((cell, index) =>
        make("td", { "data-label": labels[index], class: index > 3 ? "num" : "" }, cell)));
    });
    at("members").tBodies[0].replaceChildren(...lines);
  };
  const meter = (name, part, kind) => {
    const bar = make("i");
    bar.style.width = Math.min(100, Math.max(0, part * 100)) + "%";
    const now = Math.round(part * 100);
    return make("div", { class: "meter " + kind, role: "meter", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": now }, bar);
  };
  const group = (id, title, pairs, ...more) => {
    const list = make("dl", {}, ...pairs.filter(Boolean).flatMap(([name, text, kind]) => [make("dt", {}, name), make("dd", { class: kind || "" }, text)]));
    return make("div", { class: "group", id }, make("h3", {}, title), pairs.length ? list : null, ...more);
  };
  const showDetails = (answer) => {
    const { state, node, watches } = answer, nowS = answer.now_ms / 1000;
    const used = value("database_used_bytes"), free = value("disk_free_bytes");
    const quotaPart = state.quota_bytes && used !== null ? used / state.quota_bytes : null;
    const diskPart = state.disk_bytes && free !== null ? 1 - free / state.disk_bytes : null;
    const pair = (name, ends) => { const [text, kind] = certificate(ends, nowS); return [name, ends ? `${new Date(ends * 1000).toISOString().slice(0, 10)}, ${text}` : "none", kind]; };
    const checks = make("ul", { class: "checks" }, ...answer.checks.map((check) => make("li", { class: check.is_ok ? "" : "bad", "data-check": check.name },
      CHECKS[check.name] || check.name, check.is_ok ? null : make("small", {}, check.reason))));
    const slow = watches ? watches.slow : [];
    at("details").replaceChildren(
      group("ready", "Ready to write", [["Alarms", state.alarms.length ? state.alarms.join(", ") : "none", state.alarms.length ? "bad" : ""]], checks),
      group("storage", "Storage", [
        ["Database in use", known(bytes, used)], ["Quota", state.quota_bytes ? bytes(state.quota_bytes) : "none"],
      ], quotaPart === null ? null : meter("Part of the quota in use", quotaPart, quotaPart > 0.95 ? "bad" : quotaPart > 0.8 ? "odd" : ""),
        make("dl", {}, make("dt", {}, "Disk free"), make("dd", { class: state.is_disk_low ? "bad" : "" }, known(bytes, free)),
          make("dt", {}, "Counts as low below"), make("dd", {}, known(bytes, state.disk_low_bytes))),
        diskPart === null ? null : meter("Part of the disk in use", diskPart, state.is_disk_low ? "bad" : diskPart > 0.9 ? "odd" : ""),
        make("dl", {}, make("dt", {}, "Log"), make("dd", {}, known(bytes, value("log_bytes"))), make("dt", {}, "Snapshots"), make("dd", {}, known(bytes, value("snapshot_bytes"))))),
      group("compaction", "Compaction and index", [
        ["Compacted at revision", state.compact_revision ? whole(state.compact_revision) : "never"],
        ["Last seen", state.compacted_s ? span(Math.max(0, nowS - state.compacted_s)) + " ago" : "not since the start"],
        ["Revisions kept", whole(state.index_revisions)], ["Rows to delete", whole(state.purge_rows)],
        ["Keys", known(whole, value("keys"))], ["Freed by a compaction", bytes(state.superseded_bytes)],
      ]),
      group("watches", "Watches", watches ? [
        ["Streams", whole(watches.streams)], ["Watchers", known(whole, value("watchers"))],
        ["Slow now", known(whole, value("slow_watchers")), value("slow_watchers") > 0 ? "odd" : ""],
        ["Fell behind since the start", whole(watches.fallen_behind)],
        ...slow.map((one) => [`Stream ${one.stream}, watch ${one.watch}`, whole(one.behind_revisions) + " behind", "odd"]),
      ] : [["Clients", "not served yet"]]),
      group("certificates", "Certificates", [pair("Between nodes", state.node_certificate_expires_s), pair("For clients", state.client_certificate_expires_s)]),
      group("process", "This node", [
        ["Up for", node.started_s ? span(nowS - node.started_s) : "–"], ["Role", node.role || "–"], ["Raft's term", whole(node.term)], ["Cluster ID", node.cluster_id || "–"],
        ["Changes of leader seen", whole(state.leader_changes)], ["Commits read back", whole(state.recoveries), state.recoveries ? "odd" : ""],
        ["Memory", known(bytes, value("resident_bytes"))], ["Requests so far", whole(state.calls)],
      ]),
    );
  };
  const show = (answer) => {
    const state = answer.verdict.state, text = STATES[state];
    document.body.dataset.state = state;
    const health = at("health");
    if (health.textContent !== text) health.textContent = text;
    health.dataset.state = state;
    document.title = (state === "healthy" ? "" : text + " · ") + answer.node.address + " · k8s-dqlite";
    const role = answer.node.is_leader ? "leader" : answer.node.leader_id ? "follows " + answer.node.leader_id : "no leader known";
    const tolerates = answer.cluster && answer.cluster.report.tolerated_failures !== null ? "tolerates " + tolerated(answer.cluster.report.tolerated_failures) : null;
    at("node").textContent = [answer.node.address, answer.node.id, role, tolerates, answer.node.client_url].filter(Boolean).join(" · ");
    at("version").textContent = `k8s-dqlite ${answer.node.version}, speaks as etcd ${answer.node.etcd_version}`;
    showTroubles(answer); showTiles(answer); showMembers(answer); showDetails(answer); drawAll();
  };
  const take = (answer) => {
    names = answer.points.names;
    const known = rows.length ? rows[rows.length - 1][0] : 0;
    const fresh = answer.points.rows.filter((row) => row[0] > known);
    // A clock that went back, or a server that has begun anew with one that was ahead.
    rows = answer.points.rows.length > 0 && fresh.length < answer.points.rows.length ? answer.points.rows : rows.concat(fresh);
    const end = rows.length ? rows[rows.length - 1][0] : 0;
    rows = rows.filter((row) => row[0] >= end - WINDOW_MS);
    answeredAt = Date.now(); offsetMs = answer.now_ms - answeredAt; latest = answer;
    at("silence").hidden = true;
    show(answer);
  };

  // Who uses what. Asked for only while it is open and seen: the server counts only then.
  const TOP_ROWS = 20;
  let topBefore = null, topTimer = null;
  const showTop = (now) => {
    const before = topBefore && topBefore.counting === now.counting ? topBefore : { counted_ms: 0, uses: [], clients: [] };
    const counted = Math.max(1, now.counted_ms - before.counted_ms) / 1000;
    const key = (it) => it.client + " " + it.prefix;
    // What was among others, or is now, has nothing to compare with.
    const OTHERS = "(others)", places = new Set(now.uses.map(key));
    // The place of a client that is gone is another one's later.
    const stays = (it) => JSON.stringify(before.clients[it.client]) === JSON.stringify(now.clients[it.client]);
    const kept = before.uses.filter(stays), earlier = new Map(kept.map((it) => [key(it), it]));
    const hadOthers = kept.some((it) => it.prefix === OTHERS), lost = kept.length < before.uses.length || kept.some((it) => !places.has(key(it)));
    const groups = new Map(now.groups.map((it) => [it.prefix, { ...it, reads: 0, writes: 0, watchers: 0, most: 0, mostly: "" }]));
    const clients = new Map();
    const name = (client) => [client.user || client.agent, client.address].filter(Boolean).join(" at ");
    const add = (row, reads, writes, watchers, other) => {
      row.reads += reads; row.writes += writes; row.watchers += watchers;
      if (reads + writes > row.most) { row.most = reads + writes; row.mostly = other; }
    };
    for (const it of now.uses) {
      const unknown = it.prefix === OTHERS || it.client === 0 ? lost : hadOthers && !earlier.has(key(it));
      const old = unknown ? it : earlier.get(key(it)) || { reads: 0, writes: 0 };
      const reads = Math.max(0, it.reads - old.reads) / counted, writes = Math.max(0, it.writes - old.writes) / counted;
      const client = now.clients[it.client], group = groups.get(it.prefix);
      if (group) add(group, reads, writes, it.watchers, name(client));
      if (!clients.has(it.client)) clients.set(it.client, { ...client, reads: 0, writes: 0, watchers: 0, most: 0, mostly: "" });
      add(clients.get(it.client), reads, writes, it.watchers, it.prefix || "(no prefix)");
    }
    const fill = (id, rows, labels) => at(id).tBodies[0].replaceChildren(...rows.map((cells) =>
      make("tr", {}, ...cells.map((cell, index) => make("td", { "data-label": labels[index][0], class: labels[index][1] }, cell)))));
    const text = "", num = "num";
    const largest = [...groups.values()].sort((a, b) => b.bytes - a.bytes);
    const busiest = [...clients.values()].filter((it) => it.watchers + it.most > 0).sort((a, b) => b.reads + b.writes - a.reads - a.writes);
    fill("top-groups", largest.slice(0, TOP_ROWS).map((it) => [it.prefix || "(no prefix)", whole(it.keys), bytes(it.bytes), whole(it.changes), rate(it.reads), rate(it.writes), whole(it.watchers), it.mostly || "–"]),
      [["Prefix", text], ["Keys", num], ["Size", num], ["Changes", num], ["Reads", num], ["Writes", num], ["Watchers", num], ["Most by", text]]);
    fill("top-clients", busiest.slice(0, TOP_ROWS).map((it) => [it.address, it.user || "–", it.agent || "–", rate(it.reads), rate(it.writes), whole(it.watchers), it.mostly || "–"]),
      [["Client", text], ["User", text], ["Program", text], ["Reads", num], ["Writes", num], ["Watchers", num], ["Most of", text]]);
    const more = largest.length + busiest.length - Math.min(largest.length, TOP_ROWS) - Math.min(busiest.length, TOP_ROWS);
    at("top-note").textContent = `Requests to this node of the last ${span(counted)}` + (more ? `; ${whole(more)} more rows: k8s-dqlite top --limit 0` : "");
    topBefore = now;
  };
  const pollTop = async () => {
    topTimer = null;
    if (!at("top").open || document.hidden) return;
    try {
      const answer = await fetch("/top.json", { signal: AbortSignal.timeout(ANSWER_MS), cache: "no-store" });
      if (answer.ok) showTop(await answer.json()); else at("top-note").textContent = (await answer.text()).replace(/^./, (it) => it.toUpperCase());
    } catch (error) {
      at("top-note").textContent = "The server does not answer";
    }
    if (topTimer === null) topTimer = setTimeout(pollTop, POLL_MS);
  };
  const startTop = () => { if (topTimer === null) pollTop(); };
  at("top").addEventListener("toggle", startTop);
  document.addEventListener("visibilitychange", startTop);
  // A link to it opens it.
  if (location.hash === "#top") at("top").open = true;

  // The clockwork. Silence is shown after two polls without an answer.
  const tell = () => {
    if (document.hidden) return;
    const silentMs = answeredAt ? Date.now() - Math.max(answeredAt, seenAt) : 0;
    at("age").textContent = latest ? (silentMs < 3 * POLL_MS ? "live · " + clock(Date.now() + offsetMs) : "as of " + clock(answeredAt + offsetMs)) : "";
    if (latest && silentMs > 3 * POLL_MS) {
      document.body.dataset.state = "silent";
      at("health").dataset.state = "silent";
      if (at("health").textContent !== "No answer") at("health").textContent = "No answer";
      document.title = "No answer · k8s-dqlite";
      at("silence").textContent = `The server has not answered for ${span(silentMs / 1000)}. What is below is as of ${clock(answeredAt + offsetMs)}.`;
      at("silence").hidden = false;
    }
  };
  const poll = async () => {
    const giveUp = new AbortController(), timer = setTimeout(() => giveUp.abort(), ANSWER_MS);
    try {
      const since = rows.length ? rows[rows.length - 1][0] : 0;
      const answer = await fetch("/status.json?since=" + since, { signal: giveUp.signal, cache: "no-store" });
      if (answer.ok) take(await answer.json());
    } catch (error) {
      if (!latest) at("age").textContent = "the server does not answer";
    } finally {
      clearTimeout(timer);
    }
    tell();
    // A page that nobody sees asks for nothing; the server keeps the points.
    if (!document.hidden) setTimeout(poll, POLL_MS); else document.addEventListener("visibilitychange", () => { seenAt = Date.now(); poll(); }, { once: true });
  };
  PLOTS.forEach(build);
  setInterval(tell, 1000);
  poll();
})();
