// Served as service-worker.js by `edgesparse demo`: takes the place of that of an export which was at this address before,
// and would go on to answer with what it kept.

self.addEventListener("install", () => self.skipWaiting());

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      const kept = (await caches.keys()).filter((name) => name.startsWith("edgesparse-demo "));
      await Promise.all(kept.map((name) => caches.delete(name)));
      await self.clients.claim(); // only what is ours can be loaded anew
      await self.registration.unregister();
      for (const page of await self.clients.matchAll({ type: "window" })) page.navigate(page.url);
    })(),
  );
});
