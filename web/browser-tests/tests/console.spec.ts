import { expect, inspect, walk } from "../support/test.js";

walk("a member is found, looked at and explained with the keyboard alone", async ({ demo, page }) => {
  await page.goto(demo.supportsClick);
  await page.keyboard.press("Control+k");
  await expect(page.locator("#q")).toBeFocused();
  await page.keyboard.type("emil@");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("emil@example.com");
  expect(page.url(), "an address of a page holds no e-mail address").not.toContain("emil%40");

  await page.keyboard.press("?");
  await expect(page.getByRole("heading", { name: "Keyboard shortcuts" })).toBeVisible();
  await inspect(page, "console-keys");
  await page.keyboard.press("Escape");

  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("k");
  await expect(page.locator("[data-event]").first()).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/\/events\/p-/);
  await page.goBack();

  await page.getByLabel("Name holds").evaluate((box) => box.closest("details")?.setAttribute("open", ""));
  await page.getByLabel("Name holds").focus();
  await page.keyboard.type("jk?");
  await expect(page.getByLabel("Name holds"), "shortcuts are never stolen from a box").toHaveValue("jk?");

  await page.locator("#stop").focus();
  await page.keyboard.press("ArrowLeft");
  await expect(page).toHaveURL(/\?at=/);
  await expect(page.getByRole("heading", { name: /^As of / })).toBeVisible();
  await expect(page.locator("#stop"), "the slider stays where it was").toBeFocused();

  await page.locator("#video").focus();
  await page.keyboard.type("Proj");
  await page.keyboard.press("Tab");
  await page.getByRole("button", { name: "Why?" }).focus();
  await page.keyboard.press("Enter");
  await expect(page.getByLabel("Verdict")).toBeVisible();
});

walk("an owner invites somebody, and locks and unlocks her account", async ({ demo, page }) => {
  await page.goto(demo.ownersClick);
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Accounts");
  await inspect(page, "console-accounts");
  await page.getByLabel("Role").selectOption("owner");
  await page.getByRole("button", { name: "Show" }).click();
  await expect(page.getByRole("link", { name: "owner@example.com" })).toBeVisible();
  await expect(page.getByRole("link", { name: "max@example.com" })).toHaveCount(0);

  await page.getByRole("link", { name: "Invite somebody" }).click();
  await page.getByLabel("E-mail address").fill("max@example.com");
  await page.getByRole("button", { name: "Show what it would do" }).click();
  await expect(page.getByRole("alert")).toBeVisible();
  await inspect(page, "console-invite");

  await page.goto(`${demo.url}/console`);
  await page.locator("#q").fill("max@example.com");
  await page.getByRole("search").first().getByRole("button", { name: "Find" }).click();
  await page.getByRole("link", { name: "Lock her account" }).click();
  await page.getByLabel(/For good/).check();
  await page.getByRole("button", { name: "Show what it would do" }).click();
  await expect(page.getByText("She cannot sign in, for good")).toBeVisible();
  await inspect(page, "console-lock");
  await page.getByLabel(/^Reason/).fill("Somebody else reads his letters");
  await page.getByRole("button", { name: "Lock her account" }).click();
  await expect(page.getByRole("status").first()).toContainText("Account locked for good");
  await page.getByRole("link", { name: "Unlock her account" }).click();
  await page.getByLabel(/^Reason/).fill("He has his letter box back");
  await page.getByRole("button", { name: "Unlock her account" }).click();
  await expect(page.getByRole("status").first()).toContainText("Account unlocked");
});

walk("what is read and done works without a script", async ({ demo, browser }) => {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(demo.supportsClick);
  await page.locator("#q").fill("max@example.com");
  await page.getByRole("search").first().getByRole("button", { name: "Find" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("max@example.com");
  await page.getByRole("button", { name: "Show that moment" }).click();

  await page.getByRole("link", { name: "Give access without a payment" }).click();
  await page.getByLabel("Plan").selectOption("pro");
  await page.getByLabel(/For good/).check();
  await page.getByRole("button", { name: "Show what it would do" }).click();
  await expect(page.getByText("Access to Pro without a payment, for good.")).toBeVisible();
  await page.getByLabel(/^Reason/).fill("He waited for a week");
  await page.getByRole("button", { name: "Give access without a payment" }).click();
  await expect(page.getByRole("status").first()).toContainText("Done.");
  await page.getByRole("button", { name: "Why?" }).click();
  await expect(page.getByLabel("Verdict")).toContainText("Allowed");
  await context.close();
});
