/** A circle with the first letter, in a colour that follows from the key, so that two people of
 * one name look different. It is a help to the eye and no proof of anything. */
export function Avatar(props: { name: string; seed: string; large?: boolean }) {
  let hue = 0;
  for (const c of props.seed.slice(4, 20)) hue = (hue * 31 + (c.codePointAt(0) ?? 0)) % 360;
  const first = [...props.name.trim()][0]?.toLocaleUpperCase() ?? '?';
  return (
    <span class={props.large ? 'avatar large' : 'avatar'} style={{ '--hue': String(hue) }} aria-hidden="true">
      {first}
    </span>
  );
}
