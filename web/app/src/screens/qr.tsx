import { encode } from 'uqr';

/** A QR code, black on white in both themes, since cameras expect that. */
export function QR(props: { text: string; label: string }) {
  const code = encode(props.text, { ecc: 'M', border: 3 });
  let d = '';
  code.data.forEach((row, y) => {
    row.forEach((dark, x) => {
      if (dark) d += `M${x} ${y}h1v1h-1z`;
    });
  });
  return (
    <svg class="qr" viewBox={`0 0 ${code.size} ${code.size}`} role="img" aria-label={props.label} shape-rendering="crispEdges">
      <rect width={code.size} height={code.size} fill="#fff" />
      <path d={d} fill="#000" />
    </svg>
  );
}
