import { Icon } from './icon.tsx';

export interface Toast {
  id: number;
  text: string;
  action?: { label: string; run: () => void };
}

/** Short words at the edge of the screen. They stay until they are dismissed or replaced:
 * nobody has to read against a clock. */
export function Toasts(props: { label: string; toasts: Toast[]; dismissLabel: string; onDismiss: (id: number) => void }) {
  return (
    <div class="toasts" role="status" aria-live="polite" aria-label={props.label}>
      {props.toasts.map((toast) => (
        <div class="toast" key={toast.id}>
          <span class="grow">{toast.text}</span>
          {toast.action && (
            <button type="button" class="button" onClick={toast.action.run}>
              {toast.action.label}
            </button>
          )}
          <button type="button" class="button only-icon" aria-label={props.dismissLabel} onClick={() => props.onDismiss(toast.id)}>
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}
