import { expect, inspect, test } from "../support/test.js";

test("whoever pays with a good card may watch what she bought", async ({ house, page }) => {
  const member = await house.member("ada@example.com");
  expect((await house.decision(member, "loops")).reason).toBe("no_membership");
  const { url } = await house.checkout(member, "price_basic_month");
  await page.goto(url);
  await expect(page.getByRole("heading", { name: "Checkout" })).toBeVisible();
  await inspect(page, "checkout");
  await page.getByLabel("E-mail").fill("ada@example.com");
  await page.getByLabel("Card number").fill("4242 4242 4242 4242");
  await page.getByRole("button", { name: /^Pay/ }).click();
  await page.waitForURL(/healthz\?bought=cs_/);
  await expect.poll(async () => (await house.decision(member, "loops")).reason).toBe("subscription");
  expect((await house.decision(member, "projections")).reason).toBe("plan_too_low");
  await page.goto(url);
  await inspect(page, "checkout-over");
});

test("a declined card says so and opens nothing, and her bank's approval opens it", async ({ house, page }) => {
  const member = await house.member("bea@example.com");
  const { url } = await house.checkout(member, "price_pro_month");
  await page.goto(url);
  await page.getByLabel("E-mail").fill("bea@example.com");
  await page.getByLabel("Card number").fill("4000000000000002");
  await page.getByRole("button", { name: /^Pay/ }).click();
  await expect(page.getByRole("alert")).toContainText("declined");
  await inspect(page, "checkout-declined");
  expect((await house.decision(member, "projections")).allowed).toBe(false);

  await expect(page.getByLabel("E-mail"), "is not to be typed again").toHaveValue("bea@example.com");
  await page.getByLabel("Card number").fill("4000002500003155");
  await page.getByRole("button", { name: /^Pay/ }).click();
  await expect(page.getByRole("heading", { name: /bank/ })).toBeVisible();
  await inspect(page, "bank");
  expect((await house.decision(member, "projections")).allowed).toBe(false);
  await page.getByRole("button", { name: "Complete" }).click();
  await page.waitForURL(/healthz\?bought=cs_/);
  await expect.poll(async () => (await house.decision(member, "projections")).allowed).toBe(true);
});
