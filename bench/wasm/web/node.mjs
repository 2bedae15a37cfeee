// One engine in node.js: JSON messages a line on stdin, replies a line on stdout.
//   node node.mjs ORIGIN MOUNTS    MOUNTS: JSON, the folders behind the first words of paths
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { compileFunction } from "node:vm";
import { answer } from "./host.mjs";

const [origin, mounts] = [process.argv[2], JSON.parse(process.argv[3])];
const file = (path) => {
  const [, mount, ...rest] = path.split("/");
  return join(mounts[mount], ...rest);
};
// engines print, too: stdout is for replies
const write = process.stdout.write.bind(process.stdout);
console.log = console.info = console.debug = console.error;

const tools = {
  browser: false,
  url: (path) => new URL(path, origin).href,
  require: (path) => createRequire(import.meta.url)(file(path)),
  // a CommonJS script in a package that says all its scripts are modules
  runScript: (path) => {
    const made = { exports: {} };
    const words = ["module", "exports", "require", "__dirname", "__filename"];
    const script = compileFunction(readFileSync(file(path), "utf8"), words, { filename: file(path) });
    script(made, made.exports, createRequire(file(path)), dirname(file(path)), file(path));
    return made.exports;
  },
  importModule: (path) => import(pathToFileURL(file(path)).href),
  clocks: () => {
    const { userCPUTime, systemCPUTime, involuntaryContextSwitches } = process.resourceUsage();
    const cpu_ns = (userCPUTime + systemCPUTime) * 1e3;
    return { wall_ns: performance.now() * 1e6, cpu_ns, preempted: involuntaryContextSwitches };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  write(`${JSON.stringify(await answer(JSON.parse(line), tools))}\n`);
}
