// The page: tabs, and what is behind them, begun when it is first looked at.

import { h, trouble } from "./dom.mjs";
import { draw } from "./draw.mjs";
import { environment, showEnvironment } from "./environment.mjs";
import { describe, network } from "./networks.mjs";
import { keepOffline, keepRest } from "./offline.mjs";
import { race } from "./race.mjs";
import * as settings from "./settings.mjs";
import { theme } from "./theme.mjs";
import { verify } from "./verify.mjs";
import { yours } from "./yours.mjs";

const TABS = ["draw", "race", "yours", "verify"];
const tab = (name) => document.getElementById(`tab-${name}`);
const panel = (name) => document.getElementById(`panel-${name}`);

theme(document.getElementById("theme"));
try {
  await main();
} catch (error) {
  trouble(error);
  console.error(error);
}

async function main() {
  const description = await describe();
  await keepOffline(description.offline);
  showEnvironment(document.getElementById("environment"));
  trouble(environment().whyNoSimd);
  document
    .getElementById("about")
    .append(`edgesparse ${description.edgesparse}. Everything runs in this browser; nothing is sent anywhere.`);
  const races = description.networks.filter((net) => net.id.startsWith("race-"));
  const begin = {
    draw: () => draw(panel("draw"), network("digits")),
    race: () => {
      leave.race = begunRace(description, races);
    },
    yours: () => yours(panel("yours"), description, network("own")),
    verify: () => verify(panel("verify"), description),
  };
  const begun = new Set();
  const leave = {}; // what ends when a tab is left
  let shown = "";

  async function show(name, focus = false) {
    if (shown !== name) leave[shown]?.();
    shown = name;
    for (const one of TABS) {
      tab(one).setAttribute("aria-selected", String(one === name));
      tab(one).tabIndex = one === name ? 0 : -1;
      panel(one).hidden = one !== name;
    }
    if (focus) tab(name).focus();
    if (settings.get("tab") !== name) settings.set({ tab: name });
    if (begun.has(name)) return;
    begun.add(name);
    try {
      await begin[name]();
    } catch (error) {
      trouble(error);
      console.error(error);
    }
  }

  TABS.forEach((name, i) => {
    tab(name).addEventListener("click", () => show(name));
    tab(name).addEventListener("keydown", ({ key }) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: TABS.length - 1 }[key];
      if (to !== undefined) show(TABS[(to + TABS.length) % TABS.length], true);
    });
  });
  const wanted = () => (TABS.includes(settings.get("tab")) ? settings.get("tab") : "draw");
  settings.onEdited(() => show(wanted()));
  await show(wanted());
  document.documentElement.dataset.ready = "true";
  if (description.offline) keepRest(() => document.getElementById("about").append(offlineText(description)));
}

/** What is kept (demo_site.py): large networks only once they were opened. */
function offlineText(description) {
  const large = description.networks.filter(({ id }) => id === "race-full" || id === "own").map(({ title }) => title);
  return ` It works offline now${large.length ? `, ${large.join(" and ")} once opened` : ""}.`;
}

function begunRace(description, races) {
  if (!races.length) {
    panel("race").replaceChildren(h("div", { class: "card" }, "This page was made with --race none."));
    return undefined;
  }
  const { go, leave } = race(panel("race"), description, races);
  if (settings.get("run") && settings.get("tab") === "race") go();
  return leave;
}
