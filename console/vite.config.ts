// How the page is built: everything into dist/, which the server compiles in.

import { defineConfig } from "vite";

export default defineConfig({
  // Whatever path the page is served under.
  base: "./",
  build: {
    outDir: "dist",
    // The folder's own .gitignore stays; `npm run build` clears the rest.
    emptyOutDir: false,
    target: "es2022",
    // The policy of the page runs no inline script and reads no data: URL.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
  server: {
    // `npm run dev` shows the page over a server that runs here.
    proxy: Object.fromEntries(
      ["/v1", "/api", "/healthz", "/readyz"].map((path) => [path, "http://127.0.0.1:8080"]),
    ),
  },
});
