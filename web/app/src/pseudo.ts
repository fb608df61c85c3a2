const accents: Record<string, string> = { a: 'á', e: 'é', i: 'í', o: 'ó', u: 'ú', A: 'Á', E: 'É', I: 'Í', O: 'Ó', U: 'Ú', n: 'ñ', c: 'ç' };

/** The pseudo-language: longer by a third, accented, and run from right to left, so that a screen
 * that is too narrow or has a text in the code shows it. */
export function pseudo(message: string): string {
  return message
    .split('|')
    .map((part) => {
      const text = part.replace(/\{\w+\}|[a-zA-Z]/g, (c) => (c.length > 1 ? c : (accents[c] ?? c)));
      return `[${text}${'~'.repeat(Math.ceil(part.length / 4))}]`;
    })
    .join('|');
}
