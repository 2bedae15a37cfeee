// Served as service-worker.js by `edgesparse demo`: takes the place of that of an export which was at this address before,
// and would go on to answer with what it kept.

self.addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      await self.skipWaiting();
      // what the export's worker is about may keep this one waiting for minutes: its pages need not
      const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
      for (const page of pages) page.postMessage("edgesparse-retired");
    })(),
  );
});

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
