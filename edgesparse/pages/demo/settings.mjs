// All settings, kept in the address after "#": who opens it sees the same, and with run=1 it is measured at once.

const KNOWN = {
  tab: "draw",
  digit: "",
  network: "",
  threads: "1",
  relaxed: "on",
  seconds: "1",
  left: "",
  right: "",
  fit: "crop",
  scale: "imagenet",
  order: "rgb",
  variant: "",
  sample: "",
  run: "",
};

// An address may hold anything: where one of these is not what it can be, it is as usual. Names of networks, images and
// the like are looked up by whom they concern.
const ALLOWED = {
  threads: /^(\d{1,3}|all)$/,
  relaxed: /^(on|off)$/,
  seconds: /^\d{1,2}(\.\d{1,2})?$/,
  fit: /^(crop|stretch|pad)$/,
  scale: /^(imagenet|unit|signed|raw)$/,
  order: /^(rgb|bgr)$/,
};

const listeners = new Set();
let current = read();

function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(
    Object.entries(KNOWN).map(([name, usual]) => {
      const value = given.get(name) ?? usual;
      return [name, ALLOWED[name]?.test(value) === false ? usual : value];
    }),
  );
}

export function get(name) {
  return current[name];
}

/** Change some, and the address with them; no entry in the history, so that Back leaves the page. */
export function set(changes) {
  const isNew = Object.entries(changes).some(([name, value]) => current[name] !== value);
  current = { ...current, ...changes };
  if (!isNew) return;
  try {
    history.replaceState(null, "", address());
  } catch {
    // Safari allows a hundred in ten seconds: "Copy link" has them all the same
  }
}

/** The address of this page with all settings that are not as usual, `more` besides. */
export function address(more = {}) {
  const changed = Object.entries({ ...current, ...more }).filter(([name, value]) => value !== KNOWN[name]);
  const url = new URL(location.href);
  url.hash = new URLSearchParams(changed).toString();
  return url.href;
}

/** `listener()` is called when somebody edits the address. */
export function onEdited(listener) {
  listeners.add(listener);
}

addEventListener("hashchange", () => {
  current = read();
  listeners.forEach((listener) => listener());
});
