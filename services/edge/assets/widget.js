// Puts the chat on any site: <script src="https://support.example/widget.js" data-title="Support" defer></script>
// Draws a launcher and, once opened, a frame of /chat from the script's own origin. Never reads the host page, never
// touches its styles (closed shadow root), never loads the chat before somebody opens it.
// Optional attributes: data-title, data-token (a customer's token, for signed-in sites), data-color (launcher).
(() => {
  const script = document.currentScript;
  const { origin } = new URL(script.src);
  const { title = "Support", token = "", color = "" } = script.dataset;

  const CSS = `
    :host { all: initial; position: fixed; z-index: 2147483000; inset: auto 0 0 auto; }
    * { box-sizing: border-box; }
    button { position: fixed; bottom: 20px; right: 20px; display: grid; place-items: center; width: 60px; height: 60px;
      padding: 0; border: 0; border-radius: 50%; background: var(--launcher, #0c5c4c); color: #fff; cursor: pointer;
      box-shadow: 0 2px 6px rgb(0 0 0 / 25%), 0 8px 28px rgb(0 0 0 / 22%); }
    button:focus-visible { outline: 3px solid #fff; box-shadow: 0 0 0 6px #0b57d0; }
    button:hover { filter: brightness(1.12); }
    svg { width: 28px; height: 28px; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
    .panel { position: fixed; right: 20px; bottom: 96px; width: min(410px, calc(100vw - 40px)); height: min(680px, calc(100dvh - 116px));
      border-radius: 18px; overflow: hidden; background: Canvas; box-shadow: 0 4px 12px rgb(0 0 0 / 15%), 0 18px 60px rgb(0 0 0 / 28%); }
    .panel[hidden] { display: none; }
    iframe { display: block; width: 100%; height: 100%; border: 0; color-scheme: light dark; }
    @media (max-width: 480px), (max-height: 420px) {
      .panel { inset: 0 0 0 0; width: 100vw; height: calc(100dvh - 76px); border-radius: 0; }
      .open { bottom: 8px; }
    }
    @media (prefers-reduced-motion: no-preference) {
      .panel { animation: rise .18s ease-out; }
      @keyframes rise { from { transform: translateY(12px); opacity: 0; } }
    }`;
  const OPEN = "M21 11.5a8.5 8.5 0 0 1-12.3 7.6L3 21l1.9-5.7A8.5 8.5 0 1 1 21 11.5z";
  const CLOSE = "M6 6l12 12M18 6L6 18";

  const host = document.createElement("div");
  const root = host.attachShadow({ mode: "closed" });
  const panel = document.createElement("div");
  const launcher = document.createElement("button");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  let frame = null;

  // A constructed sheet passes a host page's CSP where a <style> element would be refused.
  function addStyle() {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
    root.adoptedStyleSheets = [sheet];
    if (color) host.style.setProperty("--launcher", color);
  }

  function icon() {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    svg.append(path);
    return svg;
  }

  function loadFrame() {
    frame = document.createElement("iframe");
    frame.title = title;
    frame.src = `${origin}/chat${token ? `#token=${encodeURIComponent(token)}` : ""}`;
    frame.addEventListener("load", () => frame.focus());
    panel.append(frame);
  }

  function toggle(open) {
    panel.hidden = !open;
    path.setAttribute("d", open ? CLOSE : OPEN);
    launcher.className = open ? "open" : "";
    launcher.setAttribute("aria-expanded", String(open));
    if (open && !frame) loadFrame();
    if (open) frame.focus(); else launcher.focus();
  }

  addStyle();
  panel.hidden = true;
  panel.id = panel.className = "panel";
  launcher.type = "button";
  launcher.setAttribute("aria-label", title);
  launcher.setAttribute("aria-controls", "panel");
  launcher.setAttribute("aria-expanded", "false");
  launcher.append(icon());
  path.setAttribute("d", OPEN);
  root.append(launcher, panel);
  launcher.addEventListener("click", () => toggle(panel.hidden));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !panel.hidden) toggle(false); });
  // Escape pressed inside the frame is told by the chat page; only that page, of that origin, is believed.
  window.addEventListener("message", (event) => {
    if (event.origin === origin && frame && event.source === frame.contentWindow && event.data?.switchboard === "close") toggle(false);
  });
  document.body.append(host);
})();
