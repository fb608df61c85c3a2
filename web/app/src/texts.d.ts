// Made by build/texts.ts: texts/en/first, texts/en/rest and so on, each in the order of texts/names/first or texts/names/rest.
declare module 'texts/*' {
  const texts: string[];
  export default texts;
}
