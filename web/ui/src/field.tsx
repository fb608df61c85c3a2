import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';

/** A labelled input with its hint and its problem tied to it. */
export function Field(props: {
  label: string;
  value: string;
  onInput: (value: string) => void;
  hint?: ComponentChildren;
  problem?: string | undefined;
  multiline?: boolean;
  autofocus?: boolean;
  attributes?: {
    autocomplete?: string;
    autocapitalize?: 'none' | 'words';
    spellcheck?: boolean;
    inputMode?: 'url' | 'text';
    maxLength?: number;
  };
}) {
  const id = useId();
  const described = [props.hint ? `${id}-hint` : '', props.problem ? `${id}-problem` : ''].filter(Boolean).join(' ');
  const common = {
    id,
    class: 'input',
    value: props.value,
    'aria-invalid': props.problem ? ('true' as const) : undefined,
    'aria-describedby': described || undefined,
    autofocus: props.autofocus,
    onInput: (e: Event) => props.onInput((e.currentTarget as HTMLInputElement).value),
    ...props.attributes,
  };
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      {props.multiline ? <textarea rows={3} {...common} /> : <input type="text" {...common} />}
      {props.hint && (
        <div id={`${id}-hint`} class="small muted">
          {props.hint}
        </div>
      )}
      {props.problem && (
        <div id={`${id}-problem`} class="problem" role="alert">
          {props.problem}
        </div>
      )}
    </div>
  );
}
