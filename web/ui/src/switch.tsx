import type { ComponentChildren } from 'preact';

/** A switch in the sense of the ARIA practices: a button that is on or off. */
export function Switch(props: { label: string; on: boolean; onChange: (on: boolean) => void; hint?: ComponentChildren }) {
  return (
    <button type="button" role="switch" aria-checked={props.on} class="switch" onClick={() => props.onChange(!props.on)}>
      <span class="grow">
        <span>{props.label}</span>
        {props.hint && (
          <>
            {' '}
            <span class="small muted" style={{ display: 'block' }}>
              {props.hint}
            </span>
          </>
        )}
      </span>
      <span class="track" aria-hidden="true" />
    </button>
  );
}
