// In place of age-encryption's recipients.js; see vite.config.ts.
class None {
  constructor() {
    throw new Error('this app was built without this kind of recipient');
  }
}
export { None as HybridIdentity, None as HybridRecipient, None as HybridTagRecipient, None as ScryptIdentity };
export { None as ScryptRecipient, None as TagRecipient, None as X25519Identity, None as X25519Recipient };
export const generateHybridIdentity = () => new None();
export const generateX25519Identity = generateHybridIdentity;
export const generateIdentity = generateHybridIdentity;
export const identityToRecipient = generateHybridIdentity;
export const encryptFileKey = generateHybridIdentity;
export const decryptFileKey = generateHybridIdentity;
