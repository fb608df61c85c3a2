// What the page shows of a meeting without a server (docs/spec/cards.md). No key is in here.

/** What is wrong with a card, or with the meeting: each has a text and a next step of its own. */
export type CardProblem =
  | 'malformed'
  | 'version'
  | 'tampered'
  | 'expired'
  | 'not-yet'
  | 'is-offer' // an answer is wanted here
  | 'is-answer' // and nothing here waits for one
  | 'foreign'
  | 'own'
  | 'replayed'
  | 'second'
  | 'device'
  | 'blocked'
  | 'alarm'
  | 'nobody' // the card expired before the other side came
  | 'unreachable'
  | 'no-relay'
  | 'no-address'
  | 'other';

/** Whose card it is, before anything is done with it. */
export interface Peer {
  id: string;
  /** What it calls itself, or what we call it. */
  name: string;
  fingerprint: string;
  known: boolean;
  verified: boolean;
}

/** A card of this page that is alive. */
export interface OwnCard {
  link: string;
  /** Texts of the QR codes, shown in turn where there are several. */
  codes: string[];
  /** By this device's clock, in milliseconds. */
  expires: number;
}

export type CardView =
  | { is: 'none' }
  | { is: 'making'; kind: 'offer' | 'answer' }
  /** Step 1 of the one who begins; found: an answer waits for a press. */
  | { is: 'offered'; own: OwnCard; problem: CardProblem | null; found: { peer: Peer; text: string } | null }
  /** Somebody's offer was opened; nothing has been sent. */
  | { is: 'seen'; peer: Peer; text: string; video: boolean; expires: number }
  | { is: 'answered'; own: OwnCard; peer: Peer }
  | { is: 'meeting'; peer: Peer }
  | { is: 'stopped'; why: CardProblem }
  /** The page was loaded anew: the text is here, what it led to is not. */
  | { is: 'lost'; kind: 'offer' | 'answer' };

/** Whether a text is a card, of any version: c1.… alone, behind the # of a link, or behind our scheme. */
export function isCard(text: string): boolean {
  return text.length <= 4096 && /(?:^|#|web\+trunkline:(?:\/\/)?)[cC]\d{1,3}\./i.test(text.trim());
}
