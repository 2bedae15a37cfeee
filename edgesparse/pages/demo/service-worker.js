// Of an exported page: adds the headers that make it cross-origin isolated, so that threads work on any host, and keeps
// what was fetched. `edgesparse demo --export` fills in the version, a hash of all content, and what is kept at once. What
// else lies beneath the page's address is none of its business: exports are put at the root of hosts, too.
const VERSION = "%%VERSION%%";
const FILES = ["%%FILES%%"]; // before the page is first controlled: few, since it waits for them
const LATER = ["%%LATER%%"];
const WHEN_ASKED = ["%%WHEN_ASKED%%"];
const OURS = new Set([...FILES, ...LATER, ...WHEN_ASKED].map((file) => new URL(file, self.registration.scope).pathname));
const PREFIX = `edgesparse-demo ${self.registration.scope} `;
const CACHE = PREFIX + VERSION;
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};

// A newer version waits until no page of this one is open, which would otherwise get files of both.
self.addEventListener("install", (event) => {
  event.waitUntil(
    caches.open(CACHE).then((cache) => cache.addAll(FILES.map((file) => new Request(file, { cache: "reload" })))),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      const old = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
      await Promise.all(old.map((name) => caches.delete(name)));
      await self.clients.claim();
    })(),
  );
});

self.addEventListener("message", (event) => {
  if (event.data !== "keep") return;
  event.waitUntil(
    (async () => {
      const cache = await caches.open(CACHE);
      for (const file of LATER) {
        if (!(await cache.match(file))) await cache.add(file);
      }
      event.source.postMessage("kept");
    })(),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method === "GET" && origin === self.location.origin && OURS.has(pathname)) {
    event.respondWith(answer(request));
  }
});

async function answer(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request, { ignoreSearch: request.mode === "navigate" });
  if (kept) return isolated(kept);
  const response = await fetch(request);
  if (response.status === 200) await cache.put(request, response.clone()).catch(() => {}); // no space: then not offline
  return isolated(response);
}

function isolated(response) {
  if (response.status === 0 || response.type === "opaqueredirect") return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
