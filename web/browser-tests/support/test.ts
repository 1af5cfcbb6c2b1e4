import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { type Page, expect, test as base } from "@playwright/test";

import { Demo } from "./demo.js";
import { House, type Staff } from "./house.js";

export { expect } from "@playwright/test";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** A small telephone, and a laptop. */
export const WIDTHS = [360, 1_280];

/** A test with a house of its own, and staff where `test.use` names somebody; what its programs said is shown when it fails. */
export const test = base.extend<{ staff: Staff | undefined; house: House }>({
  staff: [undefined, { option: true }],
  house: async ({ staff }, use, info) => {
    const house = await House.open(staff);
    await use(house);
    if (info.status !== info.expectedStatus) {
      await info.attach("programs.log", { body: house.log(), contentType: "text/plain" });
      console.error(house.log());
    }
    house.close();
  },
});

/** A walk through the demo, which is started once for all of a worker's. */
export const walk = base.extend<object, { demo: Demo }>({
  demo: [
    async ({}, use) => {
      const demo = await Demo.open();
      await use(demo);
      demo.close();
    },
    { scope: "worker", timeout: 300_000 },
  ],
});

/** What axe-core finds wrong, in a form to read. The page's own policy lets no script in, so it is run from outside. */
export async function violations(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  return page.evaluate(async () => {
    const axe = (globalThis as unknown as { axe: { run(): Promise<Findings> } }).axe;
    const { violations } = await axe.run();
    return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html).join(" | ")}`);
  });
}

interface Findings {
  violations: { id: string; help: string; nodes: { html: string }[] }[];
}

/**
 * Looks at the page as it is: nothing that axe-core finds, nothing to scroll sideways, on a telephone and on a laptop, by day
 * and by night. With SCREENSHOTS=folder it is kept as pictures there.
 */
export async function inspect(page: Page, name: string): Promise<void> {
  const before = page.viewportSize();
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: 800 });
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      const where = `${name} at ${width} px, ${colorScheme}`;
      expect(await violations(page), where).toEqual([]);
      const [inner, wide] = await page.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);
      expect(wide, `${where} has to be scrolled sideways`).toBeLessThanOrEqual(inner ?? 0);
      if (process.env.SCREENSHOTS !== undefined) {
        const path = `${process.env.SCREENSHOTS}/${name}-${width}-${colorScheme}.png`;
        await page.screenshot({ path, fullPage: true });
      }
    }
  }
  await page.emulateMedia({ colorScheme: null });
  if (before !== null) {
    await page.setViewportSize(before);
  }
}
