import { type Page } from "@playwright/test";

import type { Demo, Part } from "../support/demo.js";
import { WIDTHS, expect, inspect, walk } from "../support/test.js";

async function signIn(demo: Demo, page: Page): Promise<void> {
  await page.goto(demo.supportsClick);
  await expect(page).toHaveURL(`${demo.url}/console`);
}

/** A moment as a box for one takes it, in UTC. */
function boxed(moment: string): string {
  return moment.replace("Z", "");
}

/** From her page to the question that tells the most about her. */
async function ask(demo: Demo, page: Page, { member, email, video, at, known_at }: Part): Promise<void> {
  await page.goto(`${demo.url}/console/members/${member}`);
  await expect(page.getByRole("heading", { level: 1 })).toHaveText(email ?? member);
  const check = page.locator("section", { has: page.getByRole("heading", { name: "Check a video" }) });
  await check.getByLabel("Video").selectOption({ value: video });
  await check.getByLabel("At").fill(boxed(at));
  await check.getByRole("button", { name: "Why?" }).click();
  if (known_at !== null) {
    await page.getByLabel("Known at").fill(boxed(known_at));
    await page.getByRole("button", { name: "Why?" }).click();
  }
  await expect(page.getByLabel("Verdict")).toBeVisible();
}

for (const [turn, name] of ["one half", "the other half"].entries()) {
  walk(`${name} of the cast is explained in the browser in the words of the command line`, async ({ demo, page }) => {
    // One half is clicked through on a laptop, the other on a telephone.
    await page.setViewportSize({ width: WIDTHS[1 - turn] ?? 1_280, height: 800 });
    await signIn(demo, page);
    expect(demo.cast.length).toBeGreaterThanOrEqual(22);
    for (const part of demo.cast.filter((_, place) => place % 2 === turn)) {
      await ask(demo, page, part);
      const told = demo.explained(part).trimEnd();
      const [verdict, sentence] = told.split("\n").map((line) => line.trim());
      await expect(page.getByLabel("Verdict"), part.member).toContainText(sentence ?? "nothing was told");
      await expect(page.getByLabel("Verdict"), part.member).toContainText(verdict?.startsWith("ALLOWED") === true ? "Allowed" : "Denied");
      expect((await page.locator("#text").textContent())?.trimEnd(), part.member).toBe(told);
      await inspect(page, `cast-${part.member}`);
    }
  });
}

/** A page of each kind, about whoever has most to show there. */
const KINDS: [name: string, path: string][] = [
  ["console", ""],
  ["console-member", "/members/mem_june"],
  ["console-member-erased", "/members/mem_vera"],
  ["console-member-given", "/members/mem_tess"],
  ["console-deliveries", "/deliveries"],
  ["console-drift", "/drift"],
  ["console-health", "/health"],
  ["console-account", "/account"],
  ["console-account-no-password", "/account/second-factor"],
  ["console-view", "/members/mem_fay/view"],
  ["console-print", "/members/mem_june/print"],
  ["console-act", "/members/mem_dora/acts/extend_grace"],
  ["console-nobody", "/members/mem_nobody"],
];

walk("every kind of page can be used by everybody, on a telephone and by night", async ({ demo, page }) => {
  await signIn(demo, page);
  for (const [name, path] of KINDS) {
    await page.goto(`${demo.url}/console${path}`);
    await inspect(page, name);
  }
});

walk("what was found, by name too, and one delivery can be used by everybody", async ({ demo, page }) => {
  await signIn(demo, page);
  const find = async (typed: string) => {
    await page.keyboard.press("Control+k");
    await page.keyboard.type(typed);
    await page.keyboard.press("Enter");
  };
  await find("BER");
  const members = page.getByRole("region", { name: "Members" });
  await expect(members.getByRole("link", { name: "Ada B." })).toBeVisible();
  await expect(members.getByText("a…@example.com"), "addresses are short").toBeVisible();
  await expect(page.getByRole("region", { name: "Customers at Stripe that are nobody's" })).toContainText("Nora B.");
  expect(page.url(), "an address of a page holds no name").not.toMatch(/Berg|Nora/);
  await inspect(page, "console-found");
  await find("evt_");
  await expect(page.getByText("There may be more")).toBeVisible();
  await inspect(page, "console-found-deliveries");
  await find("nobody like this");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Nobody was found");
  await inspect(page, "console-found-nobody");
  await find("bergstrom ada");
  await expect(page.getByText("Ada Bergström"), "her page has her whole name").toBeVisible();

  await page.goto(`${demo.url}/console/deliveries?outcome=parked`);
  await page.locator("[data-event]").first().click();
  await page.getByText("Show it").click();
  await expect(page.getByText("what it says was read")).toBeVisible();
  await inspect(page, "console-delivery");
});

walk("what is told of rosa as it was then, why, what differs, and each event can be used by everybody", async ({ demo, page }) => {
  await signIn(demo, page);
  const rosa = demo.cast.find(({ member }) => member === "mem_rosa");
  if (rosa === undefined) {
    throw new Error("rosa is not in the cast");
  }
  const her = `${demo.url}/console/members/mem_rosa`;
  await ask(demo, page, rosa);
  await inspect(page, "console-explain");
  await page.goto(`${her}?at=${rosa.at}`);
  await expect(page.getByText(/arrived later/).first(), "what came late is told").toBeVisible();
  await inspect(page, "console-as-of");
  await page.goto(`${her}/diff?from=${rosa.at}`);
  await inspect(page, "console-diff");
  await page.goto(her);
  await page.locator("[data-event]").first().click();
  await expect(page).toHaveURL(/\/events\/p-/);
  await inspect(page, "console-event");
});
