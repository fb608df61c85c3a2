// Who someone is: docs/spec/identity.md. Begin with generatePhrase and deriveRoot, or with parseAddress.

export * from "./address.ts";
export * from "./device.ts";
export * from "./domain.ts";
export * from "./key.ts";
export * from "./phrase.ts";
export * from "./safety.ts";
export * from "./signing.ts";
export { WordError } from "../errors.ts";
export { checkDomain } from "./text.ts";
export * from "./times.ts";
