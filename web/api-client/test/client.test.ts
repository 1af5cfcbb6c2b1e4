import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiProblem, createClient, dataOf, isProblem } from "../src/index.js";

/** A service that gives these answers, one after the other, and notes what it was asked. */
function service(...answers: (Response | Error)[]) {
  const asked: Request[] = [];
  const fetch = async (request: Request) => {
    asked.push(request);
    const answer = answers[asked.length - 1];
    if (answer === undefined || answer instanceof Error) {
      throw answer ?? new Error("nobody expected this request");
    }
    return answer;
  };
  const client = createClient({ baseUrl: "https://membership.example.com", token: "t", fetch });
  return { asked, client };
}

function answer(body: unknown, headers: Record<string, string> = {}, status = 200): Response {
  return Response.json(body, { status, headers });
}

function problem(status: number, code: string, headers: Record<string, string> = {}): Response {
  const told = { type: `urn:membership:problem:${code}`, title: code, status, detail: `about ${code}`, code, request_id: "req_1" };
  return answer(told, { "content-type": "application/problem+json", ...headers }, status);
}

const member = { object: "member", id: "mem_ada", email: null, external_id: null, created_at: "2026-11-22T10:00:00Z" };

test("a request knows of all that was answered before it", async () => {
  const at = (position: string) => answer(member, { "membership-position": position });
  const { asked, client } = service(at("p-f"), at("p-10"), at("p-9"), at("p-10"));
  const show = () => client.GET("/v1/members/{member}", { params: { path: { member: "mem_ada" } } });
  for (let i = 0; i < 4; i += 1) {
    await show();
  }
  const sent = asked.map((request) => request.headers.get("membership-position"));
  assert.deepEqual(sent, [null, "p-f", "p-10", "p-10"]);
});

test("cookies and the token are sent", async () => {
  const { asked, client } = service(answer(member));
  await client.GET("/v1/members/{member}", { params: { path: { member: "mem_ada" } } });
  assert.equal(asked[0]?.credentials, "include");
  assert.equal(asked[0]?.headers.get("authorization"), "Bearer t");
});

test("every command has a key of its own, and reading has none", async () => {
  const { asked, client } = service(answer(member), answer(member), answer(member), answer(member));
  await client.POST("/v1/members", { body: {} });
  await client.POST("/v1/members", { body: {} });
  await client.POST("/v1/members", { body: {}, headers: { "Idempotency-Key": "mine" } });
  await client.GET("/v1/members/{member}", { params: { path: { member: "mem_ada" } } });
  const keys = asked.map((request) => request.headers.get("idempotency-key"));
  assert.match(keys[0] ?? "", /^[0-9a-f-]{36}$/);
  assert.notEqual(keys[0], keys[1]);
  assert.deepEqual(keys.slice(2), ["mine", null]);
});

test("a command that got no answer is sent again under the same key", async () => {
  const { asked, client } = service(new TypeError("connection reset"), answer(member, {}, 201));
  const made = await dataOf(client.POST("/v1/members", { body: { external_id: "7" } }));
  assert.equal(made.id, "mem_ada");
  const [first, second] = asked;
  assert.ok(first?.headers.get("idempotency-key"));
  assert.equal(first?.headers.get("idempotency-key"), second?.headers.get("idempotency-key"));
  assert.deepEqual(await second?.json(), { external_id: "7" });
});

test("what is told to come back comes back, and no more often than it may", async () => {
  const later = () => problem(503, "behind", { "retry-after": "0" });
  const { asked, client } = service(later(), later(), later());
  await assert.rejects(client.GET("/v1/members"), (error) => isProblem(error, "behind"));
  assert.equal(asked.length, 3);
  const tooLate = service(problem(429, "rate_limited", { "retry-after": "60" }));
  await assert.rejects(tooLate.client.GET("/v1/members"), (error) => isProblem(error) && error.retryAfter === 60);
});

test("it waits as long as it was told before it asks again", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { asked, client } = service(problem(429, "rate_limited", { "retry-after": "3" }), answer(member));
  const shown = dataOf(client.GET("/v1/members/{member}", { params: { path: { member: "mem_ada" } } }));
  const others = () => new Promise((resolve) => setImmediate(resolve));
  await others();
  context.mock.timers.tick(2_999);
  await others();
  assert.equal(asked.length, 1);
  context.mock.timers.tick(1);
  assert.equal((await shown).id, "mem_ada");
  assert.equal(asked.length, 2);
});

test("signing in has no key, and is sent once", async () => {
  const { asked, client } = service(new TypeError("connection reset"));
  const post = client.POST as (path: string, init: object) => Promise<unknown>;
  await assert.rejects(post("/v1/auth/login", { body: {} }), TypeError);
  assert.deepEqual(asked.map((request) => request.headers.has("idempotency-key")), [false]);
});

test("a conflict that is final is not sent again", async () => {
  const { asked, client } = service(problem(409, "email_taken"));
  const refused = client.POST("/v1/members", { body: { email: "ada@example.com" } });
  await assert.rejects(refused, (error) => isProblem(error, "email_taken"));
  assert.equal(asked.length, 1);
});

test("a refusal is an error with the service's words", async () => {
  const { client } = service(problem(404, "unknown_member"));
  const shown = dataOf(client.GET("/v1/members/{member}", { params: { path: { member: "mem_x" } } }));
  const error = await shown.then(
    () => assert.fail("it was refused"),
    (error: unknown) => error,
  );
  assert.ok(error instanceof ApiProblem);
  assert.deepEqual(
    [error.status, error.code, error.message, error.requestId],
    [404, "unknown_member", "about unknown_member", "req_1"],
  );
});

test("a page of somebody else's is an error too", async () => {
  const { client } = service(new Response("<h1>Bad gateway</h1>", { status: 502, statusText: "Bad Gateway" }));
  await assert.rejects(client.GET("/v1/members"), (error) => isProblem(error, "not_a_problem") && error.status === 502);
});

test("paths, parameters and bodies are those of the document", () => {
  const { client } = service();
  const never = () => {
    // @ts-expect-error there is no such path
    void client.GET("/v1/nothing");
    // @ts-expect-error the member is missing
    void client.GET("/v1/members/{member}");
    // @ts-expect-error an address is text
    void client.POST("/v1/members", { body: { email: 7 } });
  };
  assert.equal(typeof never, "function");
});
