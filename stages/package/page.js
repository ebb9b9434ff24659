"use strict";

/*
 * The page on which people try the model.
 *
 * What it shows is a list of items: one drawing (`strokes`), the webcam (`live`), or pictures (`file` or `canvas`).
 * Whatever of it is `stale` is read, one at a time and the chosen one first: the newest wins, and nothing queues up.
 * It is read in the browser if the page holds the network, else by the server that the page came from.
 */
(() => {
  const STEP = 10; // pixels of a drawing that an arrow key moves the pen
  const GUIDE = 0.7; // of the video's shorter side is read; .guide in page.css
  const FRAME = 320; // pixels of what is read of the video
  const MOST_FILES = 50;
  const MOST_UNDOS = 50;
  const REST = 60; // milliseconds between two readings, in which the page can react
  const LIVE_REST = 200;
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const PROBLEMS = {
    NotAllowedError: "The webcam may not be used: allow it for this page in the browser's settings.",
    NotFoundError: "No camera was found.",
    NotReadableError: "The camera is in use by another program.",
  };

  const part = (id) => document.getElementById(id);
  const model = JSON.parse(part("package").textContent);
  const offline = part("network") !== null;
  const network = offline ? Network.load(part("network").textContent) : null;
  const pad = part("pad");
  const video = part("video");
  const paper = Paint.canvas(Paint.SIDE, Paint.SIDE); // what is read of a drawing

  let shown = { items: [{ strokes: [] }], chosen: 0 };
  const past = [];
  let digitChosen = 0; // whose details are shown
  let stroke = null; // the one being drawn: a list of [x, y]
  let pen = null; // the keyboard's: where it is, and whether it is down
  let camera = null; // the webcam's stream
  let notice = ""; // what went wrong last
  let reading = false;

  const current = () => shown.items[shown.chosen];
  const several = () => part("several").checked;
  const isBlank = ({ strokes }) => strokes?.length === 0;
  const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

  // What is shown, and what was

  function change(items) {
    stopCamera();
    past.push(shown);
    if (past.length > MOST_UNDOS) past.shift();
    show({ items, chosen: 0 });
  }

  function show(next) {
    shown = next;
    stroke = null;
    if (pen) pen.down = false;
    notice = "";
    digitChosen = 0;
    listPictures();
    render();
    readStale();
  }

  function undo() {
    stopCamera();
    if (past.length) show(past.pop());
  }

  function clear() {
    if (!isBlank(current())) change([{ strokes: [] }]);
  }

  function complain(text) {
    notice = text;
    render();
  }

  // Drawing, by pointer or by keyboard

  function begin(point) {
    const { strokes = [], answer } = current();
    const line = [point];
    change([{ strokes: [...strokes, line], answer: strokes.length ? answer : null, stale: true }]);
    stroke = line;
  }

  function extend(points) {
    stroke.push(...points);
    current().stale = true;
    paintPad();
    readStale();
  }

  function lift() {
    stroke = null;
    const item = current();
    if (!item.leftOut) return;
    item.leftOut = false;
    item.stale = true;
    readStale();
  }

  function drawByPointer() {
    let pointer = null;
    const place = ({ clientX, clientY }) => {
      const { left, top, width, height } = pad.getBoundingClientRect();
      return [((clientX - left) / width) * Paint.SIDE, ((clientY - top) / height) * Paint.SIDE];
    };
    pad.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || pointer !== null) return;
      pointer = event.pointerId;
      pad.setPointerCapture(pointer);
      pen = null;
      begin(place(event));
    });
    pad.addEventListener("pointermove", (event) => {
      if (event.pointerId !== pointer || !stroke) return;
      const events = event.getCoalescedEvents?.() ?? [];
      extend((events.length ? events : [event]).map(place));
    });
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      pad.addEventListener(name, ({ pointerId }) => {
        if (pointerId !== pointer) return;
        pointer = null;
        lift();
      });
    }
  }

  function drawByKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key !== " " && !ARROWS[event.key]) return;
    event.preventDefault();
    pen = pen ?? { x: Paint.SIDE / 2, y: Paint.SIDE / 2, down: false };
    if (event.key !== " ") {
      const within = (value) => Math.min(Math.max(value, Paint.STROKE / 2), Paint.SIDE - Paint.STROKE / 2);
      const [right, below] = ARROWS[event.key];
      Object.assign(pen, { x: within(pen.x + STEP * right), y: within(pen.y + STEP * below) });
      if (pen.down) extend([[pen.x, pen.y]]);
    } else if (!event.repeat) {
      const { down } = pen;
      if (down) lift();
      else begin([pen.x, pen.y]);
      pen.down = !down;
    }
    paintPad();
  }

  function takeKeys(event) {
    const undoing = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z";
    if (!undoing && !["Delete", "Backspace", "Escape"].includes(event.key)) return;
    event.preventDefault();
    if (undoing) undo();
    else clear();
  }

  // Pictures: chosen, dropped or pasted

  function open(files) {
    if (!files.length) return complain("That holds no picture: copy a picture itself, or use its file.");
    change([...files].slice(0, MOST_FILES).map((file) => ({ name: file.name, file, stale: true })));
    if (files.length > MOST_FILES) complain(`These are the first ${MOST_FILES} of ${files.length} pictures.`);
  }

  function takeDrops() {
    const mark = (on) => document.body.classList.toggle("dropping", on);
    addEventListener("dragover", (event) => {
      event.preventDefault();
      mark(true);
    });
    addEventListener("dragleave", ({ relatedTarget }) => relatedTarget || mark(false));
    addEventListener("drop", (event) => {
      event.preventDefault();
      mark(false);
      open(event.dataTransfer.files);
    });
  }

  // The webcam

  async function startCamera() {
    if (!navigator.mediaDevices) return complain("The webcam needs https, or a page on this machine (localhost).");
    part("webcam").disabled = true;
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      const item = { live: true };
      change([item]);
      camera = stream;
      stream.getVideoTracks()[0].onended = () => {
        stopCamera();
        complain("The webcam was switched off.");
      };
      video.srcObject = stream;
      await video.play();
      item.stale = item.live;
      readStale();
    } catch (error) {
      if (error.name !== "AbortError") notice = PROBLEMS[error.name] ?? `The webcam cannot be used (${error.name}).`;
    }
    part("webcam").disabled = false;
    render();
  }

  /** The frame that was read last stays as a picture; without one, what was there before comes back. */
  function stopCamera() {
    if (!camera) return;
    for (const track of camera.getTracks()) track.stop();
    camera = video.srcObject = null;
    current().live = current().stale = false;
    if (current().canvas) render();
    else show(past.pop());
  }

  // Reading, here or by the server

  async function readStale() {
    if (reading) return;
    reading = true;
    await pause(0); // let the page show first what is read
    for (let item; (item = [current(), ...shown.items].find(({ stale }) => stale)); ) {
      item.stale = false;
      item.beingRead = true;
      await read(item);
      item.beingRead = false;
      if (item.live) item.stale = true;
      if (shown.items.includes(item)) render();
      await pause(item.live ? LIVE_REST : REST);
    }
    reading = false;
  }

  async function read(item) {
    const { live } = item;
    try {
      if (item.file && !item.canvas) await decode(item);
      if (item.strokes) Paint.strokes(Paint.context(paper), item.strokes, 1);
      const canvas = live ? Paint.frame(video, GUIDE, FRAME) : item.strokes ? paper : item.canvas;
      const answer = offline ? readHere(canvas) : await ask(item.file ?? (await Paint.png(canvas)));
      if (live && !item.live) return; // stopped meanwhile
      if (live) item.canvas = canvas;
      Object.assign(item, { answer, error: "" });
    } catch (error) {
      if (error.busy && (live || stroke)) {
        item.leftOut = Boolean(stroke); // the next one will do, or the one when the pen is lifted
        return;
      }
      Object.assign(item, { answer: null, error: error.message });
    }
  }

  async function decode(item) {
    try {
      Object.assign(item, await Paint.decoded(item.file));
    } catch {
      if (offline) throw new Error(`${item.name}: not a picture that this browser can read.`);
    } // the server may read what the browser cannot show
    if (offline) item.scale = 1; // what is read is the canvas, not the file
  }

  function readHere(canvas) {
    const start = performance.now();
    const { width, height } = canvas;
    const { data } = Paint.context(canvas).getImageData(0, 0, width, height);
    const found = Prepare.picture(data, width, height);
    const digits = (found ? [found] : []).map(({ image, box, done }) => {
      const probabilities = [...Network.run(network, image)];
      const confidence = Math.max(...probabilities);
      const label = model.classes[probabilities.indexOf(confidence)];
      return { label, sure: confidence >= model.threshold, confidence, probabilities, image, box, done };
    });
    return { digits, milliseconds: performance.now() - start };
  }

  async function ask(file) {
    const form = new FormData();
    form.append("picture", file, file.name || "drawing.png");
    form.append("several", String(several()));
    const answer = await (await send("predict", { body: form })).json();
    if (answer.model.commit) part("commit").textContent = ` · model ${answer.model.commit}`;
    for (const digit of answer.digits) digit.image = Uint8Array.from(atob(digit.image), (c) => c.charCodeAt(0));
    return answer;
  }

  async function send(address, content) {
    const response = await fetch(address, { method: "POST", ...content }).catch(() => {
      throw new Error("The server does not answer: start it again with make serve.");
    });
    if (response.ok) return response;
    const { error } = await response.json().catch(() => ({}));
    const busy = [429, 503].includes(response.status);
    throw Object.assign(new Error(error ?? `The server refuses (${response.status}).`), { busy });
  }

  async function correct(label) {
    const item = current();
    stopCamera();
    while (item.stale || item.beingRead) await pause(REST); // the label is of what is drawn, which an answer may lag
    const { id, digits } = item.answer ?? { digits: [] };
    const digit = digits[digitChosen];
    if (!digit) return;
    const image = btoa(String.fromCharCode(...digit.image));
    const body = JSON.stringify({ id, digit: digits.indexOf(digit), label, image });
    try {
      await send("corrections", { body, headers: { "Content-Type": "application/json" } });
      digit.thanks = `Thank you. The server keeps what the model saw, its answer ${digit.label} and your ${label}.`;
      render();
    } catch (error) {
      complain(error.message);
    }
  }

  // Showing

  function render() {
    const item = current();
    const answer = item.answer ?? null;
    if (!answer?.digits[digitChosen]) digitChosen = 0;
    pad.hidden = Boolean(item.live);
    video.hidden = part("guide").hidden = !item.live;
    part("invitation").hidden = !isBlank(item);
    part("undo").disabled = !past.length;
    part("clear").disabled = isBlank(item);
    part("webcam").textContent = camera ? "Stop" : "Webcam";
    part("webcam").ariaLabel = camera ? "Stop the webcam" : null;
    part("webcam").classList.toggle("on", Boolean(camera));
    part("message").textContent = notice || item.error || "";
    Answer.show(answer, digitChosen, (index) => {
      digitChosen = index;
      render();
    });
    if (!offline) showCorrection(answer?.digits[digitChosen]);
    if (shown.items.length > 1) shown.items.forEach(labelPicture);
    if (!item.live) paintPad();
  }

  /** The visible canvas has the screen's pixels, and so sharper lines than what is read. */
  function paintPad() {
    const side = Math.round(pad.clientWidth * devicePixelRatio);
    if (pad.width !== side) pad.width = pad.height = side;
    const context = pad.getContext("2d");
    const { strokes = [], canvas, answer, scale = 1 } = current();
    Paint.strokes(context, strokes, side / Paint.SIDE);
    const { width, height } = canvas ?? paper;
    const fit = side / Math.max(width, height);
    context.setTransform(fit, 0, 0, fit, (side - width * fit) / 2, (side - height * fit) / 2);
    if (canvas) context.drawImage(canvas, 0, 0);
    if (canvas || several()) Paint.boxes(context, answer?.digits ?? [], digitChosen, scale, devicePixelRatio / fit);
    context.setTransform(side / Paint.SIDE, 0, 0, side / Paint.SIDE, 0, 0);
    if (pen) Paint.pen(context, pen);
  }

  function showCorrection(digit) {
    const thanked = Boolean(digit?.thanks);
    part("correction").hidden = !digit;
    part("thanks").textContent = digit?.thanks ?? "";
    part("thanks").hidden = !thanked;
    part("wrong").hidden = thanked;
  }

  function listPictures() {
    const { items } = shown;
    part("pictures").hidden = items.length < 2;
    const rows = items.map((item, index) => {
      item.picture = Answer.element("div", { className: "blank" });
      item.caption = Answer.element("b", {});
      const onclick = () => {
        Object.assign(shown, { chosen: index });
        digitChosen = 0;
        render();
      };
      const name = Answer.element("span", {}, item.name ?? "");
      item.button = Answer.element("button", { type: "button", onclick, title: item.name }, item.picture);
      item.button.append(item.caption, name);
      return Answer.element("li", {}, item.button);
    });
    part("list").replaceChildren(...(items.length > 1 ? rows : []));
  }

  function labelPicture(item) {
    if (item.canvas && item.picture !== item.canvas) {
      item.picture.replaceWith(item.canvas);
      item.picture = item.canvas;
    }
    const found = Boolean(item.answer?.digits.length);
    const none = item.error ? "not read" : item.answer ? "no digit" : "…";
    item.caption.textContent = found ? Answer.text(item.answer) : none;
    item.caption.className = found ? "" : "faint";
    item.button.setAttribute("aria-current", String(item === current()));
  }

  function start() {
    drawByPointer();
    takeDrops();
    pad.addEventListener("keydown", drawByKey);
    pad.addEventListener("blur", () => {
      pen = stroke = null;
      paintPad();
    });
    addEventListener("keydown", takeKeys);
    addEventListener("paste", ({ clipboardData }) => open(clipboardData.files));
    part("undo").onclick = undo;
    part("clear").onclick = clear;
    part("choose").onclick = () => part("files").click();
    part("files").onchange = ({ target }) => {
      if (target.files.length) open([...target.files]);
      target.value = ""; // so that the same file can be chosen again
    };
    part("webcam").onclick = () => (camera ? stopCamera() : startCamera());
    part("several-option").hidden = offline;
    part("several").onchange = () => {
      for (const item of shown.items) item.stale = !isBlank(item);
      readStale();
    };
    const button = (label) => Answer.element("button", { type: "button", onclick: () => correct(label) }, label);
    if (!offline) part("labels").append(...model.classes.map(button));
    new ResizeObserver(paintPad).observe(pad);
    render();
  }

  start();
})();
