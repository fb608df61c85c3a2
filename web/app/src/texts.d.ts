// Made by build/texts.ts.
declare module 'texts/*' {
  const messages: Record<string, string>;
  export default messages;
}
