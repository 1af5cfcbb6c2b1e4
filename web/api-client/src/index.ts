/**
 * A typed client of the membership API.
 *
 * ```ts
 * const api = createClient({ baseUrl: "https://membership.example.com" });
 * const decision = await dataOf(
 *   api.GET("/v1/members/{member}/access/videos/{video}", { params: { path: { member, video } } }),
 * );
 * ```
 *
 * Paths, parameters and bodies are those of the service's OpenAPI document. Refusals are thrown as {@link ApiProblem}.
 */
import createFetchClient, { type Client, type Middleware } from "openapi-fetch";

import { ApiProblem, problemOf, secondsToWait } from "./problem.js";
import type { paths } from "./schema.js";

export { ApiProblem, isProblem, type Problem } from "./problem.js";
export type { components, operations, paths } from "./schema.js";

/** The API's methods: `GET("/v1/members", …)` and so on. */
export type MembershipClient = Client<paths>;

/** Where the service is, and how it is asked. */
export interface ClientSettings {
  /** The service's address, such as `https://membership.example.com`; in a page of the service itself, nothing. */
  baseUrl?: string;
  /** A service token, for other back ends; people are known by their cookies. */
  token?: string;
  /** How often a request is sent again that got no answer, or was told to come back. 2 when left out. */
  retries?: number;
  /** Sends a request; the platform's own when left out. */
  fetch?: (request: Request) => Promise<Response>;
}

const POSITION = "membership-position";
const KEY = "idempotency-key";
/** Never waits longer than this between two tries. */
const LONGEST_WAIT = 5;

/** A client. What it reads is never older than what it has read or written before. */
export function createClient(settings: ClientSettings = {}): MembershipClient {
  const send = settings.fetch ?? ((request: Request) => globalThis.fetch(request));
  const client = createFetchClient<paths>({
    baseUrl: settings.baseUrl ?? "",
    credentials: "include",
    fetch: (request) => sendUntilAnswered(send, request, settings.retries ?? 2),
  });
  client.use(ownHeaders(settings.token), refusals);
  return client;
}

/** The data of an answer; a refusal is thrown before it comes to this. */
export async function dataOf<T>(answer: Promise<{ data?: T; response: Response }>): Promise<T> {
  const { data, response } = await answer;
  if (data === undefined) {
    throw await problemOf(response);
  }
  return data;
}

/** Sends the token, the last position and, with each command, a key; remembers the position of each answer. */
function ownHeaders(token: string | undefined): Middleware {
  let position: string | undefined;
  return {
    onRequest({ request, schemaPath }) {
      if (token !== undefined) {
        request.headers.set("authorization", `Bearer ${token}`);
      }
      if (position !== undefined && !request.headers.has(POSITION)) {
        request.headers.set(POSITION, position);
      }
      if (isCommand(request.method, schemaPath) && !request.headers.has(KEY)) {
        request.headers.set(KEY, crypto.randomUUID());
      }
    },
    onResponse({ response }) {
      const told = response.headers.get(POSITION);
      if (told !== null && (position === undefined || isLater(told, position))) {
        position = told;
      }
    },
  };
}

/** Throws what the service refuses. */
const refusals: Middleware = {
  async onResponse({ response }) {
    if (!response.ok) {
      throw await problemOf(response);
    }
  },
};

function isCommand(method: string, path: string): boolean {
  return !["GET", "HEAD", "OPTIONS"].includes(method) && path.startsWith("/v1/") && !path.startsWith("/v1/auth/");
}

/** Positions are hexadecimal numbers without leading zeros behind `p-`, so a longer one is later. */
function isLater(one: string, other: string): boolean {
  return one.length === other.length ? one > other : one.length > other.length;
}

/**
 * Sends a request again when nothing came back or it was told to come back, if that does no harm: it only reads, or has a
 * key, under which it is carried out once however often it is sent.
 */
async function sendUntilAnswered(
  send: (request: Request) => Promise<Response>,
  request: Request,
  retries: number,
): Promise<Response> {
  const harmless = request.method === "GET" || request.headers.has(KEY);
  for (let left = harmless ? retries : 0; ; left -= 1) {
    let wait = 1;
    try {
      const response = await send(request.clone());
      const later = isPassing(response) ? secondsToWait(response) : undefined;
      if (left === 0 || later === undefined || later > LONGEST_WAIT) {
        return response;
      }
      wait = later;
      await response.body?.cancel();
    } catch (error) {
      if (left === 0 || request.signal.aborted) {
        throw error;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, wait * 1_000));
    request.signal.throwIfAborted();
  }
}

function isPassing(response: Response): boolean {
  return [409, 429, 503].includes(response.status);
}
