// Which key an encoded frame is sealed under (docs/spec/media.md): the one thing of SFrame that the page has to know.

/** Key id of a sender's slot. In a one-to-one call the initiator has index 0, the responder 1. */
export function kidOf(index: number, slot: number, generation = 0): number {
  return index * 128 + (slot & 7) * 16 + generation % 16;
}
