// The area on which digits are drawn: by mouse, finger or pen, or by keys.

import { h, say } from "./dom.mjs";

const STEP = 1 / 16; // of the area, of a key
const LINE = 0.075;
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** `onChange(strokes)`: lists of points [x, y] from 0 to 1, while they are drawn. */
export class Pad {
  #strokes = [];
  #pointer = null; // the finger that draws; others are ignored
  #pen = [0.5, 0.25]; // where keys draw
  #down = false;
  #keys = false; // whether the pen is shown
  #onChange;

  constructor(onChange) {
    this.#onChange = onChange;
    this.canvas = h("canvas", {
      class: "pad",
      tabindex: 0,
      role: "application",
      "aria-label": "Drawing area for a digit",
      "aria-describedby": "pad-keys",
      onpointerdown: (e) => this.#begin(e),
      onpointermove: (e) => this.#move(e),
      onpointerup: (e) => this.#end(e),
      onpointercancel: (e) => this.#end(e),
      onkeydown: (e) => this.#key(e),
      onblur: () => {
        this.#keys = this.#down = false;
        this.draw();
      },
    });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  clear() {
    this.#strokes = [];
    this.#down = false;
    this.#changed();
  }

  /** Draw in the present colours. */
  draw() {
    const { canvas } = this,
      size = Math.round(canvas.clientWidth * devicePixelRatio);
    if (!size) return;
    canvas.width = canvas.height = size;
    const context = canvas.getContext("2d"),
      style = getComputedStyle(canvas);
    context.lineWidth = LINE * size;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = style.getPropertyValue("--ink");
    for (const stroke of this.#strokes) {
      context.beginPath();
      stroke.forEach(([x, y], i) => context[i ? "lineTo" : "moveTo"](x * size, y * size));
      if (stroke.length === 1) context.lineTo(stroke[0][0] * size, stroke[0][1] * size);
      context.stroke();
    }
    if (!this.#keys) return;
    context.lineWidth = 2 * devicePixelRatio;
    context.strokeStyle = style.getPropertyValue("--accent");
    context.beginPath();
    context.arc(this.#pen[0] * size, this.#pen[1] * size, LINE * size * 0.75, 0, 2 * Math.PI);
    context.stroke();
  }

  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  #begin(event) {
    if (this.#pointer !== null || event.button > 0) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.dataset.pointer = ""; // no ring around what the mouse draws on
    this.canvas.setPointerCapture(event.pointerId);
    this.#pointer = event.pointerId;
    this.#keys = false;
    this.#strokes.push([this.#point(event)]);
    this.#changed();
  }

  #move(event) {
    if (event.pointerId !== this.#pointer) return;
    const all = event.getCoalescedEvents?.() ?? [];
    this.#strokes.at(-1).push(...(all.length ? all : [event]).map((e) => this.#point(e)));
    this.#changed();
  }

  #end(event) {
    if (event.pointerId === this.#pointer) this.#pointer = null;
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = KEYS[event.key];
    if (way) {
      this.#pen = this.#pen.map((v, i) => Math.min(1 - STEP, Math.max(STEP, v + way[i] * STEP)));
      if (this.#down) this.#strokes.at(-1).push(this.#pen);
    } else if (event.key === " " || event.key === "Enter") {
      this.#down = !this.#down;
      if (this.#down) this.#strokes.push([this.#pen]);
      say(this.#down ? "pen down" : "pen up");
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.#strokes = [];
      this.#down = false;
      say("cleared");
    } else {
      return;
    }
    event.preventDefault();
    delete this.canvas.dataset.pointer;
    this.#keys = true;
    this.#changed();
  }

  #changed() {
    this.draw();
    this.#onChange(this.#strokes);
  }
}
