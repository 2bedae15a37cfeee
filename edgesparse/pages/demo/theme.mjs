// Dark mode: as the system has it, until somebody chooses.

const KEY = "edgesparse-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch { // storage is forbidden
    return null;
  }
}

/** Apply the theme, and let `button` change it. The window hears "themechange". */
export function theme(button) {
  const apply = () => {
    const dark = (stored() ?? (system.matches ? "dark" : "light")) === "dark";
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    button.setAttribute("aria-pressed", String(dark));
    dispatchEvent(new Event("themechange"));
  };
  button.addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      if ((next === "dark") === system.matches) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, next);
    } catch { // then it lasts as long as the page
      document.documentElement.dataset.theme = next;
    }
    apply();
  });
  system.addEventListener("change", apply);
  apply();
}
