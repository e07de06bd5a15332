// The console. Text is only ever set as text; nothing is stored, and nothing leaves this origin.

const at = (id) => document.getElementById(id);
let running = null; // the AbortController of the request under way

class Refused extends Error {}

function headers() {
  const all = { Authorization: `Bearer ${at("key").value.trim()}`, "Content-Type": "application/json" };
  if (at("purpose").value) all["X-Purpose"] = at("purpose").value;
  return all;
}

async function call(path, body, signal) {
  const answer = await fetch(path, {
    method: body ? "POST" : "GET",
    headers: headers(),
    body: body && JSON.stringify(body),
    signal,
    cache: "no-store",
    credentials: "omit",
  });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => null);
  showReceiptId(answer.headers.get("X-Receipt-Id"));
  throw new Refused(describe(told?.error) ?? `The gateway answered ${answer.status}.`);
}

function describe(error) {
  if (!error) return undefined;
  return error.message + (error.param ? ` (${error.param})` : "") + ` [${error.code}]`;
}

function show(id, ...content) {
  at(id).classList.remove("empty");
  at(id).replaceChildren(...content);
}

function element(name, text, title) {
  const made = document.createElement(name);
  made.textContent = text;
  if (title) made.title = title;
  return made;
}

function readable(name) {
  return name.toLowerCase().replaceAll("_", " ");
}

function showError(message) {
  at("error").textContent = message;
  at("error").hidden = !message;
}

function showReceiptId(id) {
  at("receipt-id").textContent = id ?? "";
}

// Splits the masked text at what was put in the place of the findings.
function marked(text, entities) {
  const nodes = [];
  let rest = text;
  for (const entity of entities) {
    const place = entity.replacement ? rest.indexOf(entity.replacement) : -1;
    if (place < 0) continue;
    nodes.push(rest.slice(0, place), element("mark", entity.replacement, entity.entity_type));
    rest = rest.slice(place + entity.replacement.length);
  }
  return [...nodes, rest];
}

async function preview(signal) {
  const answer = await call("/v1/deidentify", { text: at("prompt").value }, signal);
  const { text, entities } = await answer.json();
  show("seen", ...marked(text, entities));
  const counts = new Map();
  for (const { entity_type, operator } of entities) {
    const label = `${readable(entity_type)} · ${operator}`;
    counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  const items = [...counts].map(([label, count]) => element("li", count > 1 ? `${label} × ${count}` : label));
  at("findings").replaceChildren(...(items.length ? items : [element("li", "nothing was found to mask")]));
  return answer.headers.get("X-Receipt-Id");
}

async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    buffer += value;
    const parts = buffer.split("\n\n");
    buffer = parts.pop();
    for (const part of parts) yield part.replace(/^data: /, "");
  }
}

async function ask(signal) {
  const answer = await call(
    "/v1/chat/completions",
    { model: at("model").value, stream: true, messages: [{ role: "user", content: at("prompt").value }] },
    signal,
  );
  const receipt = answer.headers.get("X-Receipt-Id");
  showReceiptId(receipt);
  const text = document.createTextNode("");
  show("answer", text);
  at("answer").setAttribute("aria-busy", "true");
  let complete = false;
  for await (const data of events(answer)) {
    if (data === "[DONE]") {
      complete = true;
      break;
    }
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Refused(describe(chunk.error));
    at("served").textContent = chunk.model;
    text.data += chunk.choices[0]?.delta.content ?? "";
    for (const verdict of chunk.cloister?.verdicts ?? []) {
      if (!verdict.passed) at("verdicts").append(element("li", `${verdict.stage}: ${verdict.code}`));
    }
  }
  if (!complete) throw new Refused("The answer ended before it was complete.");
  return receipt;
}

// The rules behind each kind of finding, once: type, operator, then rule and clause.
function reasons(findings) {
  const table = document.createElement("table");
  const head = document.createElement("tr");
  for (const title of ["Found", "The model learnt", "Because of"]) head.append(element("th", title));
  table.append(element("caption", "Why"), head);
  const seen = new Set();
  for (const { entity_type, operator, because } of findings) {
    const rules = because.map((rule) => `${rule.clause} (${rule.file}:${rule.line})`).join("\n");
    const key = `${entity_type} ${operator} ${rules}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const row = document.createElement("tr");
    for (const text of [readable(entity_type), operator, rules]) row.append(element("td", text));
    table.append(row);
  }
  return table;
}

function record({ index, event, minute, features }) {
  const { decision, finish, error, purpose, isolation } = features;
  const parts = [`record ${index}`, event, minute, purpose, decision ?? error ?? finish, isolation];
  return element("li", parts.filter(Boolean).join(" · "));
}

async function showReceipt(id, signal) {
  showReceiptId(id);
  if (!id) return;
  const receipt = await (await call(`/v1/receipts/${encodeURIComponent(id)}`, null, signal)).json();
  const json = JSON.stringify(receipt, null, 2);
  const list = document.createElement("ul");
  list.append(...(receipt.records ?? []).map(record));
  const all = document.createElement("details");
  const save = element("a", "Save it: with an auditor's checkpoint it proves what is on record.");
  save.href = URL.createObjectURL(new Blob([json], { type: "application/json" }));
  save.download = `receipt-${id}.json`;
  all.append(element("summary", "All of it, with its proofs"), save, element("pre", json));
  const findings = receipt.explanation?.findings ?? [];
  show("receipt", list, ...(findings.length ? [reasons(findings)] : []), all);
  at("report").hidden = false;
}

async function report() {
  const id = at("receipt-id").textContent;
  const body = { kind: at("report-kind").value, text: at("report-text").value };
  try {
    await call(`/v1/receipts/${encodeURIComponent(id)}/report`, body);
  } finally {
    showReceiptId(id); // a refusal has none of its own
  }
  at("report-text").value = "";
  at("report-note").textContent = "Reported. Thank you: it is on record under this receipt.";
}

async function run(work) {
  running?.abort();
  const mine = new AbortController();
  running = mine;
  showError("");
  for (const id of ["answer", "findings", "verdicts", "served", "receipt"]) at(id).replaceChildren();
  showReceiptId("");
  at("report").hidden = true;
  at("report-note").textContent = "It is sealed; only an auditor can read it.";
  at("send").disabled = at("preview").disabled = true;
  at("stop").hidden = false;
  try {
    await work(mine.signal);
  } catch (error) {
    if (error.name !== "AbortError") {
      showError(error instanceof Refused ? error.message : "The gateway could not be reached.");
    }
  } finally {
    if (running === mine) {
      running = null;
      at("send").disabled = at("preview").disabled = false;
      at("stop").hidden = true;
      at("answer").setAttribute("aria-busy", "false");
    }
  }
}

async function listModels() {
  try {
    const { data } = await (await call("/v1/models")).json();
    const options = ["auto", ...data.map((model) => model.id)].map((name) => element("option", name));
    at("model").replaceChildren(...options);
    showError("");
  } catch (error) {
    showError(error instanceof Refused ? error.message : "The gateway could not be reached.");
  }
}

async function health() {
  const state = at("state");
  try {
    const answer = await fetch("/health/ready", { cache: "no-store" });
    const { status, reasons } = await answer.json();
    state.textContent = reasons.length ? `not ready: ${reasons.join(", ")}` : status;
    state.className = `state ${status}`;
  } catch {
    state.textContent = "not reachable";
    state.className = "state unready";
  }
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  run(async (signal) => {
    await preview(signal);
    await showReceipt(await ask(signal), signal);
  });
});
at("preview").addEventListener("click", () => {
  if (at("ask").reportValidity()) run(async (signal) => showReceipt(await preview(signal), signal));
});
at("report").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await report();
    showError("");
  } catch (error) {
    showError(error instanceof Refused ? error.message : "The gateway could not be reached.");
  }
});
at("stop").addEventListener("click", () => running?.abort());
at("key").addEventListener("change", listModels);
at("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("ask").requestSubmit();
});
health();
setInterval(health, 15000);
