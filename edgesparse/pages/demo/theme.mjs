// Dark mode: as the system has it, until somebody chooses.

const KEY = "edgesparse-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    // storage is forbidden
    return null;
  }
}

/** Apply the theme, and let `button` change it. The window hears "themechange". */
export function theme(button) {
  let chosen = stored(); // kept here, too, for where storage is forbidden
  const apply = () => {
    const dark = (chosen ?? (system.matches ? "dark" : "light")) === "dark";
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    button.setAttribute("aria-pressed", String(dark));
    dispatchEvent(new Event("themechange"));
  };
  button.addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme !== "dark";
    chosen = dark === system.matches ? null : dark ? "dark" : "light";
    try {
      if (chosen) localStorage.setItem(KEY, chosen);
      else localStorage.removeItem(KEY);
    } catch {
      // then it lasts as long as the page
    }
    apply();
  });
  system.addEventListener("change", apply);
  apply();
}
