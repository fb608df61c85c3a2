import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { Icon } from './icon.tsx';

export interface Option {
  value: string;
  label: string;
}

/** A select-only combobox of the ARIA practices. */
export function Listbox(props: { label: string; options: Option[]; value: string; onChange: (value: string) => void }) {
  const [open, setOpen] = useState(false);
  const chosen = Math.max(0, props.options.findIndex((o) => o.value === props.value));
  const [at, setAt] = useState(chosen);
  const id = useId();
  const anchor = useRef<HTMLDivElement>(null);

  useEffect(() => {
    if (!open) return;
    const away = (e: PointerEvent) => {
      if (!anchor.current?.contains(e.target as Node)) setOpen(false);
    };
    document.addEventListener('pointerdown', away);
    return () => document.removeEventListener('pointerdown', away);
  }, [open]);

  const take = (index: number) => {
    const option = props.options[index];
    if (option) props.onChange(option.value);
    setOpen(false);
  };
  const onKeyDown = (e: KeyboardEvent) => {
    const last = props.options.length - 1;
    if (!open) {
      if (!['ArrowDown', 'ArrowUp', 'Enter', ' '].includes(e.key)) return;
      setAt(chosen);
      setOpen(true);
    } else if (e.key === 'ArrowDown') setAt(Math.min(last, at + 1));
    else if (e.key === 'ArrowUp') setAt(Math.max(0, at - 1));
    else if (e.key === 'Home') setAt(0);
    else if (e.key === 'End') setAt(last);
    else if (e.key === 'Enter' || e.key === ' ') take(at);
    else if (e.key === 'Escape') setOpen(false);
    else if (e.key === 'Tab') {
      take(at);
      return;
    } else {
      const found = props.options.findIndex((o, i) => i !== at && o.label.toLocaleLowerCase().startsWith(e.key.toLocaleLowerCase()));
      if (e.key.length !== 1 || found < 0) return;
      setAt(found);
    }
    e.preventDefault();
    e.stopPropagation();
  };

  return (
    <div class="field">
      <span class="label" id={`${id}-label`}>
        {props.label}
      </span>
      <div class="anchor" ref={anchor}>
        <div
          class="input row apart"
          role="combobox"
          tabIndex={0}
          aria-labelledby={`${id}-label`}
          aria-haspopup="listbox"
          aria-expanded={open}
          aria-controls={`${id}-list`}
          aria-activedescendant={open ? `${id}-${at}` : undefined}
          onClick={() => {
            setAt(chosen);
            setOpen(!open);
          }}
          onKeyDown={onKeyDown}
        >
          <span class="grow">{props.options[chosen]?.label}</span>
          <Icon name="down" />
        </div>
        <ul class="pop start" role="listbox" id={`${id}-list`} aria-labelledby={`${id}-label`} hidden={!open}>
          {props.options.map((option, i) => (
            <li
              key={option.value}
              id={`${id}-${i}`}
              role="option"
              class="item"
              aria-selected={i === chosen}
              data-active={i === at}
              onClick={() => take(i)}
            >
              <span class="grow">{option.label}</span>
              {i === chosen && <Icon name="check" />}
            </li>
          ))}
        </ul>
      </div>
    </div>
  );
}
