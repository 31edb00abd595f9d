import react from "@vitejs/plugin-react";
import { crsqlSync } from "crsql-sync/vite";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react(), crsqlSync()],
  // The upstream: `crsql-sync serve --data data --listen 127.0.0.1:8787`. Pages reach it under their own origin, so no CORS.
  server: { proxy: { "/sync": process.env.UPSTREAM ?? "http://127.0.0.1:8787" } },
});
