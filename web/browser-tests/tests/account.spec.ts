import type { Page } from "@playwright/test";

import { code } from "../support/authenticator.js";
import type { House } from "../support/house.js";
import { expect, inspect, test } from "../support/test.js";

const STAFF = { email: "staff@example.com", password: "correct horse battery staple" };

test.use({ staff: STAFF });

/** From a page that she wants to the one that her password leads to. */
async function signIn(house: House, page: Page, wanted: string): Promise<void> {
  await page.goto(`${house.service}${wanted}`);
  await page.getByLabel("E-mail").fill(STAFF.email);
  await page.getByLabel("Password").fill(STAFF.password);
  await page.keyboard.press("Enter");
}

/** The secret as it is to be typed. */
async function secretOf(page: Page): Promise<string> {
  const secret = await page.locator("#secret").innerText();
  expect(secret).toMatch(/^([A-Z2-7]{4} ){7}[A-Z2-7]{4}$/);
  return secret;
}

/** The backup codes that are shown. */
async function codesOf(page: Page): Promise<string[]> {
  const codes = (await page.locator("#codes").innerText()).trim().split("\n");
  expect(codes.length).toBe(10);
  return codes;
}

test("staff sets a second factor up without a script, and signs in with what she kept", async ({ house, browser }) => {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await signIn(house, page, "/console/health");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Set up a second factor");
  await expect(page.getByRole("img", { name: "QR code" })).toBeVisible();
  await expect(page.getByRole("button", { name: /Copy/ }), "what needs a script is not offered").toBeHidden();
  await page.getByLabel(/^Code/).fill(code(await secretOf(page)));
  await page.getByRole("button", { name: "Confirm" }).click();
  const [first] = await codesOf(page);
  await expect(page.getByRole("button", { name: "Print" })).toBeHidden();
  await page.getByRole("link", { name: "I kept them" }).click();
  await expect(page).toHaveURL(`${house.service}/console/health`);

  await page.getByRole("button", { name: "Sign out" }).click();
  await signIn(house, page, "/console/drift");
  await page.getByLabel(/^Code/).fill(first ?? "none was shown");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(`${house.service}/console/drift`);
  await page.getByRole("link", { name: "Your account" }).click();
  await expect(page.getByText("9 backup codes are left")).toBeVisible();
  await context.close();
});

test("every page about oneself can be used by everybody, on a telephone and by night", async ({ house, page, browser }) => {
  await signIn(house, page, "/console/health");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Set up a second factor");
  await inspect(page, "account-enrol");
  const secret = await secretOf(page);
  await page.getByLabel(/^Code/).fill(code(secret, 100));
  await page.keyboard.press("Enter");
  await expect(page.getByRole("alert")).toContainText("The code is wrong");
  await expect(page.getByLabel(/^Code/)).toBeFocused();
  expect(await secretOf(page), "the app has it already").toBe(secret);
  await inspect(page, "account-wrong-code");
  await page.goto(`${house.service}/console`);
  await expect(page.getByLabel("Password"), "who left comes back to her password").toBeFocused();
  await inspect(page, "account-begin");
  await page.keyboard.type(STAFF.password);
  await page.keyboard.press("Enter");
  await page.getByLabel(/^Code/).fill(code(await secretOf(page)));
  await page.keyboard.press("Enter");
  await expect(page.getByRole("status").first()).toContainText("Your second factor is set up.");
  await expect(page.getByRole("button", { name: "Print" })).toBeVisible();
  await inspect(page, "account-backup-codes");
  const [first, second] = await codesOf(page);
  await page.emulateMedia({ media: "print" });
  await expect(page.locator("#codes")).toBeVisible();
  await expect(page.getByRole("link", { name: "I kept them" })).toBeHidden();
  await page.emulateMedia({ media: null });
  await page.getByRole("link", { name: "I kept them" }).click();

  const elsewhere = await browser.newContext({ userAgent: "A telephone" });
  const phone = await elsewhere.newPage();
  await signIn(house, phone, "/console");
  await expect(phone.getByLabel(/^Code/)).toBeVisible();
  await inspect(phone, "account-code");
  await phone.getByLabel(/^Code/).fill(first ?? "none was shown");
  await phone.keyboard.press("Enter");
  await expect(phone).toHaveURL(`${house.service}/console`);

  await page.getByRole("link", { name: "Your account" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Your account");
  await inspect(page, "account");
  await page.getByRole("button", { name: /^End it \(the session of A telephone/ }).click();
  await expect(page.getByRole("status").first()).toHaveText("The session has ended.");
  await expect(page.getByText("A telephone")).toBeHidden();
  await expect(async () => {
    await phone.reload();
    await expect(phone).toHaveURL(/sign-in/, { timeout: 1_000 });
  }).toPass({ timeout: 30_000 });
  await elsewhere.close();

  const factor = page.getByRole("region", { name: "Second factor" });
  await factor.getByLabel("Password").fill(STAFF.password);
  await factor.getByLabel(/^Code/).fill("000000");
  await factor.getByRole("button", { name: "Make new backup codes" }).click();
  await expect(factor.getByRole("alert")).toContainText("The code is wrong");
  await inspect(page, "account-refused");
  await factor.getByLabel("Password").fill(STAFF.password);
  await factor.getByLabel(/^Code/).fill(second ?? "none was shown");
  await factor.getByRole("button", { name: "Make new backup codes" }).click();
  await expect(page.getByRole("status").first()).toContainText("count no more");
  expect(await codesOf(page)).not.toContain(first);
});
