// What every program of a partner system needs: access tokens by private_key_jwt, and problems told as errors.
import { createPrivateKey, randomUUID, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import createClient, { type Client } from "openapi-fetch";
import { Agent } from "undici";
import type { components, paths } from "./konclave.ts";

export type Schemas = components["schemas"];
export type Gateway = Client<paths>;

const ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ASSERTION_SECONDS = 120;
// A token is renewed when it has less than this left.
const RENEW_MILLISECONDS = 60_000;

/** The gateway answered with a problem document. */
export class Refused extends Error {
  readonly problem: Schemas["Problem"];

  constructor(problem: Schemas["Problem"]) {
    super(`${problem.status} ${problem.title}: ${problem.detail} (request ${problem.request_id})`);
    this.problem = problem;
  }
}

/** What an operation gives when it succeeds. */
export function given<T>(answer: { data?: T; error?: Schemas["Problem"]; response: Response }): T {
  if (answer.error !== undefined) {
    throw new Refused(answer.error);
  }
  if (answer.data === undefined) {
    throw new Error(`HTTP status ${answer.response.status} came without a body`);
  }
  return answer.data;
}

/** How a partner system is known to a gateway. */
export interface Registration {
  url: string;
  ca: string;
  client: string;
  key: string;
}

/** A typed client of the gateway that brings a token with each request. */
export async function connect(registration: Registration): Promise<Gateway> {
  const dispatcher = new Agent({ connect: { ca: readFileSync(registration.ca) } });
  const options = { baseUrl: registration.url, requestInitExt: { dispatcher } };
  const open = createClient<paths>(options);
  const server = given(await open.GET("/.well-known/oauth-authorization-server"));
  const key = createPrivateKey(readFileSync(registration.key));
  let token = "";
  let renewAt = 0;
  const gateway = createClient<paths>(options);
  gateway.use({
    async onRequest({ request }) {
      if (Date.now() >= renewAt) {
        const answer = await open.POST("/oauth/token", {
          headers: { "Content-Type": "application/x-www-form-urlencoded" },
          body: {
            grant_type: "client_credentials",
            client_assertion_type: ASSERTION_TYPE,
            client_assertion: assertion(registration.client, server.issuer, key),
          },
        });
        const fresh = given(answer);
        token = fresh.access_token;
        renewAt = Date.now() + fresh.expires_in * 1000 - RENEW_MILLISECONDS;
      }
      request.headers.set("Authorization", `Bearer ${token}`);
      return request;
    },
  });
  return gateway;
}

/** A JWT that shows who asks (RFC 7523, section 3). */
function assertion(client: string, issuer: string, key: ReturnType<typeof createPrivateKey>): string {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: client, sub: client, aud: issuer, jti: randomUUID(), iat: now, exp: now + ASSERTION_SECONDS };
  const signed = [{ alg: "EdDSA", typ: "JWT" }, claims].map((part) => base64url(JSON.stringify(part))).join(".");
  return `${signed}.${sign(null, Buffer.from(signed), key).toString("base64url")}`;
}

function base64url(text: string): string {
  return Buffer.from(text).toString("base64url");
}

/** The arguments that every such program takes, and its own. */
export function fromCommandLine(usage: string): { registration: Registration; rest: string[] } {
  const text = { type: "string" } as const;
  const { values, positionals } = parseArgs({
    options: { url: text, ca: text, client: text, key: text },
    allowPositionals: true,
  });
  const { url, ca, client, key } = values;
  if (url === undefined || ca === undefined || client === undefined || key === undefined) {
    throw new Error(`usage: ${usage} --url URL --ca CA.pem --client ID --key KEY.pem`);
  }
  return { registration: { url, ca, client, key }, rest: positionals };
}
