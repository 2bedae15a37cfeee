// The files of a bundle on their way: from a folder, over HTTP or from the Cache API, with progress and checks.

import { sha256 } from "./digest.mjs";
import { Download, failed, WASM } from "./download.mjs";
import { HAS_NODE_MODULES, nodeModule } from "./engine.mjs";
import { LoadError } from "./errors.mjs";
import { parseManifest } from "./manifest.mjs";

const CACHE = "edgesparse";
const AGAIN = "copy the bundle again";

/** One bundle while it is loaded: each file is fetched once, however often it is asked for. */
export class Files {
  #place;
  #options;
  #why;
  #open = new Map(); // name -> promise of a Download
  #stop = new AbortController();
  #forgetCaller;
  #digests = {};
  #cache = null; // {store, prefix, old}
  #kept = new Set(); // names of the files that were in the cache
  #loaded = 0;
  #total = -1;

  /** Options as of load(); `why` gets the reasons for what is not as it could be. */
  constructor(place, options, why) {
    this.#place = place;
    this.#options = options;
    this.#why = why;
    this.signal = this.#stop.signal;
    const stop = () => this.#stop.abort(options.signal.reason);
    if (options.signal?.aborted) stop();
    options.signal?.addEventListener("abort", stop, { signal: this.signal });
    this.#forgetCaller = () => options.signal?.removeEventListener("abort", stop);
  }

  /** Read manifest.json. Throws LoadError. */
  async manifest() {
    const download = await this.open("manifest.json");
    const content = await download.bytes();
    const manifest = parseManifest(content);
    this.#digests = manifest.files;
    await this.#openCache(manifest, content);
    return manifest;
  }

  /** What is to be opened next, as {name: bytes}: what progress is measured against. */
  expect(sizes) {
    const missing = Object.entries(sizes).filter(([name]) => !this.#open.has(name));
    this.#total = missing.reduce((sum, [, bytes]) => sum + bytes, this.#loaded);
    this.#tell(0);
  }

  /** A Download. Throws LoadError. */
  open(name) {
    if (!this.#open.has(name)) {
      const download = this.#start(name);
      download.catch(() => {}); // whoever asked is told
      this.#open.set(name, download);
    }
    return this.#open.get(name);
  }

  /** When all have arrived: compared with the manifest, and kept for the next time. Throws LoadError. */
  async settle() {
    for (const [name, opened] of this.#open) await this.#settled(name, await (await opened).bytes());
    await this.#forget();
    if (this.#loaded < this.#total) this.#tell(this.#total - this.#loaded);
  }

  /** The content of a file, which is then forgotten: for those that are large together. Throws LoadError. */
  async take(name) {
    const content = await (await this.open(name)).bytes();
    await this.#settled(name, content);
    this.#open.delete(name);
    return content;
  }

  async #settled(name, content) {
    const isNew = !this.#kept.has(name) && this.#cache !== null;
    if (name === "manifest.json" || !(isNew || this.#options.verify)) return;
    if (await sha256(content) !== this.#digests[name]) {
      throw new LoadError("damaged", `${name} is damaged: its SHA-256 is not the one in the manifest`, AGAIN);
    }
    if (isNew) await this.#keep(name, content);
  }

  /** All is there. Not abort(): browsers would call requests failed that have just ended. */
  done() {
    this.#forgetCaller();
  }

  /** Whatever is still on its way is no longer wanted. */
  abort() {
    this.#stop.abort();
  }

  async #start(name) {
    const kept = await this.#inCache(({ store, prefix }) => store.match(prefix + name));
    if (kept) this.#kept.add(name);
    return new Download(name, kept ?? await this.#fetch(name), this.signal, (bytes) => this.#tell(bytes));
  }

  #tell(bytes) {
    this.#loaded += bytes;
    if (this.#total < 0) return; // not known yet
    this.#options.onProgress?.({ phase: "download", loaded: Math.min(this.#loaded, this.#total), total: this.#total });
  }

  async #fetch(name) {
    if (this.#options.read) return this.#read(name);
    const { folder, files } = this.#place;
    const url = files ? files[name] : new URL(name, folder).href;
    if (url === undefined) throw new LoadError("fetch", `the package has no ${name}`, "compile the model again");
    if (HAS_NODE_MODULES && url.startsWith("file:")) {
      const [{ readFile }, { fileURLToPath }] = await Promise.all([nodeModule("fs/promises"), nodeModule("url")]);
      const path = fileURLToPath(url);
      try {
        return await readFile(path, { signal: this.signal });
      } catch (cause) {
        throw failed(this.signal, `${path} cannot be read`, cause);
      }
    }
    let response;
    try {
      // Files of two versions, one of them from the browser's cache, would not fit: ask whether it is still the same.
      response = await fetch(url, { signal: this.signal, cache: "no-cache" });
    } catch (cause) {
      throw failed(this.signal, `${url} cannot be fetched`, cause);
    }
    if (!response.ok) throw new LoadError("fetch", `${url} cannot be fetched: HTTP status ${response.status}`);
    return response;
  }

  /** As options.read has it. */
  async #read(name) {
    let bytes;
    const aborted = new Promise((_, reject) => { this.signal.addEventListener("abort", reject, { once: true }); });
    try {
      bytes = await Promise.race([this.#options.read(name), aborted]);
    } catch (cause) {
      throw failed(this.signal, `${name} cannot be read`, cause);
    }
    if (bytes instanceof Uint8Array) return bytes;
    throw new LoadError("fetch", `options.read gives no Uint8Array for ${name}`, "wrap an ArrayBuffer in one");
  }

  async #openCache(manifest, content) {
    const { cache, read } = this.#options;
    if (cache === false || read) return;
    const { folder, files } = this.#place;
    const at = files?.["manifest.json"] ?? folder; // bundlers make data: of small files
    try {
      const missing = typeof caches === "undefined" ? "there is no Cache API here" // in sandboxed frames it throws
        : /^https?:/.test(at) ? "" : `it is not from a server but ${at.split(":")[0]}:`;
      if (missing) {
        if (cache) this.#why.push(`not cached: ${missing}`);
        return;
      }
      const old = new URL(`${encodeURIComponent(manifest.name)}.edgesparse/`, at).href;
      this.#cache = { store: await caches.open(CACHE), prefix: `${old}${await sha256(content)}/`, old };
    } catch (cause) {
      this.#why.push(`not cached: ${cause.message}`);
    }
  }

  #keep(name, content) {
    const headers = { "Content-Type": name.endsWith(".wasm") ? WASM : "application/octet-stream" };
    return this.#inCache(({ store, prefix }) => store.put(prefix + name, new Response(content, { headers })));
  }

  /** Delete what other versions of the bundle left. */
  #forget() {
    return this.#inCache(async ({ store, prefix, old }) => {
      const keys = (await store.keys()).filter(({ url }) => url.startsWith(old) && !url.startsWith(prefix));
      await Promise.all(keys.map((key) => store.delete(key)));
    });
  }

  /** What `work` gives; undefined without a cache, or where it fails: there is no room left, for example. */
  async #inCache(work) {
    if (this.#cache === null) return undefined;
    try {
      return await work(this.#cache);
    } catch (cause) {
      this.#why.push(`not cached: ${cause.message}`);
      this.#cache = null;
      return undefined;
    }
  }
}
