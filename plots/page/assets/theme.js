// Colours: those of the printed figures, on the paper that the reader has asked for.

const darkness = matchMedia("(prefers-color-scheme: dark)");
let printing = false;

const isDark = () => darkness.matches && !printing;

const theme = () => isDark()
  ? { paper: "#15171a", ink: "#e8e8e8", dim: "#a8adb3", grid: "#30353b", mark: "#ff9a56" }
  : { paper: "#ffffff", ink: "#1a1a1a", dim: "#5c5c5c", grid: "#e4e4e4", mark: "#d55e00" };

const channels = (color) => [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));

// Relative luminance, as WCAG has it.
function luminance(parts) {
  const [r, g, b] = parts.map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

// A colour of print as it is; on dark paper black is ink, and others have as much white in them as a contrast of 3.5 takes.
function shown(color) {
  if (!isDark() || !/^#[0-9a-f]{6}$/i.test(color)) return color || theme().dim;
  if (color === "#000000") return theme().ink;
  const [parts, paper] = [channels(color), luminance(channels(theme().paper))];
  for (let white = 0; white <= 1; white += 0.05) {
    const mixed = parts.map((part) => Math.round(part + (255 - part) * white));
    if ((luminance(mixed) + 0.05) / (paper + 0.05) >= 3.5) return `rgb(${mixed.join(",")})`;
  }
  return "#ffffff";
}

// Calls back when the paper changes: at a choice of the reader's, and around printing, which is on white.
function onTheme(callback) {
  const apply = () => {
    document.documentElement.classList.toggle("dark", isDark()); // DataTables' style
    callback();
  };
  darkness.addEventListener("change", apply);
  addEventListener("beforeprint", () => { printing = true; apply(); });
  addEventListener("afterprint", () => { printing = false; apply(); });
  document.documentElement.classList.toggle("dark", isDark());
}
