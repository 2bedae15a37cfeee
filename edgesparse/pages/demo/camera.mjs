// The camera, which is asked for only when its button is pressed.

import { h } from "./dom.mjs";

export class Camera {
  on = false;
  #frame;
  #said;
  #asked = 0; // so often; what was asked for before is no longer wanted

  /** `frame()` answers to a picture of `video`, and is called again once it has; `said(text)` hears of trouble. */
  constructor(frame, said) {
    this.#frame = frame;
    this.#said = said;
    this.video = h("video", { muted: true, playsinline: true });
    this.button = h(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-pressed": "false",
        onclick: () => (this.on ? this.stop() : this.start()),
      },
      "Use the camera",
    );
    const why = !globalThis.isSecureContext
      ? "The camera needs https, or this machine."
      : !navigator.mediaDevices
        ? "This browser has no camera."
        : "";
    if (why) {
      this.button.disabled = true;
      this.button.title = why;
      this.button.textContent = `No camera: ${why}`;
    }
  }

  async start() {
    const asked = ++this.#asked;
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
      if (asked !== this.#asked) {
        stream.getTracks().forEach((track) => track.stop());
        return;
      }
      this.video.srcObject = stream;
      await this.video.play();
    } catch (error) {
      if (asked !== this.#asked) return;
      this.#said(error.name === "NotAllowedError" ? "the camera was not allowed" : `no camera: ${error.message}`);
      this.stop();
      return;
    }
    if (asked !== this.#asked) return;
    this.#show(true);
    while (asked === this.#asked) {
      if (!this.button.offsetParent) return this.stop(); // nobody looks at this part of the page
      await this.#frame();
      await new Promise((resolve) => requestAnimationFrame(resolve));
    }
  }

  /** Also what was asked for and not allowed yet. */
  stop() {
    this.#asked++;
    this.video.srcObject?.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
    this.#show(false);
  }

  #show(on) {
    this.on = on;
    this.button.setAttribute("aria-pressed", String(on));
    if (!this.button.disabled) this.button.textContent = on ? "Stop the camera" : "Use the camera";
  }
}
