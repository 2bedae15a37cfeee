// Elements, and words on the page.

const SVG = "http://www.w3.org/2000/svg";

/** An element; children are elements or text. Properties that start with "on" are listeners, null ones are left out. */
export function h(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function s(tag, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null));
  return element;
}

/** Replace the text of `element`, but only where it changes: what is live is read aloud each time. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

let saying = 0;

/** Told to screen readers, once nothing newer came for a moment. */
export function say(text) {
  clearTimeout(saying);
  saying = setTimeout(() => setText(document.getElementById("said"), text), 400);
}

/** What went wrong, for everybody to see; "" takes it away. */
export function trouble(error) {
  const place = document.getElementById("trouble");
  place.hidden = !error;
  setText(place, error ? String(error.message ?? error) : "");
}

/** A group of radio buttons that looks like one switch. `options`: [value, text, why it is not possible or ""]. */
export function choice(name, legend, options, chosen, onChange) {
  const why = options.map(([, , reason]) => reason).find(Boolean) ?? "";
  const buttons = options.map(([value, text, reason]) =>
    h(
      "label",
      { class: "option" },
      h("input", {
        type: "radio",
        name,
        value,
        checked: value === chosen,
        disabled: Boolean(reason),
        onchange: () => onChange(value),
      }),
      h("span", {}, text),
    ),
  );
  return h(
    "fieldset",
    { class: "choice" },
    h("legend", {}, legend),
    h("div", { class: "switch" }, ...buttons),
    why ? h("p", { class: "why" }, why) : null,
  );
}

/** A labelled list to choose from. `options`: [value, text]. */
export function select(label, options, chosen, onChange) {
  const list = h(
    "select",
    { onchange: (event) => onChange(event.target.value) },
    ...options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
  );
  return h("label", { class: "field" }, h("span", {}, label), list);
}
