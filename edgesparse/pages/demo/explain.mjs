// Without a model of the user: how to give one.

import { h } from "./dom.mjs";

export function explain(panel) {
  panel.replaceChildren(
    h(
      "div",
      { class: "card" },
      h("h2", {}, "Bring your own model"),
      h(
        "p",
        {},
        "Start the page with an ONNX file. It is compiled dense and sparse, and both answer here, on images that you " +
          "upload, drop, or take with the camera. Nothing leaves your machine.",
      ),
      h(
        "pre",
        { tabindex: 0 },
        h("code", {}, "edgesparse demo model.onnx --sparsity 0,0.5,0.9 \\\n    --labels labels.txt --sample photo.jpg"),
      ),
      h(
        "p",
        { class: "faint" },
        "Models are pruned in one shot by magnitude: accuracy comes back with training, which " +
          "edgesparse recover does. What the page shows of speed and size is the same either way.",
      ),
    ),
  );
}
