"use strict";
// The page: what a scan or an answer says is only ever set as text.
const at = (id) => document.getElementById(id);
const state = { file: null, shape: null, voxels: null, place: 0, dragged: null, lists: [] };

/** Calls the server; a refusal is thrown as its sentence. */
async function call(path, options = {}) {
  const headers = new Headers(options.headers);
  if (at("key").value) headers.set("Authorization", `Bearer ${at("key").value}`);
  const reply = await fetch(path, { ...options, headers });
  if (reply.ok) return reply;
  if (reply.status === 401) at("key-line").hidden = false;
  const body = await reply.json().catch(() => null);
  throw new Error(body?.error?.message ?? `the server says ${reply.status}`);
}

function say(text) {
  at("status").textContent = text;
}

async function upload(file) {
  say(`Sending and reading ${file.name} …`);
  at("send").disabled = true;
  const form = new FormData();
  form.append("purpose", "user_data");
  form.append("file", file);
  try {
    const old = state.file;
    state.file = await (await call("/v1/files", { method: "POST", body: form })).json();
    if (old) call(`/v1/files/${old.id}`, { method: "DELETE" }).catch(() => {});
    at("answers").replaceChildren();
    state.lists = [];
    at("window").value = "";
    at("warnings").replaceChildren(...state.file.warnings.map((warning) => {
      const line = document.createElement("li");
      line.textContent = warning;
      return line;
    }));
    const oriented = /^(DICOM|NIfTI)/.test(state.file.format);
    document.querySelectorAll(".side").forEach((side) => { side.hidden = !oriented; });
    await look();
    at("send").disabled = false;
    say(`${state.file.filename}: ${state.file.format}, ${state.file.shape.join(" × ")} voxels`);
  } catch (error) {
    say(`The scan was not taken: ${error.message}.`);
  }
}

/** Fetches the slices as the model sees them. */
async function look() {
  const window = at("window").value;
  const query = window ? `?window=${window}` : "";
  const reply = await call(`/v1/files/${state.file.id}/slices${query}`);
  state.shape = reply.headers.get("x-shape").split(",").map(Number);
  state.voxels = new Uint8Array(await reply.arrayBuffer());
  at("place").max = state.shape[0] - 1;
  at("viewer").hidden = false;
  go(Math.min(state.place, state.shape[0] - 1));
}

/** The number of a slice, and those of the scan that it is made from. */
function named(place) {
  const source = state.file.source_slices[place];
  const numbers = source[0] === source[1] ? source[0] + 1 : `${source[0] + 1} to ${source[1] + 1}`;
  return `${place + 1} of ${state.shape[0]}, in the scan ${numbers} of ${state.file.shape[0]}`;
}

function go(place) {
  const [slices, rows, columns] = state.shape;
  state.place = Math.max(0, Math.min(slices - 1, place));
  const canvas = at("slice");
  canvas.width = columns;
  canvas.height = rows;
  const picture = new ImageData(columns, rows);
  const from = state.place * rows * columns;
  for (let voxel = 0; voxel < rows * columns; voxel++) {
    picture.data.fill(state.voxels[from + voxel], 4 * voxel, 4 * voxel + 3);
    picture.data[4 * voxel + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
  const text = named(state.place);
  canvas.setAttribute("aria-label", `Slice ${text}`);
  at("place").value = state.place;
  at("place").setAttribute("aria-valuetext", `slice ${text}`);
  at("place-text").textContent = text;
  for (const list of state.lists) mark(list);
}

function mark(list) {
  list.querySelectorAll(".bar").forEach((bar, place) => {
    const chosen = place === state.place;
    bar.setAttribute("aria-selected", chosen);
    if (chosen) list.setAttribute("aria-activedescendant", bar.id);
  });
}

/** The weights as bars, each of which leads to its slice. */
function draw(list, scores, number) {
  const most = Math.max(...scores);
  list.replaceChildren(...scores.map((score, place) => {
    const bar = document.createElement("div");
    bar.className = "bar";
    bar.id = `bar-${number}-${place}`;
    bar.setAttribute("role", "option");
    bar.setAttribute("aria-label", `slice ${place + 1} of ${scores.length}, weight ${score.toFixed(3)}`);
    bar.title = `slice ${place + 1}: ${score.toFixed(3)}`;
    const fill = document.createElement("span");
    fill.style.height = `${(100 * score) / most}%`;
    bar.append(fill);
    bar.addEventListener("click", () => go(place));
    return bar;
  }));
  list.addEventListener("keydown", step);
  state.lists.push(list);
  mark(list);
}

function step(event) {
  const last = state.shape[0] - 1;
  const steps = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -5, PageDown: 5 };
  const ends = { Home: 0, End: last };
  if (event.key in steps) go(state.place + steps[event.key]);
  else if (event.key in ends) go(ends[event.key]);
  else return;
  event.preventDefault();
}

/** The JSON of a stream's events, as they come. */
async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the answer was cut off");
    waiting += value;
    const parts = waiting.split("\n\n");
    waiting = parts.pop();
    for (const part of parts) {
      if (!part.startsWith("data: ")) continue;
      if (part === "data: [DONE]") return;
      yield JSON.parse(part.slice(6));
    }
  }
}

async function ask(question) {
  const card = at("answer").content.cloneNode(true).firstElementChild;
  const find = (name) => card.querySelector(name);
  const text = find(".text");
  const stopper = new AbortController();
  const record = { question, file: state.file, answer: "", slice_scores: null };
  const window = at("window").value;
  if (window) record.window = window;
  find("h3").textContent = question;
  find(".hint").hidden = find(".bars").hidden = true;
  find(".stop").addEventListener("click", () => stopper.abort());
  find(".copy").addEventListener("click", () => navigator.clipboard.writeText(record.answer));
  find(".download").addEventListener("click", () => save(record));
  at("answers").prepend(card);
  const body = { volume: state.file.id, messages: [{ role: "user", content: question }], stream: true, ...window && { window } };
  try {
    const options = { method: "POST", headers: { "Content-Type": "application/json" }, signal: stopper.signal };
    const reply = await call("/v1/chat/completions", { ...options, body: JSON.stringify(body) });
    for await (const part of events(reply)) {
      if (part.error) throw new Error(part.error.message);
      if (part.slice_scores) {
        record.slice_scores = part.slice_scores;
        find(".hint").hidden = find(".bars").hidden = false;
        draw(find(".bars"), part.slice_scores, state.lists.length);
      }
      record.answer += part.choices[0]?.delta.content ?? "";
      text.textContent = record.answer;
    }
  } catch (error) {
    text.classList.add("failed");
    text.textContent = stopper.signal.aborted ? `${record.answer} (stopped)` : `No answer: ${error.message}.`;
  }
  find(".stop").remove();
}

function save(record) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(record, null, 1)], { type: "application/json" }));
  link.download = "answer.json";
  link.click();
  URL.revokeObjectURL(link.href);
}

at("file").addEventListener("change", (event) => { if (event.target.files[0]) upload(event.target.files[0]); });
at("key-line").addEventListener("submit", (event) => event.preventDefault());
at("place").addEventListener("input", (event) => go(Number(event.target.value)));
at("window").addEventListener("change", () => look().catch((error) => say(`The window was not taken: ${error.message}.`)));
at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (state.file) ask(at("question").value.trim());
});
at("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    at("ask").requestSubmit();
  }
});
at("frame").addEventListener("wheel", (event) => {
  event.preventDefault();
  go(state.place + Math.sign(event.deltaY));
}, { passive: false });
at("frame").addEventListener("pointerdown", (event) => { state.dragged = event.clientY; });
at("frame").addEventListener("pointermove", (event) => {
  if (state.dragged === null || !event.buttons) return;
  const steps = Math.trunc((event.clientY - state.dragged) / 12);
  if (steps === 0) return;
  state.dragged += 12 * steps;
  go(state.place + steps);
});
addEventListener("pointerup", () => { state.dragged = null; });
for (const name of ["dragover", "dragleave", "drop"]) {
  addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files[0]) upload(event.dataTransfer.files[0]);
  });
}
