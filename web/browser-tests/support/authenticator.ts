import { createHmac } from "node:crypto";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const STEP = 30;

/** The six digits that an app shows which was given this secret, so many steps of half a minute from now. */
export function code(secret: string, ahead = 0): string {
  const bits = [...secret.replaceAll(" ", "")].map((letter) => ALPHABET.indexOf(letter).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 1_000 / STEP) + ahead));
  const hash = createHmac("sha1", key).update(step).digest();
  const from = hash.readUInt8(hash.length - 1) & 15;
  return String((hash.readUInt32BE(from) & 0x7fff_ffff) % 1_000_000).padStart(6, "0");
}
