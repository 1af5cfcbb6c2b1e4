import { expect, inspect, test } from "../support/test.js";

const PAGE = (body: string) => `<!doctype html><html lang="en"><title>A page</title><main><h1>A page</h1>${body}</main></html>`;

test("a page that some cannot use is found out", async ({ page }) => {
  await page.setContent(PAGE("<p>Good</p>"));
  await inspect(page, "control-good");
  await page.setContent(PAGE(`<img src="data:,">`));
  await expect(inspect(page, "control-no-name")).rejects.toThrow(/image-alt/);
  await page.setContent(PAGE(`<p style="width: 500px">Wide</p>`));
  await expect(inspect(page, "control-wide")).rejects.toThrow(/at 360 px, light has to be scrolled sideways/);
});
