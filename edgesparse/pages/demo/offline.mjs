// The service worker of an exported page: it supplies the headers that threads need, and keeps the page.

const TRIED = "edgesparse-isolated"; // that the page was loaded again once, so that it is not for ever
const KEPT = "edgesparse-demo "; // what the names of the caches of service-worker.js begin with

/** Resolves once the page is as isolated as it can be; may load it again, once, and then never resolves. */
export async function keepOffline(wanted) {
  if (!("serviceWorker" in navigator)) return;
  if (!wanted) {
    await forget();
    return;
  }
  try {
    const registration = await navigator.serviceWorker.register(new URL("service-worker.js", import.meta.url));
    await settled(registration);
  } catch (error) {
    // file://, a private window, storage forbidden: all works, but for threads and offline use
    console.info(`no service worker: ${error.message}`);
    return;
  }
  if (globalThis.crossOriginIsolated || sessionStorage.getItem(TRIED)) {
    sessionStorage.removeItem(TRIED);
    return;
  }
  sessionStorage.setItem(TRIED, "1");
  location.reload();
  await new Promise(() => {});
}

/** End the worker of an export that was served at this address before, and delete what it kept; the one that retires it
 * has done so, too, but it may have been about to keep one file more. Where storage is forbidden, there is nothing. */
async function forget() {
  for (const one of await navigator.serviceWorker.getRegistrations().catch(() => [])) await one.unregister();
  const names = (await globalThis.caches?.keys().catch(() => [])) ?? [];
  for (const name of names) if (name.startsWith(KEPT)) await caches.delete(name);
}

// From the first line on: it may be said before the page has come to ask for a worker.
navigator.serviceWorker?.addEventListener("message", async ({ data }) => {
  if (data !== "edgesparse-retired") return;
  await forget();
  location.reload();
});

/** Once the newest worker is active, waits for pages of an older one to close, or was given up: `serviceWorker.ready`
 * would wait for ever then. */
function settled({ installing, waiting, active }) {
  const worker = installing ?? waiting ?? active;
  return new Promise((resolve, reject) => {
    const look = () => {
      if (worker.state === "activated" || (worker.state === "installed" && active)) resolve();
      if (worker.state === "redundant") reject(new Error("it could not be installed"));
    };
    worker.addEventListener("statechange", look);
    look();
  });
}

/** Have the rest of the page kept, while nobody waits; `done()` once all is there. */
export function keepRest(done) {
  if (!navigator.serviceWorker?.controller) return;
  navigator.serviceWorker.addEventListener("message", ({ data }) => data === "kept" && done());
  navigator.serviceWorker.startMessages();
  navigator.serviceWorker.controller.postMessage("keep");
}
