import type { Page } from "@playwright/test";

import type { House } from "../support/house.js";
import { expect, inspect, test } from "../support/test.js";

const DAY = 86_400_000;

/** The plan that the portal offers under this name. */
async function choose(page: Page, plan: RegExp): Promise<void> {
  const select = page.getByLabel("Change to");
  const names = await select.locator("option").allInnerTexts();
  await select.selectOption({ label: names.find((name) => plan.test(name)) ?? `none of ${names.join()}` });
}

/** Buys a plan with a card. The session's id. */
async function buy(house: House, page: Page, member: string, price: string, card: string): Promise<string> {
  const { id, url } = await house.checkout(member, price);
  await page.goto(url);
  await page.getByLabel("E-mail").fill("ada@example.com");
  await page.getByLabel("Card number").fill(card);
  await page.getByRole("button", { name: /^Pay/ }).click();
  await page.waitForURL(/healthz\?bought=cs_/);
  return id;
}

test("a change of plan in the portal opens and closes the advanced roadmap", async ({ house, page }) => {
  const member = await house.member("ada@example.com");
  const id = await buy(house, page, member, "price_basic_month", "4242424242424242");
  await expect.poll(async () => (await house.decision(member, "loops")).allowed).toBe(true);
  expect((await house.decision(member, "projections")).reason).toBe("plan_too_low");

  await page.goto(await house.portal(id));
  await inspect(page, "portal");
  await choose(page, /^Pro.*month/);
  await page.getByRole("button", { name: "Change now" }).click();
  await expect(page.getByRole("status")).toHaveText("Your plan has been changed.");
  await expect(page.getByRole("heading", { name: /^Pro/ })).toBeVisible();
  await expect.poll(async () => (await house.decision(member, "projections")).allowed).toBe(true);

  await choose(page, /^Basic/);
  const later = page.getByRole("button", { name: /^Change on/ });
  const date = ((await later.textContent()) ?? "").replace("Change on ", "").trim();
  await later.click();
  await expect(page.getByText(`from ${date}`)).toBeVisible();
  await inspect(page, "portal-changes-later");
  const end = new Date(`${date} UTC`);
  expect(end.getTime()).toBeGreaterThan(Date.now() + 25 * DAY);
  await house.turnTo(new Date(end.getTime() - DAY));
  expect((await house.decision(member, "projections")).allowed, "the day before").toBe(true);
  await house.turnTo(new Date(end.getTime() + 2 * DAY));
  await expect.poll(async () => (await house.decision(member, "projections")).reason).toBe("plan_too_low");
  expect((await house.decision(member, "loops")).allowed).toBe(true);
});

test("a renewal that was declined is paid in the portal, and a cancellation is taken back", async ({ house, page }) => {
  const member = await house.member("ada@example.com");
  const id = await buy(house, page, member, "price_pro_month", "4000000000000341");
  await house.turnTo(new Date(Date.now() + 32 * DAY));
  await page.goto(await house.portal(id));
  await expect(page.getByText("past due")).toBeVisible();
  await inspect(page, "portal-unpaid");
  await page.getByLabel("New card number").fill("4000002760003184");
  await page.getByRole("button", { name: "Use this card" }).click();
  await page.getByRole("button", { name: "Pay now" }).click();
  await expect(page.getByRole("heading", { name: /bank/ })).toBeVisible();
  await inspect(page, "bank-of-an-invoice");
  await page.getByRole("button", { name: "Complete" }).click();
  await expect(page.getByText("past due")).toBeHidden();
  await expect.poll(async () => (await house.decision(member, "projections")).allowed).toBe(true);

  await page.getByRole("button", { name: /^Cancel on/ }).click();
  await expect(page.getByText("It ends on")).toBeVisible();
  await inspect(page, "portal-cancelled");
  await page.getByRole("button", { name: "Do not cancel" }).click();
  await expect(page.getByText("It ends on")).toBeHidden();
});

test("what is not there is said", async ({ house, page }) => {
  for (const [path, name] of [["/", "home"], ["/pay/cs_none", "missing"]] as const) {
    await page.goto(`${house.stripe}${path}`);
    await expect(page.getByRole("heading")).toBeVisible();
    await inspect(page, name);
  }
});
