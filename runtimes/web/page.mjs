// The page of a browser runtime (browser.py): it starts the worker that runs the model, and tells when it cannot.
function tell(why) {
  fetch("failed", { method: "POST", body: JSON.stringify({ why, agent: navigator.userAgent }) });
}

// Never answered: that it ends is how edgesparse sees that this page did.
fetch("alive").then((response) => response.text()).catch(() => {});
try {
  const worker = new Worker(new URL("worker.mjs", import.meta.url), { type: "module" });
  worker.onerror = (event) => tell(event.message ?? "a worker made of a module cannot be started");
} catch (error) {
  tell(error.message);
}
