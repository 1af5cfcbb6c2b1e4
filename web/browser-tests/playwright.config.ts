import { existsSync } from "node:fs";

import { defineConfig } from "@playwright/test";

/** The system's own Chromium: Debian's package, or what CHROMIUM names. */
function chromium(): string {
  const known = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
  const found = process.env.CHROMIUM ?? known.find((path) => existsSync(path));
  if (found === undefined) {
    throw new Error("There is no Chromium: run scripts/install-tools, or set CHROMIUM to its path.");
  }
  return found;
}

export default defineConfig({
  testDir: "tests",
  outputDir: "test-results",
  // Only what hangs comes to these: a machine that builds at the same time is slow.
  timeout: 600_000,
  expect: { timeout: 30_000 },
  workers: 2,
  fullyParallel: true,
  forbidOnly: true,
  reporter: [["list"]],
  use: {
    actionTimeout: 30_000,
    locale: "en-GB",
    timezoneId: "UTC",
    screenshot: "only-on-failure",
    launchOptions: { executablePath: chromium(), args: ["--no-sandbox", "--disable-dev-shm-usage"] },
  },
});
